"""What lies outside of an image: the table of padding modes. `gpu/cuda/axis.cuh` has the same one.

All along one axis. A new mode is an entry here and one there, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stn_np.backend import Array
from stn_np.sampling.coordinates import FAR


class Padding(NamedTuple):
    """What lies outside of an image along one axis of so many pixels (size).

    `cuda` is its name in `gpu/cuda/axis.cuh`. `pixel_at(m, size, align_corners)` says which pixel
    stands at m, whole numbers, in the continued image, or `size` where none does. That repeats
    after `period(size, align_corners)` pixels; None: all pixels outside on one side are the same.

    `move(xp, x, size, align_corners)` moves pixel coordinates x onto the image, in place, and
    returns the derivative of the new x by the old: 1 inside, -1 where x runs backwards, 0 where it
    was clamped. For nearest and linear kernels only, as in PyTorch: others look pixels up.

    `neighbours`: whether after `move`, in a frame of two pixels of the padding value, the pixel to
    the right is the next one in memory, as `bilinear.py` and `affine_sample` need it.
    """

    cuda: str
    pixel_at: Callable[[Array, int, bool], Array]
    period: Callable[[int, bool], int] | None = None
    move: Callable[[Any, Array, int, bool], Array] | None = None
    neighbours: bool = True


def clamp(xp: Any, x: Array, size: int, align_corners: bool) -> Array:
    """Points outside go to the nearest border pixel."""
    sign: Array = ((x > 0) & (x < size - 1)).astype(x.dtype)
    xp.clip(x, 0.0, size - 1.0, out=x)
    return sign


def mirror_period(size: int, align_corners: bool) -> int:
    """Aligned corners: mirrors at the outermost pixels' centres, which are not repeated."""
    return max(2 * size - 2, 1) if align_corners else 2 * size


def mirrored_pixel(m: Array, size: int, align_corners: bool) -> Array:
    """The pixel that is seen at m between two mirrors."""
    period = mirror_period(size, align_corners)
    m = m % period
    seen: Array = np.minimum(m, period - m if align_corners else period - 1 - m)
    return seen


def mirror(xp: Any, x: Array, size: int, align_corners: bool) -> Array:
    """Mirror points outside at both ends as often as needed; then clamp, by up to half a pixel."""
    low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
    if span == 0:  # a single pixel between two mirrors
        x[...] = 0
        return xp.zeros_like(x)  # type: ignore[no-any-return]
    xp.copyto(x, low, where=(x <= -FAR) | (x >= size - 1 + FAR))  # counts as outside, on the left
    x -= low
    sign: Array = xp.where(x < 0, -1.0, 1.0).astype(x.dtype)
    xp.abs(x, out=x)
    turns = xp.floor(x / span)
    x -= turns * span
    odd = turns % 2 == 1
    xp.copyto(x, span - x, where=odd)
    xp.copyto(sign, -sign, where=odd)
    x += low
    sign *= clamp(xp, x, size, align_corners)
    return sign


NOTHING = Padding("ZEROS", lambda m, size, _: np.where((m >= 0) & (m < size), m, size))

PADDINGS = {
    "zeros": NOTHING,
    "constant": NOTHING,
    "border": Padding("BORDER", lambda m, size, _: np.clip(m, 0, size - 1), move=clamp),
    "reflection": Padding("REFLECTION", mirrored_pixel, mirror_period, move=mirror),
    "wrap": Padding("WRAP", lambda m, size, _: m % size, lambda size, _: size, neighbours=False),
}

#: What may lie outside of an image; see `stn_np.grid_sample`.
PADDING_MODES = tuple(PADDINGS)
