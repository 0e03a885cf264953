"""Sampling with any separable kernel, eq. (3), in two or three dimensions.

Four steps, one axis at a time: normalised coordinate to pixels, pixels to the padding rule, the
pixels that are read (their index), how they weigh. Then the sum over all of them, and its pullback.
For bilinear sampling in two dimensions `bilinear.py` does the same in fewer passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from stn_np.backend import Array, array_module, gather, scatter_add
from stn_np.sampling.bilinear import GridSampleBackward
from stn_np.sampling.blocks import BLOCK, channel_blocks, in_channels
from stn_np.sampling.continuation import continued, locate_axis
from stn_np.sampling.coordinates import Slope
from stn_np.sampling.kernel import Kernel, weigh
from stn_np.sampling.kernels import NEAREST


class Block(NamedTuple):
    """Some source points: rows are images, columns are points of the grid. Lists: x, y (, z)."""

    images: slice
    columns: slice
    x: list[Array]  # pixel coordinates; one row where all images share a grid
    x_slope: list[Slope]  # d(pixel coordinate)/d(grid coordinate)


class Axis(NamedTuple):
    """The taps of a block of points along one axis."""

    offsets: list[Array]  # place of each tap in the flat image
    weights: list[Array]  # k(x - m)
    slopes: list[Array]  # k'(x - m); empty in the forward pass


def separable(
    U: Array,
    grid: Array,
    kernels: tuple[Kernel, ...],
    *,
    padding_mode: str,
    padding_value: float,
    align_corners: bool,
    needs_dU: bool,
    needs_dgrid: bool,
) -> tuple[Array, GridSampleBackward]:
    """Sample checked arguments with one kernel an axis, (x, y[, z]); see `stn_np.grid_sample`."""
    xp = array_module(U=U, grid=grid)
    N = max(U.shape[0], grid.shape[0]) if U.shape[0] and grid.shape[0] else 0
    C, size, out_size, n = U.shape[1], U.shape[2:], grid.shape[1:-1], grid.shape[-1]
    P = prod(out_size)
    rule = (padding_mode, align_corners)
    needs_slopes = needs_dgrid and any(k != NEAREST for k in kernels)  # eq. (4) has none

    extended = extend(xp, U, padding_value)
    flat, extended_size = extended.reshape(-1), extended.shape[2:]
    plane = prod(extended_size)
    to_next_image = C * plane if U.shape[0] == N else 0  # 0: all share one image
    first = xp.arange(N)[:, None] * to_next_image
    blocks = list(_blocks(xp, grid, N, size, kernels, rule))

    def groups(block: Block) -> Iterator[tuple[slice, int, Array]]:
        """Channels in groups that fit the cache: which, where the first begins, and where each."""
        images, columns = block.images, block.columns
        points = (images.stop - images.start) * (columns.stop - columns.start)
        for channels in channel_blocks(C, points):
            yield channels, *in_channels(xp, first[images], channels, plane)

    def axes_of(block: Block, needs_slopes: bool) -> list[Axis]:
        """The taps along y and x (z, y and x), slowest first, as they lie in memory."""
        axes: list[Axis] = []
        stride = 1
        for k, kernel in enumerate(kernels):
            taps = weigh(kernel, block.x[k], needs_slopes=needs_slopes)
            offsets = continued(xp, taps.first, kernel, size[n - 1 - k], stride, *rule)
            axes.insert(0, Axis(offsets, taps.weights, taps.slopes))
            stride *= extended_size[n - 1 - k]
        return axes

    V = xp.empty((N, C, P), U.dtype)
    for block in blocks:
        axes = axes_of(block, needs_slopes=False)
        for channels, here, start in groups(block):
            V[block.images, channels, block.columns] = read(flat[here:], axes, start)[0]

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        dV = dV.reshape(N, C, P)
        dflat = xp.zeros_like(flat) if needs_dU else None
        ds = xp.zeros((n, N, P), flat.dtype) if needs_dgrid else None
        for block in blocks:
            axes = axes_of(block, needs_slopes=needs_slopes)
            for channels, here, start in groups(block):
                dv = dV[block.images, channels, block.columns].astype(flat.dtype, copy=False)
                if dflat is not None:
                    spread(dflat[here:], axes, start, dv)
                if ds is not None and needs_slopes:
                    _, *slopes = read(flat[here:], axes, start)
                    for k in range(n):  # the slopes come as (z,) y, x
                        ds[k, block.images, block.columns] += (dv * slopes[n - 1 - k]).sum(axis=1)
            if ds is not None:
                for k in range(n):
                    ds[k, block.images, block.columns] *= block.x_slope[k]
        dU = dgrid = None
        if dflat is not None:
            inside = (slice(None), slice(None), *(slice(0, s) for s in size))
            dU = dflat.reshape(extended.shape)[inside].astype(U.dtype)
        if ds is not None:
            dgrid = xp.moveaxis(ds.reshape(n, N, *out_size), 0, -1)
            if grid.shape[0] == 1 and N != 1:
                dgrid = dgrid.sum(axis=0, keepdims=True)
            dgrid = dgrid.astype(grid.dtype, copy=False)
        return dU, dgrid

    return V.reshape(N, C, *out_size), backward


def read(flat: Array, axes: list[Axis], index: Array) -> list[Array]:
    """Eq. (3), the sum over the taps of all axes; with slopes, eq. (7) for each axis as well.

    Returns [V], or [V, dV/dy, dV/dx] where the axes have slopes: for each tap of the first axis the
    same over the remaining ones, weighed by k, and by k' for the slope along this axis.
    """
    if not axes:
        return [gather(flat, index)]
    here, *rest = axes
    sums: list[Array] = []
    for j, offset in enumerate(here.offsets):
        value, *inner = read(flat, rest, index + offset[:, None])
        terms = [value * here.slopes[j][:, None]] if here.slopes else []
        weight = here.weights[j][:, None]
        for term in (value, *inner):
            term *= weight
        terms = [value, *terms, *inner]
        if not sums:
            sums = terms
        else:
            for total, term in zip(sums, terms, strict=True):
                total += term
    return sums


def spread(dflat: Array, axes: list[Axis], index: Array, dv: Array) -> None:
    """Eq. (6), the transpose of `read`: each pixel gets the product of its weights times dV."""
    if not axes:
        scatter_add(dflat, index.reshape(-1), dv.astype(dflat.dtype, copy=False).reshape(-1))
        return
    here, *rest = axes
    for offset, weight in zip(here.offsets, here.weights, strict=True):
        spread(dflat, rest, index + offset[:, None], dv * weight[:, None])


def extend(xp: Any, U: Array, value: float) -> Array:
    """U (N, C, ..., H, W) with one more line along every axis, that of the pixels outside."""
    N, C, *size = U.shape
    dtype = np.promote_types(U.dtype, np.float32)
    extended = xp.full((N, C, *(s + 1 for s in size)), value, dtype)
    extended[(slice(None), slice(None), *(slice(0, s) for s in size))] = U
    return extended  # type: ignore[no-any-return]


def _blocks(
    xp: Any,
    grid: Array,
    N: int,
    size: tuple[int, ...],
    kernels: tuple[Kernel, ...],
    rule: tuple[str, bool],
) -> Iterator[Block]:
    """Where the points of the grid lie in the image, in pixels, a block at a time."""
    N_grid, n = grid.shape[0], grid.shape[-1]
    P = prod(grid.shape[1:-1])
    g = [grid[..., k].reshape(N_grid, P) for k in range(n)]
    rows = max(1, BLOCK // max(P, 1))
    for start in range(0, N, rows):
        images = slice(start, min(start + rows, N))
        source = images if N_grid == N else slice(0, 1)
        for p in range(0, P, BLOCK):
            columns = slice(p, min(p + BLOCK, P))
            located = [
                locate_axis(xp, g[k][source, columns], size[n - 1 - k], kernels[k], *rule)
                for k in range(n)
            ]
            yield Block(images, columns, [x for x, _ in located], [slope for _, slope in located])
