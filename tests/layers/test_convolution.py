"""`conv2d`: by hand, literal loops, SciPy, adjoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import FLOATS, assert_close, assert_equal, inner

from stn_np import layers


def conv_loops(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The equation at the head of the module, literally."""
    (N, _C, H, W), (F, _, kh, kw) = x.shape, w.shape
    y = np.zeros((N, F, H - kh + 1, W - kw + 1))
    for n, f, i, j in np.ndindex(y.shape):
        y[n, f, i, j] = b[f] + (w[f] * x[n, :, i : i + kh, j : j + kw]).sum()
    return y


def test_conv2d_by_hand(xp: Any) -> None:
    x = xp.asarray([[[[1.0, 2, 3], [4, 5, 6]]]])
    w = xp.asarray([[[[1.0, 10], [100, 1000]]]])
    y, backward = layers.conv2d(x, w, xp.asarray([0.5]))
    assert_equal(y, [[[[1 + 20 + 400 + 5000.5, 2 + 30 + 500 + 6000.5]]]])
    dx, dw, db = backward(xp.asarray([[[[1.0, 2]]]]))
    assert_equal(dx, [[[[1, 12, 20], [100, 1200, 2000]]]])
    assert_equal(dw, [[[[5, 8], [14, 17]]]])
    assert_equal(db, [3])


CONVOLUTIONS = [
    ((2, 1, 5, 7), (3, 1, 3, 2)),
    ((1, 3, 4, 4), (2, 3, 4, 4)),  # as large as the image
    ((3, 2, 6, 5), (1, 2, 1, 1)),
    ((2, 1, 9, 8), (2, 1, 1, 5)),
    ((2, 1, 9, 8), (2, 1, 5, 1)),
    ((1, 1, 40, 6), (1, 1, 2, 3)),  # so few channels that rows share a product
    ((2, 40, 5, 6), (3, 40, 3, 3)),  # so many that they do not
    ((1, 5, 13, 7), (2, 5, 9, 2)),
]


@pytest.mark.parametrize(("x_shape", "w_shape"), CONVOLUTIONS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_conv2d_equals_the_loops(
    xp: Any, rng: Any, x_shape: tuple[int, ...], w_shape: tuple[int, ...], dtype: Any
) -> None:
    x, w = rng.normal(size=x_shape).astype(dtype), rng.normal(size=w_shape).astype(dtype)
    b = rng.normal(size=w_shape[0]).astype(dtype)
    y, backward = layers.conv2d(*map(xp.asarray, (x, w, b)))
    tolerance = 2e-6 if dtype == np.float32 else 1e-14
    assert_close(y, conv_loops(x, w, b), tolerance)

    dy = rng.normal(size=y.shape).astype(dtype)
    dx, dw, db = backward(xp.asarray(dy))
    assert {a.dtype for a in (y, dx, dw, db)} == {np.dtype(dtype)}
    dx_loops, dw_loops = np.zeros(x_shape), np.zeros(w_shape)
    kh, kw = w_shape[2:]
    for n, f, i, j in np.ndindex(dy.shape):
        dx_loops[n, :, i : i + kh, j : j + kw] += dy[n, f, i, j] * w[f]
        dw_loops[f] += dy[n, f, i, j] * x[n, :, i : i + kh, j : j + kw].astype(np.float64)
    assert_close(dx, dx_loops, tolerance)
    assert_close(dw, dw_loops, tolerance)
    assert_close(db, dy.astype(np.float64).sum((0, 2, 3)), tolerance)


@pytest.mark.parametrize(("x_shape", "w_shape"), CONVOLUTIONS[:4])
def test_conv2d_is_scipys_correlation(
    xp: Any, rng: Any, x_shape: tuple[int, ...], w_shape: tuple[int, ...]
) -> None:
    signal = pytest.importorskip("scipy.signal")
    x, w, b = rng.normal(size=x_shape), rng.normal(size=w_shape), rng.normal(size=w_shape[0])
    y, _ = layers.conv2d(*map(xp.asarray, (x, w, b)))
    expected = [[signal.correlate(x_n, w_f, "valid")[0] for w_f in w] for x_n in x]
    assert_close(y, np.array(expected) + b[:, None, None], 1e-13)


@given(
    N=st.integers(0, 3), C=st.integers(1, 3), F=st.integers(1, 3), kh=st.integers(1, 4),
    kw=st.integers(1, 4), more_h=st.integers(0, 5), more_w=st.integers(0, 5),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_conv2d_pullbacks_are_transposes(
    xp: Any, N: int, C: int, F: int, kh: int, kw: int, more_h: int, more_w: int, seed: int
) -> None:
    """Linear in x and in (w, b): <y, g> splits into inner products with the gradients."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(N, C, kh + more_h, kw + more_w)), rng.normal(size=(F, C, kh, kw))
    b = rng.normal(size=F)
    y, backward = layers.conv2d(*map(xp.asarray, (x, w, b)))
    g = rng.normal(size=(N, F, more_h + 1, more_w + 1))
    dx, dw, db = backward(xp.asarray(g))
    assert inner(y, g) == pytest.approx(inner(x, dx) + inner(b, db), rel=1e-11, abs=1e-11)
    assert inner(x, dx) == pytest.approx(inner(w, dw), rel=1e-11, abs=1e-11)
