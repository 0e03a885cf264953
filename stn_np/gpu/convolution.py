"""Convolution on a GPU: one matrix product each for y, dweight and dx.

    columns  (C kh kw, H' W' N)    what each pixel of the kernel sees, channel by channel
    y        (F, H' W' N)          = w (F, C kh kw) columns
    dw       (F, C kh kw)          = dy columns^T
    dcolumns (C kh kw, H' W' N)    = w^T dy, added up to dx where they came from

Images lie in memory as (C, H, W, N), so that y is in that order as well and w is the weight as it
is. Columns are kh kw times as large as the image. What would be too much is done in pieces, some
of the H' W' N places at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from stn_np.backend import Array
from stn_np.checks import pullback
from stn_np.gpu.launcher import Argument, launch
from stn_np.gpu.matmul import matmul
from stn_np.gpu.memory_order import batch_first, channels_outermost

FILE = "cuda/convolution.cu"

#: Bytes of columns that are in memory at a time. Columns that are larger as a whole are not kept
#: for the backward pass, but unfolded again.
PIECE = 2**28


def conv2d(
    xp: Any,
    x: Array,
    weight: Array,
    bias: Array,
    stride: tuple[int, int],
    padding: tuple[int, int],
    *,
    needs_dx: bool,
) -> tuple[Array, Callable[[Array], tuple[Array | None, Array, Array]]]:
    """`stn_np.layers.conv2d` for CuPy arrays that it has checked."""
    F, _, kh, kw = weight.shape
    x = padded(xp, x, *padding)  # for unfolding to read kh kw times, and always along the batch
    C, H, W, N = x.shape
    sizes = Sizes(N, C, H, W, kh, kw, *stride)
    dtype, pieces = x.dtype, sizes.pieces(x.dtype.itemsize)
    w = weight.reshape(F, sizes.lines)

    y = xp.empty((F, sizes.places), dtype)
    for piece in pieces:
        columns = unfold(xp, x, sizes, piece)
        matmul(w, columns, out=y[:, piece])
    y += bias[:, None]
    images = batch_first(y.reshape(F, *sizes.out, N))
    kept = columns if len(pieces) == 1 else None

    @pullback(dy=images)
    def backward(dy: Array) -> tuple[Array | None, Array, Array]:
        dy = channels_outermost(xp, dy.astype(dtype, copy=False)).reshape(F, sizes.places)
        dweight = dw_of(dy).reshape(F, C, kh, kw)
        return dx_of(dy) if needs_dx else None, dweight, dy.sum(axis=1)

    def dw_of(dy: Array) -> Array:
        if kept is not None:
            return matmul(dy, kept.T)
        dw = xp.zeros((F, sizes.lines), dtype)
        for piece in pieces:
            dw += matmul(dy[:, piece], unfold(xp, x, sizes, piece).T)
        return dw  # type: ignore[no-any-return]

    def dx_of(dy: Array) -> Array:
        whole = len(pieces) == 1
        dx = (xp.empty if whole else xp.zeros)((C, H, W, N), dtype)
        for piece in pieces:
            fold(matmul(w.T, dy[:, piece]), sizes, piece, whole=whole, out=dx)
        down, across = padding
        return batch_first(dx[:, down : H - down, across : W - across])

    return images, backward


def padded(xp: Any, x: Array, down: int, across: int) -> Array:
    """(N, C, H, W) in any memory order to a contiguous (C, H, W, N) with zeros round each image."""
    if not (down or across):
        return channels_outermost(xp, x)
    N, C, H, W = x.shape
    y: Array = xp.zeros((C, H + 2 * down, W + 2 * across, N), x.dtype)
    y[:, down : down + H, across : across + W] = x.transpose(1, 2, 3, 0)
    return y


class Sizes(NamedTuple):
    """The lengths of all axes of the images and of a kernel.

    Attributes
    ----------
    N, C, H, W, kh, kw : int
        Images (N, C, H, W), with their padding, and kernels (C, kh, kw).
    down, across : int
        Steps of the kernel.
    """

    N: int
    C: int
    H: int
    W: int
    kh: int
    kw: int
    down: int
    across: int

    @property
    def out(self) -> tuple[int, int]:
        """(H', W')."""
        return (self.H - self.kh) // self.down + 1, (self.W - self.kw) // self.across + 1

    @property
    def lines(self) -> int:
        """C kh kw, of the columns."""
        return self.C * self.kh * self.kw

    @property
    def places(self) -> int:
        """H' W' N: the length of a line."""
        H_out, W_out = self.out
        return H_out * W_out * self.N

    def pieces(self, itemsize: int) -> list[slice]:
        """The places in pieces of at most `PIECE` bytes of columns, but at least one place."""
        step = max(1, PIECE // (self.lines * itemsize))
        return [slice(p, min(p + step, self.places)) for p in range(0, self.places, step)]


def unfold(xp: Any, x: Array, sizes: Sizes, piece: slice) -> Array:
    """Images (C, H, W, N) to the columns (C kh kw, length) at a piece of the places."""
    N, C, H, W, kh, kw, down, across = sizes
    length = piece.stop - piece.start
    columns = xp.empty((sizes.lines, length), x.dtype)
    launch(
        FILE, "unfold", (str(x.dtype),), C * kh * length,
        Argument("x", x, x.dtype, (C, H, W, N)),
        Argument("columns", columns, x.dtype, (sizes.lines, length)),
        N, H, W, kh, kw, down, across, piece.start, length,
    )  # fmt: skip
    return columns  # type: ignore[no-any-return]


def fold(dcolumns: Array, sizes: Sizes, piece: slice, *, whole: bool, out: Array) -> None:
    """Transpose of `unfold`: fills out (C, H, W, N), or adds to those rows that a piece sees."""
    N, C, H, W, kh, kw, down, across = sizes
    length = piece.stop - piece.start
    row_out = sizes.out[1] * N
    first_row = 0 if whole else piece.start // row_out * down
    last_row = H - 1 if whole else (piece.stop - 1) // row_out * down + kh - 1
    rows = last_row - first_row + 1
    launch(
        FILE, "fold", (str(out.dtype), not whole), C * rows * W * N,
        Argument("dcolumns", dcolumns, out.dtype, (sizes.lines, length)),
        Argument("dx", out, out.dtype, (C, H, W, N)),
        N, H, W, kh, kw, down, across, piece.start, length, first_row, rows,
    )  # fmt: skip


def variants() -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """Every (file, kernel, template arguments) that may be launched from here."""
    for dtype in ("float16", "float32", "float64"):
        yield FILE, "unfold", (dtype,)
        yield FILE, "fold", (dtype, False)
        yield FILE, "fold", (dtype, True)
