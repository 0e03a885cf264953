"""Checks of arguments. Each message names the argument, what was expected, and what came."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterable
from functools import wraps
from math import prod
from typing import Any, TypeVar

import numpy as np

from stn_np.backend import Array, array_module

T = TypeVar("T")

#: No size or count is larger.
LARGEST = 2**40

#: What others call what has a name here.
ALIASES = {
    "similarity": ("rotation", "rotate", "scale", "rigid"),
    "projective": ("homography", "perspective"),
    "tps": ("spline", "thin-plate", "thin-plate-spline"),
    "attention": ("crop",),
    "translation": ("shift",),
    "st-cnn": ("stn",),
}


def check_array(name: str, x: object, shape: tuple[str | int, ...], hint: str = "") -> None:
    """X must be a floating-point array whose axes match `shape`, letters for any length.

    `hint` ("; ...") follows the message about another shape. TypeError or ValueError.
    """
    array_module(**{name: x})
    check_shape(name, x, shape, hint)
    check_floating(name, x)


def check_shape(name: str, x: Any, shape: tuple[str | int, ...], hint: str = "") -> None:
    """The rank and the lengths given as numbers must agree (see `check_array`)."""
    if not _fits(x.shape, shape):
        hint = _shape_hint(name, x.shape, shape) or hint
        raise ValueError(
            f"{name}: expected shape {format_shape(shape)}, got {format_shape(x.shape)}{hint}"
        )


def _fits(got: tuple[int, ...], shape: tuple[str | int, ...]) -> bool:
    return len(got) == len(shape) and all(
        isinstance(want, str) or want == size for want, size in zip(shape, got, strict=True)
    )


def _shape_hint(name: str, got: tuple[int, ...], shape: tuple[str | int, ...]) -> str:
    """How to make a batch of what came, where that can be guessed."""
    if shape[:1] != ("N",) or got == () or len(got) == len(shape):
        return ""
    if len(shape) == 4 and len(got) == 3 and shape[1] in ("C", got[2]):
        if got[2] in (3, 4) and min(got[:2]) > got[2]:
            return f"; channels come first: {name}.transpose(2, 0, 1)[None]"
    if _fits(got, shape[1:]):
        return f"; a batch of one is {name}[None]"
    if shape[1] == "C" and len(got) == len(shape) - 2:
        return f"; a batch of one, with one channel, is {name}[None, None]"
    numbers = [size for size in shape if isinstance(size, int)]
    if len(numbers) == len(shape) - 1 and prod(numbers) in (prod(got), prod(got[1:])):
        return f"; use {name}.reshape(-1, {', '.join(map(str, numbers))})"
    return ""


def check_floating(name: str, x: Any) -> None:
    """X must have a real floating-point dtype."""
    if x.dtype.kind != "f":
        hint = f"; use {name}.astype(np.float32)" if x.dtype.kind in "iub" else ""
        hint += " / 255 for values in [0, 1]" if x.dtype == np.uint8 else ""
        raise TypeError(f"{name}: expected a floating-point dtype, got {x.dtype}{hint}")


def check_gradient(name: str, dy: object, y: Array) -> None:
    """An upstream gradient must have the shape of its output y: to broadcast hides mistakes."""
    array_module(**{name: dy, f"the output that {name} belongs to": y})
    check_array(name, dy, y.shape)


def pullback(**output: Array) -> Callable[[Callable[[Array], T]], Callable[[Array], T]]:
    """Decorate a pullback: ``@pullback(dV=V)`` above ``def backward(dV)``.

    The upstream gradient is checked against the output that it belongs to. NumPy does not warn
    inside, for infinite and huge numbers are allowed everywhere.
    """
    ((name, y),) = output.items()
    shape = y.shape
    if isinstance(y, np.ndarray):
        y = np.broadcast_to(np.empty((), y.dtype), shape)  # its shape alone: y itself is let go

    def decorate(backward: Callable[[Array], T]) -> Callable[[Array], T]:
        @wraps(backward)
        def checked(dy: Array) -> T:
            check_gradient(name, dy, y)
            with np.errstate(all="ignore"):
                return backward(dy)

        return checked

    return decorate


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


def check_number(
    name: str, value: Any, low: float, below: float = float("inf"), *, open: bool = False
) -> float:
    """Check for a number from `low` on (`open`: above it) and below another one; return a float."""
    check_scalar(name, value)
    if not (low < value if open else low <= value) or not value < below:
        least = f"above {low:g}" if open else f"of at least {low:g}"
        wanted = f"a finite number {least}" + (
            "" if below == float("inf") else f", below {below:g}"
        )
        raise ValueError(f"{name}: expected {wanted}, got {value!r}")
    return float(value)


def check_flag(name: str, value: object) -> None:
    """True or False is expected: "False" from a configuration file would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {value!r}")


def check_choice(name: str, value: object, known: Iterable[str]) -> None:
    """Value must be one of the known names; the nearest one, or an alias's, is suggested."""
    names = list(known)
    if isinstance(value, str) and value in names:
        return
    by_lower_case = {name.lower(): name for name in names}
    given = str(value).lower()
    near = [name for name in names if given in ALIASES.get(name, ())]
    near = near or difflib.get_close_matches(given, by_lower_case, n=1, cutoff=0.4)
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
    if not minimum <= size <= LARGEST:
        bound = f"at least {minimum}" if size < minimum else f"at most {LARGEST:,}"
        raise ValueError(f"{name}: expected {bound}, got {value!r:.40}")
    return int(size)


def check_sizes(name: str, value: object, n: int) -> tuple[int, ...]:
    """Check for n positive whole numbers, n = 2 or 3; return them as Python's own."""
    wanted = {2: "a pair (height, width)", 3: "a triple (depth, height, width)"}[n]
    if not isinstance(value, tuple | list) or len(value) != n:
        axes = ", ".join("DHW"[-n:])
        torch = isinstance(value, tuple | list) and len(value) == n + 2
        hint = f"; PyTorch's (N, C, {axes}) is ({axes}) here: U.shape[2:]" if torch else ""
        raise TypeError(f"{name}: expected {wanted}, got {value!r}{hint}")
    return tuple(check_size(name, size) for size in value)


def check_pair(name: str, value: object, minimum: int = 1) -> tuple[int, int]:
    """One whole number for both axes, or a pair (down, across), each at least `minimum`."""
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise TypeError(f"{name}: expected one number or a pair (down, across), got {value!r}")
    down, across = (check_size(name, size, minimum) for size in pair)
    return down, across


def check_size_pair(name: str, value: object) -> tuple[int, int]:
    """Check for a pair (height, width) of positive whole numbers; return it as Python's own."""
    height, width = check_sizes(name, value, 2)
    return height, width


def format_shape(shape: tuple[str | int, ...]) -> str:
    """(N, C, 28, 28) without the quotes that Python would print round the letters."""
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
