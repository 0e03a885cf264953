"""The grid generators, eqs (1) and (2): values, convention and pullback."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import CORNERS, FLOATS, assert_close, assert_equal, inner, target_points

import stn_np
from stn_np.transforms import Affine, Attention, by_name

SHAPES = [(2, 3), (3, 2), (1, 4), (4, 1), (1, 1), (5, 7)]


def affine_loops(theta: np.ndarray, H: int, W: int, corners: bool) -> np.ndarray:
    """Eq. (1), literally."""
    points, grid = target_points((H, W), corners), np.zeros((len(theta), H, W, 2))
    for n, i, j in np.ndindex(len(theta), H, W):
        x, y = points[i, j]
        grid[n, i, j, 0] = theta[n, 0, 0] * x + theta[n, 0, 1] * y + theta[n, 0, 2]
        grid[n, i, j, 1] = theta[n, 1, 0] * x + theta[n, 1, 1] * y + theta[n, 1, 2]
    return grid


def test_identity_by_hand(xp: Any) -> None:
    theta = xp.asarray([[[1.0, 0, 0], [0, 1, 0]]])
    aligned, _ = stn_np.affine_grid(theta, (2, 3))
    assert_equal(aligned, [[[[-1, -1], [0, -1], [1, -1]], [[-1, 1], [0, 1], [1, 1]]]])
    centred, _ = stn_np.affine_grid(theta, (2, 4), align_corners=False)
    assert_equal(centred[0, :, :, 0], [[-0.75, -0.25, 0.25, 0.75]] * 2)
    assert_equal(centred[0, :, :, 1], [[-0.5] * 4, [0.5] * 4])


def test_one_matrix_by_hand(xp: Any) -> None:
    theta = xp.asarray([[[0.5, 0.25, 0.125], [-0.5, 2, -1]]])
    grid, backward = stn_np.affine_grid(theta, (2, 3))
    # x = x/2 + y/4 + 1/8; y = -x/2 + 2y - 1 at x in (-1, 0, 1), y in (-1, 1)
    assert_equal(grid[0, :, :, 0], [[-0.625, -0.125, 0.375], [-0.125, 0.375, 0.875]])
    assert_equal(grid[0, :, :, 1], [[-2.5, -3, -3.5], [1.5, 1, 0.5]])
    dgrid = xp.asarray([[[[1.0, 10], [2, 20], [3, 30]], [[4, 40], [5, 50], [6, 60]]]])
    # sums of d * x_t, d * y_t and d: (-1 - 4 + 3 + 6), (-1 - 2 - 3 + 4 + 5 + 6), 21
    assert_equal(backward(dgrid), [[[4, 9, 21], [40, 90, 210]]])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
def test_equals_the_literal_loops(xp: Any, rng: Any, corners: bool, dtype: Any) -> None:
    for shape in SHAPES:
        theta = rng.normal(size=(3, 2, 3)).astype(dtype)
        grid, backward = stn_np.affine_grid(xp.asarray(theta), shape, align_corners=corners)
        assert grid.dtype == dtype
        eps = 8 * np.finfo(dtype).eps
        assert_close(grid, affine_loops(theta, *shape, corners), eps)

        # theta -> grid is linear: its pullback is the transposed matrix, column by column.
        dgrid = rng.normal(size=grid.shape).astype(dtype)
        dtheta = backward(xp.asarray(dgrid))
        assert dtheta.dtype == dtype
        expected = np.zeros((3, 2, 3))
        for n, r, c in np.ndindex(3, 2, 3):
            unit = np.zeros((3, 2, 3))
            unit[n, r, c] = 1
            expected[n, r, c] = inner(affine_loops(unit, *shape, corners), dgrid)
        assert_close(dtheta, expected, eps)


@given(
    N=st.integers(0, 4), H=st.integers(1, 9), W=st.integers(1, 9),
    corners=st.booleans(), family=st.sampled_from(["affine", "attention"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_pullback_is_the_transpose(
    xp: Any, N: int, H: int, W: int, corners: bool, family: str, seed: int
) -> None:
    rng, transform = np.random.default_rng(seed), by_name(family)
    theta = rng.normal(size=(N, transform.n_params))
    grid, backward = transform(xp.asarray(theta), (H, W), align_corners=corners)
    assert grid.shape == (N, H, W, 2)
    g = rng.normal(size=grid.shape)
    dtheta = backward(xp.asarray(g))
    assert dtheta.shape == theta.shape
    assert inner(grid, g) == pytest.approx(inner(theta, dtheta), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("corners", CORNERS)
def test_families_are_special_cases_of_the_affine_grid(xp: Any, rng: Any, corners: bool) -> None:
    def grid_of(matrix: np.ndarray) -> Any:
        return stn_np.affine_grid(xp.asarray(matrix), (3, 5), align_corners=corners)[0]

    theta = rng.normal(size=(2, 6))
    affine, _ = Affine()(xp.asarray(theta), (3, 5), align_corners=corners)
    assert_equal(affine, grid_of(theta.reshape(2, 2, 3)))

    s, tx, ty = theta[:, :3].T
    zero = np.zeros(2)
    matrix = np.array([[s, zero, tx], [zero, s, ty]]).transpose(2, 0, 1)  # eq. (2)
    attention, backward = Attention()(
        xp.asarray(theta[:, :3].copy()), (3, 5), align_corners=corners
    )
    assert_equal(attention, grid_of(matrix))
    g, points = rng.normal(size=(2, 3, 5, 2)), target_points((3, 5), corners)
    expected = [[inner(g[n], points), g[n, ..., 0].sum(), g[n, ..., 1].sum()] for n in range(2)]
    assert_close(backward(xp.asarray(g)), expected, 1e-13)


def test_attributes_of_the_families() -> None:
    for name, transform in ((n, by_name(n)) for n in ("affine", "attention")):
        assert transform.name == name
        assert transform.identity.shape == (transform.n_params,)
        grid, _ = transform(transform.identity[None], (4, 3))
        assert_close(grid, target_points((4, 3), True)[None], 1e-15)
    assert (by_name("affine").n_params, by_name("attention").n_params) == (6, 3)


def test_a_scale_below_one_reads_the_middle(xp: Any) -> None:
    grid, _ = Attention()(xp.asarray([[0.5, 0.25, -0.5]]), (3, 3))
    assert_equal(grid[0, 0, :, 0], [-0.25, 0.25, 0.75])
    assert_equal(grid[0, :, 0, 1], [-1.0, -0.5, 0.0])


def test_float16_gives_float32_coordinates_and_a_float16_gradient(xp: Any) -> None:
    for transform in (Affine(), Attention()):
        theta = xp.asarray(transform.identity[None].astype(np.float16))
        grid, backward = transform(theta, (5, 7))
        assert grid.dtype == np.float32
        assert_equal(grid[0, 0, :, 0], np.linspace(-1, 1, 7).astype(np.float32))
        assert backward(xp.ones(grid.shape, np.float32)).dtype == np.float16


def test_a_list_will_do_for_out_shape(xp: Any) -> None:
    theta = xp.asarray([[[1.0, 0, 0], [0, 1, 0]]])
    assert stn_np.affine_grid(theta, [np.int64(2), 3])[0].shape == (1, 2, 3, 2)  # type: ignore[arg-type]
