"""The layers against PyTorch: values and every gradient."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from oracles import FLOATS, assert_close, gradients

from stn_np import layers

torch = pytest.importorskip("torch")
F = torch.nn.functional


def check(
    xp: Any, ours: Callable[..., Any], theirs: Callable[..., Any], *inputs: np.ndarray
) -> None:
    tolerance = 2e-6 if inputs[0].dtype == np.float32 else 1e-13
    y, backward = ours(*map(xp.asarray, inputs))
    leaves = [torch.tensor(x, requires_grad=True) for x in inputs]
    expected = theirs(*leaves)
    assert_close(y, expected.detach().numpy(), tolerance)
    dy = np.random.default_rng(1).normal(size=expected.shape).astype(inputs[0].dtype)
    expected.backward(torch.tensor(dy))
    got = gradients(backward(xp.asarray(dy) if dy.ndim else float(dy)))
    for d, leaf in zip(got, leaves, strict=True):
        assert d.dtype == inputs[0].dtype
        assert_close(d, leaf.grad.numpy(), tolerance)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("x_shape", "w_shape"),
    [
        ((4, 1, 28, 28), (6, 1, 9, 9)),
        ((3, 5, 10, 11), (4, 5, 7, 7)),
        ((2, 3, 5, 4), (2, 3, 5, 4)),
        ((1, 2, 6, 9), (3, 2, 2, 5)),
        ((2, 7, 3, 3), (1, 7, 1, 1)),
        # For the kernels of GPUs: more images than threads share a place, and many channels.
        ((130, 1, 4, 5), (2, 1, 2, 4)),
        ((2, 17, 1, 8), (1, 17, 1, 3)),
    ],
)
def test_conv2d(xp: Any, rng: Any, x_shape: Any, w_shape: Any, dtype: Any) -> None:
    x, w, b = (rng.normal(size=s).astype(dtype) for s in (x_shape, w_shape, w_shape[:1]))
    check(xp, layers.conv2d, F.conv2d, x, w, b)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("k", "s"), [(2, None), (2, 2), (3, 2), (2, 1), (3, 4)])
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool2d(xp: Any, rng: Any, k: int, s: int | None, ceil_mode: bool, ties: bool) -> None:
    """Of tied pixels PyTorch takes the first row by row, we column by column: as it if turned."""
    for size, dtype in product([(6, 6), (13, 8), (3, 7)], FLOATS):
        x = rng.integers(0, 3, (3, 2, *size)) if ties else rng.normal(size=(3, 2, *size))

        def theirs(x: Any) -> Any:
            if ties:
                return F.max_pool2d(x.mT, k, s, ceil_mode=ceil_mode).mT
            return F.max_pool2d(x, k, s, ceil_mode=ceil_mode)

        check(
            xp, lambda x: layers.max_pool2d(x, k, s, ceil_mode=ceil_mode), theirs, x.astype(dtype)
        )


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("k", "s"), [(2, None), (3, 2), (2, 1), (3, 4)])
def test_avg_pool2d(xp: Any, rng: Any, k: int, s: int | None, ceil_mode: bool) -> None:
    for size, dtype in product([(6, 6), (13, 8), (3, 7)], FLOATS):
        check(
            xp,
            lambda x: layers.avg_pool2d(x, k, s, ceil_mode=ceil_mode),
            lambda x: F.avg_pool2d(x, k, s, ceil_mode=ceil_mode),
            rng.normal(size=(3, 2, *size)).astype(dtype),
        )


@pytest.mark.parametrize("dtype", FLOATS)
def test_linear(xp: Any, rng: Any, dtype: Any) -> None:
    shapes = ((5, 7), (3, 7), (3,))
    check(xp, layers.linear, F.linear, *(rng.normal(size=s).astype(dtype) for s in shapes))


@pytest.mark.parametrize("dtype", FLOATS)
def test_relu(xp: Any, rng: Any, dtype: Any) -> None:
    check(xp, layers.relu, F.relu, rng.integers(-2, 3, (4, 5, 6)).astype(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_cross_entropy(xp: Any, rng: Any, dtype: Any, scale: float, smoothing: float) -> None:
    labels = rng.integers(0, 10, 6)
    check(
        xp,
        lambda z: layers.cross_entropy(z, xp.asarray(labels), label_smoothing=smoothing),
        lambda z: F.cross_entropy(z, torch.tensor(labels), label_smoothing=smoothing),
        (scale * rng.normal(size=(6, 10))).astype(dtype),
    )
