"""Max and average pooling, a row of windows at a time (a piece of work that fits the cache).

On a GPU the whole image at once: `stn_np.gpu.pooling`.

Eq.:  y[n, c, i, j] = max (or mean) over u, v < k of  x[n, c, i s + u, j s + v]
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from stn_np.backend import Array, Backward, OptionalBackward, array_module
from stn_np.checks import check_array, check_flag, check_size, pullback
from stn_np.gpu import pooling as gpu
from stn_np.layers.memory_order import as_images, rows_outermost
from stn_np.module import Module

#: Values in flight at a time: they stay in the cache, and NumPy's calls themselves do not matter.
BLOCK = 131_072


def max_pool2d(
    x: Array, kernel: int, stride: int | None = None, *, ceil_mode: bool = False
) -> tuple[Array, Backward]:
    """Maximum over k x k windows: (N, C, H, W) to (N, C, H', W'); backward(dy) returns dx.

    Of several largest pixels of a window one gets the gradient: the uppermost in the leftmost
    column. In a window with NaN, which is its maximum, any may. TypeError or ValueError if types or
    shapes do not fit, or the image is smaller than a window.

    Parameters
    ----------
    kernel, stride : int
        Side k of the windows, and the step from window to window (k by default), in pixels.
    ceil_mode : bool
        Whether pixels that fill no whole window at the right and lower edge get a smaller one
        (13 pixels, k = 2: 7 windows) or are left out (6 windows).
    """
    sizes = check_pooling(x, kernel, stride, ceil_mode)
    xp = array_module(x=x)
    if xp is not np:
        return gpu.max_pool2d(xp, x, sizes)
    N, C, H, W, H_out, W_out, kernel, stride = sizes
    x_rows = rows_outermost(x)
    y = np.empty((H_out, C, W_out, N), x.dtype)
    # Which pixel of its window won, v k + u: a byte each. Later pixels have larger numbers.
    winner = np.empty(y.shape, np.min_scalar_type(kernel**2 - 1))
    find_largest(x_rows, y, winner, sizes)
    images, dtype = as_images(y), x.dtype

    # Whether each pixel is in exactly one window, so that its gradient is written once.
    tiled = stride == kernel and H_out * stride >= H and W_out * stride >= W

    @pullback(dy=images)
    def backward(dy: Array) -> Array:
        dy_rows = rows_outermost(dy.astype(dtype, copy=False))
        dx = (np.empty if tiled else np.zeros)((H, C, W, N), dtype)
        for block, u, v in product(blocks_of(sizes), range(kernel), range(kernel)):
            pixels, windows = part_of(block, u, v, sizes)
            won = winner[windows] == v * kernel + u
            if tiled:
                np.multiply(dy_rows[windows], won, out=dx[pixels])
            else:
                dx[pixels] += dy_rows[windows] * won
        return as_images(dx)

    return images, backward


def find_largest(x_rows: Array, y: Array, winner: Array, sizes: gpu.Sizes) -> None:
    """Fill y and winner (H', C, W', N) from x (H, C, W, N).

    First over a window's rows, then over its columns: whole rows lie in one piece of memory.
    """
    N, C, _, W, _, W_out, kernel, stride = sizes
    blocks = blocks_of(sizes)
    shape = (max(map(len, blocks), default=0), C, W, N)
    over_rows, larger = np.empty(shape, x_rows.dtype), np.empty(shape, bool)
    row, number = np.empty(shape, winner.dtype), np.empty(shape, winner.dtype)

    for block in blocks:
        size, place = len(block), slice(block.start, block.stop)
        best, its_row = x_rows[rows_at(0, block, sizes)[0]], row[:size]
        its_row[...] = 0
        for u in range(1, kernel):
            rows, n = rows_at(u, block, sizes)
            np.greater(x_rows[rows], best[:n], out=larger[:n])
            np.maximum(x_rows[rows], best[:n], out=over_rows[:n])
            np.multiply(larger[:n], row.dtype.type(u), out=number[:n])
            np.maximum(row[:n], number[:n], out=row[:n])
            if u == 1:
                over_rows[n:size] = best[n:]
            best = over_rows[:size]
        largest, its_winner = y[place], winner[place]
        largest[...], its_winner[...] = (
            part[:, :, ::stride][:, :, :W_out] for part in (best, its_row)
        )
        for v in range(1, kernel):
            columns, n = columns_at(v, sizes)
            candidate, target = best[:, :, columns], largest[:, :, :n]
            its_row += row.dtype.type(kernel)
            np.greater(candidate, target, out=larger[:size, :, :n])
            np.maximum(candidate, target, out=target)
            np.multiply(its_row[:, :, columns], larger[:size, :, :n], out=number[:size, :, :n])
            np.maximum(number[:size, :, :n], its_winner[:, :, :n], out=its_winner[:, :, :n])


def avg_pool2d(
    x: Array, kernel: int, stride: int | None = None, *, ceil_mode: bool = False
) -> tuple[Array, Backward]:
    """Mean over k x k windows. Parameters, shapes and errors as in `max_pool2d`.

    A window that sticks out of the image (``ceil_mode``) is averaged over the pixels that it has.
    """
    sizes = check_pooling(x, kernel, stride, ceil_mode)
    xp = array_module(x=x)
    if xp is not np:
        return gpu.avg_pool2d(xp, x, sizes)
    N, C, H, W, H_out, W_out, kernel, stride = sizes
    x_rows = rows_outermost(x)
    rows = np.minimum(kernel, H - stride * np.arange(H_out))
    cols = np.minimum(kernel, W - stride * np.arange(W_out))
    share = (1.0 / (rows[:, None] * cols)).astype(x.dtype)[:, None, :, None]  # 1 / window's pixels
    blocks = blocks_of(sizes)
    y = np.zeros((H_out, C, W_out, N), x.dtype)
    for block, u, v in product(blocks, range(kernel), range(kernel)):
        pixels, windows = part_of(block, u, v, sizes)
        y[windows] += x_rows[pixels]
    y *= share
    images = as_images(y)

    @pullback(dy=images)
    def backward(dy: Array) -> Array:
        each = rows_outermost(dy) * share
        dx = np.zeros(x_rows.shape, x.dtype)
        for block, u, v in product(blocks, range(kernel), range(kernel)):
            pixels, windows = part_of(block, u, v, sizes)
            dx[pixels] += each[windows]
        return as_images(dx)

    return images, backward


def global_avg_pool2d(x: Array) -> tuple[Array, Backward]:
    r"""Mean over each whole map: (N, C, H, W) to (N, C).

    .. math:: y_{nc} = \frac{1}{HW} \sum_{i, j} x_{ncij}, \quad dx_{ncij} = \frac{dy_{nc}}{HW}

    backward(dy) returns dx, in x's memory order. TypeError or ValueError if x is no such array, or
    without pixels.
    """
    xp = array_module(x=x)
    check_array("x", x, ("N", "C", "H", "W"))
    H, W = x.shape[2:]
    if 0 in (H, W):
        raise ValueError(f"x: expected images of at least 1x1 (a mean needs one), got {H}x{W}")
    wide = np.promote_types(x.dtype, np.float32)
    y = x.mean(axis=(2, 3), dtype=wide).astype(x.dtype, copy=False)

    @pullback(dy=y)
    def backward(dy: Array) -> Array:
        dx: Array = xp.empty_like(x)
        dx[...] = (dy / (H * W))[:, :, None, None]
        return dx

    return y, backward


def blocks_of(sizes: gpu.Sizes) -> list[range]:
    """Rows of windows that are worked on at a time: all, or as many as stay in the cache."""
    step = max(1, BLOCK // max(1, sizes.C * sizes.W * sizes.N))
    H_out = sizes.H_out
    return [range(i, min(i + step, H_out)) for i in range(0, H_out, step)]


def rows_at(u: int, block: range, sizes: gpu.Sizes) -> tuple[slice, int]:
    """The u-th row of each window in a block of rows of windows, and how many windows have one."""
    n = max(0, min(len(block), (sizes.H - u - 1) // sizes.stride + 1 - block.start))
    first = block.start * sizes.stride + u
    return slice(first, first + (n - 1) * sizes.stride + 1, sizes.stride), n


def columns_at(v: int, sizes: gpu.Sizes) -> tuple[slice, int]:
    """The v-th column of each window, and how many windows have one (the first n)."""
    n = max(0, min(sizes.W_out, (sizes.W - v - 1) // sizes.stride + 1))
    return slice(v, v + (n - 1) * sizes.stride + 1, sizes.stride), n


def part_of(
    block: range, u: int, v: int, sizes: gpu.Sizes
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Pixel (u, v) of each window in a block: where the pixels are, and which windows have one."""
    (rows, m), (columns, n) = rows_at(u, block, sizes), columns_at(v, sizes)
    windows = slice(block.start, block.start + m), slice(None), slice(n)
    return (rows, slice(None), columns), windows


