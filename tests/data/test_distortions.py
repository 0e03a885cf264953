"""R and RTS against pixel-space matrices with SciPy as the sampler, and what all kinds share."""

from __future__ import annotations

import numpy as np
import pytest
from scripted import Scripted, check_uniform, pictures

from stn_np.data import distort, distorted_size, fixed_test_set, random_theta
from stn_np.data.dataset import Dataset
from stn_np.data.distortions import KINDS, warp

RANDOM = ["R", "RTS", "P", "E", "TC"]


def oracle(image, angle, scale, place, out_size):
    """Turn counter-clockwise by degrees, scale, move by place = (x, y), about the centres."""
    ndimage = pytest.importorskip("scipy.ndimage")

    def shift(x, y):
        return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], float)

    a = np.deg2rad(angle)
    # Counter-clockwise for somebody who sees y pointing downwards: (1, 0) goes to (cos, -sin).
    turn = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    (h, w), (H, W) = image.shape, out_size
    forward = (
        shift((W - 1) / 2 + place[0], (H - 1) / 2 + place[1])
        @ np.diag([scale, scale, 1])
        @ turn
        @ shift(-(w - 1) / 2, -(h - 1) / 2)
    )
    y, x = np.mgrid[:H, :W]
    x, y, _ = np.einsum("ij,jhw->ihw", np.linalg.inv(forward), np.stack([x, y, np.ones_like(x)]))
    return ndimage.map_coordinates(
        image.astype(np.float64), [y, x], order=1, mode="grid-constant", prefilter=False
    )


def test_a_quarter_turn_is_counter_clockwise():
    x = pictures(1, (28, 28))
    expected = np.rot90(x[0, 0])  # counter-clockwise, the first row being the top
    np.testing.assert_allclose(distort(x, "R", Scripted(90, 1))[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(28, 28), (20, 31), (2, 5)])
def test_rotation_against_scipy(size):
    angles = np.array([-90, -61.5, -3, 0, 10, 45, 88])
    x = pictures(len(angles), size)
    y = distort(x, "R", Scripted(angles, np.ones(len(angles))))
    assert y.dtype == np.float32
    for image, turned, angle in zip(x[:, 0], y[:, 0], angles, strict=True):
        np.testing.assert_allclose(turned, oracle(image, angle, 1, (0, 0), size), atol=2e-5)


@pytest.mark.parametrize("size", [(28, 28), (20, 31)])
def test_rts_against_scipy(size):
    angles, scales = np.array([-45, -20, 0, 7, 45]), np.array([0.7, 1.2, 1, 0.93, 1.1])
    where = np.array([(-1, -1), (1, -1), (0, 0), (0.3, -0.8), (-0.2, 1)])
    x = pictures(5, size)
    y = distort(x, "RTS", Scripted(angles, scales, where))
    out_size = distorted_size("RTS", size)
    assert y.shape == (5, 1, *out_size)
    for i in range(5):
        room = (np.array(out_size) - scales[i] * np.array(size)) / 2  # (y, x)
        expected = oracle(x[i, 0], angles[i], scales[i], where[i] * room[::-1], out_size)
        np.testing.assert_allclose(y[i, 0], expected, atol=5e-5)


def test_rts_places_are_columns_then_rows():
    y = distort(np.ones((1, 1, 20, 28), np.float32), "RTS", Scripted(0, 1, (-1, 1)))[0, 0]
    expected = np.zeros((30, 42))
    expected[-20:, :28] = 1  # left and at the bottom
    np.testing.assert_allclose(y, expected, atol=1e-5)


def decompose(theta, size, out_size):
    """Angle in degrees, scale, and the source centre's place in the target, by linear algebra."""
    half, half_out = (np.array(s[::-1]) / 2 - 0.5 for s in (size, out_size))
    A = theta[:, :, :2].astype(float) * half[:, None] / half_out  # in pixels
    b = theta[:, :, 2].astype(float) * half
    angle = np.rad2deg(np.arctan2(A[:, 1, 0], A[:, 0, 0]))
    return angle, np.linalg.det(A) ** -0.5, -np.linalg.solve(A, b[:, :, None])[:, :, 0]


def test_ranges_of_r():
    theta = random_theta("R", 5000, np.random.default_rng(0), (28, 28))
    assert theta.shape == (5000, 2, 3)
    assert theta.dtype == np.float32
    angle, scale, _ = decompose(theta, (28, 28), (28, 28))
    check_uniform(angle, -90, 90)
    np.testing.assert_allclose(scale, 1, atol=1e-5)
    np.testing.assert_array_equal(theta[:, :, 2], 0)


def test_ranges_of_rts():
    theta = random_theta("RTS", 5000, np.random.default_rng(0), (28, 28))
    angle, scale, place = decompose(theta, (28, 28), (42, 42))
    check_uniform(angle, -45, 45)
    check_uniform(scale, 0.7, 1.2)
    room = (42 - 28 * scale[:, None]) / 2
    check_uniform((place / room)[:, 0], -1, 1)
    check_uniform((place / room)[:, 1], -1, 1)
    assert np.abs(np.corrcoef([angle, scale, *(place / room).T]) - np.eye(4)).max() < 0.05


def test_a_digit_of_rts_stays_inside():
    y, x = np.mgrid[:28, :28] - 13.5
    disc = (np.hypot(x, y) < 13).astype(np.float32)
    out = distort(np.tile(disc, (500, 1, 1, 1)), "RTS", np.random.default_rng(0))
    assert out.shape == (500, 1, 42, 42)
    _, scale, _ = decompose(
        random_theta("RTS", 500, np.random.default_rng(0), (28, 28)), (28, 28), (42, 42)
    )
    np.testing.assert_allclose(out.sum((1, 2, 3)), disc.sum() * scale**2, rtol=0.02)


