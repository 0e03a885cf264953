"""The gallery's example in three dimensions: a digit that stands askew in a volume."""

from __future__ import annotations

from itertools import product
from math import cos, radians, sin

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from stn_np.plots.drawing import show_image
from stn_np.plots.gallery_grid import draw_grid
from stn_np.plots.gallery_page import LINE, MARGIN, STROKE_END, Page
from stn_np.plots.style import GREY, TEXT, TITLE
from stn_np.sampling import grid_sample
from stn_np.transforms import Affine3d

#: How far the digit is turned about the vertical axis.
ANGLE = radians(-65)

# In inches.
SKETCH = 2.0
HEIGHT = SKETCH + 0.95


def draw_volume(
    page: Page, y: float, digit: NDArray[np.float64], columns: tuple[float, float], side: float
) -> None:
    """Draw the row: the volume with its sampling grid, and before and after, seen from the front.

    Parameters
    ----------
    page, y
        Where.
    digit
        (S, S) pixels.
    columns, side
        Where the two pictures begin on the page, and their size.
    """
    theta = turned(ANGLE)
    U = askew(digit, theta)
    grid, _ = Affine3d()(theta[None], U.shape[2:])
    V, _ = grid_sample(U, grid)
    x, middle, below = MARGIN + 0.4, y + SKETCH / 2, y + SKETCH + 0.06
    _draw_sketch(page.axes(x, y, SKETCH, SKETCH), U[0, 0], grid[0])
    page.text(x + SKETCH / 2, below, "U, and a layer of the grid", GREY, ha="center")
    for x, image, name in zip(columns, (U, V), "UV", strict=True):
        show_image(
            page.axes(x, middle - side / 2, side, side), image[0, 0].max(axis=0), vmax=STROKE_END
        )
        page.text(x + side / 2, below, f"{name} from the front", GREY, ha="center")
    between = (columns[0] + side + columns[1]) / 2
    page.text(between, middle, "→", GREY, TITLE, ha="center", va="center")
    below += 0.3
    text = "for volumes: here it turns a slanting digit to the front"
    page.text(MARGIN, below, f"affine3d: {Affine3d.n_params} numbers", size=TEXT, fontweight="bold")
    page.text(MARGIN, below + LINE, text)
    page.text(MARGIN, below + 2 * LINE, "3 × 4 matrix", GREY)


def turned(angle: float) -> NDArray[np.float64]:
    """A turn about the vertical axis, (12,): the 3 x 4 matrix row by row."""
    c, s = cos(angle), sin(angle)
    return np.array([c, 0, s, 0, 0, 1, 0, 0, -s, 0, c, 0])


def askew(digit: NDArray[np.float64], theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """A volume (1, 1, S, S, S) with the digit as a plate, in theta's middle layer."""
    S = len(digit)
    plate = np.zeros((1, 1, S, S, S))
    plate[0, 0, S // 2 - 2 : S // 2 + 3] = digit
    inverse, _ = Affine3d().inverse(theta[None])
    grid, _ = Affine3d()(inverse, (S, S, S))
    U, _ = grid_sample(plate, grid)
    return U


def _draw_sketch(axes: Axes, U: NDArray[np.float64], grid: NDArray[np.float64]) -> None:
    """The volume's edges, the digit in it, and the middle layer of the sampling grid."""
    for a, b in product((-1, 1), repeat=2):
        for edge in ([(-1, a, b), (1, a, b)], [(a, -1, b), (a, 1, b)], [(a, b, -1), (a, b, 1)]):
            axes.plot(*_project(np.array(edge)).T, color=GREY, lw=0.8)
    S = len(U)
    z, y, x = np.nonzero(U > 0.35)
    voxels = np.stack([x, y, z], axis=-1) * 2 / (S - 1) - 1
    axes.plot(*_project(voxels).T, ".", color="#999999", ms=1.2)
    draw_grid(axes, _project(grid[S // 2]))
    axes.set_xlim(-1.5, 1.5)
    axes.set_ylim(1.5, -1.5)
    axes.set_axis_off()


def _project(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (..., 3) as seen from in front and a little from above right: (..., 2)."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([0.95 * x + 0.42 * z, 0.95 * y - 0.35 * z], axis=-1)
