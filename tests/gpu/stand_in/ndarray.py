"""cupy.ndarray in pretence: a NumPy array in a box that opens only where CuPy's would.

NumPy does the arithmetic. The box sees to it that nothing gets in or out unseen: a NumPy array as
an operand, as an index or as ``out=`` is refused, nothing turns into a NumPy array by itself, a
single element is a 0-d array and not a number, and every value that reaches the host is counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gpu.stand_in import calls, graphs
from gpu.stand_in.calls import call, call_ufunc, check_index, method, reduction
from gpu.stand_in.counting import synchronise
from gpu.stand_in.devices import Device
from gpu.stand_in.memory import Memory
from gpu.stand_in.operators import give_operators


class Flags:
    """The three that CuPy knows."""

    def __init__(self, array: ndarray) -> None:
        self.c_contiguous: bool = array._a.flags.c_contiguous
        self.f_contiguous: bool = array._a.flags.f_contiguous
        self.owndata: bool = array.base is None

    @property
    def fnc(self) -> bool:
        return self.f_contiguous and not self.c_contiguous

    @property
    def forc(self) -> bool:
        return self.f_contiguous or self.c_contiguous

    def __getitem__(self, name: str) -> bool:
        return bool(getattr(self, name.lower()))


class Address(int):
    """A number that keeps what lies there from going."""

    array: np.ndarray
    memory: Memory


class MemoryPointer:
    """x.data"""

    def __init__(self, array: ndarray) -> None:
        self.ptr = Address(array._a.ctypes.data)
        self.ptr.array, self.ptr.memory = array._a, array._memory
        self.device_id = array._memory.device_id
        self.mem = array._memory

    @property
    def device(self) -> Device:
        return Device(self.device_id)


class ndarray:
    """See the module."""

    __slots__ = ("__weakref__", "_a", "_memory", "base")

    # NumPy's functions and operators refuse it; with a NumPy scalar on the left, Python then asks
    # this class. (CuPy's own dispatch would let np.floor(x) through. The library is to say xp.)
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    _a: np.ndarray
    _memory: Memory
    base: ndarray | None

    def __init__(self, shape: Any, dtype: Any = float, memptr: None = None, order: str = "C"):
        if memptr is not None:
            raise NotImplementedError("the stand-in has no memory to point to")
        a = graphs.poison(np.empty(shape, dtype, order))  # type: ignore[call-overload]
        self._a, self._memory, self.base = a, Memory(a.nbytes), None

    # What it looks like
    shape = property(lambda self: self._a.shape)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    strides = property(lambda self: self._a.strides)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
    flags = property(Flags)
    data = property(MemoryPointer)
    device = property(lambda self: Device(self._memory.device_id))
    T = property(lambda self: call(np.transpose, self))
    mT = property(lambda self: call(np.swapaxes, self, -1, -2))
    real = property(lambda self: call(np.real, self))

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Any:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # The ways to the host, all of them counted
    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> Any:
        synchronise("get()")
        if out is None:
            return self._a.copy(order)  # type: ignore[call-overload]
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        if (out.shape, out.dtype) != (self.shape, self.dtype):
            raise ValueError(f"expected out like {self.shape} {self.dtype}")
        np.copyto(out, self._a)
        return out

    def item(self) -> Any:
        synchronise("item()")
        return self._a.item()

    def tolist(self) -> Any:
        synchronise("tolist()")
        return self._a.tolist()

    def tobytes(self, order: str = "C") -> bytes:
        synchronise("tobytes()")
        return self._a.tobytes(order)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        synchronise("bool()")
        return bool(self._a)

    def __int__(self) -> int:
        synchronise("int()")
        return int(self._a.item())

    def __float__(self) -> float:
        synchronise("float()")
        return float(self._a.item())

    def __complex__(self) -> complex:
        synchronise("complex()")
        return complex(self._a.item())

    def __repr__(self) -> str:
        synchronise("repr()")
        return repr(self._a)

    def __str__(self) -> str:
        synchronise("str()")
        return str(self._a)

    def __format__(self, spec: str) -> str:
        synchronise("format()")
        return format(self._a, spec)

    def __reduce__(self) -> Any:
        from gpu.stand_in.creation import array

        return array, (self.get(),)

    def set(self, values: Any, stream: Any = None) -> None:
        """The one way in for a NumPy array into existing memory."""
        if not isinstance(values, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if (values.shape, values.dtype) != (self.shape, self.dtype):
            raise ValueError(f"expected values like {self.shape} {self.dtype}")
        graphs.refuse_in_capture("set()")
        self._a[...] = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{func.__name__} of a CuPy array: say xp.{func.__name__}")

    # Indexing
    def __getitem__(self, index: Any) -> Any:
        plain = check_index(index)
        plain = plain if isinstance(plain, tuple) else (plain,)
        if not any(i is Ellipsis for i in plain):
            plain = (*plain, Ellipsis)  # one element is a view as well, and no number
        return call(lambda a: a[plain], self)

    def __setitem__(self, index: Any, value: Any) -> None:
        plain = check_index(index, assigned=value)
        call_ufunc(lambda a, b, out: out.__setitem__(plain, b), self, value, out=self)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def copy(self, order: str = "C") -> ndarray:
        if self.device != Device():  # it comes to the current one
            from gpu.stand_in.creation import array

            return array(self._a, order=order)
        return call(np.ndarray.copy, self, order, keep_order=True)

    def astype(
        self,
        dtype: Any,
        order: str = "K",
        casting: None = None,
        subok: None = None,
        copy: bool = True,
    ) -> ndarray:
        if casting is not None or subok is not None:
            raise TypeError("casting is not supported yet")
        if not copy and order == "K" and self.dtype == dtype:
            return self
        return call(lambda a: a.astype(dtype, order), self, keep_order=True)

    def view(self, dtype: Any = None) -> ndarray:
        return call(lambda a: a.view() if dtype is None else a.view(dtype), self)

    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        return call(lambda a: a.reshape(*shape, order=order), self)

    def transpose(self, *axes: Any) -> ndarray:
        return call(lambda a: a.transpose(*axes), self)

    def fill(self, value: Any) -> None:
        self[...] = value

    def _add_at(self, index: Any, values: Any) -> None:
        """cupy.add.at: repeated indices add up."""
        if self.dtype not in ("f4", "f8", "f2", "i4", "u4", "u8"):
            raise TypeError(f"add.at is not supported for {self.dtype}")
        plain = check_index(index, assigned=values)
        call_ufunc(lambda a, b, out: np.add.at(out, plain, b), self, values, out=self)

    # The rest is NumPy's, by the parameters that CuPy's methods have
    swapaxes = method("swapaxes", "axis1 axis2")
    squeeze = method("squeeze", "axis")
    ravel = method("ravel", "order")
    flatten = method("flatten", "order")
    diagonal = method("diagonal", "offset axis1 axis2")
    repeat = method("repeat", "repeats axis")
    conj = method("conj", "")
    take = method("take", "indices axis out")
    round = method("round", "decimals out")
    clip = method("clip", "min max out")
    dot = method("dot", "b out")
    argsort = method("argsort", "axis")
    searchsorted = method("searchsorted", "v side sorter")
    cumsum = method("cumsum", "axis dtype out")
    cumprod = method("cumprod", "axis dtype out")
    trace = method("trace", "offset axis1 axis2 dtype out")
    sum, prod, mean = reduction("sum"), reduction("prod"), reduction("mean")
    max, min = reduction("max", "axis out keepdims"), reduction("min", "axis out keepdims")
    any, all = reduction("any", "axis out keepdims"), reduction("all", "axis out keepdims")
    argmax, argmin = reduction("argmax"), reduction("argmin")
    var = reduction("var", "axis dtype out ddof keepdims")
    std = reduction("std", "axis dtype out ddof keepdims")

    def nonzero(self) -> tuple[ndarray, ...]:
        synchronise("nonzero()")
        return call(np.nonzero, self)


give_operators(ndarray)
calls.array_type = ndarray
