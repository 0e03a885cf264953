"""Where the points of the output come from, as the kernels in `cuda/` take it: a grid or maps."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

from stn_np.backend import Array, array_module, coordinate_dtype
from stn_np.gpu.launcher import Argument

SAMPLER, AFFINE = "cuda/sampler.cu", "cuda/affine.cu"

#: Pixels that a point reads along an axis.
TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4}
MODES = {"nearest": "NEAREST", "bilinear": "LINEAR", "bicubic": "CUBIC"}
PADDINGS = {
    "zeros": "ZEROS",
    "constant": "ZEROS",
    "border": "BORDER",
    "reflection": "REFLECTION",
    "wrap": "WRAP",
}


class Source(NamedTuple):
    """Where the points of the output come from, as the kernels take it."""

    prefix: str  # of the kernels' names
    file: str  # where the kernels for V and the gradient of this source are
    points: Argument  # grid or matrices
    size: tuple[int, ...]  # of the image and of the output
    steps: tuple[int, ...]  # in `points`, in elements
    rules: tuple[str | int | bool, ...]  # the last template arguments
    taps: int  # pixels that a point reads
    N: int
    out_size: tuple[int, ...]


def from_grid(U_shape: tuple[int, ...], grid: Array, rules: dict[str, Any]) -> Source:
    """The points of a grid (N or 1, H', W', 2) or (N or 1, D', H', W', 3)."""
    (N_U, _, *size), (N_grid, *out_size, n) = U_shape, grid.shape
    N = max(N_U, N_grid) if N_U and N_grid else 0
    xp, dtype = array_module(grid=grid), coordinate_dtype(grid.dtype, max(size))
    grid = grid.astype(dtype, copy=False)
    if not _one_step(grid):
        grid = xp.ascontiguousarray(grid)
    step_n, *_, step_axis = (s // grid.itemsize for s in grid.strides)
    mode = rules["mode"]
    return Source(
        prefix="",
        file=SAMPLER,
        points=Argument("grid", grid, dtype, grid.shape, strided=True),
        size=(*(1,) * (3 - n), *size, prod(out_size)),
        steps=(step_n if N_grid == N else 0, _axes(grid)[-1][1] // grid.itemsize, step_axis),
        rules=(n, MODES[mode], PADDINGS[rules["padding_mode"]], rules["align_corners"]),
        taps=TAPS[mode] ** n,
        N=N,
        out_size=tuple(out_size),
    )


def _one_step(grid: Array) -> bool:
    """Whether all points of a grid are equally far from each other in memory."""
    return all(stride == below * length for (_, stride), (length, below) in pairwise(_axes(grid)))


def _axes(grid: Array) -> list[tuple[int, int]]:
    """Length and stride of each axis of points; of those of length 1 any stride may be said."""
    axes = zip(grid.shape[1:-1], grid.strides[1:-1], strict=True)
    return [(length, stride) for length, stride in axes if length > 1] or [(1, 0)]


def from_matrices(
    U_shape: tuple[int, ...], A: Array, out_size: tuple[int, int], rules: dict[str, Any]
) -> Source:
    """The points of affine maps A (N or 1, 2, 3), in pixels from the middles of both images."""
    (N_U, _, H, W), N_A = U_shape, A.shape[0]
    N = max(N_U, N_A) if N_U and N_A else 0
    return Source(
        prefix="affine_",
        file=AFFINE,
        points=Argument("matrix", A, A.dtype, (N_A, 2, 3)),
        size=(H, W, *out_size),
        steps=(6 if N_A == N else 0,),
        rules=(PADDINGS[rules["padding_mode"]], rules["align_corners"]),
        taps=4,
        N=N,
        out_size=out_size,
    )
