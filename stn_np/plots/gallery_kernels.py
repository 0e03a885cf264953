"""The second sheet of the gallery: every sampling kernel, then every padding rule."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stn_np.plots.drawing import show_image
from stn_np.plots.gallery_paddings import HEIGHT as PADDINGS_HEIGHT
from stn_np.plots.gallery_paddings import draw_paddings
from stn_np.plots.gallery_page import LINE, MARGIN, Page, embedded_five, require_all
from stn_np.plots.style import BLUE, DPI, GREY, RULE, SMALL, TEXT, TITLE, VERMILION
from stn_np.sampling import MODES, Kernel, grid_sample, kernels
from stn_np.sampling.kernels import weigh
from stn_np.transforms import affine_grid

#: Each square is so many pixels of the PNG wide: so many as the pattern that is reduced has.
SQUARE, REDUCTION = 240, 5

# In inches: a square, the curve beside it, where the two squares begin, from row to row.
SIDE, CURVE, CURVE_HEIGHT = SQUARE / DPI, 2.3, 0.78
SQUARES_AT = (2.8, 4.6)
HEAD, DOWN = 1.0, SIDE + 0.24

#: Ink on paper; blue below 0 and orange above 1.
LEAST, MOST = -0.125, 1.125
INKS = LinearSegmentedColormap.from_list(
    "overshoot",
    [(0, BLUE), (0.1, "white"), (0.9, "black"), (1, VERMILION)],
    N=1001,  # entry 100 is 0, exactly white, and entry 900 is 1
)


@dataclass(frozen=True)
class Row:
    """A kernel for the enlargement and for the reduction, and what to see."""

    enlarging: Kernel
    reducing: Kernel
    text: str


def _row(kernel: Kernel, text: str) -> Row:
    return Row(kernel, kernel, text)


#: By the name of the mode, or of the function in `stn_np.sampling.kernels`.
ROWS = {
    "nearest": _row(kernels.NEAREST, "steps; the grid gets no gradient"),
    "bilinear": _row(kernels.LINEAR, "creases at each row of pixels"),
    "bicubic": _row(kernels.CUBIC, "smooth; overshoots"),
    "gaussian": _row(kernels.gaussian(), "smooth; blurs a little"),
    "lanczos": _row(kernels.lanczos(), "sharp; overshoots in waves"),
    "area": Row(
        kernels.area(1),
        kernels.area(REDUCTION),
        "skips none: fine rings turn grey",
    ),
}


def draw_kernels() -> Figure:
    """Draw the sheet.

    Raises
    ------
    ValueError
        If a mode or a padding rule has no example.
    """
    require_all("kernel", ROWS, (*MODES, "gaussian", "lanczos", "area"))
    below = HEAD + (1 + len(ROWS)) * DOWN
    page = Page(below + PADDINGS_HEIGHT)
    page.text(MARGIN, 0.35, "Every sampling kernel and every padding", size=TITLE)
    text = "A few pixels read at many points between them, and many at a few points."
    page.text(MARGIN, 0.64, text)
    few, many = embedded_five(), rings(SQUARE)
    _draw_originals(page, few, many)
    for number, (name, row) in enumerate(ROWS.items(), start=1):
        y = HEAD + number * DOWN
        _draw_text_and_curve(page, y, name, row)
        _draw_square(page, SQUARES_AT[0], y, resized(few, SQUARE, row.enlarging))
        _draw_square(page, SQUARES_AT[1], y, resized(many, SQUARE // REDUCTION, row.reducing))
    draw_paddings(page, below)
    return page.figure


def rings(size: int) -> NDArray[np.float64]:
    """Rings that get finer outwards, to 2.5 pixels from one to the next in the corners."""
    j = np.arange(size) - (size - 1) / 2
    radius = np.hypot(j, j[:, None])
    finest = 0.4  # rings in a pixel, in the corners
    image: NDArray[np.float64] = 0.5 + 0.5 * np.cos(pi * finest * radius**2 / radius.max())
    return image[None, None]


def resized(U: NDArray[np.float64], size: int, kernel: Kernel) -> NDArray[np.float64]:
    """The whole of an image (1, 1, H, W), edge to edge, in (1, 1, size, size)."""
    grid, _ = affine_grid(np.eye(2, 3)[None], (size, size), align_corners=False)
    V, _ = grid_sample(U, grid, mode=kernel, padding_mode="border", align_corners=False)
    return V


def weight(kernel: Kernel, d: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a pixel counts at distance d from the point that is read, as the sampler has it."""
    taps = weigh(kernel, d, needs_slopes=False)
    return np.sum([(taps.first + j == 0) * w for j, w in enumerate(taps.weights)], axis=0)  # type: ignore[no-any-return]


def _draw_originals(page: Page, few: NDArray[np.float64], many: NDArray[np.float64]) -> None:
    """Draw the first row: what is read, and how the rest is to be looked at."""
    page.text(MARGIN, HEAD + 0.14, "what is read", size=TEXT, fontweight="bold")
    page.lines(
        MARGIN,
        HEAD + 0.14 + LINE,
        "8 × 8 and 240 × 240 pixels.\n"
        "Blue and orange below: values\nbeyond white and black.\n"
        "Rings that are not in here:\naliasing.\n"
        "The curves: how a pixel counts,\nby distance from the point read.",
    )
    enlargement = SQUARE // few.shape[-1]
    for x, image, text in zip(
        SQUARES_AT,
        (few, many),
        (f"enlarged {enlargement} times", f"reduced {REDUCTION} times"),
        strict=True,
    ):
        page.text(x + SIDE / 2, HEAD - 0.08, text, ha="center")
        _draw_square(page, x, HEAD, image)


def _draw_square(page: Page, x: float, y: float, image: NDArray[np.float64]) -> None:
    """Draw an image (1, 1, H, W) as a square."""
    show_image(page.axes(x, y, SIDE, SIDE), image[0, 0], cmap=INKS, vmin=LEAST, vmax=MOST)


def _draw_text_and_curve(page: Page, y: float, name: str, row: Row) -> None:
    """Draw the left column: the kernel's name, how far it looks, and its curve."""
    n = row.reducing.n_taps
    page.text(MARGIN, y + 0.14, name, size=TEXT, fontweight="bold")
    page.lines(MARGIN, y + 0.14 + LINE, f"{n} × {n} pixel{'s' if n > 1 else ''}\n{row.text}")
    axes = page.axes(MARGIN, y + SIDE - 0.2 - CURVE_HEIGHT, CURVE, CURVE_HEIGHT)
    d = np.linspace(-REDUCTION - 0.5, REDUCTION + 0.5, 1101)
    if row.enlarging is not row.reducing:
        axes.plot(d, weight(row.enlarging, d), color=GREY, lw=1.2, ls="--")
        axes.text(-0.8, 0.6, "enlarging", color=GREY, fontsize=SMALL, ha="right")
        axes.text(2.2, 0.25, "reducing", color=BLUE, fontsize=SMALL)
    axes.plot(d, weight(row.reducing, d), color=BLUE, lw=1.8)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    """Axes of a curve: the distance below, a line at weight 0, nothing else."""
    axes.set_ylim(-0.25, 1.08)
    axes.set_xlim(-REDUCTION - 0.5, REDUCTION + 0.5)
    axes.axhline(0, color=RULE, lw=0.8, zorder=0)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.set_yticks([])
    axes.set_xticks(range(-4, 5, 2))
    axes.tick_params(colors=GREY, labelsize=SMALL, length=3, pad=1)