def test_a_distortion_is_a_warp_by_random_maps():
    x = pictures(5, (20, 28))
    for kind in ("R", "RTS"):
        theta = random_theta(kind, 5, np.random.default_rng(1), (20, 28))
        warped = warp(x, theta, distorted_size(kind, (20, 28)))
        np.testing.assert_array_equal(distort(x, kind, np.random.default_rng(1)), warped)


def test_none_changes_nothing():
    x = pictures(3, (5, 6))
    assert distort(x, "none", np.random.default_rng(0)) is x
    assert distorted_size("none", (5, 6)) == (5, 6)
    theta = random_theta("none", 2, np.random.default_rng(0), (5, 6))
    np.testing.assert_array_equal(theta, [np.eye(2, 3)] * 2)


@pytest.mark.parametrize("kind", KINDS)
def test_no_pictures(kind):
    y = distort(np.empty((0, 1, 28, 28), np.float32), kind, np.random.default_rng(0))
    assert y.shape == (0, 1, *distorted_size(kind, (28, 28)))


def test_sizes():
    assert distorted_size("R", (28, 28)) == (28, 28)
    assert distorted_size("RTS", (28, 28)) == (42, 42)
    assert distorted_size("RTS", (20, 30)) == (30, 45)
    assert distorted_size("P", (20, 30)) == distorted_size("E", (20, 30)) == (20, 30)
    assert distorted_size("TC", (28, 28)) == (60, 60)
    assert distorted_size("TC", (14, 42)) == (30, 90)


def test_the_kinds_are_the_papers():
    assert list(KINDS) == ["none", *RANDOM]


@pytest.mark.parametrize("kind", RANDOM)
def test_the_same_generator_gives_the_same_bits(kind):
    x = pictures(20, (12, 10))
    first, again, other = (distort(x, kind, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    rng = np.random.default_rng(3)
    distort(x, kind, rng)
    assert np.abs(distort(x, kind, rng) - first).max() > 0.1  # fresh in every epoch


@pytest.mark.parametrize("kind", RANDOM)
def test_each_picture_is_distorted_in_its_own_way(kind):
    x = np.tile(pictures(1, (9, 9)), (4, 1, 1, 1))
    y = distort(x, kind, np.random.default_rng(0))
    assert all(np.abs(y[i] - y[j]).max() > 0.01 for i in range(4) for j in range(i))


def test_channels_move_together():
    x = pictures(1, (9, 9))
    y = distort(np.concatenate([x, 2 * x], 1), "R", np.random.default_rng(0))
    np.testing.assert_allclose(y[:, 1], 2 * y[:, 0], atol=1e-6)


@pytest.fixture
def test_half():
    return Dataset("x", pictures(11, (8, 6)), np.arange(11) % 3, ("a", "b", "c"), "a note")


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_the_dtype_is_kept(kind, dtype):
    y = distort(pictures(2, (9, 12)).astype(dtype), kind, np.random.default_rng(0))
    assert y.dtype == dtype


@pytest.mark.parametrize("kind", RANDOM)
def test_fixed_test_set(test_half, kind, monkeypatch):
    before = test_half.images.copy()
    fixed, again, other = (fixed_test_set(test_half, kind, s) for s in (0, 0, 1))
    monkeypatch.setattr("stn_np.data.distortions.warping.BLOCK", 4)
    in_blocks = fixed_test_set(test_half, kind, 0)
    assert fixed.images.shape == (11, 1, *distorted_size(kind, (8, 6)))
    assert fixed.images.dtype == np.float32
    np.testing.assert_array_equal(fixed.images, again.images)
    np.testing.assert_allclose(fixed.images, in_blocks.images, atol=1e-6)
    assert np.abs(fixed.images - other.images).max() > 0.1
    np.testing.assert_array_equal(fixed.labels, test_half.labels)
    assert (fixed.name, fixed.class_names, fixed.note) == ("x", ("a", "b", "c"), "a note")
    np.testing.assert_array_equal(test_half.images, before)
    # Not what a training run draws from the same seed.
    trained = distort(test_half.images, kind, np.random.default_rng(0))
    assert np.abs(fixed.images - trained).max() > 0.1


def test_fixed_test_set_of_none_is_the_test_set(test_half):
    assert fixed_test_set(test_half, "none", 0) is test_half


def test_wrong_arguments(test_half):
    rng, x = np.random.default_rng(0), pictures(1, (4, 4))
    with pytest.raises(ValueError, match=r"kind: expected one of .* got 'RST'; did you mean 'RTS'"):
        distort(x, "RST", rng)
    with pytest.raises(ValueError, match="kind: expected one of"):
        fixed_test_set(test_half, "T", 0)
    with pytest.raises(ValueError, match=r"images: expected shape \(N, C, H, W\)"):
        distort(x[0], "R", rng)
    with pytest.raises(TypeError, match="images: expected a floating-point dtype, got uint8"):
        distort(x.astype(np.uint8), "R", rng)
    with pytest.raises(TypeError, match=r"rng: expected a numpy\.random\.Generator, got int"):
        distort(x, "R", 0)
    with pytest.raises(ValueError, match="size: expected at least 2 pixels along both axes"):
        distort(x[:, :, :1], "R", rng)
    with pytest.raises(ValueError, match="seed: expected at least 0, got -1"):
        fixed_test_set(test_half, "R", -1)
    with pytest.raises(ValueError, match="kind: expected one of 'none', 'R', 'RTS', got 'P'"):
        random_theta("P", 1, rng, (4, 4))
