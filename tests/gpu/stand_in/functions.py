"""The functions of the module, made from the lists in names.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gpu.stand_in import names
from gpu.stand_in.calls import bind, call, call_ufunc, is_array
from gpu.stand_in.counting import synchronise

#: Whatever the tests have asked for, to be compared with the real CuPy.
used: set[str] = set()

#: Parameters that may be a list or a tuple: the others are arrays or numbers.
_MAY_BE_LIST = frozenset(
    "axis axes shape tup condlist choicelist reps repeats source destination shift q "
    "indices_or_sections pad_width constant_values dimensions".split()
)
#: Parameters that must be arrays of the device, not numbers either.
_MUST_BE_ARRAY = frozenset("a array ary v indices condition m prototype f".split())
_NUMBERS_WILL_DO = frozenset({"nan_to_num", "ndim"})


def ufunc(name: str) -> Callable[..., Any]:
    """An elementwise function."""
    f: np.ufunc = getattr(np, name)

    def it(*args: Any, **kwargs: Any) -> Any:
        extra = set(kwargs) - {"out", "dtype", "casting"}
        if extra:
            raise TypeError(f"cupy.{name} has no {extra}")
        if len(args) > f.nin:
            if "out" in kwargs or len(args) > f.nin + f.nout:
                raise TypeError(f"wrong number of arguments for cupy.{name}: {len(args)}")
            args, kwargs["out"] = args[: f.nin], args[f.nin]
        return call_ufunc(f, *args, **{k: v for k, v in kwargs.items() if v is not None})

    it.__name__ = name
    return it


def function(name: str) -> Callable[..., Any]:
    """Any other function of the list, with CuPy's parameters."""
    order = names.FUNCTIONS[name].split()
    f = _numpy(name)

    def it(*args: Any, **kwargs: Any) -> Any:
        bind(name, order, args, kwargs)
        named = {**dict(zip(order, args, strict=False)), **kwargs}
        for parameter, value in named.items():
            _check(name, parameter, value)
        if name in names.SYNCHRONISES or (name == "where" and len(named) == 1):
            synchronise(f"{name}()")
        if name == "copyto":
            return _copyto(**named)
        given = {k: v for k, v in kwargs.items() if v is not None}
        of_lists = name in names.OF_SEQUENCES
        return call(f, *args, keep_order=name in names.KEEPS_ORDER, sequences=of_lists, **given)

    it.__name__ = name
    return it


def _check(name: str, parameter: str, value: Any) -> None:
    if is_array(value) or value is None:
        return
    if isinstance(value, list | tuple) and parameter not in _MAY_BE_LIST:
        raise TypeError(f"cupy.{name}: {parameter}: Unsupported type {type(value)}")
    if parameter in _MUST_BE_ARRAY and name not in _NUMBERS_WILL_DO:
        raise TypeError(f"cupy.{name}: {parameter}: Unsupported type {type(value)}")


def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    if not is_array(dst):
        raise TypeError("dst must be a cupy.ndarray")
    mask = {} if where is None else {"where": where}

    def f(a: Any, b: Any, out: Any, **mask: Any) -> None:
        np.copyto(out, b, casting=casting, **mask)  # type: ignore[arg-type]

    call(f, dst, src, out=dst, **mask)


def einsum(*operands: Any, dtype: Any = None, optimize: Any = False) -> Any:
    """cupy.einsum: no ``out``."""
    used.add("einsum")
    return call(np.einsum, *operands, dtype=dtype, optimize=optimize)


def _numpy(name: str) -> Callable[..., Any]:
    """NumPy's function, where singular matrices give NaN: CuPy does not look at that."""
    if not name.startswith("linalg."):
        return getattr(np, name)  # type: ignore[no-any-return]
    f = getattr(np.linalg, name.removeprefix("linalg."))

    def of_each(*args: Any, **kwargs: Any) -> Any:
        try:
            return f(*args, **kwargs)
        except np.linalg.LinAlgError as error:
            if "ingular" not in str(error):
                raise
            return np.full_like(args[-1], np.nan)

    return of_each


def lookup(name: str) -> Any:
    """What ``cupy.<name>`` is, or AttributeError."""
    if name in names.UFUNCS:
        found: Any = ufunc(name)
        if name == "add":
            found.at = lambda a, indices, b: a._add_at(indices, b)
    elif name in names.FUNCTIONS:
        found = function(name)
    elif name in names.PASSED_THROUGH:
        found = getattr(np, name)
    else:
        raise AttributeError(
            f"the stand-in for CuPy has no {name!r}: if CuPy has it, list it in names.py"
        )
    used.add(name)
    return found
