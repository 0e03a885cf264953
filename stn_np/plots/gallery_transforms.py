"""The first sheet of the gallery: one digit and its sampling grid under every family."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from stn_np.plots.drawing import in_pixels, show_image
from stn_np.plots.gallery_examples import Theta, examples
from stn_np.plots.gallery_grid import SIZE, draw_grid, draw_points
from stn_np.plots.gallery_page import (
    LINE,
    MARGIN,
    STROKE_END,
    WIDTH,
    Page,
    embedded_five,
    enlarged,
)
from stn_np.plots.gallery_volume import HEIGHT as VOLUME_HEIGHT
from stn_np.plots.gallery_volume import draw_volume
from stn_np.plots.style import BLUE, GREY, INK, SMALL, TEXT, TITLE, VERMILION
from stn_np.sampling import grid_sample
from stn_np.transforms import Affine, Transform, affine_grid, by_name

# All lengths in inches. An image has the same size everywhere; round an input more is shown.
IMAGE = 1.16
FIELD = 0.625
INPUT = 2 * FIELD * IMAGE
ARROW = 0.28
#: From one pair to the next, and how far captions stand in: to the edge of the input.
ACROSS, INDENT = 3.06, INPUT / 2 - IMAGE / 2
HEAD, DOWN = 1.46, INPUT + 0.75


def draw_transforms() -> Figure:
    """Draw the sheet.

    Raises
    ------
    ValueError
        If a family has no example.
    """
    shown = examples()
    U = enlarged(embedded_five(), SIZE, 0.8)
    rows = -(-(1 + len(shown)) // 2)
    page = Page(HEAD + rows * DOWN + VOLUME_HEIGHT)
    _write_head(page)
    identity = Affine()
    _draw_pair(page, 0, U, identity, identity.identity)
    _write_caption(
        page, 0, "identity", "every family begins its training here", "V = U, bit for bit"
    )
    for place, example in enumerate(shown, start=1):
        name, theta_of = next(iter(example.thetas.items()))
        family = by_name(name, (SIZE, SIZE))
        _draw_pair(page, place, U, family, theta_of(family))
        _write_caption(
            page, place, f"{name}: {family.n_params:,} numbers", example.does, example.theta
        )
    left = _corner(1)[0]
    columns = (left + INDENT, left + INPUT + ARROW)
    draw_volume(page, HEAD + rows * DOWN, U[0, 0], columns, IMAGE)
    return page.figure


def _write_head(page: Page) -> None:
    """What is shown, and what the lines mean."""
    page.text(MARGIN, 0.35, "One digit under every transformation", size=TITLE)
    page.lines(
        MARGIN,
        0.64,
        "Left the input U with the grid: the points that are read. Right the output V,\n"
        "where the same grid is straight: so the digit goes the opposite way.\n"
        "In grey: what the numbers θ are.",
    )
    handles = [
        Line2D([], [], color=BLUE, lw=1.2, label="sampling grid"),
        Line2D([], [], color=VERMILION, lw=3, label="its upper side"),
        Line2D([], [], color=VERMILION, marker="o", ms=6, mec="white", lw=0, label="control point"),
    ]
    page.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(MARGIN / WIDTH, 1 - 1.2 / page.height),
        ncols=3,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.6,
    )


def _draw_pair(
    page: Page, place: int, U: NDArray[np.float64], family: Transform, theta: Theta
) -> None:
    """Input and output of one warp, side by side."""
    x, y = _corner(place)
    grid, _ = family(theta[None], (SIZE, SIZE))
    V, _ = grid_sample(U, grid)
    left = page.axes(x, y, INPUT, INPUT)
    right = page.axes(x + INPUT + ARROW, y + (INPUT - IMAGE) / 2, IMAGE, IMAGE)
    middle = y + INPUT / 2
    page.text(x + INPUT + ARROW / 2, middle, "→", GREY, TITLE, ha="center", va="center")
    show_image(left, U[0, 0], field=FIELD, vmax=STROKE_END)
    show_image(right, V[0, 0], vmax=STROKE_END)
    net = family.name == "piecewise-affine"
    straight, _ = affine_grid(np.eye(2, 3)[None], (SIZE, SIZE))
    draw_grid(left, in_pixels(grid[0], (SIZE, SIZE)), net=net)
    draw_grid(right, in_pixels(straight[0], (SIZE, SIZE)), net=net)
    points = getattr(family, "control_points", None)
    if points is not None:
        draw_points(left, in_pixels(theta.reshape(-1, 2), (SIZE, SIZE)))
        draw_points(right, in_pixels(points, (SIZE, SIZE)))


def _write_caption(page: Page, place: int, name: str, does: str, theta: str) -> None:
    """Three lines under a pair."""
    x, y = _corner(place)
    below = y + INPUT + 0.14
    page.text(x + INDENT, below, name, size=TEXT, fontweight="bold")
    page.text(x + INDENT, below + LINE, does)
    page.text(x + INDENT, below + 2 * LINE, theta, GREY)


def _corner(place: int) -> tuple[float, float]:
    """Upper left corner of a pair: two in a row."""
    row, column = divmod(place, 2)
    return MARGIN - INDENT + column * ACROSS, HEAD + row * DOWN
