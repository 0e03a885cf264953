"""Convolution with stride and padding: loops, PyTorch, and what must be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import FLOATS, assert_close, assert_equal, gradients, inner

from stn_np import layers
from stn_np.gpu import convolution as on_gpu
from stn_np.layers import Conv2d, conv2d

Pair = Any

#: x, weight, stride, padding: pixels that no kernel reaches, kernels shorter than a step, lines
#: enough that a row of the image is one product (40 channels), and few.
CASES: list[tuple[tuple[int, ...], tuple[int, ...], Pair, Pair]] = [
    ((2, 3, 7, 9), (4, 3, 3, 2), 2, 0),
    ((2, 3, 8, 9), (4, 3, 3, 2), (2, 3), 0),
    ((2, 3, 7, 5), (4, 3, 3, 2), 1, (2, 1)),
    ((1, 2, 6, 8), (3, 2, 3, 3), 2, 1),
    ((3, 1, 5, 4), (2, 1, 2, 1), (3, 2), (0, 1)),
    ((2, 1, 3, 2), (2, 1, 5, 4), 1, (1, 1)),  # smaller than the kernel without padding
    ((2, 40, 7, 8), (3, 40, 3, 2), 2, 0),
    ((2, 40, 6, 5), (3, 40, 3, 3), (1, 2), (1, 2)),
    ((2, 40, 9, 5), (3, 40, 2, 2), (4, 3), 1),
    ((2, 40, 5, 6), (3, 40, 4, 3), (3, 1), (2, 0)),
    ((1, 1, 4, 5), (1, 1, 1, 1), 3, 2),
]


def pair(value: Pair) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def drawn(rng: Any, x: tuple[int, ...], w: tuple[int, ...], dtype: Any) -> list[np.ndarray]:
    return [rng.normal(size=shape).astype(dtype) for shape in (x, w, w[:1])]


def loops(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: Pair, padding: Pair) -> np.ndarray:
    """The equation at the head of the module, literally."""
    (s, t), (p, q), (N, _, H, W), (F, C, kh, kw) = pair(stride), pair(padding), x.shape, w.shape
    y = np.zeros((N, F, (H + 2 * p - kh) // s + 1, (W + 2 * q - kw) // t + 1))
    for n, f, i, j in np.ndindex(y.shape):
        y[n, f, i, j] = b[f]
        for c, u, v in np.ndindex(C, kh, kw):
            r, k = i * s + u - p, j * t + v - q
            if 0 <= r < H and 0 <= k < W:
                y[n, f, i, j] += w[f, c, u, v] * x[n, c, r, k]
    return y


@pytest.mark.parametrize(("x", "w", "stride", "padding"), CASES)
def test_equals_the_loops(xp: Any, rng: Any, x: Any, w: Any, stride: Pair, padding: Pair) -> None:
    inputs = drawn(rng, x, w, np.float64)
    y, _ = conv2d(*map(xp.asarray, inputs), stride, padding)
    assert_close(y, loops(*inputs, stride, padding), 1e-13)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("x", "w", "stride", "padding"), CASES)
def test_is_pytorchs(
    xp: Any, rng: Any, x: Any, w: Any, stride: Pair, padding: Pair, dtype: Any
) -> None:
    torch = pytest.importorskip("torch")
    inputs = drawn(rng, x, w, dtype)
    leaves = [torch.tensor(a, requires_grad=True) for a in inputs]
    expected = torch.nn.functional.conv2d(*leaves, stride, padding)
    dy = rng.normal(size=expected.shape).astype(dtype)
    expected.backward(torch.tensor(dy))
    y, backward = conv2d(*map(xp.asarray, inputs), stride, padding)
    tolerance = 5e-6 if dtype == np.float32 else 1e-13
    assert_close(y, expected.detach().numpy(), tolerance)
    for d, leaf in zip(gradients(backward(xp.asarray(dy))), leaves, strict=True):
        assert d.dtype == dtype
        assert_close(d, leaf.grad.numpy(), tolerance)


@pytest.mark.parametrize("piece", [1, 300, 2000])
@pytest.mark.parametrize(("x", "w", "stride", "padding"), CASES)
def test_in_pieces(
    gpu: Any, rng: Any, monkeypatch: Any, x: Any, w: Any, stride: Pair, padding: Pair, piece: int
) -> None:
    """On a GPU what would be too much is unfolded some places at a time."""
    inputs = [gpu.asarray(a) for a in drawn(rng, x, w, np.float64)]
    y, backward = conv2d(*inputs, stride, padding)
    dy = gpu.asarray(rng.normal(size=y.shape))
    whole = [y, *backward(dy)]
    monkeypatch.setattr(on_gpu, "PIECE", piece)
    y, backward = conv2d(*inputs, stride, padding)
    for got, want in zip([y, *backward(dy)], whole, strict=True):
        assert_close(got, want, 1e-13)


@pytest.mark.parametrize(("x", "w", "stride", "padding"), CASES)
def test_pullbacks_are_transposes(
    xp: Any, rng: Any, x: Any, w: Any, stride: Pair, padding: Pair
) -> None:
    """<dy, A x> = <A^T dy, x> for the linear map of each input."""
    inputs = drawn(rng, x, w, np.float64)
    inputs[2][...] = 0
    y, backward = conv2d(*map(xp.asarray, inputs), stride, padding)
    dy = rng.normal(size=y.shape)
    dx, dw, db = gradients(backward(xp.asarray(dy)))
    value = inner(dy, y)
    assert inner(dx, inputs[0]) == pytest.approx(value, rel=1e-12)
    assert inner(dw, inputs[1]) == pytest.approx(value, rel=1e-12)
    assert_close(db, dy.sum(axis=(0, 2, 3)), 1e-13)


def test_without_dx(xp: Any, rng: Any) -> None:
    inputs = drawn(rng, (2, 3, 7, 9), (4, 3, 3, 2), np.float64)
    y, backward = conv2d(*map(xp.asarray, inputs), 2, 1)
    _, quicker = conv2d(*map(xp.asarray, inputs), 2, 1, needs_dx=False)
    dy = xp.asarray(rng.normal(size=y.shape))
    dx, *others = quicker(dy)
    assert dx is None
    for got, want in zip(others, backward(dy)[1:], strict=True):
        assert_equal(got, want)


def test_empty_batch(xp: Any) -> None:
    for C in (1, 40):
        y, backward = conv2d(xp.ones((0, C, 5, 4)), xp.ones((3, C, 2, 2)), xp.ones(3), 2, 1)
        assert y.shape == (0, 3, 3, 3)
        dx, dw, _ = backward(y)
        assert dx.shape == (0, C, 5, 4)
        assert_equal(dw, np.zeros((3, C, 2, 2)))


def test_layer(xp: Any, rng: Any) -> None:
    layer = Conv2d(3, 4, (3, 2), (2, 1), 1, rng=rng, dtype=np.float64)
    assert repr(layer) == "Conv2d(3, 4, (3, 2), stride=(2, 1), padding=1)"
    assert repr(Conv2d(3, 4, 5, rng=rng)) == "Conv2d(3, 4, 5)"
    if xp is not np:
        layer.to("gpu")
    x = xp.asarray(rng.normal(size=(2, 3, 6, 5)))
    y, backward = layer(x)
    want, want_backward = conv2d(x, layer.weight.data, layer.bias.data, (2, 1), (1, 1))
    assert y.shape == (2, 4, 3, 6)
    assert_equal(y, want)
    dx, dw, db = want_backward(y)
    assert_equal(backward(y), dx)
    assert_equal(layer.weight.grad, dw)
    assert_equal(layer.bias.grad, db)


def test_bad_input(xp: Any, rng: Any) -> None:
    x, w, b = map(xp.asarray, drawn(rng, (2, 3, 4, 5), (4, 3, 5, 2), np.float64))
    with pytest.raises(ValueError, match=r"^x: expected images of at least 5x2 .*, got 4x5$"):
        conv2d(x, w, b, 2)
    too_little = r"^x: expected images of at least 5x2 .*, got 4x7 with the padding"
    with pytest.raises(ValueError, match=too_little):
        conv2d(x, w, b, 1, (0, 1))
    with pytest.raises(ValueError, match="^stride: expected at least 1, got 0"):
        conv2d(x, w, b, (1, 0), 1)
    with pytest.raises(ValueError, match="^padding: expected at least 0, got -1"):
        conv2d(x, w, b, 1, -1)
    for wrong in (1.5, "same", True):
        with pytest.raises(TypeError, match="^padding: expected a whole number"):
            conv2d(x, w, b, 1, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^stride: expected one number or a pair \(down, across\)"):
        conv2d(x, w, b, (1, 1, 1), 1)  # type: ignore[arg-type]
    y, backward = conv2d(x, w, b, 1, 1)
    with pytest.raises(ValueError, match="^dy: expected shape"):
        backward(y[:1])
    for name in ("stride", "padding", "kernel_size"):
        with pytest.raises(TypeError, match=f"^{name}: expected a whole number"):
            Conv2d(3, 4, **{"kernel_size": 3, name: 2.5}, rng=rng)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 1, 7), (0, 2, 3, 4)])
@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
def test_global_average_pooling(xp: Any, rng: Any, shape: Any, dtype: Any) -> None:
    x, dy = rng.normal(size=shape).astype(dtype), rng.normal(size=shape[:2]).astype(dtype)
    stored = xp.asarray(np.ascontiguousarray(x.transpose(2, 1, 3, 0))).transpose(3, 1, 0, 2)
    tolerance = {2: 1e-3, 4: 1e-6, 8: 1e-15}[x.itemsize]
    y, backward = layers.global_avg_pool2d(stored)
    assert (y.shape, y.dtype) == (shape[:2], dtype)
    assert_close(y, x.astype(float).mean(axis=(2, 3)), tolerance)
    dx = backward(xp.asarray(dy))
    assert (dx.shape, dx.dtype) == (shape, dtype)
    assert dx.transpose(2, 1, 3, 0).flags.c_contiguous  # as stored
    each = dy.astype(float)[:, :, None, None] / (shape[2] * shape[3])
    assert_close(dx, np.broadcast_to(each, shape), tolerance)
    assert_equal(layers.GlobalAvgPool2d()(stored)[0], y)


def test_global_average_pooling_is_average_pooling(xp: Any, rng: Any) -> None:
    x, dy = xp.asarray(rng.normal(size=(2, 3, 5, 5))), xp.asarray(rng.normal(size=(2, 3)))
    y, backward = layers.global_avg_pool2d(x)
    same, same_backward = layers.avg_pool2d(x, 5)
    assert_close(y, same[:, :, 0, 0], 1e-14)
    assert_close(backward(dy), same_backward(dy[:, :, None, None]), 1e-14)


def test_global_average_pooling_refuses() -> None:
    with pytest.raises(ValueError, match=r"^x: expected shape \(N, C, H, W\)"):
        layers.global_avg_pool2d(np.ones((2, 3)))
    with pytest.raises(TypeError, match="^x: expected a floating-point"):
        layers.global_avg_pool2d(np.ones((2, 3, 4, 4), int))
    with pytest.raises(ValueError, match="^x: expected images of at least 1x1"):
        layers.global_avg_pool2d(np.ones((2, 3, 0, 4)))
    with pytest.raises(ValueError, match="^dy: expected shape"):
        layers.global_avg_pool2d(np.ones((2, 3, 1, 4)))[1](np.ones((2, 3, 1, 1)))
