"""Which pixels each point of a grid reads with separable kernels, and how they weigh, eq. (3).

Four steps, one axis at a time: normalised coordinate to pixels, pixels to the padding rule, the
pixels that are read (their place in memory), their weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

from stn_np.backend import Array
from stn_np.sampling.blocks import channel_blocks, in_channels, point_blocks
from stn_np.sampling.continuation import continued, locate_axis
from stn_np.sampling.coordinates import Slope
from stn_np.sampling.kernel import Kernel, weigh


class Block(NamedTuple):
    """Some source points: rows are images, columns are points of the grid. Lists: x, y (, z)."""

    images: slice
    columns: slice
    x: list[Array]  # pixel coordinates; one row where all images share a grid
    x_slope: list[Slope]  # d(pixel coordinate)/d(grid coordinate)


class AxisTaps(NamedTuple):
    """The taps of a block of points along one axis."""

    offsets: list[Array]  # place of each tap in the flat image
    weights: list[Array]  # k(x - m)
    slopes: list[Array]  # k'(x - m); empty if not asked for


class Taps:
    """The points of a grid, located in images that have one more line along every axis."""

    def __init__(
        self,
        xp: Any,
        U_shape: tuple[int, ...],
        grid: Array,
        kernels: tuple[Kernel, ...],
        padding: str,
        align_corners: bool,
    ) -> None:
        N_U, self.C, *size = U_shape
        N_grid = grid.shape[0]
        self.N = max(N_U, N_grid) if N_U and N_grid else 0
        self.xp, self.kernels, self.rule = xp, kernels, (padding, align_corners)
        self.size = size[::-1]  # (x, y[, z]), as the kernels
        self.plane = prod(s + 1 for s in size)
        to_next_image = self.C * self.plane if N_U == self.N else 0  # 0: all share one image
        self.first = xp.arange(self.N)[:, None] * to_next_image
        self.blocks = list(self._locate(grid))

    def _locate(self, grid: Array) -> Iterator[Block]:
        """Where the points lie in the image, in pixels, a block at a time."""
        N_grid, points, n = grid.shape[0], prod(grid.shape[1:-1]), grid.shape[-1]
        g = [grid[..., k].reshape(N_grid, points) for k in range(n)]
        for images, columns in point_blocks(self.N, points):
            source = images if N_grid == self.N else slice(0, 1)
            located = [
                locate_axis(self.xp, g[k][source, columns], self.size[k], kernel, *self.rule)
                for k, kernel in enumerate(self.kernels)
            ]
            yield Block(images, columns, [x for x, _ in located], [slope for _, slope in located])

    def axes(self, block: Block, *, needs_slopes: bool = False) -> list[AxisTaps]:
        """The taps along (z,) y and x: the axis that is slowest in memory first."""
        axes: list[AxisTaps] = []
        stride = 1
        for kernel, size, x in zip(self.kernels, self.size, block.x, strict=True):
            weighed = weigh(kernel, x, needs_slopes=needs_slopes)
            offsets = continued(self.xp, weighed.first, kernel, size, stride, *self.rule)
            axes.insert(0, AxisTaps(offsets, weighed.weights, weighed.slopes))
            stride *= size + 1
        return axes

    def channels(self, block: Block) -> Iterator[tuple[slice, int, Array]]:
        """Channels in groups that fit the cache: which, where the first begins, and where each."""
        images, columns = block.images, block.columns
        points = (images.stop - images.start) * (columns.stop - columns.start)
        for channels in channel_blocks(self.C, points):
            yield channels, *in_channels(self.xp, self.first[images], channels, self.plane)
