"""Sampling with any separable kernel, eq. (3), in two or three dimensions.

`taps.py` says which pixels a point reads and how they weigh. Here is the sum over all of them, and
its pullback. For images in two dimensions `bilinear.py` and `nearest.py` do the same in fewer
passes.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from stn_np.backend import Array, SampleBackward, array_module, gather, scatter_add
from stn_np.sampling.kernel import Kernel
from stn_np.sampling.kernels import NEAREST
from stn_np.sampling.taps import AxisTaps, Taps


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
) -> tuple[Array, SampleBackward]:
    """Sample checked arguments with one kernel an axis, (x, y[, z]); see `stn_np.grid_sample`."""
    xp = array_module(U=U, grid=grid)
    taps = Taps(xp, U.shape, grid, kernels, padding_mode, align_corners)
    N, C, n, out_size = taps.N, U.shape[1], grid.shape[-1], grid.shape[1:-1]
    extended = extend(xp, U, padding_value)
    flat = extended.reshape(-1)
    V = xp.empty((N, C, prod(out_size)), U.dtype)

    for block in taps.blocks:
        axes = taps.axes(block)
        for channels, first, index in taps.channels(block):
            V[block.images, channels, block.columns] = read(flat[first:], axes, index)[0]

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        dV = dV.reshape(V.shape)
        dflat = xp.zeros_like(flat) if needs_dU else None
        ds = xp.zeros((n, N, V.shape[2]), flat.dtype)
        needs_slopes = needs_dgrid and any(k != NEAREST for k in kernels)  # eq. (4) has none
        for block in taps.blocks:
            axes = taps.axes(block, needs_slopes=needs_slopes)
            for channels, first, index in taps.channels(block):
                dv = dV[block.images, channels, block.columns].astype(flat.dtype, copy=False)
                if dflat is not None:
                    spread(dflat[first:], axes, index, dv)
                if needs_slopes:
                    _, *slopes = read(flat[first:], axes, index)
                    for k in range(n):  # the slopes come as (z,) y, x
                        ds[k, block.images, block.columns] += (dv * slopes[n - 1 - k]).sum(axis=1)
            for k in range(n if needs_slopes else 0):
                ds[k, block.images, block.columns] *= block.x_slope[k]
        dU = dgrid = None
        if dflat is not None:
            dU = crop(dflat.reshape(extended.shape)).astype(U.dtype)
        if needs_dgrid:
            dgrid = xp.moveaxis(ds.reshape(n, N, *out_size), 0, -1)
            if grid.shape[0] == 1 and N != 1:
                dgrid = dgrid.sum(axis=0, keepdims=True)
            dgrid = dgrid.astype(grid.dtype, copy=False)
        return dU, dgrid

    return V.reshape(N, C, *out_size), backward


def read(flat: Array, axes: list[AxisTaps], index: Array) -> list[Array]:
    """Eq. (3), the sum over the taps of all axes; with slopes, eq. (7) for each axis as well.

    Returns [V], or [V, (dV/dz,) dV/dy, dV/dx] where the axes have slopes: for each tap of the first
    axis the same over the remaining ones, weighed by k, and by k' for the slope along this axis.
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


def spread(dflat: Array, axes: list[AxisTaps], index: Array, dv: Array) -> None:
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
    crop(extended)[...] = U
    return extended  # type: ignore[no-any-return]


def crop(extended: Array) -> Array:
    """The image without those lines, as a view."""
    inside: Any = (..., *(slice(0, s - 1) for s in extended.shape[2:]))
    image: Array = extended[inside]
    return image
