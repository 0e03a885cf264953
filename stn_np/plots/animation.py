"""The same digits over the epochs, as a GIF."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from stn_np.plots.cell import Cell, field_of, panels_of
from stn_np.plots.run_files import RunFiles
from stn_np.plots.sheet import after_epoch, lay_out, require_frames, write_head
from stn_np.training.storage import write_atomic

#: Digits that are shown, of those that are followed: one of each class.
N_DIGITS = 10

#: At most so many moments, to keep the file small.
MAX_MOMENTS = 25

#: How long a moment stays, in milliseconds; the first; the last.
STAY, STAY_FIRST, STAY_LAST = 250, 750, 3000

#: Pixels an inch: about 600 pixels wide.
DPI = 96

#: Shades of grey, blue and vermilion. Few colours without dithering make a small file; of images in
#: colour as many as there can be.
N_COLOURS, MOST_COLOURS = 32, 256


def save_animation(files: RunFiles, path: Path) -> Path:
    """Write the animation and return where."""
    frames = require_frames(files)
    count = min(N_DIGITS, len(frames.images))
    figure, cells = lay_out(count, len(panels_of(frames)))
    figure.set_dpi(DPI)
    field = field_of(frames, slice(None), count)
    moments = choose_moments(len(frames.epochs))
    pictures = [_draw_moment(figure, cells, files, moment, field) for moment in moments]
    stays = [STAY_FIRST, *[STAY] * (len(moments) - 2), STAY_LAST][-len(moments) :]
    film = BytesIO()
    pictures[0].save(
        film, format="GIF", save_all=True, append_images=pictures[1:], duration=stays, loop=0
    )
    write_atomic(path, film.getvalue())
    return path


def choose_moments(count: int) -> list[int]:
    """Choose all of `count` moments, or `MAX_MOMENTS`, most of them early, where more happens."""
    if count <= MAX_MOMENTS:
        return list(range(count))
    spread = np.linspace(0, 1, MAX_MOMENTS) ** 1.5 * (count - 1)
    return [int(m) for m in np.unique(spread.round())]


def _draw_moment(
    figure: Figure, cells: list[Cell], files: RunFiles, moment: int, field: float
) -> Image.Image:
    """Draw one picture over the one before."""
    frames = require_frames(files)
    figure.texts.clear()
    figure.legends.clear()
    write_head(figure, files.title, after_epoch(files, moment), frames)
    for cell in cells:
        cell.draw(frames, moment, field)
        cell.write_label(files, frames, moment)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = Image.fromarray(pixels[..., :3])
    colours = MOST_COLOURS if frames.images.shape[1] == 3 else N_COLOURS
    return picture.quantize(colours, dither=Image.Dither.NONE)
