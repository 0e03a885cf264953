"""Nearest neighbour in two dimensions, eq. (4): each point reads one pixel, floor(x + 1/2).

It takes a half to a fifth of the time of `separable.py`. The padding and the points are those of
`bilinear.py`, but there is nothing to weigh.
"""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, SampleBackward, gather, scatter_add
from stn_np.sampling.bilinear import PAD, Source, locate
from stn_np.sampling.blocks import channel_blocks, channel_index, crop, groups_of, pad
from stn_np.sampling.rules import Rules
from stn_np.threads import share_out


def nearest(
    U: Array, source: Source, N: int, rules: Rules, *, needs_dU: bool, needs_ds: bool
) -> tuple[Array, SampleBackward]:
    """V (N, C, H', W'); backward(dV) returns dU, and for the grid zeros."""
    C, (H_out, W_out) = U.shape[1], source.out_size
    padded = pad(np, U, PAD, PAD, float(rules.padding_value))
    flat, plane = padded.reshape(-1), padded.shape[2] * padded.shape[3]
    V = np.empty((N, C, H_out * W_out), U.dtype)
    located = locate(U.shape, source, N, offset=0.5)

    def forward(block: tuple[slice, slice]) -> Array:
        images, columns, corner, *_ = located.at(block)
        for channels in channel_blocks(C, corner.size):
            here, index = channel_index(corner, channels, plane)
            V[images, channels, columns] = gather(flat[here:], index)
        return corner if needs_dU else np.empty(0, np.intp)  # a view would keep all of it

    corners = share_out(forward, located.blocks)

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        # Eq. (4) is flat between its jumps: the grid gets exact zeros.
        dgrid = np.zeros((N, H_out, W_out, 2), flat.dtype) if needs_ds else None
        if not needs_dU:
            return None, dgrid
        dV = dV.reshape(N, C, H_out * W_out)
        dflat = np.zeros_like(flat)

        def spread(group: list[int]) -> None:
            for k in group:
                (images, columns), corner = located.blocks[k], corners[k]
                for channels in channel_blocks(C, corner.size):
                    here, index = channel_index(corner, channels, plane)
                    dv = dV[images, channels, columns].astype(dflat.dtype, copy=False)
                    scatter_add(dflat[here:], index.reshape(-1), dv.reshape(-1))

        share_out(spread, groups_of(located.blocks, len(U) == N))
        return crop(dflat.reshape(padded.shape), PAD, PAD).astype(U.dtype), dgrid

    return V.reshape(N, C, H_out, W_out), backward
