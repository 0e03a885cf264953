"""Max and average pooling, a row of windows at a time (a piece of work that fits the cache).

On a GPU the whole image at once: `stn_np.gpu.pooling`.

Eq.:  y[n, c, i, j] = max (or mean) over u, v < k of  x[n, c, i s + u, j s + v]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stn_np.backend import Array, Backward, OptionalBackward, array_module
from stn_np.checks import check_array, check_gradient, check_size
from stn_np.gpu import pooling as gpu
from stn_np.gpu.pooling import Windows
from stn_np.layers.memory_order import as_images, rows_outermost
from stn_np.module import Module


def max_pool2d(
    x: Array, kernel: int, stride: int | None = None, *, ceil_mode: bool = False
) -> tuple[Array, Backward]:
    """Maximum over k x k windows.

    Parameters
    ----------
    x : Array
        (N, C, H, W).
    kernel : int
        Side k of the windows, in pixels.
    stride : int, optional
        Step from window to window; k by default.
    ceil_mode : bool
        Whether pixels that fill no whole window at the right and lower edge get a smaller one
        (13 pixels, k = 2: 7 windows) or are left out (6 windows).

    Returns
    -------
    y : Array
        (N, C, H', W').
    backward : callable
        backward(dy) returns dx. Where several pixels of a window are largest, one of them gets the
        gradient: the uppermost in the leftmost column (PyTorch: the leftmost in the uppermost row).
        A window with NaN has the maximum NaN; which of its pixels gets the gradient is then not
        defined.

    Raises
    ------
    TypeError
        If x is no floating-point array or a size no whole number.
    ValueError
        If the rank is wrong or the image smaller than a window.
    """
    xp, kernel, stride, H_out, W_out = check_pooling(x, kernel, stride, ceil_mode)
    if xp is not np:
        return gpu.max_pool2d(xp, x, Windows.on(x, kernel, stride, H_out, W_out))
    x_rows = rows_outermost(xp, x)
    H, C, W, N = x_rows.shape
    y = xp.empty((H_out, C, W_out, N), x.dtype)
    # First over the window's rows, then over its columns: whole rows lie in one piece of memory.
    tallest = xp.empty((C, W, N), x.dtype)

    def find_tallest(i: int) -> list[int]:
        """Fill `tallest` with the maximum over the rows of window row i; return those rows."""
        rows = list(range(i * stride, min(i * stride + kernel, H)))
        xp.copyto(tallest, x_rows[rows[0]])
        for r in rows[1:]:
            xp.maximum(tallest, x_rows[r], out=tallest)
        return rows

    for i in range(H_out):
        find_tallest(i)
        y[i] = tallest[:, ::stride][:, :W_out]
        for v in range(1, kernel):
            columns, n = window_columns(W, v, stride, W_out)
            xp.maximum(y[i, :, :n], tallest[:, columns], out=y[i, :, :n])
    images = as_images(y)

    # Whether each pixel is in exactly one window, so that its gradient is written once.
    tiled = stride == kernel and H_out * stride >= H and W_out * stride >= W

    def hand_out(dpixels: Array, given: Array) -> None:
        if tiled:
            dpixels[...] = given
        else:
            dpixels += given

    def backward(dy: Array) -> Array:
        check_gradient("dy", dy, images)
        dy_rows = rows_outermost(xp, dy)
        dx = (xp.empty if tiled else xp.zeros)(x_rows.shape, x.dtype)
        dtallest = xp.empty_like(tallest)
        given, largest = xp.empty_like(tallest), xp.empty(tallest.shape, bool)
        for i in range(H_out):
            rows = find_tallest(i)
            # From the window to the tallest pixel of one column; what is left goes to the last one.
            left = dy_rows[i].copy()
            dtallest[...] = 0
            for v in range(kernel):
                columns, n = window_columns(W, v, stride, W_out)
                if v == kernel - 1:
                    hand_out(dtallest[:, columns], left[:, :n])
                    break
                xp.equal(tallest[:, columns], y[i, :, :n], out=largest[:, :n])
                xp.multiply(left[:, :n], largest[:, :n], out=given[:, :n])
                left[:, :n] -= given[:, :n]
                hand_out(dtallest[:, columns], given[:, :n])
            # From there to the pixel's row; again the last one gets what is left.
            for r in rows[:-1]:
                xp.equal(x_rows[r], tallest, out=largest)
                xp.multiply(dtallest, largest, out=given)
                dtallest -= given
                hand_out(dx[r], given)
            hand_out(dx[rows[-1]], dtallest)
        return as_images(dx)

    return images, backward


def avg_pool2d(
    x: Array, kernel: int, stride: int | None = None, *, ceil_mode: bool = False
) -> tuple[Array, Backward]:
    """Mean over k x k windows. Parameters, shapes and errors as in `max_pool2d`.

    A window that sticks out of the image (``ceil_mode``) is averaged over the pixels that it has.
    """
    xp, kernel, stride, H_out, W_out = check_pooling(x, kernel, stride, ceil_mode)
    if xp is not np:
        return gpu.avg_pool2d(xp, x, Windows.on(x, kernel, stride, H_out, W_out))
    x_rows = rows_outermost(xp, x)
    H, C, W, N = x_rows.shape
    rows = xp.minimum(kernel, H - stride * xp.arange(H_out))
    cols = xp.minimum(kernel, W - stride * xp.arange(W_out))
    share = (1.0 / (rows[:, None] * cols)).astype(x.dtype)[:, None, :, None]  # 1 / window's pixels
    y = xp.zeros((H_out, C, W_out, N), x.dtype)
    for i in range(H_out):
        for r in range(i * stride, min(i * stride + kernel, H)):
            for v in range(kernel):
                columns, n = window_columns(W, v, stride, W_out)
                y[i, :, :n] += x_rows[r][:, columns]
    y *= share
    images = as_images(y)

    def backward(dy: Array) -> Array:
        check_gradient("dy", dy, images)
        each = rows_outermost(xp, dy) * share
        dx = xp.zeros(x_rows.shape, x.dtype)
        for i in range(H_out):
            for r in range(i * stride, min(i * stride + kernel, H)):
                for v in range(kernel):
                    columns, n = window_columns(W, v, stride, W_out)
                    dx[r][:, columns] += each[i, :, :n]
        return as_images(dx)

    return images, backward


def window_columns(W: int, v: int, stride: int, W_out: int) -> tuple[slice, int]:
    """The v-th column of each window, and how many windows have one (the first n)."""
    n = max(0, min(W_out, (W - v - 1) // stride + 1))
    return slice(v, v + (n - 1) * stride + 1, stride), n


def check_pooling(
    x: Array, kernel: int, stride: int | None, ceil_mode: bool
) -> tuple[Any, int, int, int, int]:
    """Check the arguments; return the array module, kernel, stride, and the output's H' and W'."""
    xp = array_module(x=x)
    check_array("x", x, ("N", "C", "H", "W"))
    check_size("kernel", kernel)
    stride = kernel if stride is None else stride
    check_size("stride", stride)
    kernel, stride = int(kernel), int(stride)
    H, W = x.shape[2:]
    least = 1 if ceil_mode else kernel
    if min(H, W) < least:
        raise ValueError(f"x: expected images of at least {least}x{least} (a window), got {H}x{W}")
    H_out, W_out = (windows(size, kernel, stride, ceil_mode) for size in (H, W))
    longest = max(H, W)  # what is longer than the image changes nothing but the loops over it
    return xp, min(kernel, longest), min(stride, longest), H_out, W_out


