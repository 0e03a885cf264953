"""The function under test, with everything that goes in and comes out checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array, array_module, to_numpy
from stn_np.checks import format_shape

#: What can be checked: returns its value, and the pullback from dL/dy to dL/d(input): one array, or
#: a tuple with one entry an input.
Function: TypeAlias = Callable[..., tuple[Any, Callable[..., Any]]]

Values: TypeAlias = NDArray[np.float64]

#: A gradient, or None where there is none, or in words why it cannot be one.
Gradient: TypeAlias = Values | str | None


class Probe:
    """f at one point. Works in NumPy, wherever the inputs live; f gets copies in their own library.

    Parameters
    ----------
    f
        The function.
    inputs, names
        Where to look at it, and what to call the inputs.

    Attributes
    ----------
    inputs, y
        The inputs and f(*inputs), as NumPy arrays.
    problems : list of str
        Rules that were seen to be broken.
    """

    def __init__(self, f: Function, inputs: Sequence[Array], names: Sequence[str]) -> None:
        self.f, self.names = f, names
        self.xp = array_module(**dict(zip(names, inputs, strict=True)))
        self.inputs: list[Values] = [to_numpy(x).copy() for x in inputs]
        self.problems: list[str] = []
        self.y, self.backward = self.forward()
        if not np.isfinite(self.y).all():
            raise ValueError("f: expected a finite value y, got NaN or infinity")
        if not np.array_equal(self.y, self.forward()[0]):
            self._complain("f gave another result when called again with the same inputs")

    def forward(
        self, moved: int | None = None, step: Values | float = 0.0
    ) -> tuple[Values, Callable[..., Any]]:
        """Value and pullback of f, with `step` added to one of the inputs."""
        meant = [x + step if k == moved else x for k, x in enumerate(self.inputs)]
        given = [self.xp.array(x) for x in meant]
        result = self.f(*given)
        if not (isinstance(result, tuple | list) and len(result) == 2 and callable(result[1])):
            raise TypeError(f"f: expected it to return (y, backward), got {_describe(result)}")
        y = _as_numpy(result[0])
        if y.dtype != np.float64 or y.size == 0:
            raise TypeError(
                f"f: expected a float64 y that is not empty, got {_describe(result[0])}"
            )
        for name, before, after in zip(self.names, meant, given, strict=True):
            if not np.array_equal(before, to_numpy(after)):
                self._complain(f"f changed its argument {name} in place")
        return y, result[1]

    def pull_back(self, g: Values) -> list[Gradient]:
        """backward(g): one entry an input."""
        dy = self.xp.array(g)
        result = self.backward(dy)
        if not np.array_equal(g, to_numpy(dy)):
            self._complain("backward changed its argument dy in place")
        gradients = list(result) if isinstance(result, tuple | list) else [result]
        if len(gradients) != len(self.inputs):
            raise TypeError(
                f"backward: expected {len(self.inputs)} gradients, one an input "
                f"({', '.join(self.names)}), got {_describe(result)}"
            )
        if all(dx is None for dx in gradients):
            raise ValueError(
                "backward: expected a gradient of at least one input, got None for all"
            )
        return [_check_gradient(dx, x) for dx, x in zip(gradients, self.inputs, strict=True)]

    def check_repeatable(self, g: Values, gradients: list[Gradient]) -> None:
        """Call backward once more, now that f has been called with other inputs in between."""
        for name, old, new in zip(self.names, gradients, self.pull_back(g), strict=True):
            same = np.array_equal(old, new) if isinstance(old, np.ndarray) else True  # type: ignore[arg-type]
            if not same:
                self._complain(
                    f"backward gave another gradient of {name} when called again, after more calls "
                    "of f; what it keeps from its own forward pass must not change"
                )

    def _complain(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def _check_gradient(dx: Any, x: Values) -> Gradient:
    """A copy of dx (backward may use its buffer again), or what makes it no gradient of x."""
    if dx is None:
        return None
    array = _as_numpy(dx)
    if array.dtype != np.float64:
        return f"backward returned {_describe(dx)}, expected a float64 array"
    if array.shape != x.shape:
        want, got = format_shape(x.shape), format_shape(array.shape)
        return f"backward returned a gradient of shape {got}, expected {want}, as the input"
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        return f"backward returned {array[where]} at {list(where)}, expected finite numbers"
    return array


def _as_numpy(x: Any) -> NDArray[Any]:
    """A copy as a NumPy array; Python and NumPy scalars become arrays of no axes."""
    return np.array(to_numpy(x))


def _describe(x: object) -> str:
    """The type in short, and for arrays what matters of them."""
    if isinstance(x, tuple | list):
        return f"a {type(x).__name__} of {len(x)}: ({', '.join(map(_describe, x))})"
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    if shape is None or dtype is None:
        return "None" if x is None else type(x).__name__
    return f"{dtype} array of shape {format_shape(shape)}"
