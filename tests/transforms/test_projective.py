"""The projective family: values by hand, and the horizon."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from maps import projective as one_point
from oracles import CORNERS, FLOATS, assert_close, assert_equal, central_slope, inner, target_points

import stn_np
from stn_np.backend import to_numpy
from stn_np.transforms import Affine, Projective
from stn_np.transforms.projective import LEAST_DEPTH, OUTSIDE

#: The horizon is the line x/2 + y = -0.9: the upper left corner of the target lies behind it.
TILTED = np.array([1.1, 0.2, 0.3, -0.1, 0.9, -0.2, 0.5 / 0.9, 1 / 0.9])
SHAPE = (6, 9)


def depth(theta: np.ndarray, shape: tuple[int, int], corners: bool) -> np.ndarray:
    """h_3 p of every target point."""
    points = target_points(shape, corners)
    w: np.ndarray = points @ theta[6:] + 1
    return w


def test_values_by_hand(xp: Any) -> None:
    theta = xp.asarray([[1.0, 0, 0.5, 0, 2, 0, 0.5, 0.25]])
    grid, backward = Projective()(theta, (2, 3))
    # w = 1 + x/2 + y/4: (0.25, 0.75, 1.25) above, (0.75, 1.25, 1.75) below
    assert_close(grid[0, :, :, 0], [[-2, 2 / 3, 1.2], [-2 / 3, 0.4, 6 / 7]], 1e-15)
    assert_close(grid[0, :, :, 1], [[-8, -8 / 3, -1.6], [8 / 3, 1.6, 8 / 7]], 1e-15)
    g = np.zeros((1, 2, 3, 2))
    g[0, 0, 0] = 1, 10  # at (-1, -1), w = 1/4
    # (x, y, 1)/w for the rows of x and y; for the last -(1 s_x + 10 s_y)/w (x, y)
    expected = [[-4, -4, 4, -40, -40, 40, -328, -328]]
    assert_close(backward(xp.asarray(g)), expected, 1e-14)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
def test_without_a_horizon_it_is_affine(xp: Any, rng: Any, corners: bool, dtype: Any) -> None:
    theta = np.zeros((3, 8), dtype)
    theta[:, :6] = rng.normal(size=(3, 6))
    grid, backward = Projective()(xp.asarray(theta), SHAPE, align_corners=corners)
    affine, affine_backward = Affine()(xp.asarray(theta[:, :6]), SHAPE, align_corners=corners)
    eps = 8 * np.finfo(dtype).eps
    assert_close(grid, to_numpy(affine), eps)
    g = xp.asarray(rng.normal(size=grid.shape).astype(dtype))
    assert_close(backward(g)[:, :6], to_numpy(affine_backward(g)), eps)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
def test_points_behind_the_horizon_lie_outside(xp: Any, corners: bool, dtype: Any) -> None:
    """Those in front follow the formula; the rest have one place, and there is some of each."""
    theta = np.stack([TILTED, Projective.identity]).astype(dtype)
    grid, _ = Projective()(xp.asarray(theta), SHAPE, align_corners=corners)
    grid, points = to_numpy(grid), target_points(SHAPE, corners)
    behind = depth(theta[0].astype(np.float64), SHAPE, corners) <= LEAST_DEPTH
    assert 3 <= behind.sum() <= 20
    assert_equal(grid[0][behind], np.full((behind.sum(), 2), OUTSIDE))
    expected = [one_point(theta[0].astype(np.float64), p, (0, 0)) for p in points[~behind]]
    assert_close(grid[0][~behind], np.array(expected), 1e3 * np.finfo(dtype).eps)
    assert_equal(grid[1], points.astype(dtype))


def test_exactly_on_the_horizon(xp: Any) -> None:
    """Depths 0, 1/1024 and a little more: x = -1, where h_3 p = 1 - theta[6]."""
    for w, lost in ((0.0, True), (LEAST_DEPTH, True), (LEAST_DEPTH * 1.01, False), (-1.0, True)):
        theta = Projective.identity[None].copy()
        theta[0, 6] = 1 - w
        grid, backward = Projective()(xp.asarray(theta), (1, 3))
        assert_equal(grid[0, 0, 1:], [[0, 0], [1 / (2 - w), 0]])
        if lost:
            assert_equal(grid[0, 0, 0], [OUTSIDE, OUTSIDE])
        else:
            assert_close(grid[0, 0, 0], [-1 / w, 0], 1e-10)
        g = xp.asarray(np.array([[[[1.0, 1], [0, 0], [0, 0]]]]))
        assert to_numpy(backward(g)).any() != lost


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", CORNERS)
def test_what_lies_behind_is_read_as_padding(
    xp: Any, rng: Any, padding: str, corners: bool
) -> None:
    U = rng.uniform(1, 2, (1, 2, 5, 7))
    grid, grid_backward = Projective()(xp.asarray(TILTED[None]), SHAPE, align_corners=corners)
    V, backward = stn_np.grid_sample(
        xp.asarray(U), grid, padding_mode=padding, align_corners=corners
    )
    behind = depth(TILTED, SHAPE, corners) <= LEAST_DEPTH
    outside = np.zeros(2) if padding == "zeros" else U[0, :, 0, 0]
    assert_equal(to_numpy(V)[0][:, behind], np.stack([outside] * behind.sum(), axis=1))
    dU, dgrid = backward(xp.asarray(behind * rng.normal(size=V.shape)))  # from behind only
    assert_equal(dgrid, np.zeros(dgrid.shape))
    assert_equal(grid_backward(dgrid), np.zeros((1, 8)))
    assert to_numpy(dU).any() == (padding != "zeros")


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_gradient_comes_from_behind(xp: Any, rng: Any, dtype: Any) -> None:
    """However large it is upstream; what comes from the front is the slope of the formula."""
    theta = np.stack([TILTED, Projective.identity + 0.1]).astype(dtype)
    grid, backward = Projective()(xp.asarray(theta), SHAPE)
    behind = np.stack([depth(t.astype(np.float64), SHAPE, True) <= LEAST_DEPTH for t in theta])
    assert behind[0].any() and not behind[1].any()
    g = rng.normal(size=grid.shape).astype(dtype)
    front = np.where(behind[..., None], 0, g).astype(dtype)
    huge = np.where(behind[..., None], 1e30, g).astype(dtype)
    assert_equal(backward(xp.asarray(huge)), to_numpy(backward(xp.asarray(front))))
    assert_equal(backward(xp.asarray(huge - front)), np.zeros((2, 8)))
    for value in (np.inf, np.nan):
        wild = np.where(behind[..., None], value, g).astype(dtype)
        assert_equal(backward(xp.asarray(wild)), to_numpy(backward(xp.asarray(front))))
    if dtype == np.float64:
        points = target_points(SHAPE, True)

        def value(t: np.ndarray) -> float:
            return sum(
                inner(np.array(one_point(t[n], points[i, j], (0, 0))), front[n, i, j])
                for n, i, j in zip(*np.nonzero(~behind), strict=True)
            )

        for index in np.ndindex(theta.shape):
            v = np.zeros(theta.shape)
            v[index] = 1
            slope = central_slope(lambda t, v=v: value(theta + (t - theta) / 100), theta, v) * 100
            got = to_numpy(backward(xp.asarray(front)))[index]
            assert got == pytest.approx(slope, rel=1e-5, abs=1e-6)


@given(seed=st.integers(0, 10_000), size=st.sampled_from([0.5, 2.0, 30.0, 1e4, 1e15]))
def test_all_is_finite_in_float32(xp: Any, seed: int, size: float) -> None:
    """Close to the horizon and far behind it, with upstream gradients of the size of pixels."""
    rng = np.random.default_rng(seed)
    theta = (rng.normal(size=(4, 8)) * size).astype(np.float32)
    theta[0, 6:] = -1 + LEAST_DEPTH * rng.uniform(1, 1.1), 0  # the right edge grazes the limit
    grid, backward = Projective()(xp.asarray(theta), (5, 4))
    dtheta = backward(xp.asarray(rng.normal(size=grid.shape).astype(np.float32)))
    for a in (grid, dtheta):
        assert a.dtype == np.float32
        assert np.isfinite(to_numpy(a)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
@pytest.mark.parametrize("dtype", FLOATS)
def test_wild_numbers_are_lost_points(xp: Any, rng: Any, value: float, dtype: Any) -> None:
    """Finite coordinates and finite gradients, whatever theta is."""
    theta = np.stack([Projective.identity] * 9).astype(dtype)
    theta[np.arange(8), np.arange(8)] = value
    grid, backward = Projective()(xp.asarray(theta), (4, 5))
    g = rng.normal(size=grid.shape).astype(dtype)
    dtheta = to_numpy(backward(xp.asarray(g)))
    if dtype == np.float32 or not np.isfinite(value):
        assert np.isfinite(to_numpy(grid)).all()
        assert np.isfinite(dtheta).all()
    if np.isnan(value):
        assert_equal(grid[:8], np.full((8, 4, 5, 2), OUTSIDE))
        assert_equal(dtheta[:8], np.zeros((8, 8)))
    assert_equal(grid[8], target_points((4, 5), True).astype(dtype))
    assert dtheta[8].all()


@pytest.mark.parametrize("theta", [Projective.identity + 0.1, TILTED], ids=["in front", "tilted"])
def test_the_grid_may_be_changed_before_the_pullback(xp: Any, rng: Any, theta: Any) -> None:
    g = xp.asarray(rng.normal(size=(1, *SHAPE, 2)))
    grid, backward = Projective()(xp.asarray(theta[None]), SHAPE)
    expected = to_numpy(backward(g)).copy()
    grid += xp.asarray(rng.normal(size=grid.shape))
    assert_equal(backward(g), expected)


def test_the_batch_does_not_change_an_image(xp: Any, rng: Any) -> None:
    """Next to an image with a horizon another one gets the same grid and gradient."""
    fine = Projective.identity + rng.uniform(-0.2, 0.2, (2, 8))
    both = fine.copy()
    both[0] = TILTED
    g = xp.asarray(rng.normal(size=(2, *SHAPE, 2)))
    results = []
    for theta in (fine, both):
        grid, backward = Projective()(xp.asarray(theta), SHAPE)
        results.append((to_numpy(grid)[1], to_numpy(backward(g))[1]))
    for a, b in zip(*results, strict=True):
        assert_equal(a, b)
