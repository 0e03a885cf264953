"""How a training shows itself: a bar on a terminal, a plain line an epoch everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stn_np.training.loop import Trainer

#: Seconds between two figures on the bar.
REFRESH = 0.2


class Progress:
    """The one place that prints while a training runs.

    Parameters
    ----------
    trainer
        The training, at the step where it begins.
    bar
        Whether to draw a bar; by default, if standard output and error both are a terminal.
    """

    def __init__(self, trainer: Trainer, *, bar: bool | None = None) -> None:
        self._trainer = trainer
        self._begun = self._epoch_begun = self._refreshed = time.perf_counter()
        self._first = self._epoch_first = trainer.step
        self._bar: Any = None
        if bar if bar is not None else sys.stdout.isatty() and sys.stderr.isatty():
            self._bar = self._make_bar()

    def _make_bar(self) -> Any:
        """A tqdm bar over the images of the whole run, so that its rate is images/s."""
        from tqdm import tqdm

        size = self._trainer.batch_size
        return tqdm(
            total=self._trainer.total_steps * size,
            initial=self._trainer.step * size,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left{postfix}",
        )

    def step(self) -> None:
        """After each step."""
        if self._bar is None:
            return
        self._bar.update(self._trainer.batch_size)
        now = time.perf_counter()
        if now - self._refreshed >= REFRESH:
            self._refreshed = now
            self._bar.set_description_str(self._epoch_name(), refresh=False)
            if self._trainer.measured:  # on a GPU the loss is known now and then
                loss, *figures = self._trainer.running()
                self._bar.set_postfix_str(f"loss {loss:.3f}, {self._figures('', figures, '.1f')}")

    def epoch(self, row: list[float], timing: list[float]) -> None:
        """Print an epoch's figures.

        Parameters
        ----------
        row
            Of metrics.csv.
        timing
            Of timings.csv.
        """
        n = len(self._trainer.units)
        loss, training, test = row[3], row[4 : 4 + n], row[5 + n : 5 + 2 * n]
        self.say(
            f"{self._epoch_name(done=True)}  loss {loss:.4f}  "
            f"{self._figures('training ', training, '5.2f')}  "
            f"{self._figures('test ', test, '5.2f')}  {timing[3]:,.0f} images/s  "
            f"{clock(self._seconds_left())} left"
        )

    def _figures(self, part: str, values: Sequence[float], form: str) -> str:
        """The score's figures with their names."""
        named = zip(self._trainer.units.items(), values, strict=True)
        return "  ".join(
            f"{part}{name} {value:{form}}" + " %" * (unit == 100) for (name, unit), value in named
        )

    def part(self) -> list[float]:
        """The row of timings.csv for what was done since the last one, test set included."""
        now, steps = time.perf_counter(), self._trainer.step - self._epoch_first
        seconds = now - self._epoch_begun
        epoch = (self._trainer.step - 1) // self._trainer.steps_per_epoch + 1
        self._epoch_begun, self._epoch_first = now, self._trainer.step
        rate = steps * self._trainer.batch_size / max(seconds, 1e-9)
        return [epoch, steps, round(seconds, 3), round(rate, 1)]

    def say(self, line: str) -> None:
        """Print a line; above the bar, if there is one."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stdout)
        else:
            print(line, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.leave = False
            self._bar.close()

    def _epoch_name(self, *, done: bool = False) -> str:
        """The epoch under way (or just done) of how many, counted from 1."""
        trainer = self._trainer
        epoch = min(trainer.step // trainer.steps_per_epoch + (not done), trainer.settings.epochs)
        width = len(str(trainer.settings.epochs))
        return f"epoch {epoch:{width}}/{trainer.settings.epochs}"

    def _seconds_left(self) -> float:
        """At the mean speed since the start, test sets included."""
        done = self._trainer.step - self._first
        spent = time.perf_counter() - self._begun
        return spent / max(done, 1) * (self._trainer.total_steps - self._trainer.step)


def clock(seconds: float) -> str:
    """Seconds as 4:05 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
