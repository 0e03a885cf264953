"""The sampler against the literal loops of eq. (3): whatever shapes, kernels and dtypes come up.

2,000 cases a library, the same on every run. For more, and other ones each time:

    STN_NP_CASES=100000 pytest tests/sampling/test_grid_sample_literal.py
"""

from __future__ import annotations

import os
from typing import Any

import literal
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import EVERY_PADDING, KERNELS, assert_close, grid_of, padded, sampled, smooth_points

from stn_np.sampling import kernels

CASES = os.environ.get("STN_NP_CASES")
thorough = settings(max_examples=int(CASES or 2000), derandomize=not CASES, print_blob=bool(CASES))
#: Relative to the largest number expected, and to 1.
TOLERANCE = {np.float16: 2e-3, np.float32: 1e-4, np.float64: 1e-11}

#: One more, whose radius is no multiple of 1/2: some points read a pixel less than others.
MODES = KERNELS | {"stretched": (kernels.area(1.8), literal.area(1.8))}
#: In a tuple of kernels the names stand as kernels.
NAMED = {"nearest": kernels.NEAREST, "bilinear": kernels.LINEAR, "bicubic": kernels.CUBIC}

axis = st.integers(1, 6)
#: Now and then none: empty batches, no channels, grids without points.
few = st.sampled_from([2, 1, 2, 1, 2, 1, 2, 1, 2, 0])


def points_of_all_kinds(
    rng: np.random.Generator, shape: tuple[int, ...], size: tuple[int, ...], corners: bool
) -> np.ndarray:
    """In pixels: away from kinks, in the image or up to three sizes away, or exactly on a kink.

    Whole and half pixels come back exactly from the grid up to two pixels outside; see `to_pixels`.
    """
    smooth = smooth_points(rng, shape, size, corners)
    smooth += (
        rng.integers(-3, 4, smooth.shape) * size[::-1] * (rng.uniform(size=smooth.shape) < 0.2)
    )
    kinks = np.stack([rng.integers(-4, 2 * n + 3, shape) / 2 for n in reversed(size)], -1)
    points = np.where(rng.uniform(size=smooth.shape) < 0.4, kinks, smooth)
    return np.where([n == 1 and corners for n in reversed(size)], 0.0, points)


def cases(names: list[str]) -> Any:
    """Arguments of `compare`, with kernels of these names."""
    return given(
        size=st.lists(axis, min_size=2, max_size=3), out=st.tuples(few, few, few),
        N=few, C=st.sampled_from([1, 2, 3, 5, 1, 2, 3, 1, 2, 0]),
        shared=st.sampled_from(["", "U", "grid"]),
        names=st.lists(st.sampled_from(names), min_size=3, max_size=3),
        one_an_axis=st.booleans(), padding=st.sampled_from(EVERY_PADDING), corners=st.booleans(),
        value=st.integers(-2, 2),
        U_dtype=st.sampled_from([np.float16, np.float32, np.float64]),
        grid_dtype=st.sampled_from([np.float32, np.float64]), seed=st.integers(0, 2**32 - 1),
    )  # fmt: skip


@thorough
@cases(list(MODES))
def test_equals_the_literal_loops(**case: Any) -> None:
    compare(np, **case)


@thorough
@cases([*NAMED, "gaussian"])
def test_the_kernels_of_gpus_equal_the_literal_loops(gpu: Any, **case: Any) -> None:
    """And one kernel that has no CUDA code."""
    compare(gpu, **case)


def compare(
    xp: Any, size: list[int], out: Any, N: int, C: int, shared: str, names: list[str],
    one_an_axis: bool, padding: str, corners: bool, value: int, U_dtype: Any, grid_dtype: Any,
    seed: int,
) -> None:  # fmt: skip
    rng, dims = np.random.default_rng(seed), len(size)
    out = out[:dims]
    N_U, N_grid = (min(N, 1) if shared == name else N for name in ("U", "grid"))
    U = rng.uniform(-1, 1, (N_U, C, *size)).astype(U_dtype)
    points = points_of_all_kinds(rng, (N_grid, *out), tuple(size), corners)
    grid = grid_of(points, tuple(size), corners).astype(grid_dtype)
    dV = rng.uniform(-1, 1, (N, C, *out)).astype(U_dtype)

    if one_an_axis:
        mode = tuple(NAMED.get(name, MODES[name][0]) for name in names[:dims])
        formulas = [MODES[name][1] for name in names[:dims]]
    else:
        mode, formulas = MODES[names[0]][0], [MODES[names[0]][1]] * dims
    options = padded(padding, value)
    got = sampled(xp, U, grid, dV, mode=mode, align_corners=corners, **options)
    wanted = literal.literal_sample(
        np.broadcast_to(U, (N, *U.shape[1:])).astype(np.float64),
        np.broadcast_to(points, (N, *out, dims)),
        dV.astype(np.float64), formulas, padding, options["padding_value"], corners,
    )  # fmt: skip
    coarse = max((U_dtype, grid_dtype), key=TOLERANCE.__getitem__)
    for result, expected, like in zip(got, wanted, (U, U, grid), strict=True):
        assert result.dtype == like.dtype
        if expected.shape[0] != len(result):
            expected = expected.sum(0, keepdims=True)
        assert_close(result, expected, TOLERANCE[coarse])
