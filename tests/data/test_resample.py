"""Pictures at another scale, against SciPy and against means written out."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from stn_np.data.resample import resample


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
    [((8, 8), (28, 28), 0.4), ((5, 9), (20, 12), 0.6), ((9, 4), (7, 11), 0.9), ((6, 6), (9, 3), 1)],
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


@pytest.mark.parametrize(
    ("size", "out"), [((55, 33), (28, 17)), ((9, 7), (4, 3)), ((30, 40), (7, 9))]
)
def test_a_shrunken_pixel_is_the_mean_of_the_area_that_it_covers(size, out):
    # Every source pixel repeated so often that areas have no parts of pixels any more.
    x = pictures((1, 2, *size))
    step = max(n / m for n, m in zip(size, out, strict=True))
    step = Fraction(step).limit_denominator(100)
    fine = x.repeat(step.denominator, 2).repeat(step.denominator, 3)
    pads = [(m * step.numerator - n) for m, n in zip(out, fine.shape[2:], strict=True)]
    if any(p % 2 for p in pads):
        fine, pads = fine.repeat(2, 2).repeat(2, 3), [2 * p for p in pads]
    block = (fine.shape[2] + pads[0]) // out[0]
    padded = np.pad(fine, [(0, 0), (0, 0), *((p // 2, p // 2) for p in pads)])
    expected = padded.reshape(1, 2, out[0], block, out[1], block).mean((3, 5))
    np.testing.assert_allclose(resample(x, out, float(step)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [2, 3])
def test_of_a_line_nothing_is_lost_at_any_size_and_place(axis):
    rng = np.random.default_rng(0)
    for side in range(29, 301):
        step = side / 28
        lines = np.zeros((9, 1, side, side), np.float32)
        places = [0, side - 1, *rng.integers(0, side, 7)]
        for line, place in zip(lines, places, strict=True):
            np.moveaxis(line, axis - 1, 0)[place] = 1
        shrunken = resample(lines, (28, 28), step)
        np.testing.assert_allclose(shrunken.sum((1, 2, 3)) * step**2, side, rtol=1e-5)
        most = shrunken.max((1, 2, 3))
        assert (most <= 1 / step + 1e-6).all() and (most >= 0.5 / step - 1e-6).all()
        found = (shrunken.sum((1, 5 - axis)) * np.arange(28)).sum(1) / shrunken.sum((1, 2, 3))
        assert (abs(found - ((np.array(places) + 0.5) / step - 0.5)) < 0.5).all()


def test_a_fine_pattern_turns_grey():
    x = np.indices((48, 48)).sum(axis=0)[None, None] % 2 * np.float32(1)
    grey = resample(x, (28, 28), 48 / 28)
    assert abs(grey - 0.5).max() <= 0.18  # (12/7)^2 pixels: whole ones, halves and quarters


def test_a_long_picture_takes_no_room():
    narrow = resample(np.ones((1, 1, 1, 300_000), np.float32), (28, 28), 300_000 / 28)
    assert narrow.sum() == pytest.approx(28 * 28 / 300_000, rel=1e-5)


@pytest.mark.parametrize("step", [0, -1.0, float("nan")])
def test_wrong_step(step):
    with pytest.raises(ValueError, match="step: expected a number above 0"):
        resample(pictures((1, 1, 4, 4)), (2, 2), step)


@pytest.mark.parametrize("step", [0.4, 0.83, 1.0])
def test_the_same_bits_whether_samplers_are_compiled_or_not(monkeypatch, step):
    """A run knows its pictures by a checksum of these."""
    images = np.random.default_rng(0).random((3, 2, 9, 13)).astype(np.float32)
    found = []
    for switch in ("0", "python", "1"):
        monkeypatch.setenv("STN_NP_FAST", switch)
        found.append(resample(images, (28, 20), step))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
