"""The bilinear sampler, eq. (5), and its gradients, eqs (6) and (7), vectorised over points.

The image gets a frame of zeros two pixels wide. Then every point has four neighbours, none needs a
test, "outside contributes zero" is simply true, and so is the slope at the image's edge. Points are
worked through in blocks that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from stn_np.backend import Array, array_module, gather, scatter_add
from stn_np.sampling.coordinates import Slope, source_axis

FRAME = 2
#: Values in flight at a time: about ten such arrays fit a core's second-level cache.
BLOCK = 32_768

GridSampleBackward = Callable[[Array], tuple[Array | None, Array | None]]
#: The four pixels round a point: upper left, upper right, lower left, lower right.
Corners = tuple[Array, Array, Array, Array]


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
    padding_value: float,
    align_corners: bool,
    needs_dU: bool,
    needs_dgrid: bool,
) -> tuple[Array, GridSampleBackward]:
    """Bilinear sampling of checked arguments; see `stn_np.grid_sample`."""
    xp = array_module(U=U, grid=grid)
    N = max(U.shape[0], grid.shape[0]) if U.shape[0] and grid.shape[0] else 0
    C, (H_out, W_out) = U.shape[1], grid.shape[1:3]
    framed = frame_with(xp, U, padding_value)
    flat, (H_f, W_f) = framed.reshape(-1), framed.shape[2:]
    V = xp.empty((N, C, H_out * W_out), U.dtype)
    blocks = []

    for points in locate(xp, U.shape, grid, N, padding_mode, align_corners):
        for channels in channel_blocks(C, points.corner.size):
            here, index = in_channels(xp, points.corner, channels, H_f * W_f)
            V[points.images, channels, points.columns] = interpolate(
                corners_of(flat[here:], index, W_f), points
            )
        if needs_dU or needs_dgrid:
            blocks.append(points)

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        dV = dV.reshape(N, C, H_out * W_out)
        dflat = xp.zeros_like(flat) if needs_dU else None
        ds = xp.zeros((2, N, H_out * W_out), flat.dtype) if needs_dgrid else None
        for points in blocks:
            block = points.images, points.columns
            for channels in channel_blocks(C, points.corner.size):
                here, index = in_channels(xp, points.corner, channels, H_f * W_f)
                dv = dV[points.images, channels, points.columns].astype(flat.dtype, copy=False)
                if dflat is not None:
                    scatter(dflat[here:], index, W_f, dv, points)
                if ds is not None:
                    slope_x, slope_y = slopes(corners_of(flat[here:], index, W_f), points)
                    slope_x *= dv
                    slope_y *= dv
                    ds[0][block] += slope_x.sum(axis=1)
                    ds[1][block] += slope_y.sum(axis=1)
            if ds is not None:
                ds[0][block] *= points.x_slope
                ds[1][block] *= points.y_slope
        dU = dgrid = None
        if dflat is not None:
            dU = dflat.reshape(framed.shape)[:, :, FRAME:-FRAME, FRAME:-FRAME].astype(U.dtype)
        if ds is not None:
            dgrid = ds.reshape(2, N, H_out, W_out).transpose(1, 2, 3, 0)
            if grid.shape[0] == 1 and N != 1:
                dgrid = dgrid.sum(axis=0, keepdims=True)
            dgrid = dgrid.astype(grid.dtype, copy=False)
        return dU, dgrid

    return V.reshape(N, C, H_out, W_out), backward


def corners_of(flat: Array, index: Array, W_f: int) -> Corners:
    """U at the four pixels round each point: n, m in {floor, floor + 1} of eq. (5)."""
    return (
        gather(flat, index),
        gather(flat[1:], index),
        gather(flat[W_f:], index),
        gather(flat[W_f + 1 :], index),
    )


def interpolate(corners: Corners, points: Points) -> Array:
    """Eq. (5), along x in both rows, then along y. Overwrites the corners.

    V = (1-fy) ((1-fx) u00 + fx u01) + fy ((1-fx) u10 + fx u11), written so that fx = fy = 0 gives
    u00 exactly.
    """
    u00, u01, u10, u11 = corners
    fx, fy = points.fx[:, None], points.fy[:, None]
    u01 -= u00
    u01 *= fx
    u00 += u01  # upper row: u00 + fx (u01 - u00)
    u11 -= u10
    u11 *= fx
    u10 += u11  # lower row
    u10 -= u00
    u10 *= fy
    u00 += u10
    return u00


def scatter(dflat: Array, index: Array, W_f: int, dv: Array, points: Points) -> None:
    """Eq. (6), the transpose of both above: each pixel gets its weight times dV.

    The weights are (1-fy)(1-fx), (1-fy) fx, fy (1-fx) and fy fx.
    """
    fx, fy = points.fx[:, None], points.fy[:, None]
    d10 = dv * fy
    d00 = dv - d10
    d01, d11 = d00 * fx, d10 * fx
    d00 -= d01
    d10 -= d11
    index = index.reshape(-1)
    scatter_add(dflat, index, d00.reshape(-1))
    scatter_add(dflat[1:], index, d01.reshape(-1))
    scatter_add(dflat[W_f:], index, d10.reshape(-1))
    scatter_add(dflat[W_f + 1 :], index, d11.reshape(-1))


def slopes(corners: Corners, points: Points) -> tuple[Array, Array]:
    """Eq. (7): dV/dx and dV/dy, to the right and downwards. Overwrites the corners.

    dV/dx = (1-fy) (u01 - u00) + fy (u11 - u10) = (u01 - u00) + fy t, and likewise
    dV/dy = (u10 - u00) + fx t, with t = (u11 - u10) - (u01 - u00).
    """
    u00, u01, u10, u11 = corners
    fx, fy = points.fx[:, None], points.fy[:, None]
    u01 -= u00  # slope of the upper row
    u11 -= u10  # of the lower row
    u11 -= u01  # t
    u10 -= u00  # slope of the left column
    u01 += fy * u11
    u10 += fx * u11
    return u01, u10


def frame_with(xp: Any, U: Array, value: float) -> Array:
    """U (N, C, H, W) inside a frame of one value, in float32 at least."""
    N, C, H, W = U.shape
    dtype = np.promote_types(U.dtype, np.float32)
    framed = xp.full((N, C, H + 2 * FRAME, W + 2 * FRAME), value, dtype)
    framed[:, :, FRAME:-FRAME, FRAME:-FRAME] = U
    return framed  # type: ignore[no-any-return]


def locate(
    xp: Any, U_shape: tuple[int, ...], grid: Array, N: int, padding: str, align_corners: bool
) -> Iterator[Points]:
    """Where the points of the grid lie in the framed images, a block at a time."""
    N_U, C, H, W = U_shape
    W_f = W + 2 * FRAME
    image = C * (H + 2 * FRAME) * W_f if N_U == N else 0  # to the next image; 0: all share one
    N_grid, P = grid.shape[0], grid.shape[1] * grid.shape[2]
    gx, gy = grid[..., 0].reshape(N_grid, P), grid[..., 1].reshape(N_grid, P)
    rows = max(1, BLOCK // max(P, 1))
    # NumPy turns floats into 32-bit integers 5 times faster than into 64-bit ones; small arrays
    # of images can do with those until the very end.
    integer = np.int32 if N_U * C * (H + 2 * FRAME) * W_f < 2**31 else np.int64
    first = xp.arange(N, dtype=integer)[:, None] * image + (FRAME * W_f + FRAME)
    for n in range(0, N, rows):
        images = slice(n, min(n + rows, N))
        source = images if N_grid == N else slice(0, 1)
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
            corner = y0.astype(integer)
            corner *= W_f
            corner += x0.astype(integer)
            corner = (corner + first[images]).astype(np.intp)
            yield Points(images, columns, corner, x, y, x_slope, y_slope)


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
