"""The gradient check itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.checks import check_flag, check_size
from stn_np.gradcheck.line import Line
from stn_np.gradcheck.probe import Function, Probe, Values
from stn_np.gradcheck.report import SEVERITY, GradcheckError, InputResult, Report


def gradcheck(
    f: Function,
    *inputs: Array,
    eps: float = 1e-5,
    rtol: float = 1e-7,
    seed: int = 0,
    n_directions: int = 2,
    names: Sequence[str] | None = None,
    raise_exception: bool = True,
) -> Report:
    """Compare a backward pass with finite differences.

    Each input is moved along a random direction v, and <g, J v> by finite differences is compared
    with <backward(g), v> for a random upstream gradient g. Every element of the gradient takes
    part in that one number.

    Parameters
    ----------
    f
        ``y, backward = f(*inputs)``. ``backward(dy)`` returns the gradient of the one input, or a
        tuple with one gradient an input; None stands for one that is not differentiated, and is
        not checked. To leave an argument out, close over it:
        ``lambda logits: cross_entropy(logits, labels)``.
    *inputs
        float64 arrays, NumPy or CuPy. They are not changed: f gets copies.
    eps
        How far every number of an input is moved, at most, each way. f must be smooth within.
    rtol
        The largest relative error to pass. Errors are measured against the size of the sum <g, J v>
        before its terms cancel, or against what rounding lets one see if that is more.
    seed
        Of the directions and upstream gradients.
    n_directions
        How many pairs of them.
    names
        What to call the inputs in messages.
    raise_exception
        Raise unless every gradient is shown to be right, as PyTorch's gradcheck does. With False,
        look at ``report.ok``.

    Returns
    -------
    Report
        Printed, it shows both numbers and, where they differ, the worst single elements.

    Raises
    ------
    GradcheckError
        If a gradient is wrong (values, shape, dtype), if f is not smooth here so that nobody can
        tell, or if f or backward change their arguments or give another result when called again.
        It carries the ``report``. Not with ``raise_exception=False``.
    TypeError
        If an input is no float64 array, if f does not return a pair (y, backward), or backward not
        one gradient an input.
    ValueError
        If there is nothing to check: no input, an empty one, NaN or infinities in inputs or y, no
        gradient at all.

    Notes
    -----
    At a kink (a ReLU at 0, a bilinear sample exactly on a pixel, a tie in a max pooling) finite
    differences average the slopes of both sides, which looks like a wrong gradient, or like a right
    one by chance. A kink within eps is found by comparing slopes at several steps, and is named.

    Finite differences of float32 keep about three digits, the square root of its precision. That
    cannot tell a wrong gradient from rounding, so float32 is refused.

    Examples
    --------
    >>> import numpy as np
    >>> import stn_np
    >>> x = np.array([1.0, 2.0])
    >>> stn_np.gradcheck(lambda x: (x**2, lambda dy: 2 * x * dy), x).ok
    True
    """
    if not callable(f):
        raise TypeError(f"f: expected a function that returns (y, backward), got {f!r}")
    check_flag("raise_exception", raise_exception)
    names = _check_arguments(inputs, names, eps, rtol)
    check_size("n_directions", n_directions)
    probe = Probe(f, inputs, names)
    rng = np.random.default_rng(seed)
    results = [InputResult(name, "skipped") for name in names]
    for number in range(n_directions):
        g = _random_direction(rng, probe.y.shape)
        gradients = probe.pull_back(g)
        for k, dx in enumerate(gradients):
            v = _random_direction(rng, probe.inputs[k].shape)
            if isinstance(dx, str):
                results[k] = InputResult(names[k], "wrong", message=dx)
            elif dx is not None:
                line = Line(probe, k, v, g, dx, f"direction {number} of seed {seed}")
                results[k] = max(results[k], line.compare(eps, rtol), key=_gravity)
        probe.check_repeatable(g, gradients)
    report = Report(tuple(results), tuple(probe.problems), rtol)
    if raise_exception and not report.ok:
        raise GradcheckError(report)
    return report


def _check_arguments(
    inputs: Sequence[Array], names: Sequence[str] | None, eps: float, rtol: float
) -> list[str]:
    """Refuse what cannot be checked; return what to call the inputs."""
    if len(inputs) == 1 and isinstance(inputs[0], tuple):
        raise TypeError(
            "inputs: expected gradcheck(f, x, w), got a tuple as in gradcheck(f, (x, w))"
        )
    if not inputs:
        raise ValueError("inputs: expected at least one array, got none")
    if names is not None and len(names) != len(inputs):
        raise ValueError(f"names: expected {len(inputs)}, one an input, got {len(names)}")
    if not (eps > 0 and 0 < rtol < 1):
        raise ValueError(
            f"eps and rtol: expected positive numbers, rtol below 1, got {eps!r} and {rtol!r}"
        )
    names = list(names or (f"input {k}" for k in range(len(inputs))))
    for name, x in zip(names, inputs, strict=True):
        array_module(**{name: x})
        if x.dtype != np.float64:
            raise TypeError(f"{name}: expected float64, got {x.dtype}: {_why_refused(x.dtype)}")
        if x.size == 0 or not bool(abs(x).max() < np.inf):
            what = "an empty array" if x.size == 0 else "NaN or infinity"
            raise ValueError(f"{name}: expected finite numbers, got {what}")
    return names


def _why_refused(dtype: np.dtype[Any]) -> str:
    if dtype.kind != "f":
        return "only real numbers have a gradient here; close over what is not to be checked"
    digits = int(-np.log10(np.finfo(dtype).eps) / 2)
    return (
        f"finite differences keep half of a number's digits, about {digits} of {dtype}, which "
        "cannot tell a wrong gradient from rounding; use x.astype(np.float64)"
    )


def _random_direction(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Random signs with sizes from 1/2 to 1: an error in any one element shows."""
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.0, shape)


def _gravity(result: InputResult) -> tuple[int, float]:
    """Sorts by how bad a result is."""
    return SEVERITY.index(result.status), result.error
