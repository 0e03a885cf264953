"""Sampling with any separable kernel, eq. (3), in two or three dimensions.

One axis at a time: normalised coordinate to pixels, the padding rule, the pixels that are read, and
their weights. For images `bilinear.py` and `nearest.py` do the same in fewer passes.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from stn_np.backend import Array, SampleBackward, array_module, gather, scatter_add
from stn_np.sampling.blocks import (
    channel_blocks,
    channel_index,
    crop,
    groups_of,
    pad,
    point_blocks,
)
from stn_np.sampling.coordinates import FAR, to_pixels
from stn_np.sampling.kernels import LINEAR, NEAREST, Kernel, weigh
from stn_np.sampling.rules import Rules
from stn_np.threads import share_out


def separable(
    U: Array, grid: Array, N: int, rules: Rules, *, needs_dU: bool, needs_ds: bool
) -> tuple[Array, SampleBackward]:
    """Sample checked arguments; see `stn_np.grid_sample`. dgrid comes back for N grids."""
    xp = array_module(U=U, grid=grid)
    C, n, out_size = U.shape[1], grid.shape[-1], grid.shape[1:-1]
    padded = pad(xp, U, 0, 1, float(rules.padding_value))  # the lines of the pixels outside
    flat, plane = padded.reshape(-1), prod(padded.shape[2:])
    first = xp.arange(N)[:, None] * (C * plane if U.shape[0] == N else 0)  # 0: all share one image
    V = xp.empty((N, C, prod(out_size)), U.dtype)
    blocks = point_blocks(N, V.shape[2], C)

    def forward(block: tuple[slice, slice]) -> Block:
        points = locate(xp, U.shape[2:], grid, block, N, rules)
        taps = points.taps(needs_slopes=False)
        for channels in channel_blocks(C, points.n_points):
            here, index = channel_index(first[points.images], channels, plane)
            V[points.images, channels, points.columns] = read(flat[here:], taps, index)[0]
        return points

    located = share_out(forward, blocks, xp)

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        dV = dV.reshape(V.shape)
        dflat = xp.zeros_like(flat) if needs_dU else None
        ds = xp.zeros((n, N, V.shape[2]), flat.dtype)
        needs_slopes = needs_ds and any(k != NEAREST for k in rules.kernels(n))

        def give(group: list[int]) -> None:
            for block in (located[k] for k in group):
                taps = block.taps(needs_slopes=needs_slopes)
                for channels in channel_blocks(C, block.n_points):
                    here, index = channel_index(first[block.images], channels, plane)
                    dv = dV[block.images, channels, block.columns].astype(flat.dtype, copy=False)
                    if dflat is not None:
                        spread(dflat[here:], taps, index, dv)
                    if needs_slopes:
                        _, *dV_ds = read(flat[here:], taps, index)  # along (z,) y, x
                        for k in range(n):
                            ds[k, block.images, block.columns] += (dv * dV_ds[n - 1 - k]).sum(
                                axis=1
                            )
                for k in range(n if needs_slopes else 0):
                    ds[k, block.images, block.columns] *= block.axes[k].dx_dg

        share_out(give, groups_of(blocks, U.shape[0] == N if needs_dU else None), xp)
        dU = None if dflat is None else crop(dflat.reshape(padded.shape), 0, 1).astype(U.dtype)
        return dU, xp.moveaxis(ds.reshape(n, N, *out_size), 0, -1) if needs_ds else None

    return V.reshape(N, C, *out_size), backward


# --------------------------------------------------------------------- eq. (3), and its transpose


class Taps(NamedTuple):
    """The pixels that points read along one axis: lists with an array for each tap."""

    offsets: list[Array]  # where it is, in the flat image
    weights: list[Array]  # k(x - m)
    slopes: list[Array]  # k'(x - m); empty if not asked for


def read(flat: Array, axes: list[Taps], index: Array) -> list[Array]:
    """Eq. (3), the sum over the taps of all axes; with slopes, eq. (7) for each axis as well.

    Returns [V], or [V, (dV/dz,) dV/dy, dV/dx] where the axes have slopes: for each tap of the first
    axis the same over the others, weighed by k, and by k' for the slope along this axis.
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


