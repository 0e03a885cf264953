"""Convolution with stride 1 and no padding, as matrix products over rows of the image.

Eq.:  y[n, f, i, j] = b[f] + sum over c, u, v of  w[f, c, u, v] x[n, c, i + u, j + v]

Only the kernel's *width* is unfolded. With rows outermost in memory (`memory_order`), the rows
i .. i+kh-1 that output row i combines lie one behind the other, so the unfolded matrix of output
row i is a view that overlaps its neighbour's:

    columns      (H  * C kw, Wout N)     one block of C kw lines for each row of the image
    window(i)    (kh * C kw, Wout N)     = columns[i C kw : (i + kh) C kw], no copy
    y row i      (F, Wout N)             = w (F, kh C kw) @ window(i)

That copies the image kw times instead of kh kw times. On a GPU, where one large product is better
than one a row, `stn_np.gpu.convolution` unfolds both axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stn_np.backend import Array, OptionalBackward, array_module
from stn_np.checks import check_array, check_gradient, check_same_dtype, check_size
from stn_np.gpu import convolution as gpu
from stn_np.layers.initial import he_normal
from stn_np.layers.memory_order import as_images, rows_outermost
from stn_np.module import Module, Parameter

#: Matrix products with fewer lines than this waste the processor's vector units; with more, adding
#: up overlapping windows costs more than it saves.
THIN = 32

ConvBackward = Callable[[Array], tuple[Array | None, Array, Array]]


def conv2d(
    x: Array, weight: Array, bias: Array, *, needs_dx: bool = True
) -> tuple[Array, ConvBackward]:
    r"""Cross-correlation of images with a bank of kernels, stride 1, no padding.

    Parameters
    ----------
    x : Array
        (N, C, H, W).
    weight : Array
        (F, C, kh, kw), of x's dtype.
    bias : Array
        (F,), of x's dtype.
    needs_dx : bool
        False: the gradient of x is not computed (for images, half the backward pass).

    Returns
    -------
    y : Array
        (N, F, H - kh + 1, W - kw + 1).
    backward : callable
        backward(dy) returns (dx or None, dweight, dbias).

    Raises
    ------
    TypeError
        If an argument is no floating-point array, or the dtypes or libraries differ.
    ValueError
        If a shape does not fit, or the image is smaller than the kernel.

    Notes
    -----
    .. math:: y_{n f i j} = b_f + \sum_{c, u, v} w_{f c u v}\, x_{n c, i+u, j+v}

    .. math::

        dw_{f c u v} = \sum_{n, i, j} dy_{n f i j}\, x_{n c, i+u, j+v}, \quad
        dx_{n c p q} = \sum_{f, u, v} w_{f c u v}\, dy_{n f, p-u, q-v}
    """
    xp = array_module(x=x, weight=weight, bias=bias)
    check_array("x", x, ("N", "C", "H", "W"))
    N, C, H, W = x.shape
    check_array("weight", weight, ("F", "C", "kh", "kw"))
    F, channels, kh, kw = weight.shape
    if C != channels:
        raise ValueError(f"x: expected {channels} channels (as weight), got {C}")
    check_array("bias", bias, (F,))
    check_same_dtype(x=x, weight=weight, bias=bias)
    if 0 in (C, kh, kw):
        raise ValueError(f"weight: expected at least one channel and one pixel, got {weight.shape}")
    if H < kh or W < kw:
        raise ValueError(f"x: expected images of at least {kh}x{kw} (the kernel), got {H}x{W}")
    if xp is not np:
        return gpu.conv2d(xp, x, weight, bias, needs_dx=needs_dx)
    H_out, W_out, lines = H - kh + 1, W - kw + 1, C * kw

    columns = unfold_width(xp, rows_outermost(xp, x), kw).reshape(H * lines, W_out * N)
    w = weight.transpose(0, 2, 1, 3).reshape(F, kh * lines)  # axes (f; u, c, v) as in a window
    y = xp.empty((H_out, F, W_out * N), x.dtype)
    for i in range(H_out):
        xp.matmul(w, columns[i * lines : (i + kh) * lines], out=y[i])
        y[i] += bias[:, None]
    images = as_images(y.reshape(H_out, F, W_out, N))

    def backward(dy: Array) -> tuple[Array | None, Array, Array]:
        check_gradient("dy", dy, images)
        dy = rows_outermost(xp, dy.astype(x.dtype, copy=False)).reshape(H_out, F, W_out * N)

        # dw^T = sum over i of window(i) dy(i)^T  (as dw it takes up to half as long again)
        dw = xp.zeros((kh * lines, F), x.dtype)
        for i in range(H_out):
            dw += columns[i * lines : (i + kh) * lines] @ dy[i].T
        dweight = dw.reshape(kh, C, kw, F).transpose(3, 1, 0, 2)
        ones = xp.ones(W_out * N, x.dtype)
        dbias = (dy.reshape(H_out * F, W_out * N) @ ones).reshape(H_out, F).sum(0)

        return dx_of(dy) if needs_dx else None, dweight, dbias

    def dx_of(dy: Array) -> Array:
        dx = xp.zeros((H, C, W, N), x.dtype)
        if lines < THIN:
            # The forward pass transposed: each output row gives to its window.
            dcolumns = xp.zeros_like(columns)
            for i in range(H_out):
                dcolumns[i * lines : (i + kh) * lines] += w.T @ dy[i]
            fold_width(dcolumns.reshape(H, C, kw, W_out, N), out=dx)
            return as_images(dx)
        # Image row r met kernel row u in output row r - u:  dcolumns(r) = sum_u w_u^T dy(r - u).
        # Output rows r-kh+1 .. r lie one behind the other, so with the kernel's rows in reverse
        # order this sum is one product as well. At the image's edge fewer output rows exist.
        w_reverse = weight[:, :, ::-1].transpose(1, 3, 2, 0).reshape(lines, kh * F)
        dy_lines = dy.reshape(H_out * F, W_out * N)
        for r in range(H):
            first, last = max(0, r - kh + 1), min(H_out - 1, r)
            skipped = first - (r - kh + 1)
            w_r = w_reverse[:, skipped * F : (skipped + last - first + 1) * F]
            dcolumns = w_r @ dy_lines[first * F : (last + 1) * F]
            fold_width(dcolumns.reshape(1, C, kw, W_out, N), out=dx[r : r + 1])
        return as_images(dx)

    return images, backward


def unfold_width(xp: Any, x: Array, kw: int) -> Array:
    """(H, C, W, N) to (H, C, kw, W - kw + 1, N): entry v holds the image from column v on."""
    H, C, W, N = x.shape
    columns = xp.empty((H, C, kw, W - kw + 1, N), x.dtype)
    for v in range(kw):
        columns[:, :, v] = x[:, :, v : v + W - kw + 1]
    return columns  # type: ignore[no-any-return]


def fold_width(dcolumns: Array, *, out: Array) -> None:
    """Transpose of `unfold_width`: (H, C, kw, W - kw + 1, N) is added to out (H, C, W, N)."""
    kw, W_out = dcolumns.shape[2:4]
    for v in range(kw):
        out[:, :, v : v + W_out] += dcolumns[:, :, v]


class Conv2d(Module):
    """A convolution with trained kernels; see `conv2d`.

    Parameters
    ----------
    in_channels
        C.
    out_channels
        F, the number of filters.
    kernel_size
        The side of the square kernels, in pixels.
    rng
        Source of the initial weights (He normal; the bias starts at zero).
    dtype
        float32 or float64.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        rng: np.random.Generator,
        dtype: Any = np.float32,
    ) -> None:
        for name in ("in_channels", "out_channels", "kernel_size"):
            check_size(name, locals()[name])
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = Parameter(he_normal(shape, rng, dtype))
        self.bias = Parameter(np.zeros(out_channels, dtype))

    def _describe(self) -> str:
        out_channels, in_channels, kernel_size, _ = self.weight.data.shape
        return f"{in_channels}, {out_channels}, {kernel_size}"

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """(N, C, H, W) to (N, F, H - k + 1, W - k + 1)."""
        y, pullback = conv2d(x, self.weight.data, self.bias.data, needs_dx=needs_dx)

        def backward(dy: Array) -> Array | None:
            dx, dweight, dbias = pullback(dy)
            self.weight.grad += dweight
            self.bias.grad += dbias
            return dx

        return y, backward
