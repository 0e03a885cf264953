"""The order in which layers keep feature maps in memory: the batch innermost.

Every array is (N, C, H, W) to whoever uses it. In *memory* it lies as (H, C, W, N) on the CPU.
So the pixels that a convolution combines are long contiguous runs over W and N, kh neighbouring
rows are one contiguous block, and one row of the image fits the cache. On a GPU the order is
another one: see `stn_np.gpu.memory_order`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stn_np.backend import Array


def rows_outermost(x: Array) -> Array:
    """(N, C, H, W) in any memory order to a contiguous (H, C, W, N), no copy if it is that."""
    return np.ascontiguousarray(x.transpose(2, 1, 3, 0))


def as_images(x: Array) -> Array:
    """(H, C, W, N) to (N, C, H, W): a view."""
    return x.transpose(3, 1, 0, 2)


def memory_axes(x: Array) -> tuple[list[int], list[int]]:
    """The axes of x as they lie in memory, outermost first; and the transposition back."""
    axes = sorted(range(x.ndim), key=lambda axis: x.strides[axis], reverse=True)
    return axes, sorted(range(x.ndim), key=axes.__getitem__)


def elementwise(xp: Any, f: Callable[..., Array], x: Array, *others: Array) -> Array:
    """f(x, *others) in x's memory order, where f works element by element on arrays of one shape.

    NumPy's functions do that by themselves. CuPy's give C order: so they are given the axes in the
    order in which x has them in memory.
    """
    if xp is np:
        return f(x, *others)
    axes, back = memory_axes(x)
    return f(*(array.transpose(*axes) for array in (x, *others))).transpose(*back)
