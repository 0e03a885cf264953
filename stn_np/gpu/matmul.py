"""The matrix product, which on a GPU is cuBLAS's.

CuPy (14.2) refuses to call cuBLAS while a stream is captured, and without matrix products there is
no training step as a CUDA graph. cuBLAS itself allows it. So we call it directly, through CuPy's
copy and handle. We always do, so that a graph gives the same bits as single launches. Where cuBLAS
is not found, CuPy's product takes its place, and steps do not become graphs.
"""

from __future__ import annotations

from collections import OrderedDict
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
    with y.device:
        _gemm(xp, a.astype(dtype, copy=False), b.astype(dtype, copy=False), y, (n, k, m))
    return y  # type: ignore[no-any-return]


def _gemm(xp: Any, a: Any, b: Any, y: Any, sizes: tuple[int, int, int]) -> None:
    """Fill y = a b. cuBLAS counts by columns, and so computes y^T = b^T a^T."""
    (n, k, m), (kind, compute, coefficient) = sizes, _TYPES[y.dtype.name]
    (a, a_flipped, a_step), (b, b_flipped, b_step) = _by_rows(xp, a), _by_rows(xp, b)
    one, zero = np.ones((), coefficient), np.zeros((), coefficient)
    library, handle = cublas(), xp.cuda.get_cublas_handle()
    workspace = _workspace(xp, y.device.id)
    failed = (
        library.cublasSetStream_v2(handle, xp.cuda.get_current_stream().ptr)
        or library.cublasSetWorkspace_v2(handle, workspace.data.ptr, WORKSPACE)
        or library.cublasGemmEx_64(
            handle, b_flipped, a_flipped, m, n, k, one.ctypes.data, b.data.ptr, kind, b_step,
            a.data.ptr, kind, a_step, zero.ctypes.data, y.data.ptr, kind,
            max(y.strides[0] // y.itemsize, m), compute, _DEFAULT,
        )
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
