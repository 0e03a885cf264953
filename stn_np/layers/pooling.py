"""Max and average pooling, a row of windows at a time (a piece of work that fits the cache).

Eq.:  y[n, c, i, j] = max (or mean) over u, v < k of  x[n, c, i s + u, j s + v]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stn_np.backend import Array, Backward, OptionalBackward, array_module
from stn_np.checks import check_array, check_gradient, check_size
from stn_np.layers.memory_order import as_images, rows_outermost
from stn_np.layers.module import Module


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
        backward(dy) returns dx. Where several pixels of a window are largest, the first of them in
        reading order gets the gradient, as in PyTorch.

    Raises
    ------
    TypeError
        If x is no floating-point array or a size no whole number.
    ValueError
        If the rank is wrong or the image smaller than a window.
    """
    xp, stride, H_out, W_out = check_pooling(x, kernel, stride, ceil_mode)
    x_rows = rows_outermost(xp, x)
    _, C, _, N = x_rows.shape
    y = xp.full((H_out, C, W_out, N), -xp.inf, x.dtype)
    for i in range(H_out):
        for pixels, n in window_pixels(x_rows, i, kernel, stride, W_out):
            xp.maximum(y[i, :, :n], x_rows[pixels], out=y[i, :, :n])
    images = as_images(y)

    def backward(dy: Array) -> Array:
        check_gradient("dy", dy, images)
        left = rows_outermost(xp, dy).copy()  # what no pixel of the window has been given yet
        given, largest = xp.empty_like(left[0]), xp.empty(left[0].shape, bool)
        dx = xp.zeros(x_rows.shape, x.dtype)
        for i in range(H_out):
            for pixels, n in window_pixels(x_rows, i, kernel, stride, W_out):
                xp.equal(x_rows[pixels], y[i, :, :n], out=largest[:, :n])
                xp.multiply(left[i, :, :n], largest[:, :n], out=given[:, :n])
                left[i, :, :n] -= given[:, :n]
                if stride < kernel:
                    dx[pixels] += given[:, :n]
                else:  # windows do not overlap: each pixel is written once
                    dx[pixels] = given[:, :n]
        return as_images(dx)

    return images, backward


def avg_pool2d(
    x: Array, kernel: int, stride: int | None = None, *, ceil_mode: bool = False
) -> tuple[Array, Backward]:
    """Mean over k x k windows. Parameters, shapes and errors as in `max_pool2d`.

    A window that sticks out of the image (``ceil_mode``) is averaged over the pixels that it has.
    """
    xp, stride, H_out, W_out = check_pooling(x, kernel, stride, ceil_mode)
    x_rows = rows_outermost(xp, x)
    H, C, W, N = x_rows.shape
    rows = xp.minimum(kernel, H - stride * xp.arange(H_out))
    cols = xp.minimum(kernel, W - stride * xp.arange(W_out))
    share = (1.0 / (rows[:, None] * cols)).astype(x.dtype)[:, None, :, None]  # 1 / window's pixels
    y = xp.zeros((H_out, C, W_out, N), x.dtype)
    for i in range(H_out):
        for pixels, n in window_pixels(x_rows, i, kernel, stride, W_out):
            y[i, :, :n] += x_rows[pixels]
    y *= share
    images = as_images(y)

    def backward(dy: Array) -> Array:
        check_gradient("dy", dy, images)
        each = rows_outermost(xp, dy) * share
        dx = xp.zeros(x_rows.shape, x.dtype)
        for i in range(H_out):
            for pixels, n in window_pixels(x_rows, i, kernel, stride, W_out):
                dx[pixels] += each[i, :, :n]
        return as_images(dx)

    return images, backward


def window_pixels(
    x_rows: Array, i: int, kernel: int, stride: int, W_out: int
) -> Iterator[tuple[tuple[int, slice, slice], int]]:
    """For each place (u, v) in the windows of output row i: those pixels, and of how many windows.

    Yields an index into (H, C, W, N) that selects one pixel of each of the first n windows.
    """
    H, _, W, _ = x_rows.shape
    for r in range(i * stride, min(i * stride + kernel, H)):
        for v in range(kernel):
            n = min(W_out, (W - v - 1) // stride + 1)
            yield (r, slice(None), slice(v, v + (n - 1) * stride + 1, stride)), n


def check_pooling(
    x: Array, kernel: int, stride: int | None, ceil_mode: bool
) -> tuple[Any, int, int, int]:
    """Check the arguments; return the array module, the stride, and the output's H' and W'."""
    xp = array_module(x=x)
    check_array("x", x, ("N", "C", "H", "W"))
    check_size("kernel", kernel)
    stride = kernel if stride is None else stride
    check_size("stride", stride)
    H, W = x.shape[2:]
    least = 1 if ceil_mode else kernel
    if min(H, W) < least:
        raise ValueError(f"x: expected images of at least {least}x{least} (a window), got {H}x{W}")
    return xp, stride, *(windows(size, kernel, stride, ceil_mode) for size in (H, W))


def windows(size: int, kernel: int, stride: int, ceil_mode: bool) -> int:
    """How many windows an axis has. Each must begin inside the image, also in ceil mode."""
    if not ceil_mode:
        return (size - kernel) // stride + 1
    n = -(-(size - kernel) // stride) + 1
    return n - 1 if (n - 1) * stride >= size else n


class _Pool(Module):
    """What both poolings keep: the size of the windows."""

    def __init__(self, kernel: int, stride: int | None = None, *, ceil_mode: bool = False) -> None:
        self.kernel, self.stride, self.ceil_mode = kernel, stride, ceil_mode


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
