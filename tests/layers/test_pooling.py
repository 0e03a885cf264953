"""`max_pool2d` and `avg_pool2d`: by hand, window by window, adjoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_close, assert_equal, inner

from stn_np import layers


def pool_loops(
    x: np.ndarray, dy: np.ndarray, k: int, s: int, average: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Window by window; the uppermost of the leftmost largest pixels gets the gradient."""
    y, dx = np.zeros(dy.shape), np.zeros(x.shape)
    for n, c, i, j in np.ndindex(dy.shape):
        window = x[n, c, i * s : i * s + k, j * s : j * s + k]
        target = dx[n, c, i * s : i * s + k, j * s : j * s + k]
        if average:
            y[n, c, i, j] = window.mean()
            target += dy[n, c, i, j] / window.size
        else:
            y[n, c, i, j] = window.max()
            column, row = np.unravel_index(window.T.argmax(), window.T.shape)
            target[row, column] += dy[n, c, i, j]
    return y, dx


def windows(size: int, k: int, s: int, ceil_mode: bool) -> int:
    """Windows are counted one by one; a partial one must begin inside the image."""
    n = 0
    while n * s < size and (
        n * s + k <= size or (ceil_mode and (n == 0 or (n - 1) * s + k < size))
    ):
        n += 1
    return n


@pytest.mark.parametrize("pool", [layers.max_pool2d, layers.avg_pool2d])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("k", "s"), [(1, 1), (2, 2), (2, None), (3, 2), (3, 1), (2, 3), (4, 3)])
def test_pooling_equals_the_loops(
    xp: Any, rng: Any, pool: Any, k: int, s: int | None, ceil_mode: bool
) -> None:
    for H, W in [(4, 6), (7, 5), (13, 4), (5, 8)]:
        x = rng.integers(-3, 4, (2, 3, H, W)).astype(np.float64)  # many ties
        y, backward = pool(xp.asarray(x), k, s, ceil_mode=ceil_mode)
        stride = s or k
        assert y.shape[2:] == tuple(windows(n, k, stride, ceil_mode) for n in (H, W))
        dy = rng.normal(size=y.shape)
        y_loops, dx_loops = pool_loops(x, dy, k, stride, pool is layers.avg_pool2d)
        assert_close(y, y_loops, 1e-15)
        assert_close(backward(xp.asarray(dy)), dx_loops, 1e-14)


@pytest.mark.parametrize("pool", [layers.max_pool2d, layers.avg_pool2d])
@pytest.mark.parametrize(
    ("k", "s"), [(2, 1), (3, 1), (4, 2), (5, 2), (3, 3), (5, 4), (17, 5), (20, 1)]
)
def test_ceil_mode_gives_an_image_smaller_than_a_window_one_window(
    xp: Any, rng: Any, pool: Any, k: int, s: int
) -> None:
    many = 67  # images: more than threads of a GPU share a place
    for N, H, W in [(2, 1, 1), (2, 1, 6), (2, 6, 1), (many, 2, 3), (2, 7, 10), (2, 18, 3)]:
        x = rng.normal(size=(N, 1, H, W))
        y, backward = pool(xp.asarray(x), k, s, ceil_mode=True)
        assert y.shape[2:] == tuple(windows(n, k, s, True) for n in (H, W))
        dy = rng.normal(size=y.shape)
        y_loops, dx_loops = pool_loops(x, dy, k, s, pool is layers.avg_pool2d)
        assert_close(y, y_loops, 1e-15)
        assert_close(backward(xp.asarray(dy)), dx_loops, 1e-14)


