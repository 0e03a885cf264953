"""New arrays: the way in from the host, and memory that nobody has written yet."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from gpu.stand_in import graphs
from gpu.stand_in.calls import call, is_array, new
from gpu.stand_in.memory import Memory
from gpu.stand_in.ndarray import ndarray


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> Any:
    """A copy on the device, of an array there or of anything on the host."""
    if is_array(obj):
        wanted = obj.dtype if dtype is None else np.dtype(dtype)
        kept = order in ("K", "A", None) or obj.flags[f"{order}_CONTIGUOUS"]
        if not copy and wanted == obj.dtype and kept and obj.ndim >= ndmin:
            return obj
        return call(lambda a: np.array(a, dtype, order=order, ndmin=ndmin), obj, keep_order=True)
    graphs.refuse_in_capture("array() of values on the host: a replay would not see new ones")
    if _holds_arrays(obj):
        raise TypeError("array() of a list of CuPy arrays is not in the stand-in: use stack()")
    a = np.array(obj, dtype, order=order, ndmin=ndmin)  # type: ignore[call-overload]
    if a.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {a.dtype}")
    return new(a, Memory(a.nbytes), None)


def _holds_arrays(obj: Any) -> bool:
    return isinstance(obj, list | tuple) and any(is_array(x) or _holds_arrays(x) for x in obj)


def asarray(
    a: Any,
    dtype: Any = None,
    order: str | None = None,
    *,
    copy: bool | None = None,
    blocking: bool = False,
) -> Any:
    """The array itself if it is one of the device, with this dtype and order; else a copy."""
    return array(a, dtype, bool(copy), order or "K", blocking=blocking)


def asnumpy(
    a: Any, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
) -> Any:
    """A copy on the host: counted as a.get() is."""
    if is_array(a):
        return a.get(stream, order, out)
    return np.asarray(a, order=order)  # type: ignore[call-overload]


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """NaN, or a huge integer, instead of whatever lies in the memory."""
    return _fresh(ndarray(shape, dtype, order=order))


def empty_like(
    prototype: Any, dtype: Any = None, order: str = "K", subok: None = None, shape: Any = None
) -> ndarray:
    if not is_array(prototype):
        raise TypeError(f"Unsupported type {type(prototype)}")
    a = np.empty_like(prototype._a, dtype, order, shape=shape)  # type: ignore[call-overload]
    return _fresh(new(graphs.poison(a), Memory(a.nbytes), None))


def _fresh(x: ndarray) -> ndarray:
    if graphs.recording is not None:
        graphs.recording.uses([x._memory])
    return x


def copy(a: Any, order: str = "K") -> Any:
    if not is_array(a):
        raise TypeError(f"Unsupported type {type(a)}")
    return a.copy(order)


def get_array_module(*args: Any) -> Any:
    from gpu.stand_in import cupy

    return cupy if any(map(is_array, args)) else np


def may_share_memory(a: Any, b: Any, max_work: Any = None) -> bool:
    return np.may_share_memory(a._a, b._a)


def shares_memory(a: Any, b: Any, max_work: Any = None) -> bool:
    return np.shares_memory(a._a, b._a)


def result_type(*args: Any) -> np.dtype[Any]:
    return np.result_type(*(a._a if is_array(a) else a for a in args))


def scatter_add(a: Any, slices: Any, value: Any) -> None:
    """cupyx.scatter_add, which CuPy 14 has but warns of."""
    text = "`cupyx.scatter_add` is deprecated, use `cupy.add.at` instead"
    warnings.warn(text, DeprecationWarning, stacklevel=2)
    a._add_at(slices, value)
