"""The fully connected layer:  y = x w^T + b."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stn_np.backend import Array, OptionalBackward, array_module
from stn_np.checks import check_array, check_gradient, check_same_dtype, check_size
from stn_np.gpu.matmul import matmul
from stn_np.layers.initial import he_normal
from stn_np.module import Module, Parameter

LinearBackward = Callable[[Array], tuple[Array | None, Array, Array]]


def linear(
    x: Array, weight: Array, bias: Array, *, needs_dx: bool = True
) -> tuple[Array, LinearBackward]:
    r"""Fully connected layer.

    Parameters
    ----------
    x : Array
        (N, D).
    weight : Array
        (K, D), of x's dtype.
    bias : Array
        (K,), of x's dtype.
    needs_dx : bool
        False: the gradient of x is not computed.

    Returns
    -------
    y : Array
        (N, K).
    backward : callable
        backward(dy) returns (dx or None, dweight, dbias).

    Raises
    ------
    TypeError
        If an argument is no floating-point array, or the dtypes or libraries differ.
    ValueError
        If a shape does not fit.

    Notes
    -----
    .. math:: y = x W^T + b, \quad dx = dy\, W, \quad dW = dy^T x, \quad db_k = \sum_n dy_{nk}
    """
    array_module(x=x, weight=weight, bias=bias)
    check_array("x", x, ("N", "D"), "; put a Flatten before it" if x.ndim > 2 else "")
    check_array("weight", weight, ("K", "D"))
    if x.shape[1] != weight.shape[1]:
        raise ValueError(f"x: expected {weight.shape[1]} features (as weight), got {x.shape[1]}")
    check_array("bias", bias, (weight.shape[0],))
    check_same_dtype(x=x, weight=weight, bias=bias)
    y = matmul(x, weight.T) + bias

    def backward(dy: Array) -> tuple[Array | None, Array, Array]:
        check_gradient("dy", dy, y)
        dy = dy.astype(y.dtype, copy=False)
        dx = matmul(dy, weight) if needs_dx else None
        return dx, matmul(dy.T, x), dy.sum(axis=0)

    return y, backward


class Linear(Module):
    """A fully connected layer with trained weights; see `linear`.

    Parameters
    ----------
    in_features
        D.
    out_features
        K.
    rng
        Source of the initial weights (He normal; the bias starts at zero).
    dtype
        float32 or float64.
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
        y, pullback = linear(x, self.weight.data, self.bias.data, needs_dx=needs_dx)

        def backward(dy: Array) -> Array | None:
            dx, dweight, dbias = pullback(dy)
            self.weight.grad += dweight
            self.bias.grad += dbias
            return dx

        return y, backward
