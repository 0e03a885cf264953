"""Checks of arguments. Each message names the argument, what was expected, and what came."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from stn_np.backend import Array, array_module


def check_array(name: str, x: object, shape: tuple[str | int, ...]) -> None:
    """X must be a floating-point array whose axes match `shape`.

    Parameters
    ----------
    name
        The argument's name, for the message.
    x
        What came.
    shape
        One entry an axis: a letter stands for any length, a number for exactly that length.

    Raises
    ------
    TypeError
        If x is no array, or not of a floating-point dtype.
    ValueError
        If the rank or a fixed length differs.
    """
    array_module(**{name: x})
    check_shape(name, x, shape)
    check_floating(name, x)


def check_shape(name: str, x: Any, shape: tuple[str | int, ...]) -> None:
    """The rank and the lengths given as numbers must agree (see `check_array`)."""
    fits = x.ndim == len(shape) and all(
        isinstance(want, str) or want == got for want, got in zip(shape, x.shape, strict=True)
    )
    if not fits:
        one = shape[0] == "N" and x.ndim == len(shape) - 1 and x.ndim > 0
        hint = f"; a batch of one is {name}[None]" if one else ""
        raise ValueError(
            f"{name}: expected shape {format_shape(shape)}, got {format_shape(x.shape)}{hint}"
        )


def check_floating(name: str, x: Any) -> None:
    """X must have a real floating-point dtype."""
    if x.dtype.kind != "f":
        hint = f"; use {name}.astype(np.float32)" if x.dtype.kind in "iub" else ""
        raise TypeError(f"{name}: expected a floating-point dtype, got {x.dtype}{hint}")


def check_gradient(name: str, dy: object, y: Array) -> None:
    """An upstream gradient must be a floating-point array with exactly the shape of its output y.

    No broadcasting: a gradient that broadcasts is nearly always a mistake that trains badly.
    """
    array_module(**{name: dy, f"the output that {name} belongs to": y})
    check_array(name, dy, y.shape)


def check_same_dtype(**arrays: Array) -> None:
    """All arrays must have one dtype, as in PyTorch: nothing is converted unasked."""
    if len({x.dtype for x in arrays.values()}) > 1:
        came = ", ".join(f"{name} {x.dtype}" for name, x in arrays.items())
        raise TypeError(
            f"expected arguments of one dtype, got {came}; convert with x.astype(...), "
            "or build the layers with dtype=..."
        )


def check_scalar(name: str, value: object) -> None:
    """A real number is expected: Python's, NumPy's, or a 0-d array. A bool is none."""
    shape = getattr(value, "shape", ())
    if shape != ():
        raise ValueError(f"{name}: expected one number, got shape {format_shape(shape)}")
    dtype = getattr(value, "dtype", None)
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real and (dtype is None or dtype.kind not in "fiu"):
        raise TypeError(f"{name}: expected one number, got {value!r}")
    if isinstance(value, int) and value.bit_length() > 1023:
        raise ValueError(f"{name}: expected a number that a float can hold, got a larger one")


def check_flag(name: str, value: object) -> None:
    """True or False is expected: "False" from a configuration file would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {value!r}")


def check_choice(name: str, value: object, known: Iterable[str]) -> None:
    """Value must be one of the known names; the nearest one is suggested."""
    names = list(known)
    if isinstance(value, str) and value in names:
        return
    by_lower_case = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(value).lower(), by_lower_case, n=1, cutoff=0.4)
    hint = f"; did you mean {by_lower_case[near[0]]!r}?" if near else ""
    raise ValueError(f"{name}: expected one of {', '.join(map(repr, names))}, got {value!r}{hint}")


def check_size(name: str, value: object, minimum: int = 1) -> int:
    """Check for a whole number of at least `minimum` (a bool is none); return it as Python's."""
    try:
        size = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        size = None
    if size is None or isinstance(value, bool):
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if size < minimum:
        raise ValueError(f"{name}: expected at least {minimum}, got {value!r}")
    return int(size)


def check_sizes(name: str, value: object, n: int) -> tuple[int, ...]:
    """Check for n positive whole numbers, n = 2 or 3; return them as Python's own."""
    wanted = {2: "a pair (height, width)", 3: "a triple (depth, height, width)"}[n]
    if not isinstance(value, tuple | list) or len(value) != n:
        raise TypeError(f"{name}: expected {wanted}, got {value!r}")
    return tuple(check_size(name, size) for size in value)


def check_size_pair(name: str, value: object) -> tuple[int, int]:
    """Check for a pair (height, width) of positive whole numbers; return it as Python's own."""
    height, width = check_sizes(name, value, 2)
    return height, width


def format_shape(shape: tuple[str | int, ...]) -> str:
    """(N, C, 28, 28) without the quotes that Python would print round the letters."""
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
