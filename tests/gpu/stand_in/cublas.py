"""The four functions of cuBLAS that the library calls, from addresses and steps."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from gpu.stand_in import graphs

_NAMES = {2: "float16", 0: "float32", 1: "float64"}


def cublasSetStream_v2(handle: int, stream: int) -> int:
    assert stream == graphs.get_current_stream().ptr
    return 0


def cublasSetWorkspace_v2(handle: int, workspace: int, size: int) -> int:
    return 0


def _matrix(
    address: Any, kind: int, rows: int, columns: int, step: int, flipped: bool = False
) -> np.ndarray:
    """What lies at an address, by rows; flipped: by columns."""
    itemsize = np.dtype(_NAMES[kind]).itemsize
    strides = (itemsize, step * itemsize) if flipped else (step * itemsize, itemsize)
    assert step >= (rows if flipped else columns)
    span = (rows - 1) * strides[0] + (columns - 1) * strides[1] + itemsize
    memory = (ctypes.c_char * span).from_address(int(address))
    return np.ndarray((rows, columns), _NAMES[kind], memory, strides=strides)


def cublasGemmEx_64(
    handle: int, b_flipped: bool, a_flipped: bool, m: int, n: int, k: int, alpha: int, b: Any,
    b_kind: int, b_step: int, a: Any, a_kind: int, a_step: int, beta: int, y: Any, y_kind: int,
    y_step: int, compute: int, algorithm: int,
) -> int:  # fmt: skip
    A, B = _matrix(a, a_kind, n, k, a_step, a_flipped), _matrix(b, b_kind, k, m, b_step, b_flipped)
    Y = _matrix(y, y_kind, n, m, y_step)

    def run() -> None:
        assert a and b and y  # they hold the memory
        with np.errstate(all="ignore"):
            Y[...] = A @ B

    _carry_out(run, a, b, y, [Y])
    return 0


def cublasGemmStridedBatchedEx_64(
    handle: int, b_flipped: bool, a_flipped: bool, m: int, n: int, k: int, alpha: int, b: Any,
    b_kind: int, b_step: int, b_next: int, a: Any, a_kind: int, a_step: int, a_next: int,
    beta: int, y: Any, y_kind: int, y_step: int, y_next: int, many: int, compute: int,
    algorithm: int,
) -> int:  # fmt: skip
    def at(x: Any, kind: int, step: int, i: int) -> int:
        return int(x) + i * step * np.dtype(_NAMES[kind]).itemsize

    A = [_matrix(at(a, a_kind, a_next, i), a_kind, n, k, a_step, a_flipped) for i in range(many)]
    B = [_matrix(at(b, b_kind, b_next, i), b_kind, k, m, b_step, b_flipped) for i in range(many)]
    Y = [_matrix(at(y, y_kind, y_next, i), y_kind, n, m, y_step) for i in range(many)]

    def run() -> None:
        assert a and b and y
        with np.errstate(all="ignore"):
            for each_a, each_b, each_y in zip(A, B, Y, strict=True):
                each_y[...] = each_a.astype(each_y.dtype) @ each_b.astype(each_y.dtype)

    _carry_out(run, a, b, y, Y)
    return 0


def _carry_out(run: Callable[[], None], a: Any, b: Any, y: Any, written: list[np.ndarray]) -> None:
    if graphs.recording is not None:
        graphs.recording.uses(x.memory for x in (a, b, y))
        graphs.recording.will_write(written)
        graphs.recording.add("matrix product", run)
    run()