def test_pooling_by_hand(xp: Any) -> None:
    x = xp.asarray([[[[1.0, 2, 7], [2, -1, 7], [0, 0, -3]]]])
    dy = xp.asarray([[[[10.0, 20], [30, 40]]]])
    y, backward = layers.max_pool2d(x, 2, ceil_mode=True)
    assert_equal(y, [[[[2, 7], [0, -3]]]])
    assert_equal(backward(dy), [[[[0, 0, 20], [10, 0, 0], [30, 0, 40]]]])
    y, backward = layers.avg_pool2d(x, 2, ceil_mode=True)
    assert_equal(y, [[[[1, 7], [0, -3]]]])
    assert_equal(backward(dy), [[[[2.5, 2.5, 10], [2.5, 2.5, 10], [15, 15, 40]]]])
    assert_equal(layers.max_pool2d(x, 2)[0], [[[[2]]]])
    assert_equal(layers.avg_pool2d(x, 2)[0], [[[[1]]]])


@pytest.mark.parametrize("size", range(1, 14))
def test_ceil_mode_leaves_no_pixel_out_and_floor_mode_no_window_partial(xp: Any, size: int) -> None:
    x = xp.asarray(np.arange(size * size, dtype=np.float64).reshape(1, 1, size, size))
    y, _ = layers.max_pool2d(x, 2, ceil_mode=True)
    assert y.shape[2:] == ((size + 1) // 2,) * 2
    assert y[0, 0, -1, -1] == size * size - 1
    if size > 1:
        assert layers.max_pool2d(x, 2)[0].shape[2:] == (size // 2,) * 2


def test_max_pooling_of_negative_infinity_gives_its_gradient_once(xp: Any) -> None:
    y, backward = layers.max_pool2d(xp.full((1, 1, 2, 2), -np.inf), 2)
    assert_equal(y, [[[[-np.inf]]]])
    assert_equal(backward(xp.ones((1, 1, 1, 1))), [[[[1, 0], [0, 0]]]])


@given(
    N=st.integers(0, 3), C=st.integers(1, 3), H=st.integers(1, 9), W=st.integers(1, 9),
    k=st.integers(1, 4), s=st.integers(1, 4), average=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_pooling_pullbacks_are_transposes(
    xp: Any, N: int, C: int, H: int, W: int, k: int, s: int, average: bool, seed: int
) -> None:
    """Both poolings are homogeneous: <y, g> = <x, dx>, for averages as for maxima."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, C, H, W))
    pool = layers.avg_pool2d if average else layers.max_pool2d
    y, backward = pool(xp.asarray(x), k, s, ceil_mode=True)
    g = rng.normal(size=y.shape)
    dx = backward(xp.asarray(g))
    assert dx.shape == x.shape
    assert inner(y, g) == pytest.approx(inner(x, dx), rel=1e-12, abs=1e-12)


def test_windows_of_more_pixels_than_a_byte_can_number(xp: Any, rng: Any) -> None:
    x = rng.permutation(3 * 36 * 40).astype(float).reshape(1, 3, 36, 40)
    y, backward = layers.max_pool2d(xp.asarray(x), 18, 20, ceil_mode=True)
    dy = rng.normal(size=(1, 3, 2, 2))
    expected, largest = np.zeros_like(x), np.zeros_like(dy)
    for c, i, j in np.ndindex(3, 2, 2):
        window = x[0, c, 20 * i : 20 * i + 18, 20 * j : 20 * j + 18]
        largest[0, c, i, j] = window.max()
        row, column = np.unravel_index(window.argmax(), window.shape)
        expected[0, c, 20 * i + row, 20 * j + column] = dy[0, c, i, j]
    assert_equal(y, largest)
    assert_equal(backward(xp.asarray(dy)), expected)


def test_what_was_pooled_may_change_before_the_backward_pass(rng: Any) -> None:
    x = rng.normal(size=(2, 3, 6, 8))
    _, backward = layers.max_pool2d(x.copy(), 2)
    y, changed_backward = layers.max_pool2d(x, 2)
    x[...] = 0
    dy = rng.normal(size=y.shape)
    y[...] = 7
    assert_equal(changed_backward(dy), backward(dy))
