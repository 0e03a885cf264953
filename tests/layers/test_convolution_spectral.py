"""The convolution by spectra: against SciPy, the direct way and finite differences; its rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import FLOATS, assert_close
from scipy.signal import correlate

from stn_np import layers
from stn_np.gradcheck import gradcheck
from stn_np.layers import convolution
from stn_np.layers.convolution import direct
from stn_np.layers.convolution_spectral import pays, spectral, transforms

#: (N, C, H, W) and (F, C, kh, kw): odd and even sides, as large as the map, a single pixel, a line.
SHAPES = [
    ((3, 2, 10, 11), (4, 2, 7, 6)),
    ((2, 3, 6, 9), (5, 3, 6, 9)),
    ((2, 1, 5, 8), (3, 1, 1, 1)),
    ((1, 4, 1, 7), (2, 4, 1, 3)),
    ((4, 2, 8, 1), (1, 2, 3, 1)),
    ((130, 2, 7, 5), (3, 2, 2, 4)),
]


def inputs(rng: Any, x_shape: Any, w_shape: Any, dtype: Any) -> tuple[np.ndarray, ...]:
    """Rows (H, C, W, N), weight, bias."""
    x = rng.normal(size=[x_shape[i] for i in (2, 1, 3, 0)]).astype(dtype)
    return x, rng.normal(size=w_shape).astype(dtype), rng.normal(size=w_shape[0]).astype(dtype)


@pytest.mark.parametrize(("x_shape", "w_shape"), SHAPES)
def test_values_against_scipy(rng: Any, x_shape: Any, w_shape: Any) -> None:
    rows, w, b = inputs(rng, x_shape, w_shape, np.float64)
    y, _ = spectral(rows, w, b, needs_dx=True)
    for n, f in np.ndindex(x_shape[0], w_shape[0]):
        maps = [correlate(rows[:, c, :, n], w[f, c], "valid") for c in range(w_shape[1])]
        assert_close(y[:, f, :, n], sum(maps) + b[f], 1e-13)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("x_shape", "w_shape"), SHAPES)
def test_gradients_are_those_of_the_direct_way(
    rng: Any, x_shape: Any, w_shape: Any, dtype: Any
) -> None:
    rows, w, b = inputs(rng, x_shape, w_shape, dtype)
    y, backward = spectral(rows, w, b, needs_dx=True)
    expected, direct_backward = direct(rows, w, b, (1, 1), needs_dx=True)
    tolerance = 2e-6 if dtype == np.float32 else 1e-14
    assert y.dtype == dtype
    assert_close(y, expected, tolerance)
    dy = rng.normal(size=y.shape).astype(dtype)
    for got, want in zip(backward(dy), direct_backward(dy), strict=True):
        assert got.dtype == dtype
        assert_close(got, want, tolerance)
    assert spectral(rows, w, b, needs_dx=False)[1](dy)[0] is None


def test_finite_differences(rng: Any) -> None:
    rows, w, b = inputs(rng, (2, 3, 6, 5), (2, 3, 4, 2), np.float64)
    gradcheck(lambda *x: spectral(*x, needs_dx=True), rows, w, b)


def test_the_error_that_the_docstring_states(rng: Any) -> None:
    """Relative to the largest value: 5e-7 and 3e-15, on the 7x7 layer of the ST-CNN."""
    for dtype, bound in ((np.float32, 5e-7), (np.float64, 3e-15)):
        rows, w, b = inputs(rng, (64, 64, 10, 10), (64, 64, 7, 7), dtype)
        exact = direct(
            *(
                x.astype(np.longdouble if dtype == np.float64 else np.float64)
                for x in (rows[..., :2], w, b)
            ),
            (1, 1),
            needs_dx=False,
        )[0]
        y = spectral(rows, w, b, needs_dx=False)[0][..., :2]
        assert abs(y - exact).max() / abs(exact).max() < bound


def test_conv2d_takes_it_where_it_pays_and_only_there(
    rng: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def watched(*arguments: Any, **needs: Any) -> Any:
        taken.append(arguments[1].shape)
        return spectral(*arguments, **needs)

    monkeypatch.setattr(convolution, "spectral", watched)

    def convolve(x_shape: Any, w_shape: Any, dtype: Any = np.float32, **steps: Any) -> bool:
        taken.clear()
        x, w = rng.normal(size=x_shape).astype(dtype), rng.normal(size=w_shape).astype(dtype)
        b = np.zeros(w_shape[0], dtype)
        y, backward = layers.conv2d(x, w, b, **steps)
        backward(y)
        return bool(taken)

    assert convolve((32, 16, 10, 10), (16, 16, 7, 7))  # the second layer of the ST-CNN
    assert convolve((32, 16, 8, 8), (16, 16, 7, 7), padding=1)
    assert not convolve((32, 16, 10, 10), (16, 16, 7, 7), stride=2)
    assert not convolve((32, 16, 10, 10), (16, 16, 7, 7), np.float16)
    assert not convolve((32, 1, 28, 28), (16, 1, 9, 9))  # the first layer
    assert not convolve((32, 16, 7, 7), (16, 16, 7, 7))  # one window
    assert not convolve((1, 16, 10, 10), (16, 16, 7, 7))  # the kernels' spectra for one image


def test_padding_through_conv2d(rng: Any) -> None:
    shapes = (32, 16, 6, 4), (16, 16, 7, 7), (16,)
    x, w, b = (rng.normal(size=shape) for shape in shapes)
    assert pays(10, 10, 32, w)
    y, backward = layers.conv2d(x, w, b, padding=(2, 3))
    rows = np.pad(x.transpose(2, 1, 3, 0), ((2, 2), (0, 0), (3, 3), (0, 0)))
    expected, direct_backward = direct(rows, w, b, (1, 1), needs_dx=True)
    assert_close(y, expected.transpose(3, 1, 0, 2), 1e-14)
    dy = rng.normal(size=y.shape)
    dx, dw, db = backward(dy)
    dx_rows, *others = direct_backward(np.ascontiguousarray(dy.transpose(2, 1, 3, 0)))
    assert_close(dx, dx_rows[2:-2, :, 3:-3].transpose(3, 1, 0, 2), 1e-14)
    for got, want in zip((dw, db), others, strict=True):
        assert_close(got, want, 1e-14)


def test_an_empty_batch() -> None:
    w = np.ones((3, 2, 2, 2))
    y, backward = spectral(np.empty((4, 2, 5, 0)), w, np.zeros(3), needs_dx=True)
    assert y.shape == (3, 3, 4, 0)
    dx, dw, db = backward(y)
    assert dx.shape == (4, 2, 5, 0)
    assert not dw.any() and not db.any()


@pytest.mark.parametrize(("size", "K"), [((10, 10), 52), ((7, 5), 18), ((8, 1), 5), ((1, 6), 4)])
def test_one_frequency_of_each_conjugate_pair(size: tuple[int, int], K: int) -> None:
    of_map, of_kernel, back = transforms(*size, 1, 1, np.dtype(np.float64))
    assert of_map.shape == (2 * K, size[0] * size[1])
    assert of_kernel.shape == (2 * K, 1)
    assert_close(back @ of_map, np.eye(size[0] * size[1]), 1e-14)


def test_the_rule_bounds_the_memory() -> None:
    def kernels(F: int, k: int, dtype: Any = np.float32) -> np.ndarray:
        return np.broadcast_to(np.ones((), dtype), (F, F, k, k))

    assert pays(20, 20, 64, kernels(64, 9))
    assert not pays(64, 64, 8, kernels(256, 9))  # 2 GB of spectra instead of 264 MB
    assert not pays(10, 10, 64, kernels(64, 7, np.longdouble))
    assert not pays(10, 10, 64, kernels(64, 7, np.float16))