def spread(dflat: Array, axes: list[Taps], index: Array, dv: Array) -> None:
    """Eq. (6), the transpose of `read`: each pixel gets the product of its weights times dV."""
    if not axes:
        scatter_add(dflat, index.reshape(-1), dv.astype(dflat.dtype, copy=False).reshape(-1))
        return
    here, *rest = axes
    for offset, weight in zip(here.offsets, here.weights, strict=True):
        spread(dflat, rest, index + offset[:, None], dv * weight[:, None])


# ---------------------------------------------------------------- where points are, axis by axis


class Located(NamedTuple):
    """A block of points along one axis of the image."""

    x: Array  # pixel coordinates; one row where all images share a grid
    dx_dg: Array  # by the grid's coordinate
    kernel: Kernel
    size: int
    stride: int
    rules: Rules

    def taps(self, needs_slopes: bool) -> Taps:
        """Which pixels the points read along this axis, and how they weigh."""
        first, weights, slopes = weigh(self.kernel, self.x, needs_slopes=needs_slopes)
        return Taps(self._offsets(first), weights, slopes)

    def _offsets(self, first: Array) -> list[Array]:
        """Where the pixels first, first + 1, ... of the continued image are in memory.

        They are looked up in a small table. The pixel outside is number `size`.
        """
        xp, size, n = array_module(first=first), self.size, self.kernel.n_taps
        padding, align_corners = self.rules.padding, self.rules.align_corners
        if padding.period:
            period = padding.period(size, align_corners)
            start = first - xp.floor(first / period) * period  # first % period, 10 times faster
            pixels = np.arange(period + n)
        else:  # further out, nothing changes any more
            start = xp.clip(first, -n, size) + n
            pixels = np.arange(-n, size + n)
        table = xp.asarray(padding.pixel_at(pixels, size, align_corners) * self.stride)
        start = start.astype(np.intp)
        return [gather(table[j:], start) for j in range(n)]


class Block(NamedTuple):
    """Some source points: rows are images, columns are points of the grid."""

    images: slice
    columns: slice
    axes: list[Located]  # x, y (, z)

    @property
    def n_points(self) -> int:
        """In all images together."""
        images, columns = self.images, self.columns
        return int((images.stop - images.start) * (columns.stop - columns.start))

    def taps(self, *, needs_slopes: bool) -> list[Taps]:
        """Along (z,) y and x: the axis that is slowest in memory first."""
        return [axis.taps(needs_slopes) for axis in self.axes][::-1]


def locate(
    xp: Any,
    size: tuple[int, ...],
    grid: Array,
    block: tuple[slice, slice],
    N: int,
    rules: Rules,
) -> Block:
    """Where a block's points lie in images with one more line along every axis."""
    N_grid, points, n = grid.shape[0], prod(grid.shape[1:-1]), grid.shape[-1]
    images, columns = block
    here = images if N_grid == N else slice(0, 1), columns
    sizes, kernels = size[::-1], rules.kernels(n)  # (x, y[, z])
    axes = []
    for k in range(n):
        stride, g = prod(s + 1 for s in sizes[:k]), grid[..., k].reshape(N_grid, points)[here]
        axes.append(locate_axis(xp, g, sizes[k], stride, kernels[k], rules))
    return Block(images, columns, axes)


def locate_axis(xp: Any, g: Array, size: int, stride: int, kernel: Kernel, rules: Rules) -> Located:
    """Normalised coordinate g to the pixel coordinate x at which the kernel is put, and dx/dg."""
    x, scale = to_pixels(xp, g, size, align_corners=rules.align_corners)
    move = rules.padding.move
    if move and kernel in (LINEAR, NEAREST):
        dx_dg = scale * move(xp, x, size, rules.align_corners)
    else:
        dx_dg = ((x > -FAR) & (x < size - 1 + FAR)) * x.dtype.type(scale)
    return Located(x, dx_dg, kernel, size, stride, rules)
