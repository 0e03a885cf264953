"""Work in blocks that stay in a core's cache: some images by some points, then some channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stn_np.backend import Array

#: Values in flight at a time: large enough that NumPy's calls themselves (about 1 µs each) do not
#: matter, small enough that ten such arrays stay near the core.
BLOCK = 65_536


def point_blocks(N: int, points: int, step: int = 1) -> Iterator[tuple[slice, slice]]:
    """N images with so many points each as (images, points): several images, or a part of one.

    An image is cut only after whole multiples of `step` points.
    """
    part = max(1, step) * max(1, BLOCK // max(1, step))
    images = max(1, BLOCK // max(1, points))
    for p in range(0, points, part):
        for n in range(0, N, images):
            yield slice(n, min(n + images, N)), slice(p, min(p + part, points))


def channel_blocks(C: int, points: int) -> Iterator[slice]:
    """Channels in groups that make up a block with so many points."""
    step = max(1, BLOCK // max(points, 1))
    return (slice(c, min(c + step, C)) for c in range(0, C, step))


def in_channels(xp: Any, corner: Array, channels: slice, plane: int) -> tuple[int, Array]:
    """Where the first of the channels begins, and the points' flat index from there on.

    The index has axes (images, channels, points).
    """
    index = corner[:, None]
    n = channels.stop - channels.start
    if n > 1:
        index = index + xp.arange(n)[:, None] * plane
    return channels.start * plane, index
