"""The sampler on CuPy arrays, and every kernel that it may ever need.

The kernels in `cuda/` do what `bilinear.py`, `nearest.py`, `affine_sample.py` and, for the modes
with a name, `separable.py` do on NumPy arrays. A grid and an affine map differ in where a point
comes from, and in nothing else: each is a `Source`, and the kernels for maps are called affine_...
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from stn_np.backend import Array, SampleBackward, coordinate_dtype
from stn_np.gpu.sampling import TRANSPOSE, Sampling
from stn_np.gpu.source import AFFINE, MODES, SAMPLER, TAPS, from_grid, from_matrices

#: The ways to sum up the gradient of the image, as `grid_sample` knows them.
DU_METHODS = ("deterministic", "atomic")

#: Dtypes of image and coordinates that kernels are compiled for; others are converted.
DTYPES = (
    ("float16", "float32"),
    ("float32", "float32"),
    ("float64", "float32"),
    ("float64", "float64"),
)


def sample_on_gpu(
    U: Array,
    grid: Array,
    *,
    mode: str,
    padding_mode: str,
    padding_value: float,
    align_corners: bool,
    dU_method: str,
    needs_dU: bool,
    needs_dgrid: bool,
) -> tuple[Array, SampleBackward]:
    """Sample checked arguments by a mode with a name; see `stn_np.grid_sample`."""
    rules = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    sampling = Sampling(U, from_grid(U.shape, grid, rules), padding_value)
    V = sampling.forward()

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        fitting = sampling.fitting(dV)
        dU = fitting.backward_image(dV, dU_method) if needs_dU else None
        if not needs_dgrid:
            return dU, None
        if mode == "nearest":  # eq. (4) is flat between its jumps
            return dU, sampling.xp.zeros(grid.shape, grid.dtype)
        dgrid = fitting.backward_grid(dV)
        if grid.shape[0] == 1 and sampling.source.N != 1:
            dgrid = dgrid.sum(axis=0, keepdims=True)
        return dU, dgrid.astype(grid.dtype, copy=False)

    return V, backward


def affine_on_gpu(
    U: Array,
    A: Array,
    dtype: np.dtype[Any],
    out_size: tuple[int, int],
    *,
    padding_mode: str,
    padding_value: float,
    align_corners: bool,
    dU_method: str,
    needs_dU: bool,
    needs_dA: bool,
) -> tuple[Array, SampleBackward]:
    """V through A, and back to (dU, dA), as `stn_np.sampling.affine_sample.in_blocks`."""
    rules = {"padding_mode": padding_mode, "align_corners": align_corners}
    A = A.astype(coordinate_dtype(dtype, max(U.shape[2:])))
    sampling = Sampling(U, from_matrices(U.shape, A, out_size, rules), padding_value)
    V = sampling.forward()

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        fitting = sampling.fitting(dV)
        dU = fitting.backward_image(dV, dU_method) if needs_dU else None
        return dU, fitting.backward_matrices(dV) if needs_dA else None

    return V, backward


def variants() -> Iterator[tuple[str, str, tuple[str | int | bool, ...]]]:
    """Every kernel that may ever be launched from here, as (file, function, template)."""
    corners, paddings = (True, False), ("ZEROS", "BORDER", "REFLECTION", "WRAP")
    weights = [pair for pair in DTYPES if pair[0] != "float16"]
    for rules in product((2, 3), MODES.values(), paddings, corners):
        for types in DTYPES:
            yield SAMPLER, "forward", (*types, *rules)
            yield SAMPLER, "backward_image_atomic", (*types, *rules)
            if rules[1] != "NEAREST":
                yield SAMPLER, "backward_grid", (*types, *rules)
        for X in ("float32", "float64"):
            yield TRANSPOSE, "count", (X, *rules)
        for types in weights:
            yield TRANSPOSE, "fill", (*types, *rules)
    for affine in product(paddings[:3], corners):
        for types in DTYPES:
            for function in ("forward", "backward_matrix", "backward_image_atomic"):
                yield AFFINE, f"affine_{function}", (*types, *affine)
        for X in ("float32", "float64"):
            yield TRANSPOSE, "affine_count", (X, *affine)
        for types in weights:
            yield TRANSPOSE, "affine_fill", (*types, *affine)
    for A in ("float32", "float64"):
        yield TRANSPOSE, "sort_rows", (A,)
    entries = sorted({taps**n for taps in TAPS.values() for n in (2, 3)})
    for T, taps in product(("float16", "float32", "float64"), entries):
        yield TRANSPOSE, "gather", (T, taps)
