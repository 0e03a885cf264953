"""From normalised to pixel coordinates, and what happens outside the image: one axis at a time.

Each mapping also returns its local derivative, so that the chain rule can be read off.
"""

from __future__ import annotations

from typing import Any

from stn_np.backend import Array, coordinate_dtype

#: What may lie outside of an image; see `stn_np.grid_sample`.
PADDING_MODES = ("zeros", "constant", "border", "reflection", "wrap")

#: A derivative along an axis: one number where it is constant, else one a point.
Slope = float | Array


def rounding_constant(size: int) -> float:
    """M of `to_pixels`: 1.5 times a power of two that is at least size + 4."""
    return 1.5 * 2.0 ** (size + 3).bit_length()


def units_to_pixels(size: int, align_corners: bool) -> float:
    """How many pixels a unit of the normalised coordinate is."""
    return (size - 1) / 2 if align_corners else size / 2


def to_pixels(
    xp: Any, g: Array, size: int, reach: tuple[float, float], *, align_corners: bool
) -> tuple[Array, float]:
    """Normalised coordinate g to pixel coordinate, centre of pixel j at j.

    Parameters
    ----------
    xp
        ``numpy`` or ``cupy``.
    g
        Coordinates, any floating-point dtype. NaN counts as far to the left.
    size
        Number of pixels along the axis. With one pixel and aligned corners every finite g lies on
        it.
    reach
        Coordinates further to the left or right of the outermost pixels are clipped there.
    align_corners
        True: x = (g + 1)(size - 1)/2. False: x = ((g + 1) size - 1)/2.

    Returns
    -------
    x : Array
        Pixel coordinates in [-reach[0], size - 1 + reach[1]].
    slope : float
        dx/dg, the factor by which the chain rule multiplies eq. (7).

    Notes
    -----
    *Identity is exact.* Pixel j lies m = j - (size - 1)/2 from the image's centre. Its coordinate
    g = m/scale was rounded once, and g scale is rounded again: together they may miss m by 2 units
    in the last place. A point that misses to the left reads the wrong pair of neighbours and gets
    the wrong one-sided derivative. So x is measured from the centre, and adding and subtracting M
    rounds it to whole multiples of q = 2^(p - 23), with p = ceil(log2(size + 4)) and M = 1.5 2^p
    (float64: 2^(p - 52)). Every m is such a multiple, and q/2 is more than the error, so m comes
    back exactly, for every size up to 2^22 - 4 (float64: far more). The price is that points are
    known to q/2 (1.9e-6 px at 28 px in float32; 4e-15 in float64), about the error they had before.
    """
    slope = units_to_pixels(size, align_corners)
    centre = (size - 1) / 2
    M = rounding_constant(size)
    x = g.astype(coordinate_dtype(g.dtype, size), copy=False) * slope
    x += M
    x -= M - centre
    keep_within(xp, x, size, reach)
    return x, slope


def keep_within(xp: Any, x: Array, size: int, reach: tuple[float, float]) -> None:
    """Clip pixel coordinates, in place, so far to the left and right of the outermost pixels."""
    # fmax, not maximum: it turns NaN into the bound. Arrays, because NumPy is slower with scalars.
    xp.fmax(x, xp.full_like(x, -reach[0]), out=x)
    xp.minimum(x, xp.full_like(x, size - 1 + reach[1]), out=x)


#: How far outside the outermost pixels (to the left, to the right) a coordinate is followed.
#: Reflections end at the bound.
REACH = {"border": (1.0, 1.0), "reflection": (1e5, 1e5)}


def source_axis(
    xp: Any, g: Array, size: int, padding: str, *, align_corners: bool
) -> tuple[Array, Slope]:
    """Where on one axis the points are read under border or reflection, mapped onto the image.

    Parameters
    ----------
    xp
        ``numpy`` or ``cupy``.
    g
        Normalised coordinates, float32 or float64; not changed.
    size
        Number of pixels along the axis.
    padding
        "border": clipped to the outermost pixel's centre. "reflection": mirrored at the centres of
        the outermost pixels (aligned corners) or at their outer edges, then as border.
    align_corners
        As in `to_pixels`.

    Returns
    -------
    x : Array
        Pixel coordinate, in [0, size - 1].
    slope : Slope
        dx/dg. A point exactly on the border counts as outside.
    """
    x, scale = to_pixels(xp, g, size, REACH[padding], align_corners=align_corners)
    return x, scale * move_inside(xp, x, size, padding, align_corners)


def move_inside(xp: Any, x: Array, size: int, padding: str, align_corners: bool) -> Array:
    """Move pixel coordinates, in place, onto the image, by border or reflection.

    Returns the slope of this: 1, -1 or, on and beyond the border, 0.
    """
    slope = reflect(xp, x, size, align_corners) if padding == "reflection" else xp.ones_like(x)
    slope *= (x > 0) & (x < size - 1)
    xp.clip(x, 0.0, size - 1.0, out=x)
    return slope


def reflect(xp: Any, x: Array, size: int, align_corners: bool) -> Array:
    """Mirror x, in place, at both ends as often as needed; the slope is +1 or -1."""
    low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
    if span == 0:  # a single pixel between two mirrors
        x[...] = 0
        return xp.zeros_like(x)  # type: ignore[no-any-return]
    left, right = REACH["reflection"]
    far = (x <= -left) | (x >= size - 1 + right)
    xp.copyto(x, low, where=far)  # clipped by `keep_within`: counts as outside, on the left
    x -= low
    slope = xp.where(x < 0, -1.0, 1.0).astype(x.dtype)
    xp.abs(x, out=x)
    turns = xp.floor(x / span)
    x -= turns * span
    odd = turns % 2 == 1
    xp.copyto(x, span - x, where=odd)
    xp.copyto(slope, -slope, where=odd)
    x += low
    return slope  # type: ignore[no-any-return]
