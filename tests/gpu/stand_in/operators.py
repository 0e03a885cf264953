"""+, -, <, +=, ... of the array: NumPy's ufuncs, on arrays of the device and numbers only."""

from __future__ import annotations

import numpy as np
from gpu.stand_in.calls import call_ufunc

_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "matmul": np.matmul,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}
_COMPARISONS = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
_UNARY = {"neg": np.negative, "pos": np.positive, "abs": np.abs, "invert": np.invert}


def give_operators(cls: type) -> None:
    """Sets them on the class."""
    for name, f in _BINARY.items():
        setattr(cls, f"__{name}__", lambda x, y, f=f: call_ufunc(f, x, y))
        setattr(cls, f"__r{name}__", lambda x, y, f=f: call_ufunc(f, y, x))
        if name != "matmul":
            setattr(cls, f"__i{name}__", lambda x, y, f=f: call_ufunc(f, x, y, out=x))
    for name, f in _COMPARISONS.items():
        setattr(cls, f"__{name}__", lambda x, y, f=f: call_ufunc(f, x, y))
    for name, f in _UNARY.items():
        setattr(cls, f"__{name}__", lambda x, f=f: call_ufunc(f, x))
    cls.__divmod__ = lambda x, y: call_ufunc(np.divmod, x, y)  # type: ignore[attr-defined]
