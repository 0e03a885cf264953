"""The kernels k of eq. (3) with their derivatives: what one is, those with a name, and families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, pi
from typing import NamedTuple

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.checks import check_array, check_flag, check_number, check_size, check_sizes
from stn_np.sampling.coordinates import pixels_per_unit

__all__ = ["CUBIC", "LINEAR", "NEAREST", "Kernel", "area", "gaussian", "lanczos", "reduction"]

#: A wider kernel is certainly a mistake: it would read more than 10,000 pixels for each point.
MAX_RADIUS = 64


@dataclass(frozen=True)
class Kernel:
    """A kernel for one axis, k(d) of eq. (3) at d = x - m: a ``mode`` of `stn_np.grid_sample`.

    A point x reads the ``ceil(2 radius)`` pixels from ``m = floor(x - radius) + 1`` on: with radius
    1/2 one, floor(x + 1/2), as in eq. (4); with radius 1 two, as in eq. (5). TypeError or
    ValueError if k or k_slope is no function from arrays to finite arrays of their shape, or
    changes what it is given; if a sum to be divided by is 0.

    Attributes
    ----------
    k, k_slope : callable
        From an array of distances d, point minus pixel, to the weights; and dk/dd (where k has a
        kink, the right derivative).
    radius : float
        In pixels, at most 64: k is read at ``-radius <= d < radius``, and counts as 0 elsewhere.
    normalise : bool
        Divide the weights of each point by their sum, so that constant images stay constant.
    """

    k: Callable[[Array], Array]
    k_slope: Callable[[Array], Array]
    radius: float
    normalise: bool = False

    def __post_init__(self) -> None:
        """Try both functions once, so that mistakes show here and not inside a sampler."""
        object.__setattr__(self, "radius", check_number("radius", self.radius, -np.inf))
        check_flag("normalise", self.normalise)
        if not 0 < self.radius <= MAX_RADIUS:
            raise ValueError(
                f"radius: expected above 0 and at most {MAX_RADIUS} pixels, got {self.radius!r}"
            )
        d = np.linspace(-self.radius, self.radius, 24, endpoint=False).reshape(2, 12)
        for name, function in (("k", self.k), ("k_slope", self.k_slope)):
            if not callable(function):
                raise TypeError(f"{name}: expected a function, got {function!r}")
            given = d.copy()
            try:
                value = function(given)
            except Exception as error:
                wanted = "a function of an array of distances, got one that fails on it"
                why = f"{name}: expected {wanted} ({type(error).__name__}: {error})"
                raise TypeError(why) from error
            if not np.array_equal(given, d):
                raise ValueError(f"{name}: expected a function that leaves d as it is")
            if not isinstance(value, np.ndarray):
                raise TypeError(f"{name}: expected an array for an array, got {value!r:.60}")
            check_array(name, value, d.shape)
            if not np.isfinite(value).all():
                raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
        if self.normalise:
            self._check_sums()

    def _check_sums(self) -> None:
        """Weights are divided by their sum, so wherever a point lies it must not be 0."""
        x = np.linspace(0, 1, 32, endpoint=False)
        weights = np.array(weigh(replace(self, normalise=False), x, needs_slopes=False).weights)
        sums, least = weights.sum(axis=0), 1e-9 * abs(weights).max()
        if not ((sums > least).all() or (sums < -least).all()):
            raise ValueError(
                "k: expected weights whose sum is never 0, for normalise=True, got sums from "
                f"{sums.min():.3g} to {sums.max():.3g}"
            )

    def __repr__(self) -> str:
        # The function itself, one whose constants are given, or the one that made it.
        function = getattr(self.k, "func", self.k)
        name = getattr(function, "__qualname__", "").split(".")[0].strip("_")
        name = f"{name}, " if name.isidentifier() else ""
        return f"Kernel({name}radius={self.radius:g}{', normalise=True' * bool(self.normalise)})"

    def __call__(self, d: Array) -> Array:
        """The weight k(d) at any d, as one would draw it: 0 where the sampler does not read."""
        xp, inside = array_module(d=d), (d >= -self.radius) & (d < self.radius)
        weights: Array = xp.where(inside, self.k(xp.where(inside, d, xp.zeros_like(d))), 0)
        return weights

    @property
    def n_taps(self) -> int:
        """How many pixels a point reads along the axis."""
        return ceil(2 * self.radius)


class Weighed(NamedTuple):
    """What a kernel says about the points of one axis."""

    first: Array  # the first pixel that each point reads: a whole number, as float
    weights: list[Array]  # k(x - m) for m = first, first + 1, ...
    slopes: list[Array]  # their derivatives in x; empty if not asked for


def weigh(kernel: Kernel, x: Array, *, needs_slopes: bool) -> Weighed:
    """Which pixels the points x (any shape, in pixels) read along an axis, and how they weigh."""
    xp = array_module(x=x)
    first = xp.floor(x - kernel.radius) + 1
    distances = [x - first - j for j in range(kernel.n_taps)]
    last = distances[-1]
    if kernel.n_taps > 2 * kernel.radius:  # of some points the last tap lies beyond the radius
        distances[-1] = xp.maximum(last, xp.full_like(last, -kernel.radius))
    weights = [kernel.k(d) for d in distances]
    slopes = [kernel.k_slope(d) for d in distances] if needs_slopes else []
    if kernel.n_taps > 2 * kernel.radius:
        for values in (weights, slopes)[: 1 + needs_slopes]:
            values[-1] = values[-1] * (last >= -kernel.radius)
    if kernel.normalise:
        total = sum(weights[1:], weights[0])
        weights = [w / total for w in weights]
        if slopes:  # (k / sum k)' = (k' - (k / sum k) sum k') / sum k
            change = sum(slopes[1:], slopes[0])
            slopes = [(s - w * change) / total for s, w in zip(slopes, weights, strict=True)]
    return Weighed(first, weights, slopes)


# ---------------------------------------------------------------------------- kernels with a name


def _nearest(d: Array) -> Array:
    """Eq. (4): the pixel at floor(x + 1/2), the only one within the radius."""
    return array_module(d=d).ones_like(d)  # type: ignore[no-any-return]


def _nearest_slope(d: Array) -> Array:
    return array_module(d=d).zeros_like(d)  # type: ignore[no-any-return]


def _linear(d: Array) -> Array:
    """Eq. (5): 1 - |d|."""
    return 1 - abs(d)


def _linear_slope(d: Array) -> Array:
    """Eq. (7), at integers the right derivative."""
    return -_sign(d)


def _cubic(d: Array) -> Array:
    """Keys 1981 with a = -3/4, as PyTorch: a cubic each for |d| < 1 and 1 < |d| < 2.

    3/4 u^2 w with u = 2 - |d| and w = 1 - |d| is the outer one. Subtracting 2 max(0, w)^3, which is
    (w + |w|)^3 / 4, turns it into the inner one, without a case distinction.
    """
    u, w = 2 - (e := abs(d)), 1 - e
    t = w + abs(w)
    weights: Array = 0.75 * u * u * w - 0.25 * t * t * t
    return weights


def _cubic_slope(d: Array) -> Array:
    u, w = 2 - (e := abs(d)), 1 - e
    t = w + abs(w)
    slope: Array = (1.5 * t * t - 0.75 * u * (u + 2 * w)) * _sign(d)
    return slope


def _sign(d: Array) -> Array:
    """-1 or +1, at 0 +1: several times faster than ``sign`` and ``where``."""
    return (d >= 0).astype(d.dtype) * 2 - 1


#: Nearest neighbour, eq. (4). It has no slope, so the grid gets no gradient.
NEAREST = Kernel(_nearest, _nearest_slope, radius=0.5)
#: Bilinear, eq. (5); in three dimensions trilinear, eq. (9).
LINEAR = Kernel(_linear, _linear_slope, radius=1)
#: Bicubic convolution with a = -0.75, which goes through the pixels with a continuous slope.
CUBIC = Kernel(_cubic, _cubic_slope, radius=2)

#: The kernels by the names that PyTorch gives them.
BY_NAME = {"nearest": NEAREST, "bilinear": LINEAR, "bicubic": CUBIC}

# ------------------------------------------------------------------------------ families of kernels


def gaussian(sigma: float = 0.5) -> Kernel:
    r"""A bell, cut off at three sigma (one pixel at least), normalised.

    .. math:: k(d) = e^{-d^2 / 2 \sigma^2}

    It smooths: by default a pixel's own weight is 0.80. It is lowered to end without a jump. sigma
    is in pixels. TypeError or ValueError unless it is at least 0.1, and the radius at most 64.
    """
    check_number("sigma", sigma, 0.1)
    radius = max(1.0, 3 * float(sigma))
    c = -0.5 / float(sigma) ** 2
    floor = float(np.exp(c * radius**2))

    k, k_slope = partial(_gaussian, c=c, floor=floor), partial(_gaussian_slope, c=c)
    return Kernel(k, k_slope, radius, normalise=True)


def _gaussian(d: Array, c: float, floor: float) -> Array:
    return array_module(d=d).exp(c * d * d) - floor  # type: ignore[no-any-return]


def _gaussian_slope(d: Array, c: float) -> Array:
    return 2 * c * d * array_module(d=d).exp(c * d * d)  # type: ignore[no-any-return]


def lanczos(a: int = 3) -> Kernel:
    r"""A windowed sinc, normalised: sharp, with slight ringing.

    .. math:: k(d) = \operatorname{sinc}(d) \operatorname{sinc}(d / a), \quad |d| < a, \quad
        \operatorname{sinc}(d) = \frac{\sin \pi d}{\pi d}

    a is the radius in pixels. TypeError or ValueError unless it is a whole number from 1 to 64.
    """
    a = check_size("a", a)

    return Kernel(partial(_lanczos, a=a), partial(_lanczos_slope, a=a), a, normalise=True)


def _lanczos(d: Array, a: int) -> Array:
    return _sinc(d) * _sinc(d / a)


def _lanczos_slope(d: Array, a: int) -> Array:
    s, window = _sinc(d), _sinc(d / a)
    return _sinc_slope(d, s) * window + s * _sinc_slope(d / a, window) / a


def _sinc(d: Array) -> Array:
    """sin(pi d) / (pi d); exactly 0 at whole d other than 0, and 1 at 0."""
    xp = array_module(d=d)
    whole, zero = xp.rint(d), d == 0
    sine = xp.sin(pi * (d - whole))  # so that whole numbers give 0 and not 1e-16
    half = whole / 2
    sign = 1 - 4 * (half - xp.floor(half))  # (-1)^whole
    return (sign * sine + zero) / (pi * d + zero)  # type: ignore[no-any-return]


def _sinc_slope(d: Array, sinc: Array) -> Array:
    """The derivative of sinc: (cos(pi d) - sinc) / d. Near 0, where that is 0/0, Taylor series."""
    xp = array_module(d=d)
    tiny = abs(d) < 1e-3
    slope = (xp.cos(pi * d) - sinc) / xp.where(tiny, xp.ones_like(d), d)
    near_0 = -(pi**2) / 3 * d * (1 - (pi * d) ** 2 / 10)
    return xp.where(tiny, near_0, slope)  # type: ignore[no-any-return]


def area(reduction: float) -> Kernel:
    """The bilinear kernel stretched by the reduction: every pixel counts when a grid skips some.

    `reduction` is how many pixels one step of the grid advances. From two on, bilinear samples
    never read what lies between, and fine patterns turn into coarse ones (aliasing). Pillow does
    the same, and PyTorch under ``antialias=True``. Gradients take the kernel's width as given.
    TypeError or ValueError unless it is a number from 1 to 64.
    """
    check_number("reduction", reduction, 1)
    if reduction > MAX_RADIUS:
        raise ValueError(f"reduction: expected at most {MAX_RADIUS}, got {reduction!r}")
    s = float(reduction)
    return Kernel(partial(_area, s=s), partial(_area_slope, s=s), s, normalise=True)


def _area(d: Array, s: float) -> Array:
    return _linear(d / s)


def _area_slope(d: Array, s: float) -> Array:
    return _linear_slope(d / s) / s


def reduction(
    grid: Array, size: tuple[int, ...], *, align_corners: bool = True
) -> tuple[float, ...]:
    """How far one step of a grid goes: ``mode=tuple(map(area, reduction(grid, U.shape[2:])))``.

    Returns, for x, y (and z), the median over all points, in pixels, at least 1. Steps along
    several axes of the output add up as the sides of a right angle do: turning changes nothing.
    grid is (N, H', W', 2) or (N, D', H', W', 3); size is (H, W) or (D, H, W) of the image, in
    pixels. TypeError or ValueError if they are not.
    """
    check_flag("align_corners", align_corners)
    n = 3 if getattr(grid, "ndim", 4) == 5 else 2
    check_array("grid", grid, ("N", *("D'", "H'", "W'")[-n:], n))
    xp, found = array_module(grid=grid), []
    with np.errstate(over="ignore", invalid="ignore"):
        for k, pixels in enumerate(reversed(check_sizes("size", size, n))):
            scale = pixels_per_unit(pixels, align_corners)
            squares = xp.zeros((1,) * (n + 1))
            for axis in range(1, n + 1):
                if grid.shape[axis] > 1:
                    step = xp.gradient(grid[..., k].astype(np.float64), axis=axis) * scale
                    squares = squares + step**2
            known = squares[xp.isfinite(squares)]
            found.append(max(float(xp.sqrt(xp.median(known))), 1.0) if known.size else 1.0)
    return tuple(found)
