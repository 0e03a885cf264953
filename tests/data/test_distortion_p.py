"""The distortion P, against homographies from a null space and SciPy as the sampler."""

from __future__ import annotations

import numpy as np
import pytest
from scripted import Scripted, check_uniform, pictures

from stn_np.data import distort
from stn_np.data.distortions.projective import CORNERS, Perspective, homography


def matrix(target, source):
    """The 3 x 3 homography that takes four points to four others: the null space of eight rows."""
    rows = []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, -u])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y, -v])
    return np.linalg.svd(np.array(rows, float))[2][-1].reshape(3, 3)


def oracle(image, scale, normals):
    """The picture with its corners moved, all in pixels; what is behind the horizon is empty."""
    ndimage = pytest.importorskip("scipy.ndimage")
    H, W = image.shape
    corners = np.array([(0, 0), (W - 1, 0), (W - 1, H - 1), (0, H - 1)], float)
    middle = np.array([(W - 1) / 2, (H - 1) / 2])
    moved = middle + scale * (corners - middle) + normals * 5 * np.array([W / 28, H / 28])
    M = matrix(moved, corners)
    M *= np.sign(M[2] @ [*middle, 1])  # positive before the horizon
    y, x = np.mgrid[:H, :W]
    u, v, w = np.einsum("ij,jhw->ihw", M, np.stack([x, y, np.ones_like(x)]).astype(float))
    visible = w > 0
    u, v = (np.where(visible, a / np.where(visible, w, 1), -9.0) for a in (u, v))
    return ndimage.map_coordinates(
        image.astype(np.float64), [v, u], order=1, mode="grid-constant", prefilter=False
    )


@pytest.mark.parametrize("size", [(28, 28), (20, 31)])
def test_against_scipy(size):
    rng = np.random.default_rng(1)
    x = pictures(20, size)
    scales, normals = rng.uniform(0.75, 1, (20, 1, 1)), 0.8 * rng.normal(size=(20, 4, 2))
    y = distort(x, "P", Scripted(scales, normals))
    assert y.shape == x.shape and y.dtype == np.float32
    for i in range(20):
        expected = oracle(x[i, 0], scales[i, 0, 0], normals[i])
        # float32 coordinates: more is lost the steeper the picture is tilted
        np.testing.assert_allclose(y[i, 0], expected, atol=2e-3)
        assert np.abs(y[i, 0] - expected).mean() < 3e-5


def test_a_moved_corner_is_where_the_corner_is_seen():
    x = np.zeros((1, 1, 28, 28), np.float32)
    x[0, 0, 0, 27] = 1  # the upper right pixel
    normals = np.zeros((1, 4, 2))
    normals[0, 1] = (-2 / 5, 3 / 5)  # two pixels to the left and three down
    y = distort(x, "P", Scripted(1.0, normals))[0, 0]
    assert np.unravel_index(y.argmax(), y.shape) == (3, 25)
    assert y.max() == pytest.approx(1, abs=1e-5)


def test_nothing_moved_and_nothing_scaled_is_the_picture():
    x = pictures(3, (13, 28))
    np.testing.assert_allclose(distort(x, "P", Scripted(1.0, 0.0)), x, atol=1e-5)


@pytest.mark.parametrize("own_source", [False, True])
def test_the_homography_takes_points_to_points(own_source):
    rng = np.random.default_rng(0)
    target = CORNERS + 0.3 * rng.uniform(-1, 1, (50, 4, 2))
    source = CORNERS + 0.3 * rng.uniform(-1, 1, (50, 4, 2)) if own_source else CORNERS
    theta = homography(target, source)
    assert theta.shape == (50, 8) and theta.dtype == np.float64
    for i in range(50):
        M = np.append(theta[i], 1).reshape(3, 3)
        for k in range(4):
            u, v, w = M @ [*target[i, k], 1]
            np.testing.assert_allclose(
                (u / w, v / w), np.broadcast_to(source, target.shape)[i, k], atol=1e-12
            )


def test_the_scale_is_uniform():
    corners = Perspective(sigma=0).random_corners(5000, np.random.default_rng(0), (28, 28))
    scale = corners[:, 2, 0]
    check_uniform(scale, 0.75, 1)
    np.testing.assert_allclose(corners, scale[:, None, None] * CORNERS, atol=1e-15)


@pytest.mark.parametrize("size", [(28, 28), (14, 56)])
def test_corners_are_moved_by_five_pixels(size):
    kind = Perspective(scale=(1, 1), least_area=-np.inf)
    corners = kind.random_corners(20_000, np.random.default_rng(0), size)
    half = (np.array(size[::-1]) - 1) / 2
    pixels = ((corners - CORNERS) * half / (np.array(size[::-1]) / 28)).reshape(-1, 8)
    assert np.abs(pixels.mean(0)).max() < 0.15
    np.testing.assert_allclose(pixels.std(0), 5, rtol=0.02)
    assert np.abs(np.corrcoef(pixels.T) - np.eye(8)).max() < 0.03
    share = (np.abs(pixels) < 5).mean()  # of a normal distribution, 68.3 %
    assert share == pytest.approx(0.683, abs=0.01)


UNFAIR = {
    "crossed": [(0, 0), (0, 30), (0, -30), (0, 0)],
    "dented": [(18, 18), (0, 0), (0, 0), (0, 0)],
    "nearly a triangle": [(12.5, 12.5), (0, 0), (0, 0), (0, 0)],
    "a line": [(0, 13.5), (0, 13.5), (0, -13.5), (0, -13.5)],
    "mirrored": [(27, 0), (-27, 0), (-27, 0), (27, 0)],
    "beside the middle": [(16, 0), (16, 0), (16, 0), (16, 0)],
}


@pytest.mark.parametrize("moves", UNFAIR.values(), ids=UNFAIR)
def test_what_is_no_picture_is_drawn_again(moves):
    fair = np.random.default_rng(0).normal(0, 0.5, (3, 4, 2))
    first = fair.copy()
    first[1] = np.array(moves) / 5
    scales = np.array([0.75, 1.0, 0.9]).reshape(3, 1, 1)
    rng = Scripted(scales, first, fair[1:2])
    corners = Perspective().random_corners(3, rng, (28, 28))
    assert rng.draws == []
    np.testing.assert_allclose(corners, scales * CORNERS + fair * 5 * 2 / 27, atol=1e-12)


def test_a_steep_but_fair_picture_is_kept():
    moves = np.array([(9, 9), (0, 0), (0, 0), (0, 0)]) / 5
    corners = Perspective().random_corners(1, Scripted(1.0, moves), (28, 28))
    np.testing.assert_allclose(corners[0, 0], -1 + 9 * 2 / 27)


def test_all_maps_are_fair():
    """The whole quadrangle lies before the horizon, is convex, and not mirrored."""
    theta = Perspective().random_theta(20_000, np.random.default_rng(0), (28, 28))
    assert theta.dtype == np.float32
    rng = np.random.default_rng(0)
    corners = Perspective().random_corners(20_000, rng, (28, 28))
    w = np.einsum("nk,nik->ni", theta[:, 6:], corners) + 1
    assert w.min() > 0.01
    M = np.concatenate([theta, np.ones((20_000, 1))], 1).reshape(-1, 3, 3)
    assert np.linalg.det(M).min() > 0
