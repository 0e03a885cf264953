"""The one place from which kernels are started: whatever they rely on is checked here.

A kernel sees bare pointers. It knows neither strides nor lengths, and what it reads outside an
array is a crash at best. So each array comes as an `Argument` that says what it must be.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import sys
from collections.abc import Sequence
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.checks import format_shape

#: Threads in a block.
THREADS = 256
#: Blocks in a launch, at most: CUDA's own limit along x. A thread takes several items beyond it.
MAX_BLOCKS = 2**31 - 1
#: For the compiler, beside what CuPy adds. Without fused multiply-adds two kernels that locate the
#: same point find the same place, bit for bit, and the arithmetic is NumPy's.
OPTIONS = ("-std=c++17", "-fmad=false")

_INCLUDE = re.compile(r'^#include "(.+)"\n', re.MULTILINE)


class Argument(NamedTuple):
    """An array for a kernel, with what the kernel takes for granted.

    Attributes
    ----------
    name : str
        For messages.
    array : Array
        On the GPU.
    dtype : dtype
        The one that the kernel was compiled for.
    shape : tuple of int
        The lengths that the kernel was told.
    strided : bool
        Whether the kernel is told the strides too; else the array must be contiguous.
    """

    name: str
    array: Array
    dtype: Any
    shape: tuple[int, ...]
    strided: bool = False


def launch(
    file: str,
    function: str,
    template: Sequence[str | int | bool],
    n: int,
    *arguments: Argument | int | float,
) -> None:
    """Run a kernel on the current stream of the arrays' device.

    Parameters
    ----------
    file
        Source, relative to the package: "cuda/sampler.cu".
    function
        The kernel's name. It is compiled when it is first asked for.
    template
        Its template arguments.
    n
        Number of work items: the kernel's first parameter. With 0 nothing is done.
    *arguments
        The other parameters in order: arrays, int (as int64) and float (as double).

    Raises
    ------
    TypeError
        If an array is not on a GPU, or has another dtype.
    ValueError
        If a shape differs, an array is not contiguous, or they are on different devices.
    """
    arrays = [a for a in arguments if isinstance(a, Argument)]
    for argument in arrays:
        _check(argument)
    array_module(**{a.name: a.array for a in arrays})  # one library, one device
    if n == 0:
        return
    values = [a.array if isinstance(a, Argument) else _scalar(a) for a in arguments]
    blocks = min(ceil(n / THREADS), MAX_BLOCKS)
    device: Any = arrays[0].array.device
    with device:  # kernels run on the current one, wherever the arrays are
        kernel = compiled(sys.modules["cupy"], device.id, file, expression(function, template))
        kernel((blocks,), (THREADS,), (np.int64(n), *values))


def expression(function: str, template: Sequence[str | int | bool]) -> str:
    """A kernel with its template arguments as C++ spells them: ``forward<float32, 2, true>``."""
    spelled = (str(t).lower() if isinstance(t, bool) else str(t) for t in template)
    return f"{function}<{', '.join(spelled)}>"


def source(file: str) -> str:
    """A kernel's source with the files that it includes in their places, each once.

    CuPy (14.2) keeps compiled kernels on the disk, by the text that it was given. With a header
    left as a mere name, a change in it would go unnoticed.
    """
    seen: set[Path] = set()

    def text(path: Path) -> str:
        if path in seen:
            return ""
        seen.add(path)
        return _INCLUDE.sub(
            lambda include: text((path.parent / include[1]).resolve()),
            path.read_text(encoding="utf-8"),
        )

    return text((Path(__file__).parent / file).resolve())


def _check(argument: Argument) -> None:
    """Whether an array is what its kernel takes it for."""
    name, x, dtype, shape, strided = argument
    if array_module(**{name: x}) is np:
        raise TypeError(f"{name}: expected an array on the GPU, got one of NumPy; move it first")
    if x.dtype != dtype:
        raise TypeError(f"{name}: expected {np.dtype(dtype)}, got {x.dtype}")
    if x.shape != tuple(shape):
        raise ValueError(
            f"{name}: expected shape {format_shape(tuple(shape))}, got {format_shape(x.shape)}"
        )
    if not strided and not x.flags.c_contiguous:
        raise ValueError(f"{name}: expected a contiguous array, got strides {x.strides}")


def _scalar(value: int | float) -> np.generic:
    """A number as a kernel takes it."""
    return np.int64(value) if isinstance(value, int | np.integer) else np.float64(value)


@cache
def compiled(cupy: Any, device: int, file: str, name: str) -> Any:
    """A kernel compiled for a GPU: another one may need other code."""
    module = cupy.RawModule(code=source(file), options=OPTIONS, name_expressions=(name,))
    return module.get_function(name)


@cache
def cublas() -> Any:
    """CuPy's copy of cuBLAS, found through the module that is linked to it; None if it is not."""
    try:
        # As an attribute of its package: that makes CuPy look for libcublas where pip puts it. To
        # import it by its full name leaves that to the system's linker, which knows no wheels.
        library = ctypes.CDLL(importlib.import_module("cupy_backends.cuda.libs").cublas.__file__)
        set_stream, set_workspace = library.cublasSetStream_v2, library.cublasSetWorkspace_v2
        multiply = library.cublasGemmEx_64
        multiply_batch = library.cublasGemmStridedBatchedEx_64
    except (ImportError, OSError, AttributeError):  # on Windows names are not looked up further
        return None
    i, i64, pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
    set_stream.argtypes = [pointer, pointer]
    set_workspace.argtypes = [pointer, pointer, ctypes.c_size_t]
    a_matrix = pointer, i, i64  # where, of which dtype, and from line to line
    shapes = pointer, i, i, i64, i64, i64
    multiply.argtypes = [*shapes, pointer, *a_matrix, *a_matrix, pointer, *a_matrix, i, i]
    matrices = *a_matrix, i64  # and from matrix to matrix
    multiply_batch.argtypes = [
        *shapes, pointer, *matrices, *matrices, pointer, *matrices, i64, i, i
    ]  # fmt: skip
    return library
