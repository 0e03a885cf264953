"""Where the points of the output come from, as the kernels in `cuda/` take it: a grid or maps."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from stn_np.backend import Array, array_module, coordinate_dtype
from stn_np.gpu.launcher import Argument


class Source(NamedTuple):
    """Points of N images of H x W or D x H x W pixels; see `Source` in points.cuh."""

    kind: str  # in C++
    points: Argument  # grid or matrices
    steps: tuple[int, int, int]  # the three numbers beside it
    size: tuple[int, int, int]  # of the image: D, H, W
    out_size: tuple[int, ...]
    N: int

    @property
    def n_dims(self) -> int:
        """2 or 3."""
        return len(self.out_size)

    @property
    def is_affine(self) -> bool:
        """Whether the points come from maps, not from a grid."""
        return self.kind.startswith("AffineMap")


def from_grid(size: tuple[int, ...], grid: Array, N: int) -> Source:
    """The points of a grid (N or 1, H', W', 2) or (N or 1, D', H', W', 3), in an image's size."""
    N_grid, *out_size, n = grid.shape
    xp, dtype = array_module(grid=grid), coordinate_dtype(grid.dtype, max(size))
    grid = grid.astype(dtype, copy=False)
    if not _one_step(grid):
        grid = xp.ascontiguousarray(grid)
    step_n, *_, step_axis = (s // grid.itemsize for s in grid.strides)
    D, H, W = (1, 1, *size)[-3:]
    return Source(
        kind=f"Grid<{dtype.name}, {n}>",
        points=Argument("grid", grid, dtype, grid.shape, strided=True),
        steps=(step_n if N_grid == N else 0, _axes(grid)[-1][1] // grid.itemsize, step_axis),
        size=(D, H, W),
        out_size=tuple(out_size),
        N=N,
    )


def _one_step(grid: Array) -> bool:
    """Whether all points of a grid are equally far from each other in memory."""
    return all(stride == below * length for (_, stride), (length, below) in pairwise(_axes(grid)))


def _axes(grid: Array) -> list[tuple[int, int]]:
    """Length and stride of each axis of points; of those of length 1 any stride may be said."""
    axes = zip(grid.shape[1:-1], grid.strides[1:-1], strict=True)
    return [(length, stride) for length, stride in axes if length > 1] or [(1, 0)]


def from_affine(size: tuple[int, ...], A: Array, out_size: tuple[int, int], N: int) -> Source:
    """The points of affine maps A (N or 1, 2, 3), in pixels from the middles of both images."""
    H, W = size
    return Source(
        kind=f"AffineMap<{A.dtype.name}>",
        points=Argument("matrix", A, A.dtype, A.shape),
        steps=(6 if A.shape[0] == N else 0, *out_size),
        size=(1, H, W),
        out_size=out_size,
        N=N,
    )
