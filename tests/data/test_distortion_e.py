"""The distortion E, against SciPy's thin plate spline and sampler."""

from __future__ import annotations

import numpy as np
import pytest
from scripted import Scripted, check_uniform, pictures

from stn_np.data import distort
from stn_np.data.distortions.elastic import Elastic


def control_points(size):
    """16 points, row after row, from corner to corner: (x, y) in pixels."""
    H, W = size
    return np.array([(x, y) for y in np.linspace(0, H - 1, 4) for x in np.linspace(0, W - 1, 4)])


def oracle(image, scale, normals):
    """The plate is bent over [-1, 1] x [-1, 1], whatever the picture's shape."""
    interpolate = pytest.importorskip("scipy.interpolate")
    ndimage = pytest.importorskip("scipy.ndimage")
    H, W = image.shape
    half = np.array([(W - 1) / 2, (H - 1) / 2])
    points = control_points((H, W))
    moved = points + normals * 1.5 * np.array([W / 28, H / 28])
    bend = interpolate.RBFInterpolator(
        points / half - 1, moved, kernel="thin_plate_spline", degree=1
    )
    y, x = np.mgrid[:H, :W]
    bent = bend(np.stack([x.ravel(), y.ravel()], 1) / half - 1)
    u, v = ((bent - half) / scale + half).T.reshape(2, H, W)
    return ndimage.map_coordinates(
        image.astype(np.float64), [v, u], order=1, mode="grid-constant", prefilter=False
    )


@pytest.mark.parametrize("size", [(28, 28), (20, 31)])
def test_against_scipy(size):
    rng = np.random.default_rng(1)
    x = pictures(20, size)
    scales, normals = rng.uniform(0.75, 1, (20, 1, 1)), rng.normal(size=(20, 16, 2))
    y = distort(x, "E", Scripted(scales, normals))
    assert y.shape == x.shape and y.dtype == np.float32
    for i in range(20):
        expected = oracle(x[i, 0], scales[i, 0, 0], normals[i])
        np.testing.assert_allclose(y[i, 0], expected, atol=1e-4)


def test_nothing_moved_and_nothing_scaled_is_the_picture():
    x = pictures(3, (13, 28))
    np.testing.assert_allclose(distort(x, "E", Scripted(1.0, 0.0)), x, atol=1e-6)


def test_a_scaled_picture_is_smaller():
    y = distort(np.ones((1, 1, 28, 28), np.float32), "E", Scripted(0.75, 0.0))[0, 0]
    assert y.sum() == pytest.approx((0.75 * 28) ** 2, rel=1e-4)
    np.testing.assert_array_equal(y[:3], 0)


def test_the_scale_is_uniform():
    kind = Elastic(sigma=0)
    theta = kind.random_theta(5000, np.random.default_rng(0), (28, 28)).astype(float)
    assert theta.shape == (5000, 32)
    check_uniform(1 / theta[:, -1], 0.75, 1)
    np.testing.assert_allclose(theta, theta[:, -1:] * kind.transform.identity, atol=1e-6)


@pytest.mark.parametrize("size", [(28, 28), (14, 56)])
def test_control_points_are_moved_by_one_and_a_half_pixels(size):
    kind = Elastic(scale=(1, 1))
    theta = kind.random_theta(20_000, np.random.default_rng(0), size)
    assert theta.dtype == np.float32
    half, unit = (np.array(size[::-1]) - 1) / 2, np.array(size[::-1]) / 28
    points = (theta.reshape(-1, 16, 2) + 1) * half
    pixels = ((points - control_points(size)) / unit).reshape(-1, 32)
    assert np.abs(pixels.mean(0)).max() < 0.05
    np.testing.assert_allclose(pixels.std(0), 1.5, rtol=0.02)
    assert np.abs(np.corrcoef(pixels.T) - np.eye(32)).max() < 0.04
    share = (np.abs(pixels) < 1.5).mean()  # of a normal distribution, 68.3 %
    assert share == pytest.approx(0.683, abs=0.01)
