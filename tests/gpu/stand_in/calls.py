"""The way of every operation: open the boxes, let NumPy compute, put the result into a box."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import numpy as np
from gpu.stand_in import graphs
from gpu.stand_in.counting import synchronise
from gpu.stand_in.devices import check_device
from gpu.stand_in.memory import Memory

#: What CuPy gives to cuBLAS (of vectors dot is a sum), which it does not call while it captures.
_BY_CUBLAS = {"matmul", "dot", "tensordot", "einsum", "solve", "inv", "inner", "vdot"}
_SCALARS = (bool, int, float, complex, np.generic)


#: `gpu.stand_in.ndarray.ndarray`, which sets it; nothing here may import it.
array_type: type = type(None)

#: In here NumPy warns of nothing, as CuPy. (np.errstate for each call would take longer than it.)
_quiet = contextvars.copy_context()
_quiet.run(np.seterr, all="ignore")


def is_array(x: object) -> bool:
    return isinstance(x, array_type)


def check_operand(x: Any) -> Any:
    """The NumPy array or number to compute with; everything else is refused as by CuPy."""
    if isinstance(x, array_type):
        check_device(x._memory.device_id)  # type: ignore[attr-defined]
        return x._a  # type: ignore[attr-defined]
    if isinstance(x, _SCALARS):
        return x
    raise TypeError(f"Unsupported type {type(x)}")


def check_index(index: Any, assigned: Any = None) -> Any:
    """An index for NumPy. One by a mask needs the number of True, and so the host."""

    def one(i: Any) -> Any:
        if is_array(i):
            check_device(i._memory.device_id)
            if i.dtype.kind == "b" and not (assigned is not None and np.ndim(_peek(assigned)) == 0):
                synchronise("index by a mask")
            if graphs.recording is not None:
                graphs.recording.uses([i._memory])
            return i._a
        if isinstance(i, bool | np.bool_) or not (
            i is None or i is Ellipsis or isinstance(i, int | np.integer | slice)
        ):
            raise TypeError(f"an index of type {type(i)} is not for CuPy arrays")
        if isinstance(i, slice) and any(is_array(j) for j in (i.start, i.stop, i.step)):
            raise TypeError("a CuPy array cannot be the end of a slice")
        return i

    return tuple(map(one, index)) if isinstance(index, tuple) else one(index)


def _peek(x: Any) -> Any:
    return x._a if is_array(x) else x


def call(
    function: Callable[..., Any],
    *args: Any,
    keep_order: bool = False,
    sequences: bool = False,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs) of NumPy, for boxed arrays.

    Parameters
    ----------
    keep_order
        CuPy writes new arrays in C order, whatever the order of its inputs; a few functions
        (``astype``, ``empty_like``, …) keep it: those take what NumPy gives.
    sequences
        Whether lists of arrays may be among the arguments (``concatenate``).
    """
    boxes: list[Any] = []
    plain_args = [_unbox(x, boxes, sequences) for x in args]
    return _carried_out(function, plain_args, kwargs, boxes, sequences, keep_order)


