"""Pictures at another scale, against SciPy and against means written out."""

from __future__ import annotations

import numpy as np
import pytest

from stn_np.data.resample import block_means, resample


def pictures(shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def test_same_size_and_step_one_is_the_same_picture():
    x = pictures((2, 1, 5, 7))
    np.testing.assert_allclose(resample(x, (5, 7), 1.0), x, atol=1e-6)


def test_a_smaller_picture_lies_in_the_middle_of_zeros():
    x = pictures((1, 1, 3, 5))
    expected = np.zeros((1, 1, 9, 9), np.float32)
    expected[:, :, 3:6, 2:7] = x
    np.testing.assert_allclose(resample(x, (9, 9), 1.0), expected, atol=1e-6)


def test_a_whole_step_takes_means_of_blocks():
    x = pictures((2, 3, 6, 9))
    y = resample(x, (2, 3), 3.0)
    for i, j in np.ndindex(2, 3):
        block = x[:, :, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
        np.testing.assert_allclose(y[:, :, i, j], block.mean((2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "out_size", "step"),
    [((8, 8), (28, 28), 0.4), ((5, 9), (20, 12), 0.6), ((9, 4), (7, 11), 1.7), ((6, 6), (9, 3), 1)],
)
def test_bilinear_about_the_centre(size, out_size, step):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = pictures((1, 1, *size))
    rows, columns = (
        step * (np.arange(n) - (n - 1) / 2) + (m - 1) / 2
        for n, m in zip(out_size, size, strict=True)
    )
    where = np.meshgrid(rows, columns, indexing="ij")
    expected = ndimage.map_coordinates(
        x[0, 0].astype(np.float64), where, order=1, mode="grid-constant", prefilter=False
    )
    np.testing.assert_allclose(resample(x, out_size, step)[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(11, 8), (10, 13), (7, 29)])
def test_shrinking_keeps_brightness_and_place(size):
    # A picture of one bright pixel: wherever it is, none of its light is lost, nor moved by more
    # than the averaging of neighbours can move it.
    step, out_size = 2.5, (6, 14)
    misses = []
    for i, j in np.ndindex(size):
        x = np.zeros((1, 1, *size), np.float32)
        x[..., i, j] = 1
        means = block_means(x, 2)
        assert means.sum() == pytest.approx(1 / 4)
        y = resample(x, out_size, step)[0, 0]
        total = y.sum()
        assert 0 < total < 2 / step**2
        for n, m, at, axis in ((out_size[0], size[0], i, 1), (out_size[1], size[1], j, 0)):
            centre = (y.sum(axis) * np.arange(n)).sum() / total
            misses.append((axis, centre - ((at - (m - 1) / 2) / step + (n - 1) / 2)))
    assert max(abs(miss) for _, miss in misses) < 0.75
    for axis in (0, 1):  # and on the whole it is not moved at all
        assert abs(np.mean([miss for a, miss in misses if a == axis])) < 0.05


def test_means_of_incomplete_blocks_count_zeros():
    x = np.ones((1, 1, 3, 5), np.float32)
    expected = [[1, 1, 0.5], [0.5, 0.5, 0.25]]
    np.testing.assert_array_equal(block_means(x, 2)[0, 0], expected)


@pytest.mark.parametrize("step", [0, -1.0, float("nan")])
def test_wrong_step(step):
    with pytest.raises(ValueError, match="step: expected a number above 0"):
        resample(pictures((1, 1, 4, 4)), (2, 2), step)
