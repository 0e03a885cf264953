"""The bilinear sampler, eq. (5), and its gradients, eqs (6) and (7), vectorised over points.

The image gets a frame of zeros two pixels wide. Then every point has four neighbours, none needs a
test, "outside contributes zero" is simply true, and so is the slope at the image's edge. Points are
worked through in blocks that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from stn_np.backend import Array, array_module, scatter_add
from stn_np.sampling.coordinates import Slope, source_axis

FRAME = 2
#: Values in flight at a time: about ten such arrays fit a core's second-level cache.
BLOCK = 16_384

GridSampleBackward = Callable[[Array], tuple[Array | None, Array | None]]


class Points(NamedTuple):
    """A block of source points: rows are images, columns are points of the grid."""

    images: slice
    columns: slice
    corner: Array  # flat index of the upper left neighbour, in channel 0 of the framed images
    fx: Array  # distance from that neighbour to the right, in [0, 1)
    fy: Array  # and downwards
    x_slope: Slope  # d(pixel coordinate)/d(grid coordinate)
    y_slope: Slope


def bilinear(
    U: Array,
    grid: Array,
    *,
    padding_mode: str,
    align_corners: bool,
    needs_dU: bool,
    needs_dgrid: bool,
) -> tuple[Array, GridSampleBackward]:
    """Bilinear sampling of checked arguments; see `stn_np.grid_sample`."""
    xp = array_module(U=U, grid=grid)
    N = max(U.shape[0], grid.shape[0]) if U.shape[0] and grid.shape[0] else 0
    C, (H_out, W_out) = U.shape[1], grid.shape[1:3]
    framed = frame_with_zeros(xp, U)
    flat, plane = framed.reshape(-1), framed.shape[2] * framed.shape[3]
    right, below = 1, framed.shape[3]
    V = xp.empty((N, C, H_out * W_out), U.dtype)
    blocks = []

    def neighbours(index: Array) -> tuple[Array, Array, Array, Array]:
        """The four pixels round each point: U_nm with n, m in {floor, floor + 1}."""
        return (
            flat.take(index),
            flat[right:].take(index),
            flat[below:].take(index),
            flat[below + right :].take(index),
        )

    for points in locate(xp, U.shape, grid, N, padding_mode, align_corners):
        if needs_dU or needs_dgrid:
            blocks.append(points)
        fx, fy = points.fx[:, None], points.fy[:, None]
        for channels in channel_blocks(C, points.corner.size):
            u00, u01, u10, u11 = neighbours(in_channels(xp, points.corner, channels, plane))
            u01 -= u00
            u01 *= fx
            u00 += u01  # upper row: u00 + fx (u01 - u00)
            u11 -= u10
            u11 *= fx
            u10 += u11  # lower row
            u10 -= u00
            u10 *= fy
            u00 += u10
            V[points.images, channels, points.columns] = u00  # eq. (5)

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        dV = dV.reshape(N, C, H_out * W_out)
        dframed = xp.zeros_like(framed) if needs_dU else None
        ds = xp.zeros((2, N, H_out * W_out), framed.dtype) if needs_dgrid else None
        for points in blocks:
            fx, fy = points.fx[:, None], points.fy[:, None]
            for channels in channel_blocks(C, points.corner.size):
                index = in_channels(xp, points.corner, channels, plane)
                dv = dV[points.images, channels, points.columns].astype(framed.dtype, copy=False)
                if ds is not None:
                    u00, u01, u10, u11 = neighbours(index)
                    u01 -= u00  # slope of the upper row
                    u11 -= u10  # slope of the lower row
                    u11 -= u01  # twist
                    u10 -= u00  # slope of the left column
                    u01 += fy * u11
                    u10 += fx * u11
                    u01 *= dv
                    u10 *= dv
                    ds[0, points.images, points.columns] += u01.sum(axis=1)  # eq. (7)
                    ds[1, points.images, points.columns] += u10.sum(axis=1)
                if dframed is not None:
                    d1 = dv * fy  # lower row
                    d0 = dv - d1
                    d01, d11 = d0 * fx, d1 * fx
                    d0 -= d01
                    d1 -= d11
                    target, index = dframed.reshape(-1), index.reshape(-1)
                    scatter_add(target, index, d0.reshape(-1))  # eq. (6)
                    scatter_add(target[right:], index, d01.reshape(-1))
                    scatter_add(target[below:], index, d1.reshape(-1))
                    scatter_add(target[below + right :], index, d11.reshape(-1))
            if ds is not None:
                ds[0, points.images, points.columns] *= points.x_slope
                ds[1, points.images, points.columns] *= points.y_slope
        dU = dgrid = None
        if dframed is not None:
            dU = dframed[:, :, FRAME:-FRAME, FRAME:-FRAME].astype(U.dtype)
        if ds is not None:
            dgrid = (
                ds.reshape(2, N, H_out, W_out).transpose(1, 2, 3, 0).astype(grid.dtype, copy=False)
            )
            if grid.shape[0] == 1 and N != 1:
                dgrid = dgrid.sum(axis=0, keepdims=True)
        return dU, dgrid

    return V.reshape(N, C, H_out, W_out), backward


def frame_with_zeros(xp: Any, U: Array) -> Array:
    """U (N, C, H, W) inside a frame of zeros, in float32 at least."""
    N, C, H, W = U.shape
    framed = xp.zeros((N, C, H + 2 * FRAME, W + 2 * FRAME), np.promote_types(U.dtype, np.float32))
    framed[:, :, FRAME:-FRAME, FRAME:-FRAME] = U
    return framed  # type: ignore[no-any-return]


def locate(
    xp: Any, U_shape: tuple[int, ...], grid: Array, N: int, padding: str, align_corners: bool
) -> Iterator[Points]:
    """Where the points of the grid lie in the framed images, a block at a time."""
    N_U, C, H, W = U_shape
    H_f, W_f = H + 2 * FRAME, W + 2 * FRAME
    image = C * H_f * W_f if N_U == N else 0  # from one image to the next; 0 where all share one
    N_grid, P = grid.shape[0], grid.shape[1] * grid.shape[2]
    gx, gy = grid[..., 0].reshape(N_grid, P), grid[..., 1].reshape(N_grid, P)
    rows = max(1, BLOCK // max(P, 1))
    for n in range(0, N, rows):
        images = slice(n, min(n + rows, N))
        source = images if N_grid == N else slice(0, 1)
        first = xp.arange(images.start, images.stop)[:, None] * image + (FRAME * W_f + FRAME)
        for p in range(0, P, BLOCK):
            columns = slice(p, min(p + BLOCK, P))
            x, x_slope = source_axis(
                xp, gx[source, columns], W, padding, align_corners=align_corners
            )
            y, y_slope = source_axis(
                xp, gy[source, columns], H, padding, align_corners=align_corners
            )
            x0, y0 = xp.floor(x), xp.floor(y)
            x -= x0
            y -= y0
            corner = y0.astype(np.int32).astype(np.intp)  # in two steps: NumPy is faster so
            corner *= W_f
            corner += x0.astype(np.int32)
            yield Points(images, columns, corner + first, x, y, x_slope, y_slope)


def channel_blocks(C: int, points: int) -> Iterator[slice]:
    """Channels in groups that make up a block with so many points."""
    step = max(1, BLOCK // max(points, 1))
    return (slice(c, min(c + step, C)) for c in range(0, C, step))


def in_channels(xp: Any, corner: Array, channels: slice, plane: int) -> Array:
    """Flat index (images, channels, points) of the upper left neighbour."""
    if channels.stop == 1:
        return corner[:, None]
    first = xp.arange(channels.start, channels.stop) * plane
    return corner[:, None] + first[:, None]  # type: ignore[no-any-return]