def check_pooling(x: Array, kernel: int, stride: int | None, ceil_mode: bool) -> gpu.Sizes:
    """Check the arguments; return the sizes of images and windows."""
    check_array("x", x, ("N", "C", "H", "W"))
    check_flag("ceil_mode", ceil_mode)
    kernel = check_size("kernel", kernel)
    stride = kernel if stride is None else check_size("stride", stride)
    N, C, H, W = x.shape
    least = 1 if ceil_mode else kernel
    if min(H, W) < least:
        raise ValueError(f"x: expected images of at least {least}x{least} (a window), got {H}x{W}")
    H_out, W_out = (n_windows(size, kernel, stride, ceil_mode) for size in (H, W))
    longest = max(H, W)  # what is longer than the image changes nothing but the loops over it
    return gpu.Sizes(N, C, H, W, H_out, W_out, min(kernel, longest), min(stride, longest))


def n_windows(size: int, kernel: int, stride: int, ceil_mode: bool) -> int:
    """How many windows an axis has. Each must begin inside the image, also in ceil mode."""
    if not ceil_mode:
        return (size - kernel) // stride + 1
    n = max(0, -(-(size - kernel) // stride)) + 1  # one window, if it covers the whole image
    return n - 1 if (n - 1) * stride >= size else n


class _Pool(Module):
    """What both poolings keep: the size of the windows."""

    pool: Callable[..., tuple[Array, Backward]]

    def __init__(self, kernel: int, stride: int | None = None, *, ceil_mode: bool = False) -> None:
        check_size("kernel", kernel)
        check_size("stride", kernel if stride is None else stride)
        self.kernel, self.stride, self.ceil_mode = kernel, stride, ceil_mode

    def _describe(self) -> str:
        stride = f", stride={self.stride}" if self.stride not in (None, self.kernel) else ""
        return f"{self.kernel}{stride}" + ", ceil_mode=True" * bool(self.ceil_mode)

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """(N, C, H, W) to (N, C, H', W')."""
        return self.pool(x, self.kernel, self.stride, ceil_mode=self.ceil_mode)


class MaxPool2d(_Pool):
    """Max pooling as a layer; see `max_pool2d`."""

    pool = staticmethod(max_pool2d)


class AvgPool2d(_Pool):
    """Average pooling as a layer; see `avg_pool2d`."""

    pool = staticmethod(avg_pool2d)


class GlobalAvgPool2d(Module):
    """The mean over each map as a layer; see `global_avg_pool2d`."""

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """(N, C, H, W) to (N, C)."""
        return global_avg_pool2d(x)
