"""The fully connected layer, ReLU, Flatten and dropout."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import numpy as np

from stn_np.backend import Array, Backward, OptionalBackward, array_module
from stn_np.checks import (
    check_array,
    check_flag,
    check_floating,
    check_same_dtype,
    check_scalar,
    check_size,
    pullback,
)
from stn_np.gpu.matmul import matmul
from stn_np.gpu.memory_order import elementwise, memory_axes
from stn_np.module import Module, Parameter, Training, check_mode, into_grads

LinearBackward = Callable[[Array], tuple[Array | None, Array, Array]]

#: The constants of splitmix64 (Steele, Lea and Flood 2014).
GOLDEN, FIRST, SECOND = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def linear(
    x: Array, weight: Array, bias: Array, *, needs_dx: bool = True
) -> tuple[Array, LinearBackward]:
    r"""Fully connected layer.

    .. math:: y = x W^T + b, \quad dx = dy\, W, \quad dW = dy^T x, \quad db_k = \sum_n dy_{nk}

    x (N, D), weight (K, D) and bias (K,) of one dtype give y (N, K); backward(dy) returns (dx,
    dweight, dbias), dx None unless needed. TypeError or ValueError if types or shapes do not fit.
    """
    array_module(x=x, weight=weight, bias=bias)
    check_flag("needs_dx", needs_dx)
    check_array("x", x, ("N", "D"), "; put a Flatten before it" if x.ndim > 2 else "")
    check_array("weight", weight, ("K", "D"))
    if x.shape[1] != weight.shape[1]:
        raise ValueError(f"x: expected {weight.shape[1]} features (as weight), got {x.shape[1]}")
    check_array("bias", bias, (weight.shape[0],))
    check_same_dtype(x=x, weight=weight, bias=bias)
    y = matmul(x, weight.T) + bias

    @pullback(dy=y)
    def backward(dy: Array) -> tuple[Array | None, Array, Array]:
        dy = dy.astype(y.dtype, copy=False)
        dx = matmul(dy, weight) if needs_dx else None
        return dx, matmul(dy.T, x), dy.sum(axis=0)

    return y, backward


class Linear(Module):
    """A fully connected layer with trained weights: `linear`, D = in_features, K = out_features.

    The initial weights are He normal, drawn from rng; the bias starts at zero.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rng: np.random.Generator,
        dtype: Any = np.float32,
    ) -> None:
        check_size("in_features", in_features)
        check_size("out_features", out_features)
        self.weight = Parameter(he_normal((out_features, in_features), rng, dtype))
        self.bias = Parameter(np.zeros(out_features, dtype))

    def _describe(self) -> str:
        out_features, in_features = self.weight.data.shape
        return f"{in_features}, {out_features}"

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """(N, D) to (N, K)."""
        y, backward = linear(x, self.weight.data, self.bias.data, needs_dx=needs_dx)
        return y, into_grads(backward, self.weight, self.bias)


