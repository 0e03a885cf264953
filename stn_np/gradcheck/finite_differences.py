"""The slope of a function along a line, and whether the line is smooth enough to have one.

A finite difference says nothing about a gradient when the function has
a kink within the step, and it does not say so by itself. So every slope taken here comes with a
verdict. Zooming in tells: a smooth curve becomes straight, the bend of a kink stays as it is, and
the slope across a jump grows without bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

#: t -> f(x + t v), flattened to one axis.
Curve = Callable[[float], Vector]

#: One rounding error, relative.
UNIT = float(np.finfo(np.float64).eps)

#: How many of the roughest output elements are looked at under the magnifying glass.
N_SUSPECTS = 5


@dataclass(frozen=True)
class Break:
    """A place on the line where the function is not smooth.

    Attributes
    ----------
    kind
        "kink" (the slope is broken), "jump" (the value is) or "undefined" (NaN or infinity).
    output
        Flat index of the element of f(x) that shows it most.
    t
        Where: at x + t v.
    left, right
        The slope on either side (along v, of that element).
    """

    kind: str
    output: int
    t: float
    left: float
    right: float


@dataclass(frozen=True)
class Slope:
    """What finite differences say about <g, J v>.

    Attributes
    ----------
    value
        The estimate.
    scale
        What an error is to be measured against: how large the sum is before its terms cancel,
        and never less than what rounding lets one see.
    visible
        The smallest slope that stands out from rounding.
    uncertainty
        How much the estimates from larger and from smaller steps differ. Large where the function
        is too steep for the step, or where its curvature jumps.
    broken
        Where the line is not smooth; None if it is.
    """

    value: float
    scale: float
    visible: float
    uncertainty: float
    broken: Break | None


def slope_along(
    curve: Curve, y: Vector, g: Vector, *, eps: float, x_max: float, tol: float
) -> Slope:
    """<g, d/dt curve(t)> at t = 0, from three central differences extrapolated to step zero.

    Parameters
    ----------
    curve, y
        The function on the line, and its value at t = 0.
    g
        Upstream gradient, as long as y.
    eps
        The largest step; eps/2 and eps/4 are used too. With errors of order eps**6 a step can be
        large enough for rounding not to matter.
    x_max
        The largest input, in absolute value: it is rounded when a step is added to it.
    tol
        Relative error that matters. Breaks that change the slope by far less are let pass.
    """
    steps = (eps, eps / 2, eps / 4)
    ahead, behind = [curve(s) for s in steps], [curve(-s) for s in steps]
    if not all(np.isfinite(v).all() for v in ahead + behind):
        return Slope(math.nan, math.nan, math.nan, math.nan, _undefined(ahead + behind))
    central = [(a - b) / (2 * s) for a, b, s in zip(ahead, behind, steps, strict=True)]
    opening = [(a - 2 * y + b) / s for a, b, s in zip(ahead, behind, steps, strict=True)]

    # Richardson: the errors of `central` are c2 s**2 + c4 s**4 + ...; remove one, then the other.
    coarse = (4 * central[1] - central[0]) / 3
    fine = (4 * central[2] - central[1]) / 3
    best = (16 * fine - coarse) / 15

    noise = 4 * UNIT * (np.maximum(np.abs(y), _rms(y)) + x_max * np.abs(best))
    visible = 4 * _norm(g * noise) / eps
    scale = max(abs(float(g @ best)), _norm(g * best), visible / tol)
    # Both vanish with a high power of eps for a smooth function: `fine - coarse` sees breaks
    # beside x, the other, the angle between the slopes ahead and behind, those at x.
    rough = np.maximum(np.abs(fine - coarse), np.abs(opening[0] - 2 * opening[1]))
    seen = (rough * np.abs(g) > 0.3 * tol * scale) & (rough > 16 * noise / eps)
    suspects = np.flatnonzero(seen)
    suspects = suspects[np.argsort(-(rough * np.abs(g))[suspects])][:N_SUSPECTS]
    found = (_magnify(curve, int(i), eps, float(noise[i])) for i in suspects)
    broken = next((b for b in found if b is not None), None)
    return Slope(float(g @ best), scale, visible, _norm(g * rough), broken)


def _magnify(curve: Curve, output: int, eps: float, noise: float) -> Break | None:
    """Zoom in on the most abrupt change of slope of one output; None if it is smooth after all."""
    low, high = -1.25 * eps, 1.25 * eps  # A little more than the step: a break may sit at its end.
    sizes: list[float] = []
    for _ in range(3):
        t, step = np.linspace(low, high, 9), (high - low) / 8
        slopes = np.diff([curve(float(s))[output] for s in t]) / step
        if not np.isfinite(slopes).all():
            return Break("undefined", output, float(t[4]), math.nan, math.nan)
        # A smooth curve turns by about the same angle from step to step: the median is that angle.
        angles = np.diff(slopes)
        excess = np.abs(angles - np.median(angles))
        k = int(np.argmax(excess))
        visible = 8 * noise / step
        sizes.append(max(float(excess[k]), visible))
        if excess[k] <= visible:
            break
        at, left, right = (
            float(t[k + 1]),
            float(slopes[max(k - 1, 0)]),
            float(slopes[min(k + 2, 7)]),
        )
        low, high = float(t[k]), float(t[k + 2])
    if len(sizes) == 1:
        return None
    # The excess goes like step**order: a jump has order -1, a kink 0, a jump of the curvature 1,
    # and what is smooth 2 or more. Each zoom made the step 4 times smaller.
    order = math.log(sizes[0] / sizes[-1], 4) / (len(sizes) - 1)
    if order >= 0.5:
        return None
    kind = "jump" if order < -0.75 else "kink"
    return Break(kind, output, at if abs(at) > step else 0.0, left, right)


def _undefined(values: list[Vector]) -> Break:
    """The break that stands for NaN or infinity next to x."""
    bad = next(np.flatnonzero(~np.isfinite(v)) for v in values if not np.isfinite(v).all())
    return Break("undefined", int(bad[0]), 0.0, math.nan, math.nan)


def _rms(x: Vector) -> float:
    return _norm(x) / math.sqrt(x.size)


def _norm(x: Vector) -> float:
    """The 2-norm; the largest element is taken out first, as squares overflow."""
    top = float(np.abs(x).max())
    return top * float(np.linalg.norm(x / top)) if 0 < top < math.inf else top
