"""The bilinear sampler, eq. (5), and its gradients, eqs (6) and (7), vectorised over points.

The image gets a frame of padding two pixels wide. Then every point has four neighbours, none needs
a test, "outside contributes zero" is simply true, and so is the slope at the image's edge. Points
are worked through in blocks that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from stn_np.backend import Array, SampleBackward, array_module, gather, scatter_add
from stn_np.sampling.blocks import channel_blocks, in_channels
from stn_np.sampling.coordinates import units_to_pixels
from stn_np.sampling.points import FRAME, Points, frame_with, locate, without_place

#: Up to so many channels the forward pass keeps the slopes for the backward pass, which then takes
#: 0.7 of the time, or without dU a third. With more they would take too much memory, and the image
#: is read again.
FEW_CHANNELS = 4

#: Takes dL/dx and dL/dy of a block of points, in pixels, and may overwrite them.
Receive = Callable[[Points, Array, Array], None]
#: dV/dx and dV/dy.
Slopes = tuple[Array, Array]
#: The four pixels round a point: upper left, upper right, lower left, lower right.
Corners = tuple[Array, Array, Array, Array]


def bilinear(
    U: Array,
    grid: Array,
    *,
    padding_mode: str,
    padding_value: float,
    align_corners: bool,
    needs_dU: bool,
    needs_dgrid: bool,
) -> tuple[Array, SampleBackward]:
    """Bilinear sampling of checked arguments; see `stn_np.grid_sample`."""
    xp = array_module(U=U, grid=grid)
    N = max(U.shape[0], grid.shape[0]) if U.shape[0] and grid.shape[0] else 0
    H_out, W_out = grid.shape[1:3]
    y_scale, x_scale = (units_to_pixels(size, align_corners) for size in U.shape[2:])
    points = locate(xp, U.shape, grid, N, padding_mode, align_corners)
    V, sample_backward = sample(
        xp, U, points, (N, H_out, W_out), padding_value, needs_dU=needs_dU, needs_ds=needs_dgrid
    )

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        if not needs_dgrid:
            return sample_backward(dV, None), None
        new = xp.empty if U.shape[1] else xp.zeros  # from no channels nothing comes back
        dgrid = new((2, N, H_out * W_out), np.promote_types(U.dtype, np.float32))

        def receive(points: Points, dx: Array, dy: Array) -> None:
            xp.multiply(dx, x_scale, out=dgrid[0, points.images, points.columns])
            xp.multiply(dy, y_scale, out=dgrid[1, points.images, points.columns])

        dU = sample_backward(dV, receive)
        dgrid = dgrid.reshape(2, N, H_out, W_out).transpose(1, 2, 3, 0)
        if grid.shape[0] == 1 and N != 1:
            dgrid = dgrid.sum(axis=0, keepdims=True)
        return dU, dgrid.astype(grid.dtype, copy=False)

    return V, backward


def sample(
    xp: Any,
    U: Array,
    located: Iterable[Points],
    shape: tuple[int, int, int],
    padding_value: float,
    *,
    needs_dU: bool,
    needs_ds: bool,
) -> tuple[Array, Callable[[Array, Receive | None], Array | None]]:
    """Read the framed image at points, wherever they come from, a block at a time.

    V has `shape` (N, H', W') and U's channels; backward(dV, receive) returns dU, and hands what
    comes back to the points to `receive`, a block at a time.
    """
    C, (N, H_out, W_out) = U.shape[1], shape
    framed = frame_with(xp, U, padding_value)
    flat, (H_f, W_f) = framed.reshape(-1), framed.shape[2:]
    V = xp.empty((N, C, H_out * W_out), U.dtype)
    keep = needs_ds and C <= FEW_CHANNELS
    blocks: list[tuple[Points, list[tuple[slice, Slopes | None]]]] = []

    for points in located:
        parts = []
        for channels in channel_blocks(C, points.corner.size):
            here, index = in_channels(xp, points.corner, channels, H_f * W_f)
            corners = corners_of(flat[here:], index, W_f)
            value, kept = interpolate(xp, corners, points, needs_slopes=keep)
            V[points.images, channels, points.columns] = value
            parts.append((channels, kept))
        if keep and not needs_dU:
            blocks.append((without_place(xp, points), parts))
        elif needs_dU or needs_ds:
            blocks.append((points, parts))

    def backward(dV: Array, receive: Receive | None) -> Array | None:
        dV = dV.reshape(N, C, H_out * W_out)
        dflat = xp.zeros_like(flat) if needs_dU else None
        for points, parts in blocks:
            dx = dy = None
            for channels, kept in parts:
                dv = dV[points.images, channels, points.columns].astype(flat.dtype, copy=False)
                if dflat is not None or not kept:
                    here, index = in_channels(xp, points.corner, channels, H_f * W_f)
                if dflat is not None:
                    scatter(dflat[here:], index, W_f, dv, points)
                if receive:
                    slope_x, slope_y = kept or slopes(corners_of(flat[here:], index, W_f), points)
                    dx, dy = add_channels(dx, slope_x * dv), add_channels(dy, slope_y * dv)
            if receive and dx is not None and dy is not None:
                if points.x_slope is not None and points.y_slope is not None:
                    dx *= points.x_slope
                    dy *= points.y_slope
                receive(points, dx, dy)
        if dflat is None:
            return None
        dU: Array = dflat.reshape(framed.shape)[:, :, FRAME:-FRAME, FRAME:-FRAME].astype(U.dtype)
        return dU

    return V.reshape(N, C, H_out, W_out), backward


def add_channels(total: Array | None, x: Array) -> Array:
    """The total so far plus x (images, channels, points) summed over its channels."""
    x = x[:, 0] if x.shape[1] == 1 else x.sum(axis=1)
    return x if total is None else total + x


def corners_of(flat: Array, index: Array, W_f: int) -> Corners:
    """U at the four pixels round each point: n, m in {floor, floor + 1} of eq. (5)."""
    return (
        gather(flat, index),
        gather(flat[1:], index),
        gather(flat[W_f:], index),
        gather(flat[W_f + 1 :], index),
    )


def interpolate(
    xp: Any, corners: Corners, points: Points, *, needs_slopes: bool
) -> tuple[Array, Slopes | None]:
    """Eq. (5), along x in both rows, then along y; if needed, eq. (7) from the same differences.

    V = (1-fy) ((1-fx) u00 + fx u01) + fy ((1-fx) u10 + fx u11), written so that fx = fy = 0 gives
    u00 exactly. Overwrites the corners.
    """
    u00, u01, u10, u11 = corners
    fx, fy = points.fx[:, None], points.fy[:, None]
    u01 -= u00  # slope of the upper row
    u11 -= u10  # of the lower row
    step = xp.empty_like(u01) if needs_slopes else u01
    u00 += xp.multiply(fx, u01, out=step)  # value in the upper row
    u10 += xp.multiply(fx, u11, out=step)  # in the lower row
    u10 -= u00  # dV/dy
    u00 += xp.multiply(fy, u10, out=step)
    if not needs_slopes:
        return u00, None
    u11 -= u01
    u11 *= fy
    u11 += u01  # dV/dx
    return u00, (u11, u10)


def slopes(corners: Corners, points: Points) -> Slopes:
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


def scatter(dflat: Array, index: Array, W_f: int, dv: Array, points: Points) -> None:
    """Eq. (6), the transpose of eq. (5): each pixel gets its weight times dV.

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
