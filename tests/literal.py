"""Eq. (3) and its gradients as literal loops, for any kernel, padding and number of axes.

Written from the formulas alone, with plain floats and `np.pad`; nothing of the library is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from math import ceil, cos, exp, floor, pi, prod, sin
from typing import Any, NamedTuple

import numpy as np


class Formula(NamedTuple):
    """A kernel as it is printed: k(d) at d = x - m, and its derivative (at kinks the right one)."""

    k: Callable[[float], float]
    slope: Callable[[float], float]
    radius: float
    normalise: bool = False
    #: Border and reflection move the point, not the pixels, and cut the gradient on the border.
    moves_points: bool = False


def _cubic(d: float) -> float:
    a, r = -0.75, abs(d)
    if r < 1:
        return (a + 2) * r**3 - (a + 3) * r**2 + 1
    return a * (r**3 - 5 * r**2 + 8 * r - 4) if r < 2 else 0.0


def _cubic_slope(d: float) -> float:
    a, r = -0.75, abs(d)
    sign = 1 if d > 0 else -1
    if r < 1:
        return sign * (3 * (a + 2) * r**2 - 2 * (a + 3) * r)
    return sign * a * (3 * r**2 - 10 * r + 8) if r < 2 else 0.0


NEAREST = Formula(  # eq. (4)
    lambda d: 1.0 if -0.5 <= d < 0.5 else 0.0, lambda d: 0.0, 0.5, moves_points=True
)
LINEAR = Formula(  # eqs (5) and (7)
    lambda d: max(0.0, 1 - abs(d)),
    lambda d: 1.0 if -1 <= d < 0 else -1.0 if 0 <= d < 1 else 0.0,
    1.0,
    moves_points=True,
)
CUBIC = Formula(_cubic, _cubic_slope, 2.0)


def gaussian(sigma: float) -> Formula:
    """Lowered so that it ends at zero, at three sigma (or at one pixel, where that is further)."""
    radius = max(1.0, 3 * sigma)
    end = exp(-((radius / sigma) ** 2) / 2)
    return Formula(
        lambda d: exp(-((d / sigma) ** 2) / 2) - end if abs(d) < radius else 0.0,
        lambda d: -d / sigma**2 * exp(-((d / sigma) ** 2) / 2) if -radius <= d < radius else 0.0,
        radius,
        normalise=True,
    )


def lanczos(a: int) -> Formula:
    def k(d: float) -> float:
        if d == 0:
            return 1.0
        return a * sin(pi * d) * sin(pi * d / a) / (pi * d) ** 2 if abs(d) < a else 0.0

    def slope(d: float) -> float:
        if d == 0 or not -a <= d < a:
            return 0.0
        s, t = sin(pi * d), sin(pi * d / a)
        ds, dt = pi * cos(pi * d), pi / a * cos(pi * d / a)
        return a / pi**2 * ((ds * t + s * dt) / d**2 - 2 * s * t / d**3)

    return Formula(k, slope, float(a), normalise=True)


def area(s: float) -> Formula:
    """A tent of s pixels to either side."""
    return Formula(
        lambda d: max(0.0, 1 - abs(d) / s),
        lambda d: 1 / s if -s <= d < 0 else -1 / s if 0 <= d < s else 0.0,
        s,
        normalise=True,
    )


#: Without symmetry, so that x - m and m - x cannot be confused; also fit for arrays.
LOPSIDED = Formula(
    lambda d: (abs(d) < 2) * (2 - d) ** 2 * (2 + d) ** 3 / 64,
    lambda d: (abs(d) < 2) * (2 - d) * (2 + d) ** 2 * (2 - 5 * d) / 64,
    2.0,
)


class Tap(NamedTuple):
    pixel: int | None  # of the image, along one axis; None where the constant lies
    weight: float
    slope: float  # d weight / d (pixel coordinate)


#: How far `pixels_of_the_continued_image` goes on at either end.
FAR = 100


@cache
def pixels_of_the_continued_image(size: int, padding: str, corners: bool) -> list[int | None]:
    """Which pixel of the image each pixel of the continued one shows; the image begins at FAR."""
    mirror = "reflect" if corners else "symmetric"  # round the last pixel's centre, or its edge
    mode: Any = {"border": "edge", "reflection": mirror, "wrap": "wrap"}.get(padding)
    inside = np.arange(size)
    if mode is None:
        return [None] * FAR + inside.tolist() + [None] * FAR
    return np.pad(inside, FAR, mode=mode).tolist()


def moved_point(x: float, size: int, padding: str, corners: bool) -> tuple[float, float]:
    """X clipped or mirrored into the image, and the derivative of that: 0 on the border itself."""
    slope = 1.0
    low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
    if padding == "reflection" and low < high:
        while not low <= x <= high:
            x, slope = (2 * low - x if x < low else 2 * high - x), -slope
    return min(max(x, 0.0), size - 1.0), slope if 0 < x < size - 1 else 0.0


def taps(x: float, size: int, formula: Formula, padding: str, corners: bool) -> list[Tap]:
    """The pixels that a point at x reads along one axis: all others have weight 0 in eq. (3)."""
    point_slope = 1.0
    if formula.moves_points and padding in ("border", "reflection"):
        x, point_slope = moved_point(x, size, padding, corners)
    first = floor(x - formula.radius) + 1
    offsets = range(first, first + ceil(2 * formula.radius))
    weights = [formula.k(x - m) for m in offsets]
    slopes = [formula.slope(x - m) * point_slope for m in offsets]
    if formula.normalise:  # the quotient rule
        w, s = sum(weights), sum(slopes)
        slopes = [(sm * w - wm * s) / w**2 for wm, sm in zip(weights, slopes, strict=True)]
        weights = [wm / w for wm in weights]
    assert offsets.start > -FAR
    pixels = pixels_of_the_continued_image(size, padding, corners)
    return [
        Tap(pixels[FAR + m], wm, sm) for m, wm, sm in zip(offsets, weights, slopes, strict=True)
    ]


def literal_sample(
    U: np.ndarray,
    points: np.ndarray,
    dV: np.ndarray,
    formulas: Formula | Sequence[Formula],
    padding: str = "zeros",
    value: float = 0.0,
    corners: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eq. (3) of the continued image, its gradient to U (eq. 6) and to the grid (eq. 7).

    U (N, C, [D,] H, W), dV (N, C, *out); points (N, *out, 2 or 3) in *pixels*, (x, y[, z]). One
    formula, or one an axis in the order x, y[, z]. The last gradient is with respect to the
    normalised coordinates, as the library's.
    """
    sizes = U.shape[:1:-1]  # along x, y[, z]
    if isinstance(formulas, Formula):
        formulas = [formulas] * len(sizes)
    V, dU = np.zeros(dV.shape), np.zeros(U.shape)
    dgrid = np.zeros(points.shape)
    for n, *i in np.ndindex(points.shape[:-1]):
        x = points[(n, *i)].tolist()
        axes = [taps(*axis, padding, corners) for axis in zip(x, sizes, formulas, strict=True)]
        at = (n, slice(None), *i)  # all channels share the point
        for corner in product(*axes):
            weight = prod(tap.weight for tap in corner)
            pixel = tuple(tap.pixel for tap in reversed(corner))  # rows before columns
            u: Any = value
            if None not in pixel:
                u = U[(n, slice(None), *pixel)]
                dU[(n, slice(None), *pixel)] += dV[at] * weight
            V[at] += u * weight
            dVu = (dV[at] * u).sum()
            for k, tap in enumerate(corner):
                others = prod(t.weight for j, t in enumerate(corner) if j != k)
                dgrid[(n, *i, k)] += dVu * tap.slope * others
    return V, dU, dgrid * [(n - 1) / 2 if corners else n / 2 for n in sizes]
