"""Piecewise affine warps against literal triangles and Matplotlib's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import CORNERS, assert_close, assert_equal, normalised

import stn_np
from stn_np.backend import to_numpy
from stn_np.transforms import PiecewiseAffine


def triangles(k: int) -> list[tuple[int, int, int]]:
    """Two a cell, on both sides of the line from its top left to its bottom right corner."""
    corners = []
    for i in range(k - 1):
        for j in range(k - 1):
            a, b, c, d = i * k + j, i * k + j + 1, (i + 1) * k + j, (i + 1) * k + j + 1
            corners += [(a, b, d), (a, c, d)]
    return corners


def control_points(k: int) -> np.ndarray:
    line = np.linspace(-1, 1, k)
    return np.array([(x, y) for y in line for x in line])


def literal_grid(theta: np.ndarray, k: int, H: int, W: int, corners: bool) -> np.ndarray:
    """Look for each pixel through all triangles; on edges all that it belongs to must agree."""
    c, grid = control_points(k), np.zeros((len(theta), H, W, 2))
    source = theta.reshape(len(theta), k * k, 2)
    for i, j in np.ndindex(H, W):
        t = np.array([normalised(j, W, corners), normalised(i, H, corners), 1])
        found = []
        for triangle in map(list, triangles(k)):
            A = np.concatenate([c[triangle].T, np.ones((1, 3))])
            barycentric = np.linalg.solve(A, t)
            if (barycentric >= -1e-12).all():
                found.append(barycentric @ source[:, triangle])
        for other in found:
            assert_close(other, found[0], 1e-11)
        grid[:, i, j] = found[0]
    return grid


@given(
    k=st.integers(2, 5), H=st.integers(1, 7), W=st.integers(1, 7), corners=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_equals_the_literal_triangles(
    xp: Any, k: int, H: int, W: int, corners: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(2, 2 * k * k))
    grid, backward = PiecewiseAffine(k)(xp.asarray(theta), (H, W), align_corners=corners)
    assert_close(grid, literal_grid(theta, k, H, W, corners), 1e-11)
    # and its transpose: <s(theta), g> = <theta, pullback of g>, image by image
    g = rng.normal(size=grid.shape)
    dtheta = to_numpy(backward(xp.asarray(g)))
    expected = (literal_grid(theta, k, H, W, corners) * g).sum(axis=(1, 2, 3))
    assert_close((theta * dtheta).sum(axis=1), expected, 1e-10)


@pytest.mark.parametrize("k", [2, 4, 5])
def test_equals_matplotlib(xp: Any, rng: Any, k: int) -> None:
    tri = pytest.importorskip("matplotlib.tri")
    theta = rng.normal(size=(1, 2 * k * k))
    grid, _ = PiecewiseAffine(k)(xp.asarray(theta), (13, 17), align_corners=False)
    net = tri.Triangulation(*control_points(k).T, triangles(k))
    t = np.meshgrid(normalised(np.arange(17), 17, False), normalised(np.arange(13), 13, False))
    for axis in range(2):
        expected = tri.LinearTriInterpolator(net, theta[0, axis::2])(*t)
        assert not expected.mask.any()
        assert_close(grid[0, :, :, axis], expected.data, 1e-12)


def test_one_cell_by_hand(xp: Any) -> None:
    """The diagonal runs from the top left to the bottom right corner."""
    theta = np.array([[0, 0, 8, 0, 0, 16, 4, 4.0]])  # top left, top right, bottom left, right
    grid, backward = PiecewiseAffine(2)(xp.asarray(theta), (3, 3))
    assert_equal(grid[0, :, :, 0], [[0, 4, 8], [0, 2, 6], [0, 2, 4]])
    assert_equal(grid[0, :, :, 1], [[0, 0, 0], [8, 2, 2], [16, 10, 4]])
    g = np.zeros((1, 3, 3, 2))
    g[0, 1, 1] = 2, 4  # on the diagonal: its two ends, half each
    g[0, 0, 1, 0] = 10
    assert_equal(backward(xp.asarray(g)), [[1 + 5, 2, 5, 0, 0, 0, 1, 2]])


@pytest.mark.parametrize("corners", CORNERS)
def test_affine_maps_stay_affine(xp: Any, rng: Any, corners: bool) -> None:
    A, family = rng.normal(size=(3, 2, 3)), PiecewiseAffine()
    c = np.column_stack([control_points(4), np.ones(16)])
    theta = (c @ A.transpose(0, 2, 1)).reshape(3, 32)
    grid, _ = family(xp.asarray(theta), (5, 9), align_corners=corners)
    assert_close(grid, stn_np.affine_grid(A, (5, 9), align_corners=corners)[0], 1e-13)


def test_a_control_point_moves_its_own_triangles_only(xp: Any) -> None:
    theta = np.stack([control_points(4).ravel()] * 2)
    theta[1, 2 * 5] += 0.1  # row 1, column 1
    grid, _ = PiecewiseAffine()(xp.asarray(theta), (7, 7))
    moved = to_numpy(grid[1, :, :, 0]) - to_numpy(grid[0, :, :, 0])
    share = np.zeros((7, 7))
    share[2, 2] = 1  # the control point; cells are two pixels wide
    for i, j in ((1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (3, 3)):  # the six edges that end there
        share[i, j] = 0.5
    assert_close(moved, 0.1 * share, 1e-15)
    assert_equal(grid[1, :, :, 1], grid[0, :, :, 1])


def test_gradient_by_finite_differences(xp: Any, rng: Any) -> None:
    family = PiecewiseAffine(3)
    stn_np.gradcheck(lambda t: family(t, (5, 4)), xp.asarray(rng.normal(size=(3, 18))))


def test_bad_sizes() -> None:
    for bad in (2.0, "3", None, True):
        with pytest.raises(TypeError, match="^k: expected a whole number, got"):
            PiecewiseAffine(bad)  # type: ignore[arg-type]
    for few in (1, 0, -3):
        with pytest.raises(ValueError, match="^k: expected at least 2, got"):
            PiecewiseAffine(few)
    assert PiecewiseAffine(np.int8(12)).n_params == 288  # type: ignore[arg-type]