def windows(size: int, kernel: int, stride: int, ceil_mode: bool) -> int:
    """How many windows an axis has. Each must begin inside the image, also in ceil mode."""
    if not ceil_mode:
        return (size - kernel) // stride + 1
    n = max(0, -(-(size - kernel) // stride)) + 1  # one window, if it covers the whole image
    return n - 1 if (n - 1) * stride >= size else n


class _Pool(Module):
    """What both poolings keep: the size of the windows."""

    def __init__(self, kernel: int, stride: int | None = None, *, ceil_mode: bool = False) -> None:
        check_size("kernel", kernel)
        check_size("stride", kernel if stride is None else stride)
        self.kernel, self.stride, self.ceil_mode = kernel, stride, ceil_mode

    def _describe(self) -> str:
        stride = f", stride={self.stride}" if self.stride not in (None, self.kernel) else ""
        return f"{self.kernel}{stride}" + ", ceil_mode=True" * bool(self.ceil_mode)


class MaxPool2d(_Pool):
    """Max pooling as a layer; see `max_pool2d`."""

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """(N, C, H, W) to (N, C, H', W')."""
        return max_pool2d(x, self.kernel, self.stride, ceil_mode=self.ceil_mode)


class AvgPool2d(_Pool):
    """Average pooling as a layer; see `avg_pool2d`."""

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """(N, C, H, W) to (N, C, H', W')."""
        return avg_pool2d(x, self.kernel, self.stride, ceil_mode=self.ceil_mode)
