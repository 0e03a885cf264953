"""Batch normalisation (Ioffe and Szegedy 2015), its backward pass in both modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stn_np.backend import Array, OptionalBackward, array_module
from stn_np.checks import check_array, check_flag, check_same_dtype, check_size, pullback
from stn_np.gpu.memory_order import memory_axes
from stn_np.module import Buffer, Module, Parameter, Training, check_mode, into_grads

NormBackward = Callable[[Array], tuple[Array, Array, Array]]


def batch_norm(
    x: Array,
    weight: Array,
    bias: Array,
    running_mean: Array,
    running_var: Array,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, NormBackward]:
    r"""Normalise each channel, then scale and shift it.

    .. math:: \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \quad y = w \hat x + b

    .. math:: dw = \sum dy\, \hat x, \quad db = \sum dy, \quad
        dx = \frac{w}{\sqrt{\sigma^2 + \epsilon}} \Bigl( dy - \frac{db + \hat x\, dw}{m} \Bigr)

    Sums go over the m numbers of a channel. In evaluation the statistics are the running ones,
    which do not depend on x: the last term of dx is not there. backward(dy) returns (dx, dweight,
    dbias). TypeError or ValueError if types or shapes do not fit, or there is but one number a
    channel in training.

    Parameters
    ----------
    x : Array
        (N, C, H, W) or (N, C). Shape, dtype and memory order stay.
    weight, bias, running_mean, running_var : Array
        (C,), of x's dtype. Training moves the running ones, in place, by the share `momentum`
        towards the batch's mean and variance (this one divided by m - 1).
    training : bool
        Whether to normalise by the batch's own statistics (variance divided by m).
    """
    vectors = {"weight": weight, "bias": bias}
    vectors |= {"running_mean": running_mean, "running_var": running_var}
    xp = array_module(x=x, **vectors)
    check_array("x", x, ("N", "C", "H", "W") if x.ndim == 4 else ("N", "C"))
    for name, vector in vectors.items():
        check_array(name, vector, (x.shape[1],))
    check_same_dtype(x=x, **vectors)
    check_flag("training", training)

    # All arithmetic is on axes in memory order, so that results have it on the GPU too.
    (axes, back), C = memory_axes(x), x.shape[1]
    others = tuple(i for i, axis in enumerate(axes) if axis != 1)
    m, wide = x.size // max(C, 1), np.promote_types(x.dtype, np.float32)

    def spread(vector: Array) -> Array:
        """(C,) to an array that broadcasts along the other axes."""
        return vector.reshape([C if axis == 1 else 1 for axis in axes])

    x_ordered = x.transpose(axes).astype(wide, copy=False)
    if training:
        if m < 2:
            raise ValueError(f"x: expected two or more numbers a channel in training, got {m}")
        mean = x_ordered.mean(axis=others)
        centred = x_ordered - spread(mean)
        var = (centred * centred).mean(axis=others)
        running_mean += (momentum * (mean - running_mean)).astype(x.dtype)
        running_var += (momentum * (var * (m / (m - 1)) - running_var)).astype(x.dtype)
    else:
        centred, var = x_ordered - spread(running_mean), running_var.astype(wide)
    inverse = 1 / xp.sqrt(var + wide.type(eps))
    scale = weight * inverse  # of the weight as it is now, whatever comes before backward
    x_hat = centred * spread(inverse)
    y = (x_hat * spread(weight) + spread(bias)).astype(x.dtype, copy=False).transpose(back)

    @pullback(dy=y)
    def backward(dy: Array) -> tuple[Array, Array, Array]:
        dy = xp.ascontiguousarray(dy.transpose(axes)).astype(wide, copy=False)
        dweight, dbias = (dy * x_hat).sum(axis=others), dy.sum(axis=others)
        if training:
            dy = dy - (spread(dbias) + x_hat * spread(dweight)) / m
        dx = (dy * spread(scale)).transpose(back)
        dx, dweight, dbias = (d.astype(x.dtype, copy=False) for d in (dx, dweight, dbias))
        return dx, dweight, dbias

    return y, backward


class _BatchNorm(Module):
    """What both have in common."""

    uses_mode = True
    by_image = False
    axes: tuple[str, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        dtype: Any = np.float32,
    ) -> None:
        C = check_size("num_features", num_features)
        for name, value in (("eps", eps), ("momentum", momentum)):
            if not 0 < value <= 1:
                raise ValueError(f"{name}: expected a number in (0, 1], got {value!r}")
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = Parameter(np.ones(C, dtype)), Parameter(np.zeros(C, dtype))
        self.running_mean, self.running_var = Buffer(np.zeros(C, dtype)), Buffer(np.ones(C, dtype))

    def _describe(self) -> str:
        usual = (("eps", 1e-5), ("momentum", 0.1))
        other = [f"{name}={getattr(self, name)}" for name, v in usual if getattr(self, name) != v]
        return ", ".join([str(self.weight.data.size), *other])

    def __call__(
        self, x: Array, *, needs_dx: bool = True, mode: Training | None = None
    ) -> tuple[Array, OptionalBackward]:
        """To the same shape. In training the running statistics are updated."""
        check_mode(mode)
        check_array("x", x, self.axes)
        vectors = self.weight, self.bias, self.running_mean, self.running_var
        data, training = (vector.data for vector in vectors), mode is not None
        y, backward = batch_norm(x, *data, training=training, momentum=self.momentum, eps=self.eps)
        return y, into_grads(backward, self.weight, self.bias)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C); see `batch_norm` and `BatchNorm2d`."""

    axes = ("N", "C")


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W), C = num_features; see `batch_norm`."""

    axes = ("N", "C", "H", "W")
