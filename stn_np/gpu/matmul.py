"""The matrix product, which on a GPU is cuBLAS's.

CuPy (14.2) refuses to call cuBLAS while a stream is captured, and without matrix products there is
no training step as a CUDA graph. cuBLAS itself allows it. So we call it directly, through CuPy's
copy and handle. We always do, so that a graph gives the same bits as single launches. Where cuBLAS
is not found, CuPy's product takes its place, and steps do not become graphs.

The gradient of a kernel is a small matrix that sums over a hundred thousand places: a few tiles of
work for a GPU that has a hundred processors. Such a sum is cut into pieces, always the same, which
one batched product computes side by side, and the pieces are added up.
"""

from __future__ import annotations

from collections import OrderedDict
from math import ceil
from typing import Any

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.gpu.graph import keep_for_graph
from stn_np.gpu.launcher import cublas

#: Bytes of workspace. cuBLAS would allocate its own, and a graph would have to repeat that.
WORKSPACE = 2**25
#: How many are kept. Training uses two streams; each new one would cost 32 MiB for ever.
MOST_WORKSPACES = 4
#: By library, device and stream: the stream, and its workspace.
_WORKSPACES: OrderedDict[tuple[Any, int, int], tuple[Any, Any]] = OrderedDict()

#: By dtype: cudaDataType, cublasComputeType_t and the dtype of alpha and beta; cuBLAS's numbers.
_TYPES = {"float16": (2, 68, "f"), "float32": (0, 68, "f"), "float64": (1, 70, "d")}
#: cublasGemmAlgo_t: cuBLAS chooses.
_DEFAULT = -1

#: A tile of the result that one processor works on, how many of them keep a large GPU busy, and
#: how many terms make a piece worth while.
TILE, ENOUGH_TILES, LEAST_PIECE = 64, 256, 512


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """A (n, k) times b (k, m).

    Parameters
    ----------
    a, b
        Two matrices, in any memory order.
    out
        (n, m): for the result. It may be some of the columns of a larger array.

    Returns
    -------
    Array
        (n, m), `out` if it was given.
    """
    xp = array_module(a=a, b=b)
    if xp is np:
        return np.matmul(a, b, out=out)
    dtype = np.promote_types(a.dtype, b.dtype)
    (n, k), m = a.shape, b.shape[1]
    y: Any = xp.empty((n, m), dtype) if out is None else out
    if 0 in (n, k, m):
        y[...] = 0
        return y  # type: ignore[no-any-return]
    if y.dtype != dtype or (m > 1 and y.strides[1] != y.itemsize):  # cuBLAS would not notice
        raise ValueError(f"out: expected {dtype}, row by row, got {y.dtype}, strides {y.strides}")
    if cublas() is None:
        return xp.matmul(a, b, out=out)  # type: ignore[no-any-return]
    pieces = _pieces(n, k, m)
    with y.device:
        a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
        if pieces == 1:
            _gemm(xp, a, b, y, (n, k, m))
        else:
            parts = xp.empty((pieces, n, m), np.promote_types(dtype, np.float32))
            _gemm(xp, a, b, parts, (n, k // pieces, m))
            total = parts.sum(axis=0).astype(dtype, copy=False)
            if out is None:
                return total  # type: ignore[no-any-return]
            y[...] = total
    return y  # type: ignore[no-any-return]


def _pieces(n: int, k: int, m: int) -> int:
    """Into how many pieces of one length the sum over k is cut."""
    wanted = min(ENOUGH_TILES // (ceil(n / TILE) * ceil(m / TILE)), k // LEAST_PIECE)
    return next((pieces for pieces in range(wanted, 1, -1) if k % pieces == 0), 1)


def _gemm(xp: Any, a: Any, b: Any, y: Any, sizes: tuple[int, int, int]) -> None:
    """Fill y = a b. cuBLAS counts by columns, and so computes y^T = b^T a^T.

    A y (pieces, n, m) gets in each the product of so many columns of a and rows of b.
    """
    (n, k, m), (kind, compute, coefficient) = sizes, _TYPES[a.dtype.name]
    (a, a_flipped, a_step), (b, b_flipped, b_step) = _by_rows(xp, a), _by_rows(xp, b)
    one, zero = np.ones((), coefficient), np.zeros((), coefficient)
    library, handle = cublas(), xp.cuda.get_cublas_handle()
    workspace = _workspace(xp, y.device.id)
    shapes = b_flipped, a_flipped, m, n, k, one.ctypes.data
    of_b, of_a = (b.data.ptr, kind, b_step), (a.data.ptr, kind, a_step)
    y_kind, y_step = _TYPES[y.dtype.name][0], max(y.strides[-2] // y.itemsize, m)
    of_y = zero.ctypes.data, y.data.ptr, y_kind, y_step
    failed = library.cublasSetStream_v2(
        handle, xp.cuda.get_current_stream().ptr
    ) or library.cublasSetWorkspace_v2(handle, workspace.data.ptr, WORKSPACE)
    if not failed and y.ndim == 2:
        failed = library.cublasGemmEx_64(handle, *shapes, *of_b, *of_a, *of_y, compute, _DEFAULT)
    elif not failed:
        a_piece, b_piece = k * (a_step if a_flipped else 1), k * (1 if b_flipped else b_step)
        failed = library.cublasGemmStridedBatchedEx_64(
            handle, *shapes, *of_b, b_piece, *of_a, a_piece, *of_y, n * m, len(y),
            compute, _DEFAULT,
        )  # fmt: skip
    if failed:
        raise RuntimeError(f"cuBLAS: status {failed} for a matrix product of sizes {n}, {k}, {m}")


def _by_rows(xp: Any, x: Array) -> tuple[Array, bool, int]:
    """The matrix; whether it lies in memory column by column; and the step from line to line."""
    for flipped, view in ((False, x), (True, x.T)):
        (lines, length), (step, one) = view.shape, view.strides
        together = one == x.itemsize or length == 1
        if together and (step >= length * x.itemsize or lines == 1):
            return x, flipped, max(step // x.itemsize, length)
    return xp.ascontiguousarray(x), False, x.shape[1]


def _workspace(xp: Any, device: int) -> Any:
    """Where cuBLAS may write during products on the current stream; in no pool.

    One for each stream, whose products use it one after the other. The stream is kept with it:
    else its address might name another one later, while the handle still knows it. The last few
    are kept; a graph keeps its own. To free one waits for its work.
    """
    stream = xp.cuda.get_current_stream()
    key = xp, device, stream.ptr
    found = _WORKSPACES.pop(key, None)
    if found is None:
        while len(_WORKSPACES) >= MOST_WORKSPACES:
            _WORKSPACES.popitem(last=False)
        with xp.cuda.using_allocator(None):
            found = stream, xp.empty(WORKSPACE, np.uint8)
    _WORKSPACES[key] = found
    keep_for_graph(found[1])
    return found[1]
