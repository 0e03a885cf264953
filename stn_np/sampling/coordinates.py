"""From normalised to pixel coordinates, and back by the chain rule: one axis at a time."""

from __future__ import annotations

from typing import Any

from stn_np.backend import Array, coordinate_dtype

#: Points further outside than this many pixels all count as one point there, without gradient.
FAR = 1e5


def rounding_constant(size: int) -> float:
    """M of `to_pixels`: 1.5 times a power of two that is at least size + 4."""
    return 1.5 * 2.0 ** (size + 3).bit_length()


def pixels_per_unit(size: int, align_corners: bool) -> float:
    """How many pixels a unit of the normalised coordinate is: dx/dg."""
    return (size - 1) / 2 if align_corners else size / 2


def to_pixels(xp: Any, g: Array, size: int, *, align_corners: bool) -> tuple[Array, float]:
    """Normalised coordinate g to pixel coordinate x, centre of pixel j at j; and dx/dg.

    Aligned corners: x = (g + 1)(size - 1)/2. Else: x = ((g + 1) size - 1)/2. x is clipped to
    [-FAR, size - 1 + FAR]; NaN counts as far to the left.

    *Identity is exact.* Pixel j lies m = j - (size - 1)/2 from the image's centre. Its coordinate
    g = m/slope was rounded once. Multiplying by slope rounds again: the result may miss m by 2
    units in the last place. A point that misses to the left reads the wrong pair of neighbours and
    gets the wrong one-sided derivative. So x is measured from the centre. Adding and subtracting M
    rounds it to whole multiples of q = 2^(p - 23), with p = ceil(log2(size + 4)) and M = 1.5 2^p
    (float64: 2^(p - 52)). Every m is such a multiple, and q/2 is more than the error, so m comes
    back exactly, for every size up to 2^22 - 4 (float64: far more). The price is that points are
    known to q/2 (1.9e-6 px at 28 px in float32; 4e-15 in float64), about the error they had before.
    """
    slope = pixels_per_unit(size, align_corners)
    centre = (size - 1) / 2
    M = rounding_constant(size)
    x = g.astype(coordinate_dtype(g.dtype, size), copy=False) * slope
    x += M
    x -= M - centre
    keep_within(xp, x, size)
    return x, slope


def keep_within(xp: Any, x: Array, size: int) -> None:
    """Clip pixel coordinates, in place, `FAR` pixels beyond the outermost ones."""
    # fmax, not maximum: it turns NaN into the bound. Arrays, because NumPy is slower with scalars.
    xp.fmax(x, xp.full_like(x, -FAR), out=x)
    xp.minimum(x, xp.full_like(x, size - 1 + FAR), out=x)
