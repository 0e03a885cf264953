"""Work in blocks that stay in a core's cache: some images by some points, then some channels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from stn_np.backend import Array, array_module

#: Values in flight at a time: large enough that NumPy's calls themselves (about 1 µs each) do not
#: matter, small enough that ten such arrays stay near the core.
BLOCK = 131_072


#: Where there is work for several threads, so many blocks of images at least.
SHARES = 8


def point_blocks(N: int, points: int, C: int, step: int = 1) -> list[tuple[slice, slice]]:
    """N images with so many points each as (images, points): several images, or a part of one.

    An image is cut only after whole multiples of `step` points. Each block is a piece of work for a
    thread (`stn_np.threads`), so all have about as many images; C channels are read at each point.
    """
    part = max(1, step) * max(1, BLOCK // max(1, step))
    count = max(-(-N * points // BLOCK), min(SHARES, N * points * C // BLOCK))
    count = min(max(1, count), max(1, N))
    ends = [N * i // count for i in range(count + 1)]
    return [
        (slice(*images), slice(p, min(p + part, points)))
        for p in range(0, points, part)
        for images in pairwise(ends)
        if N
    ]


def groups_of(blocks: list[tuple[slice, slice]], to_own: bool | None) -> list[list[int]]:
    """The blocks' numbers, those in one list that must be worked on one after the other.

    They give to the same pixels: those of their own images, of one image for all (to_own False), or
    of none (None).
    """
    groups: dict[int, list[int]] = {}
    for k, (images, _) in enumerate(blocks):
        groups.setdefault(k if to_own is None else images.start * to_own, []).append(k)
    return list(groups.values())


def channel_blocks(C: int, points: int) -> Iterator[slice]:
    """Channels in groups that make up a block with so many points."""
    step = max(1, BLOCK // max(points, 1))
    return (slice(c, min(c + step, C)) for c in range(0, C, step))


def channel_index(index: Array, channels: slice, plane: int) -> tuple[int, Array]:
    """From a flat index (images, points) in channel 0 to one in several channels.

    Returns where the first of them begins, and (images, channels, points) from there on.
    """
    n = channels.stop - channels.start
    index = index[:, None]
    if n > 1:
        index = index + array_module(index=index).arange(n)[:, None] * plane
    return channels.start * plane, index


def pad(xp: Any, U: Array, before: int, after: int, value: float) -> Array:
    """U (N, C, ..., H, W) with so many pixels of one value along every axis; float32 at least."""
    size = (before + s + after for s in U.shape[2:])
    dtype = np.promote_types(U.dtype, np.float32)
    padded: Array = xp.full((*U.shape[:2], *size), value, dtype)
    crop(padded, before, after)[...] = U
    return padded


def crop(padded: Array, before: int, after: int) -> Array:
    """The image without its padding, as a view: the transpose of `pad`."""
    inside: Any = (..., *(slice(before, s - after) for s in padded.shape[2:]))
    image: Array = padded[inside]
    return image
