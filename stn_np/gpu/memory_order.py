"""The order in which a GPU's layers keep feature maps in memory: (C, H, W, N).

On a GPU few large pieces of work are better than many small ones. This is the order that a single
matrix product of the kernels with all columns gives. To whoever uses them, arrays are (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stn_np.backend import Array


def channels_outermost(xp: Any, x: Array) -> Array:
    """(N, C, H, W) in any memory order to a contiguous (C, H, W, N)."""
    return xp.ascontiguousarray(x.transpose(1, 2, 3, 0))  # type: ignore[no-any-return]


def batch_first(x: Array) -> Array:
    """(C, H, W, N) to (N, C, H, W): a view."""
    return x.transpose(3, 0, 1, 2)


def memory_axes(x: Array) -> tuple[list[int], list[int]]:
    """The axes of x as they lie in memory, outermost first; and the transposition back."""
    axes = sorted(range(x.ndim), key=lambda axis: x.strides[axis], reverse=True)
    return axes, sorted(range(x.ndim), key=axes.__getitem__)


def elementwise(xp: Any, f: Callable[..., Array], x: Array, *others: Array) -> Array:
    """f(x, *others) in x's memory order, for an f that works element by element.

    NumPy's functions do that by themselves; CuPy's give C order, whatever they get.
    """
    if xp is np:
        return f(x, *others)
    axes, back = memory_axes(x)
    return f(*(array.transpose(*axes) for array in (x, *others))).transpose(*back)
