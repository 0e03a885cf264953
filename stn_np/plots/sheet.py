"""Many test digits on one picture: the sheet, and the strip for a README."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stn_np.plots.cell import Cell, colours_of, field_of, frame_sides, panels_of
from stn_np.plots.run_files import Followed, RunFiles
from stn_np.plots.style import BLUE, GREY, INK, SMALL, TEXT, TITLE, VERMILION, new_figure

#: Digits side by side on a sheet: few enough to be seen on a phone.
N_COLUMNS = 5

#: Images on a sheet, at most.
MAX_IMAGES = 40

#: Digits on the strip.
N_STRIP = 8

# All lengths in inches.
WIDTH = 6.4
MARGIN = 0.2
GAP = 0.14
HEAD = 1.2
LABEL = 0.36
BETWEEN = 0.06


def draw_sheet(files: RunFiles, subtitle: str = "", images: int = MAX_IMAGES) -> Figure:
    """Draw the followed examples after the last epoch: whole rows of at most so many images.

    One row at least.
    """
    frames = require_frames(files)
    n_panels = len(panels_of(frames))
    most = max(images // n_panels // N_COLUMNS, 1) * N_COLUMNS
    figure, cells = lay_out(min(len(frames.images), most), n_panels)
    write_head(figure, files.title, subtitle or after_epoch(files, -1), frames)
    field = field_of(frames, slice(-1, None), len(frames.images))
    for cell in cells:
        cell.draw(frames, -1, field)
        cell.write_label(files, frames, -1)
    return figure


def draw_strip(files: RunFiles) -> Figure:
    """Draw one wide row of digits, for a README: of each class the one that is turned furthest."""
    frames = require_frames(files)
    if len(panels_of(frames)) != 2:
        raise ValueError(f"run: expected a model with one transformer, got {files.title!r}")
    chosen = most_turned(frames)[:N_STRIP]
    count = len(chosen)
    left, side, bottom, between = 1.75, 1.15, 0.15, 0.42
    width, height = left + count * (side + GAP) + MARGIN, 2 * side + between + bottom + 0.15
    figure = new_figure(width, height)
    field = field_of(frames, slice(-1, None), len(frames.images))
    for k, digit in enumerate(chosen):
        x = left + k * (side + GAP)
        below = _axes(figure, x, bottom, side)
        cell = Cell([_axes(figure, x, bottom + side + between, side), below], digit)
        cell.draw(frames, -1, field)
        _text(figure, x + side / 2, bottom + side + between / 2, "↓", GREY, TITLE, ha="center")
    for y, text in (
        (bottom + 1.5 * side + between, "Input $U$ with the\nframe that $\\theta$\nasks for"),
        (bottom + 0.5 * side, "Output $V$:\nthe frame,\nset upright"),
    ):
        _text(figure, MARGIN, y, text, INK, TEXT)
    return figure


def lay_out(count: int, n_panels: int = 2) -> tuple[Figure, list[Cell]]:
    """Make a figure with places for `count` examples of some images each, row after row."""
    columns = min(N_COLUMNS, count)
    rows = -(-count // columns)
    side = (WIDTH - 2 * MARGIN + GAP) / N_COLUMNS - GAP
    step = side + BETWEEN
    pitch = n_panels * step - BETWEEN + LABEL + GAP
    height = HEAD + rows * pitch
    figure = new_figure(WIDTH, height)
    cells = []
    for digit in range(count):
        row, column = divmod(digit, columns)
        x, top = MARGIN + column * (side + GAP), height - HEAD - row * pitch
        places = [_axes(figure, x, top - side - k * step, side) for k in range(n_panels)]
        cells.append(Cell(places, digit))
    return figure, cells


def write_head(figure: Figure, title: str, subtitle: str, frames: Followed) -> None:
    """Write what is shown, and what the frames mean, above the examples."""
    height = float(figure.get_figheight())
    _text(figure, MARGIN, height - 0.27, title, INK, TITLE)
    _text(figure, MARGIN, height - 0.57, subtitle, INK, TEXT)
    colours = colours_of(frames)
    if len(colours) == 1:
        meaning = [("frame that is read", BLUE, 1.6), ("its upper side", VERMILION, 3.2)]
    else:
        meaning = [(f"read by {name}", colour, 1.6) for name, (colour, _) in colours.items()]
    figure.legend(
        handles=[Line2D([], [], color=c, linewidth=w, label=label) for label, c, w in meaning],
        loc="center left",
        bbox_to_anchor=(MARGIN / WIDTH, 1 - 0.88 / height),
        ncols=len(meaning),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.6,
    )
    right = WIDTH - MARGIN
    note = "above: input · below: output" + "s" * (len(colours) > 1)
    _text(figure, right, height - 0.88, note, GREY, SMALL, ha="right")


def most_turned(frames: Followed) -> list[int]:
    """Of each class, the followed digit whose frame is turned furthest in the end."""
    H, W = frames.images.shape[2:]
    warps = next(iter(frames.transformers.values()))
    out_shape = warps.warped.shape[-2:]
    upper, *_ = frame_sides(warps.transform, warps.thetas[-1], (H, W), out_shape)
    step = upper[:, -1] - upper[:, 0]
    angle = np.abs(np.arctan2(step[:, 1], step[:, 0]))
    classes = sorted(set(frames.labels.tolist()))
    return [max(np.flatnonzero(frames.labels == c).tolist(), key=angle.item) for c in classes]


def after_epoch(files: RunFiles, moment: int) -> str:
    """What moment of the training it is, and how good the model is then."""
    epoch = int(require_frames(files).epochs[moment])
    if epoch == 0:
        return "Before training"
    known = files.metrics["epoch"] == epoch
    text = f"After epoch {epoch}"
    if known.any():
        value = files.metrics[f"test_{files.figure}"][known][0]
        text += f": test {files.figure} {value:.2f}" + " %" * (files.figure == "error")
    return text


def require_frames(files: RunFiles) -> Followed:
    """The followed digits, or an error for a model that has no transformer."""
    if files.frames is None:
        raise ValueError(f"run: expected a model with a transformer, got {files.config['model']!r}")
    return files.frames


def _axes(figure: Figure, x: float, y: float, side: float) -> Axes:
    """Make square axes at a place given in inches from the lower left corner."""
    width, height = figure.get_size_inches()
    return figure.add_axes((x / width, y / height, side / width, side / height))


def _text(
    figure: Figure, x: float, y: float, text: str, colour: str, size: float, ha: str = "left"
) -> None:
    """Write text at a place given in inches, centred vertically."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, color=colour, fontsize=size, ha=ha, va="center")
