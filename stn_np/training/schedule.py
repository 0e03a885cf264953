"""Learning-rate schedules: pure functions of the step, so that nothing about them is ever saved."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

from stn_np.checks import check_choice, check_number, check_size

#: (step, total_steps, base rate) -> rate of that step.
Schedule = Callable[[int, int, float], float]


def constant(step: int, total_steps: int, base_lr: float) -> float:
    """The base rate at every step."""
    return base_lr


def step_decay(step: int, total_steps: int, base_lr: float) -> float:
    """A tenth after each third, such as x0.1 every 50,000 of 150,000 iterations."""
    return base_lr * 0.1 ** (3 * step // total_steps)


def one_cycle(step: int, total_steps: int, base_lr: float) -> float:
    """One rise and one fall along half cosines (Smith & Topin, 2018; the shape PyTorch gives it).

    From base/25 up to base over the first 30 % of the steps, then down to base/250,000 at the last.
    The momentum stays constant; PyTorch's ``OneCycleLR`` by default turns that as well.
    """
    if total_steps == 1:
        return base_lr
    start, end, peak = base_lr / 25, base_lr / 25e4, 0.3 * total_steps - 1
    if step <= peak:
        return _half_cosine(start, base_lr, step / peak)
    return _half_cosine(base_lr, end, (step - peak) / (total_steps - 1 - peak))


def _half_cosine(start: float, end: float, part: float) -> float:
    """From start (part 0) to end (part 1) along half a period of a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


#: The schedules by the names that the command line knows.
SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "step": step_decay,
    "one-cycle": one_cycle,
}


def learning_rate(name: str, step: int, total_steps: int, base_lr: float) -> float:
    """The learning rate of one step under a schedule given by name.

    Parameters
    ----------
    name
        "constant", "step" or "one-cycle".
    step
        Counted from 0; the last one is ``total_steps - 1``.
    total_steps
        How many steps the whole training has.
    base_lr
        The rate at the start (constant, step) or at the peak (one-cycle).

    Raises
    ------
    TypeError, ValueError
        If the name is unknown, the step is not one of this training's, or the rate is no finite
        number of at least 0.
    """
    check_choice("schedule", name, SCHEDULES)
    check_size("total_steps", total_steps)
    check_number("base_lr", base_lr, 0)
    if not 0 <= check_size("step", step, -sys.maxsize) < total_steps:
        raise ValueError(f"step: expected one of 0 to {total_steps - 1}, got {step}")
    return SCHEDULES[name](step, total_steps, base_lr)
