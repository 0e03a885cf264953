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

    `cuda` is its name in `gpu/cuda/axis.cuh`.

    `pixel_at(m, size, align_corners)`: which pixel stands at m, whole numbers, in the continued
    image, or `size` where none does. It repeats after `period(size, align_corners)` pixels; where
    that is None, all pixels outside on one side are the same.

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


def _none_outside(m: Array, size: int, align_corners: bool) -> Array:
    return np.where((m >= 0) & (m < size), m, size)


def _clipped(m: Array, size: int, align_corners: bool) -> Array:
    return np.clip(m, 0, size - 1)


def _clip(xp: Any, x: Array, size: int, align_corners: bool) -> Array:
    sign: Array = ((x > 0) & (x < size - 1)).astype(x.dtype)
    xp.clip(x, 0.0, size - 1.0, out=x)
    return sign


def _mirror_period(size: int, align_corners: bool) -> int:
    """Aligned corners: mirrors at the outermost pixels' centres, which are not repeated."""
    return max(2 * size - 2, 1) if align_corners else 2 * size


def _mirrored(m: Array, size: int, align_corners: bool) -> Array:
    period = _mirror_period(size, align_corners)
    m = m % period
    mirrored: Array = np.minimum(m, period - m if align_corners else period - 1 - m)
    return mirrored


def _mirror(xp: Any, x: Array, size: int, align_corners: bool) -> Array:
    """At both ends as often as needed; then as border, for half a pixel may lie outside."""
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
    sign *= _clip(xp, x, size, align_corners)
    return sign


def _repeated(m: Array, size: int, align_corners: bool) -> Array:
    return m % size


def _repeat_period(size: int, align_corners: bool) -> int:
    return size


PADDINGS = {
    "zeros": Padding("ZEROS", _none_outside),
    "constant": Padding("ZEROS", _none_outside),
    "border": Padding("BORDER", _clipped, move=_clip),
    "reflection": Padding("REFLECTION", _mirrored, _mirror_period, _mirror),
    "wrap": Padding("WRAP", _repeated, _repeat_period, neighbours=False),
}

#: What may lie outside of an image; see `stn_np.grid_sample`.
PADDING_MODES = tuple(PADDINGS)
