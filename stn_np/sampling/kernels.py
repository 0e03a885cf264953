"""The kernels k of eq. (3), each with its derivative: those with a mode's name, and families."""

from __future__ import annotations

from math import pi

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.checks import check_array, check_scalar, check_size, check_sizes
from stn_np.sampling.kernel import MAX_RADIUS, Kernel

__all__ = ["CUBIC", "LINEAR", "NEAREST", "Kernel", "area", "gaussian", "lanczos", "reduction"]


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
    e = abs(d)
    u, w = 2 - e, 1 - e
    t = w + abs(w)
    weights: Array = 0.75 * u * u * w - 0.25 * t * t * t
    return weights


def _cubic_slope(d: Array) -> Array:
    e = abs(d)
    u, w = 2 - e, 1 - e
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

    It smooths: with the default, a pixel's own weight at its centre is 0.80. The value at the cut
    is subtracted, so that the kernel ends without a jump.

    Parameters
    ----------
    sigma
        In pixels, at least 0.1.

    Raises
    ------
    TypeError, ValueError
        If sigma is no number, too small, or so large that the radius would exceed 64.
    """
    _check_at_least("sigma", sigma, 0.1)
    radius = max(1.0, 3 * float(sigma))
    c = -0.5 / float(sigma) ** 2
    floor = float(np.exp(c * radius**2))

    def k(d: Array) -> Array:
        return array_module(d=d).exp(c * d * d) - floor  # type: ignore[no-any-return]

    def k_slope(d: Array) -> Array:
        return 2 * c * d * array_module(d=d).exp(c * d * d)  # type: ignore[no-any-return]

    return Kernel(k, k_slope, radius, normalise=True)


def lanczos(a: int = 3) -> Kernel:
    r"""A windowed sinc, normalised: sharp, with slight ringing.

    .. math:: k(d) = \operatorname{sinc}(d) \operatorname{sinc}(d / a), \quad |d| < a, \quad
        \operatorname{sinc}(d) = \frac{\sin \pi d}{\pi d}

    Parameters
    ----------
    a
        Radius in pixels, a whole number from 1 to 64. Usual are 2 and 3.

    Raises
    ------
    TypeError, ValueError
        If a is no such number.
    """
    a = check_size("a", a)

    def k(d: Array) -> Array:
        return _sinc(d) * _sinc(d / a)

    def k_slope(d: Array) -> Array:
        s, window = _sinc(d), _sinc(d / a)
        return _sinc_slope(d, s) * window + s * _sinc_slope(d / a, window) / a

    return Kernel(k, k_slope, a, normalise=True)


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

    A bilinear sample looks at two pixels a side. Where neighbouring points of the grid are further
    apart than that, pixels between them are never read, and fine patterns turn into coarse ones
    that were not there (aliasing). This is the remedy that Pillow, and PyTorch under
    ``antialias=True``, apply when they shrink an image. (Near its edges they leave out what lies
    outside; here the padding mode says what is there.)

    Parameters
    ----------
    reduction
        How many pixels of the image one step of the grid advances; see `reduction`. With 1 it is
        the bilinear kernel.

    Raises
    ------
    TypeError, ValueError
        If it is no number from 1 to 64.
    """
    _check_at_least("reduction", reduction, 1)
    if reduction > MAX_RADIUS:
        raise ValueError(f"reduction: expected at most {MAX_RADIUS}, got {reduction!r}")
    s = float(reduction)
    return Kernel(lambda d: _linear(d / s), lambda d: _linear_slope(d / s) / s, s, normalise=True)


def reduction(
    grid: Array, size: tuple[int, ...], *, align_corners: bool = True
) -> tuple[float, ...]:
    """How many pixels of the image one step of a grid advances, for the `area` kernel.

    ``mode = tuple(map(area, reduction(grid, U.shape[2:])))`` samples U without aliasing.

    Parameters
    ----------
    grid
        (N, H', W', 2), or (N, D', H', W', 3).
    size
        (H, W), or (D, H, W), of the image, in pixels.
    align_corners
        As in `stn_np.grid_sample`.

    Returns
    -------
    tuple of float
        For x, y (and z): over all points of all grids the median of the distance that this
        coordinate goes in one step, or 1 if that is less. Steps along several axes of the output
        add up as the sides of a right angle do, so that turning a grid changes nothing.

    Raises
    ------
    TypeError, ValueError
        If grid is no such array, or size not as many positive whole numbers.

    Notes
    -----
    A measure, not part of what is differentiated: the gradient of an area sample takes the
    kernel's width as given.
    """
    n = 3 if getattr(grid, "ndim", 4) == 5 else 2
    check_array("grid", grid, ("N", *("D'", "H'", "W'")[-n:], n))
    xp = array_module(grid=grid)
    found = []
    with np.errstate(over="ignore", invalid="ignore"):
        for k, pixels in enumerate(reversed(check_sizes("size", size, n))):
            scale = (pixels - 1) / 2 if align_corners else pixels / 2
            squares = xp.zeros((1,) * (n + 1))
            for axis in range(1, n + 1):
                if grid.shape[axis] > 1:
                    step = xp.gradient(grid[..., k].astype(np.float64), axis=axis) * scale
                    squares = squares + step**2
            known = squares[xp.isfinite(squares)]
            found.append(max(float(xp.sqrt(xp.median(known))), 1.0) if known.size else 1.0)
    return tuple(found)


def _check_at_least(name: str, value: float, least: float) -> None:
    """A finite number from `least` on."""
    check_scalar(name, value)
    if not least <= value < float("inf"):
        raise ValueError(f"{name}: expected a finite number of at least {least}, got {value!r}")
