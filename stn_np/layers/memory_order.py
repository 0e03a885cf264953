"""The order in which layers keep feature maps in memory: rows outermost, the batch innermost.

Every array is (N, C, H, W) to whoever uses it. In *memory*, feature maps lie in the order
(H, C, W, N), because then

- the pixels that a convolution combines are long contiguous runs over W and N,
- ``kh`` neighbouring rows with all their channels are one contiguous block, so that only the
  kernel's width has to be unfolded, not its height (see `stn_np.layers.convolution`),
- and one row of the image is a piece of work that fits the cache.

`rows_outermost` brings any array into that order (without a copy where it is in it already), and
`as_images` shows the result as (N, C, H, W) again, without a copy.
"""

from __future__ import annotations

from typing import Any

from stn_np.backend import Array


def rows_outermost(xp: Any, x: Array) -> Array:
    """(N, C, H, W) in any memory order to a contiguous (H, C, W, N)."""
    return xp.ascontiguousarray(x.transpose(2, 1, 3, 0))  # type: ignore[no-any-return]


def as_images(x: Array) -> Array:
    """(H, C, W, N) to (N, C, H, W): a view."""
    return x.transpose(3, 1, 0, 2)
