"""The one room that knows whose array it is: NumPy's or CuPy's.

Everything else in the library asks `array_module` and then writes ``xp.floor``, ``xp.matmul``, ...
so that the same lines run wherever their inputs live. Nothing else in the library imports cupy.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: A NumPy or a CuPy array. (CuPy's has the same interface; it is optional, so it cannot be named.)
Array: TypeAlias = NDArray[Any]

#: The pullback of a function of one input: takes dL/dy, returns dL/dx.
Backward: TypeAlias = Callable[[Array], Array]

#: The same, where the gradient of the input may not have been asked for (then None).
OptionalBackward: TypeAlias = Callable[[Array], Array | None]


def _is_cupy(x: object) -> bool:
    """Whether x is a CuPy array. CuPy is not imported to find out: if it never was, x is none."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def array_module(**arrays: object) -> Any:
    """The module (numpy or cupy) that all of the named arrays belong to.

    Parameters
    ----------
    **arrays
        The arrays, under the names by which the caller's user knows them.

    Returns
    -------
    module
        ``numpy`` or ``cupy``, to be used as ``xp``.

    Raises
    ------
    TypeError
        If one is not an array, or a masked one or a matrix, or if NumPy and CuPy are mixed.
    """
    on_gpu = {}
    for name, x in arrays.items():
        # A matrix has another *, a masked array another ==.
        special = isinstance(x, np.matrix | np.ma.MaskedArray)
        if special or not (isinstance(x, np.ndarray) or _is_cupy(x)):
            raise TypeError(f"{name}: expected a NumPy or CuPy array, got {type(x).__name__}")
        on_gpu[name] = _is_cupy(x)
    if len(set(on_gpu.values())) > 1:
        where = ", ".join(f"{n} in {'CuPy' if gpu else 'NumPy'}" for n, gpu in on_gpu.items())
        raise TypeError(
            f"expected all arrays in one library, got {where}; "
            "move them with cupy.asarray(x) or cupy.asnumpy(x)"
        )
    return sys.modules["cupy"] if any(on_gpu.values()) else np


def to_numpy(x: Array) -> NDArray[Any]:
    """The same values as a NumPy array: x itself on the CPU, a copy from the GPU."""
    return x.get() if _is_cupy(x) else x  # type: ignore[attr-defined]


def gather(source: Array, index: Array) -> Array:
    """source[index] for a 1-D source and indices that are in range.

    NumPy's default mode, which raises for others, takes 1.8 times as long; "wrap" never reads
    outside either.
    """
    if _is_cupy(source):
        return source.take(index)
    return source.take(index, mode="wrap")


def scatter_add(target: Array, index: Array, values: Array) -> None:
    """target[index] += values, repeated indices added up: the transpose of `gather`.

    Parameters
    ----------
    target, index, values
        1-D; target is changed in place. Flat indices because NumPy has a fast loop for them
        (2-3 times faster than ``bincount``, 30 times faster than ``add.at`` with rows).
    """
    if _is_cupy(target):
        sys.modules["cupyx"].scatter_add(target, index, values)
    else:
        np.add.at(target, index, values)


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next arrays instead of handing it back.

    A training step allocates and frees about a hundred megabytes. By default the C library returns
    them to the operating system and asks again in the next step, which then pays for every page a
    second time: up to a third of the step. CuPy has a memory pool against this, NumPy has none.

    The setting holds for the whole process, so importing the library does not make it: the training
    loop does, and a program of one's own may.

    Returns
    -------
    bool
        Whether it took effect (only the GNU C library knows the setting).
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(trim_threshold, 2**30) and mallopt(mmap_threshold, 2**25))


def describe_gpu() -> str:
    """CuPy's version and its GPUs, or in words what is missing. Imports CuPy if it is installed."""
    if importlib.util.find_spec("cupy") is None:
        return "none (not installed): everything runs on the CPU"
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        return f"installed, but cannot be imported ({error})"
    try:
        devices = range(cupy.cuda.runtime.getDeviceCount())
        names = [cupy.cuda.runtime.getDeviceProperties(i)["name"].decode() for i in devices]
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"{cupy.__version__}, no GPU ({error})"
    return f"{cupy.__version__}, {', '.join(names)}"