def he_normal(shape: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> Array:
    """N(0, 2 / fan-in), for layers followed by ReLU (He et al. 2015); the outputs come first."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator, got {rng!r}")
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"dtype: expected a floating-point dtype, got {dtype!r}")
    scale = sqrt(2.0 / prod(shape[1:]))
    return (scale * rng.standard_normal(shape)).astype(dtype)


def relu(x: Array) -> tuple[Array, Backward]:
    """max(0, x), elementwise; backward(dy) returns dx. At x = 0 the gradient is 0.

    Any shape; dtype and memory order stay. TypeError if x is no floating-point array.
    """
    xp = array_module(x=x)
    check_floating("x", x)
    y = xp.asarray(elementwise(xp, lambda x: xp.maximum(x, 0), x))  # NumPy: 0-d to a number

    @pullback(dy=y)
    def backward(dy: Array) -> Array:
        dy = dy.astype(y.dtype, copy=False)
        return elementwise(xp, lambda y, dy: dy * (y > 0), y, dy)

    return y, backward


class ReLU(Module):
    """max(0, x) as a layer."""

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """Any shape to the same shape."""
        return relu(x)


class Flatten(Module):
    """(N, C, H, W) to (N, C H W), in that order of axes."""

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """Feature maps to vectors."""
        array_module(x=x)
        check_floating("x", x)
        y = x.reshape(x.shape[0], prod(x.shape[1:]))  # -1 is ambiguous in an empty batch

        @pullback(dy=y)
        def backward(dy: Array) -> Array:
            return dy.astype(y.dtype, copy=False).reshape(x.shape)

        return y, backward


def dropout(
    x: Array, p: float, mode: Training | None = None, *, stream: int = 0
) -> tuple[Array, Backward]:
    r"""In training, elements become 0 with probability p (Srivastava et al. 2014).

    .. math:: y_i = m_i x_i, \quad dx_i = m_i\, dy_i, \quad m_i \in \{0, 1 / (1 - p)\}

    Any shape; shape, dtype and memory order stay. backward(dy) returns dx. m is a pure function of
    the mode's seed and step, of `stream`, which tells a network's layers apart, and of i, the place
    in the batch in C order: the same on every device. In evaluation, mode None, y is x. TypeError
    or ValueError if x is no floating-point array, p not in [0, 1), mode no mode.
    """
    xp = array_module(x=x)
    check_floating("x", x)
    check_probability(p)
    check_mode(mode)
    if mode is None:
        return x, pullback(dy=x)(lambda dy: dy.astype(x.dtype, copy=False))
    before = mode.first * prod(x.shape[1:])  # elements of the batch's images before these
    words = random_words(xp, x.size, mode.seed, stream, mode.step, start=before)
    axes, back = memory_axes(x)
    keep = xp.ascontiguousarray((words >= np.uint64(p * 2.0**64)).reshape(x.shape).transpose(axes))
    scale, zero = x.dtype.type(1 / (1 - p)), x.dtype.type(0)
    y = xp.where(keep, x.transpose(axes) * scale, zero).transpose(back)

    @pullback(dy=y)
    def backward(dy: Array) -> Array:
        dy = dy.astype(x.dtype, copy=False).transpose(axes)
        dx: Array = xp.where(keep, dy * scale, zero).transpose(back)
        return dx

    return y, backward


def random_words(xp: Any, n: int, *keys: int | Array, start: int = 0) -> Array:
    """(n,) random uint64: from the start on, a pure function of place and keys.

    Keys that are arrays stay where they are.
    """
    state = xp.zeros(1, np.uint64)
    for key in keys:
        word = np.uint64(key % 2**64) if isinstance(key, int) else key.astype(np.uint64)
        state = _mixed(state ^ word)
    return _mixed(state + xp.arange(start, start + n, dtype=np.uint64) * GOLDEN)


def _mixed(z: Array) -> Array:
    """A bijection of uint64 after which each bit depends on all bits."""
    z = z + GOLDEN
    z ^= z >> np.uint64(30)
    z *= FIRST
    z ^= z >> np.uint64(27)
    z *= SECOND
    z ^= z >> np.uint64(31)
    return z


def check_probability(p: float) -> None:
    """A number from 0 to below 1 is expected."""
    check_scalar("p", p)
    if not 0 <= p < 1:
        raise ValueError(f"p: expected a probability in [0, 1), got {p!r}")


class Dropout(Module):
    """`dropout` as a layer. Its stream of masks is drawn from rng: no two layers have the same."""

    uses_mode = True

    def __init__(self, p: float, *, rng: np.random.Generator) -> None:
        check_probability(p)
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng: expected a numpy.random.Generator, got {rng!r}")
        self.p, self.stream = p, int(rng.integers(2**63))

    def _describe(self) -> str:
        return f"{self.p:g}"

    def __call__(
        self, x: Array, *, needs_dx: bool = True, mode: Training | None = None
    ) -> tuple[Array, OptionalBackward]:
        """Any shape to the same shape; in evaluation x itself."""
        return dropout(x, self.p, mode, stream=self.stream)
