"""The three functions of cuBLAS that the library calls, from addresses and steps."""

from __future__ import annotations

import ctypes
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

    if graphs.recording is not None:
        graphs.recording.uses(x.memory for x in (a, b, y))
        graphs.recording.will_write([Y])
        graphs.recording.operations.append(run)
    run()
    return 0
