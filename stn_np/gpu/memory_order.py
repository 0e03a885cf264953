"""The order in which a GPU's layers keep feature maps in memory: (C, H, W, N).

On a GPU few large pieces of work are better than many small ones. This is the order that a single
matrix product of the kernels with all columns gives. To whoever uses them, arrays are (N, C, H, W).
"""

from __future__ import annotations

from typing import Any

from stn_np.backend import Array


def channels_outermost(xp: Any, x: Array) -> Array:
    """(N, C, H, W) in any memory order to a contiguous (C, H, W, N)."""
    return xp.ascontiguousarray(x.transpose(1, 2, 3, 0))  # type: ignore[no-any-return]


def batch_first(x: Array) -> Array:
    """(C, H, W, N) to (N, C, H, W): a view."""
    return x.transpose(3, 0, 1, 2)
