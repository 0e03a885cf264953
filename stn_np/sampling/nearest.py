"""Nearest neighbour in two dimensions, eq. (4): each point reads one pixel, floor(x + 1/2).

`separable.py` can do it as well, in two to five times the time. The frame and the points are
those of `bilinear.py`, but there is nothing to weigh.
"""

from __future__ import annotations

from stn_np.backend import Array, SampleBackward, array_module, gather, scatter_add
from stn_np.sampling.blocks import channel_blocks, in_channels
from stn_np.sampling.points import FRAME, frame_with, locate


def nearest(
    U: Array,
    grid: Array,
    *,
    padding_mode: str,
    padding_value: float,
    align_corners: bool,
    needs_dU: bool,
    needs_dgrid: bool,
) -> tuple[Array, SampleBackward]:
    """Sample checked arguments, eq. (4); see `stn_np.grid_sample`."""
    xp = array_module(U=U, grid=grid)
    N = max(U.shape[0], grid.shape[0]) if U.shape[0] and grid.shape[0] else 0
    C, (H_out, W_out) = U.shape[1], grid.shape[1:3]
    framed = frame_with(xp, U, padding_value)
    flat, plane = framed.reshape(-1), framed.shape[2] * framed.shape[3]
    V = xp.empty((N, C, H_out * W_out), U.dtype)
    blocks = []

    for points in locate(xp, U.shape, grid, N, padding_mode, align_corners, offset=0.5):
        for channels in channel_blocks(C, points.corner.size):
            here, index = in_channels(xp, points.corner, channels, plane)
            V[points.images, channels, points.columns] = gather(flat[here:], index)
        if needs_dU:
            blocks.append((points.images, points.columns, points.corner))

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        # Eq. (4) is flat between its jumps: the grid gets exact zeros.
        dgrid = xp.zeros(grid.shape, grid.dtype) if needs_dgrid else None
        if not needs_dU:
            return None, dgrid
        dV = dV.reshape(N, C, H_out * W_out)
        dflat = xp.zeros_like(flat)
        for images, columns, corner in blocks:
            for channels in channel_blocks(C, corner.size):
                here, index = in_channels(xp, corner, channels, plane)
                dv = dV[images, channels, columns].astype(dflat.dtype, copy=False)
                scatter_add(dflat[here:], index.reshape(-1), dv.reshape(-1))
        dU = dflat.reshape(framed.shape)[:, :, FRAME:-FRAME, FRAME:-FRAME]
        return dU.astype(U.dtype), dgrid

    return V.reshape(N, C, H_out, W_out), backward
