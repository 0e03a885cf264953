"""Colours, sizes and axes that all pictures share."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stn_np.training.storage import write_atomic

# From the palette of Okabe and Ito, which people with any colour vision tell apart.
BLUE = "#0072B2"
VERMILION = "#D55E00"
INK = "#222222"
GREY = "#767676"
RULE = "#D9D9D9"

#: Of the frames of several transformers; and of the inks of an image of two channels.
COLOURS = (BLUE, "#CC79A7", "#E69F00", "#56B4E9")
INKS = (INK, "#009E73")

#: Sizes in points on figures about 6 inches wide: they stay legible where a phone shows them.
TITLE, TEXT, SMALL = 15, 12, 10.5

#: Pixels an inch.
DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure, in inches, that belongs to no window."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes) -> None:
    """Left and bottom axis, a light horizontal grid, nothing else."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=SMALL, which="both")
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> Path:
    """Write the figure, whole or not at all, and return where; the suffix says the format."""
    picture = BytesIO()
    figure.savefig(picture, dpi=DPI, format=path.suffix.removeprefix(".") or "png")
    write_atomic(path, picture.getvalue())
    return path
