"""What lies outside the image, with every kernel: wrapped, constant, mirrored, repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from libraries import every_kernel
from oracles import (
    CORNERS,
    EVERY_PADDING,
    KERNELS,
    SIZES,
    assert_close,
    assert_equal,
    grid_of,
    padded,
    sampled,
    smooth_points,
)

import stn_np
from stn_np.backend import to_numpy

both_corners = pytest.mark.parametrize("corners", CORNERS)
both_dims = pytest.mark.parametrize("dims", [2, 3])
NUMPY_MODE: Any = {
    "zeros": {"mode": "constant"},
    "constant": {"mode": "constant", "constant_values": 0.75},
    "border": {"mode": "edge"},
    "wrap": {"mode": "wrap"},
}


@every_kernel
@pytest.mark.parametrize("padding", EVERY_PADDING)
@both_corners
@both_dims
def test_an_image_padded_by_hand(
    xp: Any, rng: Any, mode: Any, padding: str, corners: bool, dims: int
) -> None:
    """np.pad, five pixels all round, then zeros: the same picture, and the same slopes."""
    size, margin = SIZES[dims], 5
    how = NUMPY_MODE.get(padding, {"mode": "reflect" if corners else "symmetric"})
    U = rng.normal(size=(2, 3, *size))
    larger = np.pad(U, [(0, 0)] * 2 + [(margin, margin)] * dims, **how)
    dV = rng.normal(size=(2, 3, *[1] * (dims - 1), 50))
    points = smooth_points(rng, (2, *dV.shape[2:]), size, corners)
    points = np.clip(points, -1.9, np.array(size[::-1]) + 0.9)  # the kernel stays in the margin
    V, _, dgrid = sampled(
        xp, U, grid_of(points, size, corners), dV,
        mode=mode, align_corners=corners, **padded(padding),
    )  # fmt: skip
    on_larger = grid_of(points + margin, larger.shape[2:], corners)
    V_larger, _, dgrid_larger = sampled(xp, larger, on_larger, dV, mode=mode, align_corners=corners)
    assert_close(V, V_larger, 1e-12)
    span = [np.array(s[::-1]) - corners for s in (size, larger.shape[2:])]  # of [-1, 1], in pixels
    assert_close(dgrid, to_numpy(dgrid_larger) / span[1] * span[0], 1e-11)


@every_kernel
@both_corners
@both_dims
def test_wrap_repeats_after_the_image(
    xp: Any, rng: Any, mode: Any, corners: bool, dims: int
) -> None:
    """The period is the number of pixels, with aligned corners too."""
    size = SIZES[dims]
    U, dV = rng.normal(size=(2, 3, *size)), rng.normal(size=(2, 3, *[1] * (dims - 1), 50))
    points = smooth_points(rng, (2, *dV.shape[2:]), size, corners)
    further = points + rng.integers(-3, 4, points.shape) * size[::-1]
    options = {"mode": mode, "padding_mode": "wrap", "align_corners": corners}
    here = sampled(xp, U, grid_of(points, size, corners), dV, **options)
    there = sampled(xp, U, grid_of(further, size, corners), dV, **options)
    for a, b in zip(here, there, strict=True):
        assert_close(a, b, 1e-11)


@every_kernel
@both_dims
def test_a_constant_outside_is_zero_outside_and_the_image_lowered(
    xp: Any, rng: Any, mode: Any, dims: int
) -> None:
    U, dV = rng.normal(size=(2, 3, *SIZES[dims])), rng.normal(size=(2, 3, *[1] * (dims - 1), 50))
    grid = rng.uniform(-2, 2, (2, *dV.shape[2:], dims))
    V, dU, dgrid = sampled(xp, U, grid, dV, mode=mode, padding_mode="constant", padding_value=-1.5)
    V_zeros, dU_zeros, dgrid_zeros = sampled(xp, U + 1.5, grid, dV, mode=mode)
    ones, _, dones = sampled(
        xp, 0 * U + 1, grid, dV, mode=mode, padding_mode="constant", padding_value=1
    )  # 1, but for kernels whose weights have another sum
    assert_close(V, to_numpy(V_zeros) - 1.5 * to_numpy(ones), 1e-13)
    assert_close(dgrid, to_numpy(dgrid_zeros) - 1.5 * to_numpy(dones), 1e-11)
    assert_equal(dU, dU_zeros)


@every_kernel
@both_dims
def test_the_constant_zero_is_zeros(xp: Any, rng: Any, mode: Any, dims: int) -> None:
    U, dV = rng.normal(size=(2, 3, *SIZES[dims])), rng.normal(size=(2, 3, *[1] * (dims - 1), 50))
    grid = rng.uniform(-2, 2, (2, *dV.shape[2:], dims))
    zeros = sampled(xp, U, grid, dV, mode=mode)
    for value in (0, 0.0, np.float32(0)):
        constant = sampled(xp, U, grid, dV, mode=mode, padding_mode="constant", padding_value=value)
        for a, b in zip(constant, zeros, strict=True):
            assert_equal(a, b)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_far_outside_lies_the_constant_itself(xp: Any, mode: str, dtype: Any) -> None:
    """Bit for bit, and with no gradient."""
    U, grid = np.ones((1, 2, 3, 4), dtype), np.full((1, 2, 3, 2), [5, -40], np.float32)
    V, dU, dgrid = sampled(
        xp, U, grid, np.ones((1, 2, 2, 3), dtype), mode=mode,
        padding_mode="constant", padding_value=0.1,
    )  # fmt: skip
    assert_equal(V, np.full(V.shape, 0.1, dtype))
    assert_equal(dU, np.zeros(U.shape))
    assert_equal(dgrid, np.zeros(grid.shape))


@both_corners
@pytest.mark.parametrize("padding", ["border", "reflection"])
@both_dims
def test_the_border_itself_counts_as_outside_in_bilinear_mode_only(
    xp: Any, rng: Any, padding: str, corners: bool, dims: int
) -> None:
    """Wider kernels read the continued image, and have its slope there."""
    size = SIZES[dims]
    U, one = rng.normal(size=(1, 1, *size)), np.ones((1, 1, *[1] * dims))
    for last in (0, size[-1] - 1):
        point = np.full((1, *[1] * dims, dims), 1.25)
        point[..., 0] = last
        grid = grid_of(point, size, corners)
        options = {"padding_mode": padding, "align_corners": corners}
        _, _, dgrid = sampled(xp, U, grid, one, **options)
        assert dgrid[..., 0] == 0
        assert (dgrid[..., 1:] != 0).all()
        _, _, dgrid = sampled(xp, U, grid, one, mode=KERNELS["lopsided"][0], **options)
        assert (dgrid != 0).all()


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("padding", ["border", "reflection", "wrap"])
def test_an_axis_of_one_pixel_goes_on_unchanged(xp: Any, rng: Any, mode: str, padding: str) -> None:
    U = rng.normal(size=(1, 2, 1, 6))
    grid = rng.uniform(-3, 3, (1, 4, 5, 2))
    V, _ = stn_np.grid_sample(
        xp.asarray(U), xp.asarray(grid), mode=mode, padding_mode=padding, align_corners=False
    )
    grid[..., 1] = 0  # the middle of the pixel
    level, _ = stn_np.grid_sample(
        xp.asarray(U), xp.asarray(grid), mode=mode, padding_mode=padding, align_corners=False
    )
    assert_close(V, level, 1e-14)


@pytest.mark.parametrize("dims", [2, 3])
def test_ties_outside_go_up_after_the_mirror(xp: Any, dims: int) -> None:
    """The point is mirrored first, then rounded: -1.5 is 1.5, and that reads pixel 2."""
    U = np.arange(5.0).reshape(1, 1, *[1] * (dims - 1), 5)
    for corners, x, expected in [
        (True, [-1.5, -0.5, 4.5, 5.5, 7.5], [2, 1, 4, 3, 1]),  # mirrors at 0 and 4
        (False, [-1.5, -0.5, 4.5, 5.5, 7.5], [1, 0, 4, 4, 2]),  # at -0.5 and 4.5
    ]:
        points = np.zeros((1, *[1] * (dims - 1), 5, dims))
        points[..., 0] = x
        V, _ = stn_np.grid_sample(
            xp.asarray(U), xp.asarray(grid_of(points, U.shape[2:], corners)), mode="nearest",
            padding_mode="reflection", align_corners=corners,
        )  # fmt: skip
        assert_equal(V.ravel(), expected)
