"""The one room that knows whose array it is: NumPy's or CuPy's.

Everything else asks `array_module` and then writes ``xp.floor``, ``xp.matmul``, ... so that the
same lines run wherever their inputs live.
"""

from __future__ import annotations

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

#: The pullback of a sampler: takes dL/dV, returns (dL/dU, dL/dgrid), each None if not asked for.
SampleBackward: TypeAlias = Callable[[Array], tuple[Array | None, Array | None]]


def _is_cupy(x: object) -> bool:
    """Whether x is a CuPy array. CuPy is not imported to find out: if it never was, x is none."""
    ndarray = getattr(sys.modules.get("cupy"), "ndarray", None)
    return ndarray is not None and isinstance(x, ndarray)


def array_module(**arrays: object) -> Any:
    """The module, numpy or cupy, that all of the named arrays belong to; callers name it ``xp``.

    Arrays are given by the names that the caller's user knows. TypeError if one is no array, or a
    masked one or a matrix, or if NumPy and CuPy are mixed. ValueError if they are on different
    GPUs or, of several arrays, on one that is not the current one.
    """
    on_gpu = {}
    for name, x in arrays.items():
        # A matrix has another *, a masked array another ==.
        special = isinstance(x, np.matrix | np.ma.MaskedArray)
        if special or not (isinstance(x, np.ndarray) or _is_cupy(x)):
            listed = isinstance(x, list | tuple) or hasattr(x, "__array__")
            listed = listed or hasattr(x, "__array_interface__")  # Pillow's images
            hint = "; use np.asarray(x)" if listed and not special else ""
            raise TypeError(f"{name}: expected a NumPy or CuPy array, got {type(x).__name__}{hint}")
        on_gpu[name] = _is_cupy(x)
    if len(set(on_gpu.values())) > 1:
        where = ", ".join(f"{n} in {'CuPy' if gpu else 'NumPy'}" for n, gpu in on_gpu.items())
        raise TypeError(
            f"expected all arrays in one library, got {where}; "
            "move them with cupy.asarray(x) or cupy.asnumpy(x)"
        )
    if not any(on_gpu.values()):
        return np
    if len(arrays) > 1:
        _check_one_gpu(arrays)
    return sys.modules["cupy"]


def _check_one_gpu(arrays: dict[str, Any]) -> None:
    """CuPy arrays must be in the memory of one GPU, the current one: results are put there."""
    places = {name: x.device.id for name, x in arrays.items()}
    current = sys.modules["cupy"].cuda.Device().id
    if set(places.values()) == {current}:
        return
    where = ", ".join(f"{name} on GPU {place}" for name, place in places.items())
    theirs = next(place for place in places.values() if place != current)
    enter = f"make theirs the current one: `with cupy.cuda.Device({theirs}): ...`"
    if len(set(places.values())) == 1:
        raise ValueError(
            f"expected all arrays on the current GPU, got {where}, and GPU {current} is current; "
            f"{enter}"
        )
    raise ValueError(
        f"expected all arrays on one GPU, got {where}; "
        f"move them with `with cupy.cuda.Device({current}): x = x.copy()`; new arrays are put on "
        f"GPU {current}, which is current: if yours are all on another, {enter}"
    )


def to_numpy(x: Array) -> NDArray[Any]:
    """The same values as a NumPy array: x itself on the CPU, a copy from the GPU."""
    return x.get() if _is_cupy(x) else x  # type: ignore[attr-defined]


def to_device_of(x: Array, other: Array) -> Array:
    """The same values where `other` lives: x itself if it is there already, else a copy."""
    if not _is_cupy(other):
        return to_numpy(x)
    with other.device:  # type: ignore[attr-defined]
        if _is_cupy(x) and place_of(x) != place_of(other):
            return x.copy()  # CuPy puts a copy on the current GPU
        return sys.modules["cupy"].asarray(x)  # type: ignore[no-any-return]


def place_of(x: Array) -> str:
    """Where x lives, in a word: constants are kept once for each place."""
    return f"gpu {x.device.id}" if _is_cupy(x) else "cpu"  # type: ignore[attr-defined]


def coordinate_dtype(dtype: np.dtype[Any], size: int) -> np.dtype[Any]:
    """The dtype of coordinates: float32 at least; float64 on axes of 4 million pixels."""
    return np.promote_types(dtype, np.float32 if size + 4 <= 2**22 else np.float64)


def gather(source: Array, index: Array) -> Array:
    """source[index] of a 1-D source, indices in range ("wrap" is twice as fast as "raise")."""
    if _is_cupy(source):
        return source.take(index)
    return source.take(index, mode="wrap")


def scatter_add(target: Array, index: Array, values: Array) -> None:
    """target[index] += values, 1-D, in place, repeated indices added up: the transpose of `gather`.

    NumPy has a fast loop for flat indices: 30 times faster than ``add.at`` with rows.
    """
    if _is_cupy(target):
        sys.modules["cupy"].add.at(target, index, values)
    else:
        np.add.at(target, index, values)
