"""The order in which layers keep feature maps in memory: the batch innermost.

Every array is (N, C, H, W) to whoever uses it. In *memory* it lies as (H, C, W, N) on the CPU.
So the pixels that a convolution combines are long contiguous runs over W and N, kh neighbouring
rows are one contiguous block, and one row of the image fits the cache. On a GPU the order is
another one: see `stn_np.gpu.memory_order`.
"""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array


def rows_outermost(x: Array) -> Array:
    """(N, C, H, W) in any memory order to a contiguous (H, C, W, N), no copy if it is that."""
    return np.ascontiguousarray(x.transpose(2, 1, 3, 0))


def as_images(x: Array) -> Array:
    """(H, C, W, N) to (N, C, H, W): a view."""
    return x.transpose(3, 1, 0, 2)