def call_ufunc(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The same for an elementwise function: arrays and numbers only."""
    boxes = [x for x in args if isinstance(x, array_type)]
    plain_args = [check_operand(x) for x in args]
    return _carried_out(function, plain_args, kwargs, boxes, False, False)


def _carried_out(
    function: Callable[..., Any],
    plain_args: list[Any],
    kwargs: dict[str, Any],
    boxes: list[Any],
    sequences: bool,
    keep_order: bool,
) -> Any:
    plain = {name: _unbox(x, boxes, sequences) for name, x in kwargs.items()}
    out = kwargs.get("out")
    if out is not None and not isinstance(out, array_type):
        raise TypeError("Output arguments type must be cupy.ndarray")

    def compute() -> Any:
        return _quiet.run(function, *plain_args, **plain)

    if graphs.recording is not None:
        if getattr(function, "__name__", "") in _BY_CUBLAS and any(x.ndim > 1 for x in boxes):
            graphs.refuse_in_capture(
                "calling cuBLAS API during stream capture is currently unsupported"
            )
        graphs.recording.uses(x._memory for x in boxes)
        graphs.recording.will_write([] if out is None else [out._a])
    result, name = compute(), getattr(function, "__name__", "<lambda>").replace("<lambda>", "other")
    if out is not None:
        if graphs.recording is not None:
            graphs.recording.add(name, compute)
        return out
    return _box(result, boxes, keep_order, name, compute)


def _unbox(x: Any, boxes: list[Any], sequences: bool) -> Any:
    if isinstance(x, array_type):
        check_device(x._memory.device_id)  # type: ignore[attr-defined]
        boxes.append(x)
        return x._a  # type: ignore[attr-defined]
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    if isinstance(x, list | tuple):
        items = [_unbox(y, boxes, sequences) for y in x]
        if not sequences and any(is_array(y) for y in x):
            raise TypeError(f"Unsupported type {type(x)}")
        return type(x)(items) if type(x) in (list, tuple) else x
    return x


def _box(
    result: Any, boxes: list[Any], keep_order: bool, name: str, compute: Callable[[], Any]
) -> Any:
    if isinstance(result, list | tuple):
        each = [
            _box(r, boxes, keep_order, name, lambda i=i: compute()[i]) for i, r in enumerate(result)
        ]
        return each if isinstance(result, list) else tuple(each)
    if isinstance(result, np.generic):
        result = np.asarray(result)
    if not isinstance(result, np.ndarray):
        return result
    for box in boxes:
        if result is box._a:
            return box
        if np.may_share_memory(result, box._a):
            return new(result, box._memory, box if box.base is None else box.base)
    flags = result.flags
    if not keep_order and not flags.c_contiguous:
        result = np.ascontiguousarray(result)
    if result.base is not None or not flags.writeable:
        result = result.copy("K")
    boxed = new(result, Memory(result.nbytes), None)
    if graphs.recording is not None:
        graphs.recording.uses([boxed._memory])
        graphs.recording.repeat_into(name, result, compute)
    return boxed


def new(a: np.ndarray, memory: Memory, base: Any) -> Any:
    box: Any = array_type.__new__(array_type)
    box._a, box._memory, box.base = a, memory, base
    return box


def bind(name: str, names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuses arguments that CuPy's function of this name does not have."""
    too_many = len(args) > len(names) and not any(n.startswith("*") for n in names)
    extra = [k for k in kwargs if k not in names]
    if too_many or extra:
        raise TypeError(f"cupy's {name}() takes {names}, got {len(args)} values and {[*kwargs]}")


def method(name: str, parameters: str) -> Callable[..., Any]:
    """NumPy's method of this name, with no other parameters than CuPy's."""
    f = getattr(np.ndarray, name)
    order = parameters.split()

    def it(self: Any, *args: Any, **kwargs: Any) -> Any:
        bind(name, order, args, kwargs)
        for n, x in (*zip(order, args, strict=False), *kwargs.items()):
            if n in ("indices", "b", "v") and not (is_array(x) or isinstance(x, _SCALARS)):
                raise TypeError(f"Unsupported type {type(x)}")
        return call(f, self, *args, **kwargs)

    it.__name__ = name
    return it


def reduction(name: str, parameters: str = "axis dtype out keepdims") -> Callable[..., Any]:
    """The same by NumPy's function, since the methods of argmax and mean differ in parameters."""
    f = getattr(np, name)
    order = parameters.split()

    def it(self: Any, *args: Any, **kwargs: Any) -> Any:
        bind(name, order, args, kwargs)
        named = {**dict(zip(order, args, strict=False)), **kwargs}
        if name in ("argmax", "argmin") and named.pop("dtype", None) is not None:
            raise NotImplementedError(f"the stand-in's {name} has no dtype")
        return call(f, self, **named)

    it.__name__ = name
    return it
