"""The distortion TC: where the digit is, and where each piece beside it comes from."""

from __future__ import annotations

import numpy as np
import pytest
from scripted import Scripted, check_uniform, pictures

from stn_np.data import distort, distorted_size
from stn_np.data.distortions.cluttered import Cluttered


def numbered(n, size):
    """Pictures in which every pixel has a value of its own: it tells where it comes from."""
    return np.arange(1.0, n * size[0] * size[1] + 1).reshape(n, 1, *size)


def origin(values, images):
    """(picture, y, x) that values come from."""
    _, _, H, W = images.shape
    return np.stack(np.unravel_index(values.astype(int) - 1, (len(images), H, W)))


@pytest.mark.parametrize(
    ("size", "out_size", "patch"),
    [((28, 28), (60, 60), (6, 6)), ((20, 31), (43, 66), (4, 7)), ((2, 3), (4, 6), (1, 1))],
)
def test_against_loops(size, out_size, patch):
    assert distorted_size("TC", size) == out_size
    rng, N = np.random.default_rng(0), 5
    images = pictures(N, size)
    draws, expected = [], np.zeros((N, 1, *out_size), np.float32)

    def place(piece_of, piece_size):
        y, x = (rng.integers(0, out_size[a] - piece_size[a] + 1, N) for a in (0, 1))
        y[0], x[0] = 0, 0  # both ends of the range are possible
        y[1], x[1] = out_size[0] - piece_size[0], out_size[1] - piece_size[1]
        for i in range(N):
            for dy in range(piece_size[0]):
                for dx in range(piece_size[1]):
                    here = expected[i, 0, y[i] + dy : y[i] + dy + 1, x[i] + dx : x[i] + dx + 1]
                    here[...] = max(here[0, 0], piece_of(i)[dy, dx])
        return [y, x]

    draws += place(lambda i: images[i, 0], size)
    for _ in range(6):
        step = rng.integers(1, N, N)
        v, u = (rng.integers(0, size[a] - patch[a] + 1, N) for a in (0, 1))
        v[2], u[2] = size[0] - patch[0], size[1] - patch[1]
        draws += [step, v, u]
        draws += place(lambda i, s=step, v=v, u=u: images[(i + s[i]) % N, 0, v[i] :, u[i] :], patch)
    rng_given = Scripted(*draws)
    np.testing.assert_array_equal(distort(images, "TC", rng_given), expected)
    assert rng_given.draws == []


def test_the_digit_is_intact_and_all_places_are_equally_likely():
    images = numbered(6000, (28, 28))
    y = Cluttered(n_patches=0)(images, np.random.default_rng(0))
    assert y.shape == (6000, 1, 60, 60) and y.dtype == np.float64
    top, left = (np.argmax((y > 0).any(axis)[:, 0], axis=1) for axis in (3, 2))
    for i in range(len(images)):
        shown = y[i, 0, top[i] : top[i] + 28, left[i] : left[i] + 28]
        np.testing.assert_array_equal(shown, images[i, 0])
    np.testing.assert_array_equal((y > 0).sum((1, 2, 3)), 28 * 28)  # and nothing else
    for place in (top, left):
        assert (place.min(), place.max()) == (0, 32)
        check_uniform(place + np.random.default_rng(1).random(6000) - 0.5, -0.5, 32.5)
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.05


def test_a_patch_is_a_piece_of_another_picture():
    """With one patch, later pictures being brighter: what is not the digit is one 6 x 6 piece."""
    images = numbered(400, (28, 28))
    y = Cluttered(n_patches=1)(images, np.random.default_rng(0))
    pieces, sources = [], []
    for i in range(len(images)):
        rows, columns = np.nonzero(y[i, 0])
        picture, v, u = origin(y[i, 0][rows, columns], images)
        own = picture == i
        others = set(picture[~own].tolist())
        assert len(others) <= 1  # 0: it lies below the digit
        # each at one distance from where it was, for the digit and for the piece
        for part in (own, ~own):
            assert len(np.unique(rows[part] - v[part])) <= 1
            assert len(np.unique(columns[part] - u[part])) <= 1
        assert (~own).sum() <= 36
        if (~own).sum() == 36:
            assert np.ptp(v[~own]) == np.ptp(u[~own]) == 5
            pieces.append((v[~own].min(), u[~own].min(), rows[~own].min(), columns[~own].min()))
        sources += [(next(iter(others)) - i) % 400] if others else []
    assert len(pieces) > 250
    pieces = np.array(pieces)
    np.testing.assert_array_equal(pieces.min(0), 0)
    np.testing.assert_array_equal(pieces.max(0), [22, 22, 54, 54])
    check_uniform_share = np.histogram(sources, 4, (0, 400))[0] / len(sources)
    assert np.abs(check_uniform_share - 0.25).max() < 0.07


def test_six_patches_each_of_its_own_source():
    images = numbered(200, (28, 28))
    y = distort(images, "TC", np.random.default_rng(0))
    found = []
    for i in range(200):
        picture, *_ = origin(y[i, 0][y[i, 0] > 0], images)
        assert i in picture or i < 30  # the digit is seen; the first are the darkest
        found.append(len(set(picture.tolist()) - {i}))
    assert max(found) == 6
    assert np.mean(found) > 4.5  # some lie below brighter ones


def test_the_brighter_pixel_is_seen():
    images = np.stack([np.full((1, 28, 28), 0.2), np.full((1, 28, 28), 0.9)]).astype(np.float32)
    zero, step = np.array([0]), np.array([1])
    rng = Scripted(zero, zero, *[step, zero, zero, zero, zero] * 6)
    y = distort(images, "TC", rng)
    expected = np.zeros((2, 60, 60), np.float32)
    expected[0, :28, :28], expected[0, :6, :6], expected[1, :28, :28] = 0.2, 0.9, 0.9
    np.testing.assert_array_equal(y[:, 0], expected)


def test_a_picture_that_is_alone_lends_itself_its_patches():
    image = pictures(1, (28, 28)) / 2 + 0.5
    y = distort(image, "TC", np.random.default_rng(1))
    assert y.shape == (1, 1, 60, 60)
    assert (y > 0).sum() > 28 * 28  # patches beside the digit
    assert set(y.ravel().tolist()) <= {0.0, *image.ravel().tolist()}


def test_of_two_the_patches_are_the_others():
    images = np.stack([np.full((1, 28, 28), v, np.float32) for v in (0.25, 0.75)])
    rng = np.random.default_rng(0)
    for _ in range(50):
        y = Cluttered(n_patches=1)(images, rng)
        assert (y[0] == 0.75).sum() == 36  # the brighter one: wholly seen
        assert (y[1] == 0.75).sum() == 28 * 28


def test_images_are_not_changed():
    images = pictures(4, (28, 28))
    before = images.copy()
    distort(images, "TC", np.random.default_rng(0))
    np.testing.assert_array_equal(images, before)


def test_channels_stay_together():
    images = pictures(4, (28, 28))
    y = distort(np.concatenate([images, 2 * images], 1), "TC", np.random.default_rng(0))
    np.testing.assert_array_equal(y[:, 1], 2 * y[:, 0])
