"""The gallery's sampling grids, as lines."""

from __future__ import annotations

from itertools import product

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from stn_np.plots import drawing
from stn_np.plots.style import BLUE, VERMILION

#: Points of a grid along each side.
SIZE = 49
#: One line in so many points: seven each way, of which four pass through the control points.
STEP = 8


def draw_grid(axes: Axes, points: NDArray[np.float64], *, net: bool = False) -> None:
    """Draw every `STEP`-th row and column of points, and the outer ones as a frame.

    Parameters
    ----------
    axes
        Where.
    points
        (SIZE, SIZE, 2), last axis (x, y), in the units of the axes: where each output pixel is
        read.
    net
        Add the third sides of the triangles of a 4 x 4 net.
    """
    drawing.draw_grid(axes, points, step=STEP)
    if net:
        side = 2 * STEP
        t = np.arange(side + 1)
        for i, j in product(range(0, SIZE - 1, side), repeat=2):
            axes.plot(*points[i + t, j + t].T, color=BLUE, lw=0.8, ls=":")


def draw_points(axes: Axes, points: NDArray[np.float64]) -> None:
    """Draw control points (K, 2), in the units of the axes."""
    (dots,) = axes.plot(*points.T, "o", color=VERMILION, ms=5, mec="white", mew=0.8)
    dots.set(clip_on=False, zorder=3)
