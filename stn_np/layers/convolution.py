"""Convolution as matrix products over rows of the image.

Eq.:  y[n, f, i, j] = b[f] + sum over c, u, v of  w[f, c, u, v] x[n, c, i s + u - p, j s + v - p]

with stride s and p zeros round the image. Only the kernel's *width* is unfolded: kw copies of the
image instead of kh kw. With rows outermost in memory (`memory_order`), the rows i s .. i s + kh - 1
that output row i combines lie one behind the other, so its matrix is a view:

    columns      (H  * C kw, Wout N)     one block of C kw lines for each row of the image
    window(i)    (kh * C kw, Wout N)     = columns[i s C kw : (i s + kh) C kw], no copy
    y row i      (F, Wout N)             = w (F, kh C kw) @ window(i)

On a GPU, where one large product is better, `stn_np.gpu.convolution` unfolds both axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stn_np.backend import Array, OptionalBackward, array_module
from stn_np.checks import (
    check_array,
    check_flag,
    check_pair,
    check_same_dtype,
    check_size,
    pullback,
)
from stn_np.gpu import convolution as gpu
from stn_np.layers.convolution_spectral import pays, spectral
from stn_np.layers.dense import he_normal
from stn_np.layers.memory_order import as_images, rows_outermost
from stn_np.module import Module, Parameter, into_grads

#: Matrix products with fewer lines than this waste the processor's vector units; with more, adding
#: up overlapping windows costs more than it saves.
THIN = 32

ConvBackward = Callable[[Array], tuple[Array | None, Array, Array]]


def conv2d(
    x: Array,
    weight: Array,
    bias: Array,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    *,
    needs_dx: bool = True,
) -> tuple[Array, ConvBackward]:
    r"""Cross-correlation of images with a bank of kernels.

    .. math:: y_{n f i j} = b_f + \sum_{c, u, v} w_{f c u v}\, x_{n c,\, i s + u - p,\, j s + v - p}

    .. math::

        dw_{f c u v} = \sum_{n, i, j} dy_{n f i j}\, x_{n c,\, i s + u - p,\, j s + v - p}, \quad
        dx_{n c q r} = \sum w_{f c u v}\, dy_{n f i j}
        \ \text{ over } f, \; i s + u - p = q, \; j s + v - p = r

    x (N, C, H, W) gives y (N, F, H', W') with H' = floor((H + 2 padding - kh) / stride) + 1, and
    W' likewise; backward(dy) returns (dx or None, dweight, dbias). TypeError or ValueError if types
    or shapes do not fit, or the padded image is smaller than the kernel.

    Parameters
    ----------
    x, weight, bias : Array
        (N, C, H, W), (F, C, kh, kw) and (F,), of one dtype.
    stride, padding : int or (int, int)
        Step s of the kernel, and zeros p on either side, in pixels; (down, across).
    needs_dx : bool
        False: the gradient of x is not computed (for images, half the backward pass).
    """
    xp = array_module(x=x, weight=weight, bias=bias)
    check_flag("needs_dx", needs_dx)
    steps, zeros = check_pair("stride", stride), check_pair("padding", padding, 0)
    _check_shapes(x, weight, bias, zeros)
    if xp is not np:
        return gpu.conv2d(xp, x, weight, bias, steps, zeros, needs_dx=needs_dx)
    rows = _pad(rows_outermost(x), *zeros)
    H, _, W, N = rows.shape
    if steps == (1, 1) and pays(H, W, N, weight):
        y, rows_backward = spectral(rows, weight, bias, needs_dx=needs_dx)
    else:
        y, rows_backward = direct(rows, weight, bias, steps, needs_dx=needs_dx)
    images = as_images(y)

    @pullback(dy=images)
    def backward(dy: Array) -> tuple[Array | None, Array, Array]:
        dx, *others = rows_backward(rows_outermost(dy.astype(x.dtype, copy=False)))
        if dx is not None:
            dx = as_images(dx[zeros[0] : H - zeros[0], :, zeros[1] : W - zeros[1]])
        return dx, *others

    return images, backward


def direct(
    rows: Array, weight: Array, bias: Array, steps: tuple[int, int], *, needs_dx: bool
) -> tuple[Array, ConvBackward]:
    """Rows (H, C, W, N) to y (H', F, W', N); backward(dy) returns (dx or None, dweight, dbias)."""
    (down, across), (F, C, kh, kw) = steps, weight.shape
    H, _, W, N = rows.shape
    H_out, W_out, lines = (H - kh) // down + 1, (W - kw) // across + 1, C * kw
    columns = unfold_width(rows, kw, across).reshape(H * lines, W_out * N)
    window = [slice(i * down * lines, (i * down + kh) * lines) for i in range(H_out)]
    w = weight.transpose(0, 2, 1, 3).reshape(F, kh * lines)  # axes (f; u, c, v) as in a window
    y = np.empty((H_out, F, W_out * N), rows.dtype)
    for i in range(H_out):
        np.matmul(w, columns[window[i]], out=y[i])
        y[i] += bias[:, None]

    def backward(dy: Array) -> tuple[Array | None, Array, Array]:
        dy = dy.reshape(H_out, F, W_out * N)

        # dw^T = sum over i of window(i) dy(i)^T  (as dw it takes up to half as long again)
        dw = np.zeros((kh * lines, F), rows.dtype)
        for i in range(H_out):
            dw += columns[window[i]] @ dy[i].T
        dweight = dw.reshape(kh, C, kw, F).transpose(3, 1, 0, 2)
        ones = np.ones(W_out * N, rows.dtype)
        dbias = (dy.reshape(H_out * F, W_out * N) @ ones).reshape(H_out, F).sum(0)

        return dx_of(dy) if needs_dx else None, dweight, dbias

    def dx_of(dy: Array) -> Array:
        dx = np.zeros((H, C, W, N), rows.dtype)
        if lines < THIN:
            # The forward pass transposed: each output row gives to its window.
            dcolumns = np.zeros_like(columns)
            for i in range(H_out):
                dcolumns[window[i]] += w.T @ dy[i]
            fold_width(dcolumns.reshape(H, C, kw, W_out, N), across, out=dx)
        else:
            fold_row_by_row(dx, dy, weight, *steps)
        return dx

    return y.reshape(H_out, F, W_out, N), backward


def fold_row_by_row(dx: Array, dy: Array, weight: Array, down: int, across: int) -> None:
    """Fill dx (H, C, W, N) from dy (H', F, W' N), one matrix product for each row of the image.

    Image row r = q s + rest met the kernel's rows u = rest, rest + s, ... in the output rows
    q, q - 1, ...:   dcolumns(r) = sum over k of  w_(rest + k s)^T dy(q - k)

    Output rows lie one behind the other, so with the kernel's rows in reverse order this sum is one
    product as well. At the image's edge fewer output rows exist.
    """
    (H, C, W, N), (F, _, kh, kw) = dx.shape, weight.shape
    H_out, W_out = len(dy), (W - kw) // across + 1
    dy_lines = dy.reshape(H_out * F, W_out * N)
    w_reverse = [
        weight[:, :, rest::down][:, :, ::-1].transpose(1, 3, 2, 0).reshape(C * kw, -1)
        for rest in range(min(down, kh))
    ]
    for r in range(H):
        q, rest = divmod(r, down)
        oldest = q - (kh - rest - 1) // down
        first, last = max(0, oldest), min(H_out - 1, q)
        if first > last:  # no output row has seen this one
            continue
        w_r = w_reverse[rest][:, (first - oldest) * F : (last + 1 - oldest) * F]
        dcolumns = w_r @ dy_lines[first * F : (last + 1) * F]
        fold_width(dcolumns.reshape(1, C, kw, W_out, N), across, out=dx[r : r + 1])


def _check_shapes(x: Array, weight: Array, bias: Array, padding: tuple[int, int]) -> None:
    """Images, kernels and biases must fit each other."""
    check_array("x", x, ("N", "C", "H", "W"))
    check_array("weight", weight, ("F", "C", "kh", "kw"))
    F, C, kh, kw = weight.shape
    if x.shape[1] != C:
        raise ValueError(f"x: expected {C} channels (as weight), got {x.shape[1]}")
    check_array("bias", bias, (F,))
    check_same_dtype(x=x, weight=weight, bias=bias)
    if 0 in (C, kh, kw):
        raise ValueError(f"weight: expected at least one channel and one pixel, got {weight.shape}")
    H, W = (size + 2 * p for size, p in zip(x.shape[2:], padding, strict=True))
    if H < kh or W < kw:
        padded = " with the padding" if any(padding) else ""
        raise ValueError(
            f"x: expected images of at least {kh}x{kw} (the kernel), got {H}x{W}{padded}"
        )


def _pad(rows: Array, down: int, across: int) -> Array:
    """(H, C, W, N) with zeros round every image: rows itself if there are none."""
    if not (down or across):
        return rows
    H, C, W, N = rows.shape
    padded = np.zeros((H + 2 * down, C, W + 2 * across, N), rows.dtype)
    padded[down : down + H, :, across : across + W] = rows
    return padded


def unfold_width(x: Array, kw: int, stride: int = 1) -> Array:
    """(H, C, W, N) to (H, C, kw, W', N): entry v holds every stride-th column from v on."""
    H, C, W, N = x.shape
    W_out = (W - kw) // stride + 1
    columns = np.empty((H, C, kw, W_out, N), x.dtype)
    for v in range(kw):
        columns[:, :, v] = x[:, :, v : v + (W_out - 1) * stride + 1 : stride]
    return columns


def fold_width(dcolumns: Array, stride: int = 1, *, out: Array) -> None:
    """Transpose of `unfold_width`: (H, C, kw, W', N) is added to out (H, C, W, N)."""
    kw, W_out = dcolumns.shape[2:4]
    for v in range(kw):
        out[:, :, v : v + (W_out - 1) * stride + 1 : stride] += dcolumns[:, :, v]


class Conv2d(Module):
    """A convolution with trained kernels: `conv2d` with C = in_channels and F = out_channels.

    The initial weights are He normal, drawn from rng; the bias starts at zero.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        *,
        rng: np.random.Generator,
        dtype: Any = np.float32,
    ) -> None:
        for name in ("in_channels", "out_channels"):
            check_size(name, locals()[name])
        self.stride, self.padding = check_pair("stride", stride), check_pair("padding", padding, 0)
        shape = (out_channels, in_channels, *check_pair("kernel_size", kernel_size))
        self.weight = Parameter(he_normal(shape, rng, dtype))
        self.bias = Parameter(np.zeros(out_channels, dtype))

    def _describe(self) -> str:
        F, C, *kernel = self.weight.data.shape
        pairs = {"stride": (self.stride, 1), "padding": (self.padding, 0)}
        others = [f"{k}={_short(pair)}" for k, (pair, usual) in pairs.items() if {*pair} != {usual}]
        return ", ".join([f"{C}, {F}, {_short(tuple(kernel))}", *others])

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """(N, C, H, W) to (N, F, H', W')."""
        weight, bias = self.weight.data, self.bias.data
        y, backward = conv2d(x, weight, bias, self.stride, self.padding, needs_dx=needs_dx)
        return y, into_grads(backward, self.weight, self.bias)


def _short(pair: tuple[int, ...]) -> str:
    """3 for (3, 3)."""
    return str(pair[0] if len({*pair}) == 1 else pair)
