"""The image continued beyond its edges by a padding rule, as far as any kernel may look.

Eq. (3) sums over all pixels m. Here every whole number m is a pixel: one of the image, found in a
small table, or the one pixel that stands for everything outside.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stn_np.backend import Array, gather
from stn_np.sampling.coordinates import Slope, source_axis, to_pixels
from stn_np.sampling.kernel import Kernel
from stn_np.sampling.kernels import LINEAR, NEAREST

#: Points further outside than this many pixels all count as one point there, without gradient.
FAR = 1e5


def follows_coordinate(kernel: Kernel, padding: str) -> bool:
    """Whether the coordinate itself is clipped or mirrored, before the kernel looks at pixels.

    So it is for the kernels that look no further than the neighbours, as in PyTorch: the same
    values, but a point exactly on the border counts as outside. Wider kernels see the continued
    image.
    """
    return padding in ("border", "reflection") and kernel in (LINEAR, NEAREST)


def locate_axis(
    xp: Any, g: Array, size: int, kernel: Kernel, padding: str, align_corners: bool
) -> tuple[Array, Slope]:
    """Normalised coordinate g to the pixel coordinate x at which the kernel is put, and dx/dg."""
    if follows_coordinate(kernel, padding):
        return source_axis(xp, g, size, padding, align_corners=align_corners)
    x, scale = to_pixels(xp, g, size, (FAR, FAR), align_corners=align_corners)
    near = (x > -FAR) & (x < size - 1 + FAR)
    return x, near * x.dtype.type(scale)


def continued(
    xp: Any,
    first: Array,
    kernel: Kernel,
    size: int,
    stride: int,
    padding: str,
    align_corners: bool,
) -> list[Array]:
    """Where in memory the pixels first, first + 1, ... of the continued image are.

    Parameters
    ----------
    xp
        ``numpy`` or ``cupy``.
    first
        The first pixel that each point reads: whole numbers as float, from minus to plus `FAR`.
    kernel
        Says how many pixels follow.
    size, stride
        Number of pixels along the axis, and how far apart they are in memory. The pixel outside is
        number `size`.
    padding, align_corners
        The rule.

    Returns
    -------
    list of Array
        For each tap the offsets, of first's shape.
    """
    n = kernel.n_taps
    if padding in ("wrap", "reflection"):
        period = size if padding == "wrap" else _mirror_period(size, align_corners)
        start = first - xp.floor(first / period) * period  # first % period, 10 times faster
        pixels = np.arange(period + n)
    else:  # further out, nothing changes any more
        start = xp.clip(first, -n, size) + n
        pixels = np.arange(-n, size + n)
    table = xp.asarray(pixel_at(pixels, size, padding, align_corners) * stride)
    start = start.astype(np.intp)
    return [gather(table[j:], start) for j in range(n)]


def pixel_at(m: Array, size: int, padding: str, align_corners: bool) -> Array:
    """The pixel of the image that stands at m in the continued image, or `size` for none.

    Parameters
    ----------
    m
        Whole numbers, any.
    size
        Number of pixels along the axis.
    padding
        "zeros" and "constant": outside is the pixel number `size`. "border": the nearest. "wrap":
        the image is repeated. "reflection": mirrored, with aligned corners at the centres of the
        outermost pixels (which are not repeated), else at their edges (they are).
    align_corners
        Which reflection.
    """
    if padding == "border":
        return np.clip(m, 0, size - 1)
    if padding == "wrap":
        return m % size
    if padding == "reflection":
        period = _mirror_period(size, align_corners)
        m = m % period
        mirrored: Array = np.minimum(m, period - m if align_corners else period - 1 - m)
        return mirrored
    return np.where((m >= 0) & (m < size), m, size)


def _mirror_period(size: int, align_corners: bool) -> int:
    """After how many pixels the mirrored image repeats."""
    return max(2 * size - 2, 1) if align_corners else 2 * size
