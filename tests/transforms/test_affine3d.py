"""The affine grid of volumes, eq. (10)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from maps import affine3d as one_point
from oracles import CORNERS, FLOATS, assert_close, assert_equal, inner, target_points

import stn_np
from stn_np.transforms import Affine3d

SHAPES = [(2, 3, 4), (4, 2, 3), (1, 3, 2), (3, 1, 1), (1, 1, 1), (5, 4, 7)]


def loops(theta: np.ndarray, shape: tuple[int, int, int], corners: bool) -> np.ndarray:
    points, grid = target_points(shape, corners), np.zeros((len(theta), *shape, 3))
    for n, d, i, j in np.ndindex(len(theta), *shape):
        grid[n, d, i, j] = one_point(theta[n], points[d, i, j], (0, 0))
    return grid


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
def test_equals_the_literal_loops(xp: Any, rng: Any, corners: bool, dtype: Any) -> None:
    for shape in SHAPES:
        theta = rng.normal(size=(2, 12)).astype(dtype)
        grid, backward = Affine3d()(xp.asarray(theta), shape, align_corners=corners)
        assert grid.dtype == dtype
        eps = 10 * np.finfo(dtype).eps
        assert_close(grid, loops(theta, shape, corners), eps)

        # theta -> grid is linear: its pullback is the transposed matrix, column by column.
        g = rng.normal(size=grid.shape).astype(dtype)
        expected = np.zeros((2, 12))
        for n, k in np.ndindex(2, 12):
            unit = np.zeros((2, 12))
            unit[n, k] = 1
            expected[n, k] = inner(loops(unit, shape, corners), g)
        dtheta = backward(xp.asarray(g))
        assert dtheta.dtype == dtype
        assert_close(dtheta, expected, eps)

        same, same_backward = stn_np.affine_grid(
            xp.asarray(theta.reshape(2, 3, 4)), shape, align_corners=corners
        )
        assert_equal(same, grid)
        assert_equal(same_backward(xp.asarray(g)).reshape(2, 12), dtheta)


@pytest.mark.parametrize("corners", CORNERS)
def test_against_torch(rng: Any, corners: bool) -> None:
    torch = pytest.importorskip("torch")
    theta, shape = rng.normal(size=(2, 3, 4)), (3, 4, 5)
    grid, backward = stn_np.affine_grid(theta, shape, align_corners=corners)
    t = torch.tensor(theta, requires_grad=True)
    expected = torch.nn.functional.affine_grid(t, [2, 1, *shape], align_corners=corners)
    assert_close(grid, expected.detach().numpy(), 1e-14)
    g = rng.normal(size=grid.shape)
    expected.backward(torch.tensor(g))
    assert_close(backward(g), t.grad.numpy(), 1e-14)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
def test_identity_and_flips_are_exact(xp: Any, rng: Any, corners: bool, dtype: Any) -> None:
    for shape in ((5, 6, 7), (28, 9, 3), (1, 4, 23)):
        U = rng.normal(size=(1, 2, *shape)).astype(dtype)
        for sx, sy, sz in ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)):
            theta = np.zeros((1, 3, 4), dtype)
            theta[0, [0, 1, 2], [0, 1, 2]] = sx, sy, sz
            grid, _ = Affine3d()(xp.asarray(theta.reshape(1, 12)), shape, align_corners=corners)
            if (sx, sy, sz) == (1, 1, 1):
                assert_equal(theta.ravel(), Affine3d.identity)
                assert_equal(grid[0], target_points(shape, corners).astype(dtype))
            V, _ = stn_np.grid_sample(xp.asarray(U), grid, align_corners=corners)
            assert_equal(V, U[:, :, ::sz, ::sy, ::sx])


def test_memory_is_planar(rng: Any) -> None:
    grid, _ = Affine3d()(rng.normal(size=(2, 12)), (3, 4, 5))
    assert grid.transpose(0, 4, 1, 2, 3).flags.c_contiguous


def test_out_shape_and_theta_fit_together() -> None:
    for f, theta in ((Affine3d(), np.ones((2, 12))), (stn_np.affine_grid, np.ones((2, 3, 4)))):
        for bad in ((3, 4), (2, 3, 4, 5), 3, None):
            with pytest.raises(TypeError, match=r"^out_shape: expected .*\(depth, height, width\)"):
                f(theta, bad)
        with pytest.raises(TypeError, match="^out_shape: expected a whole number, got 3.0"):
            f(theta, (2, 3.0, 4))
        with pytest.raises(ValueError, match="^out_shape: expected at least 1, got 0"):
            f(theta, (2, 0, 4))
    with pytest.raises(TypeError, match=r"^out_shape: expected a pair \(height, width\)"):
        stn_np.affine_grid(np.ones((2, 2, 3)), (2, 3, 4))
    with pytest.raises(ValueError, match=r"^theta: expected shape \(N, 12\), got \(2, 3, 4\)"):
        Affine3d()(np.ones((2, 3, 4)), (2, 3, 4))
