"""The pictures of a run, drawn from the files in its folder alone, and the gallery.

Needs matplotlib, which nothing else in the library imports. No window is opened and pyplot is not
used, so that drawing leaves no trace in the program that asks for it; but for `show_images`, which
is for notebooks.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from stn_np.plots.animation import save_animation
from stn_np.plots.curves import draw_curves
from stn_np.plots.drawing import draw_frame, draw_grid, in_pixels, show_image, show_images
from stn_np.plots.fonts import families_for
from stn_np.plots.gallery import draw_gallery
from stn_np.plots.run_files import RunFiles, followed, read_run
from stn_np.plots.sheet import draw_sheet, draw_strip
from stn_np.plots.source import show_source
from stn_np.plots.style import save

#: Pictures on a sheet of predictions.
MOST_PREDICTIONS = 100


def draw_run(run: Path) -> list[Path]:
    """Draw all pictures of a run into its folder.

    Parameters
    ----------
    run
        The run folder. It may belong to a run that is still under way.

    Returns
    -------
    list of Path
        ``curves.png`` and, of a model with a transformer, ``transformer.png``, the followed test
        digits as they come in and as the transformer hands them on, and ``transformer.gif``, the
        first of them over the epochs.

    Raises
    ------
    ValueError
        If a file is missing, damaged, or does not hold what it should; the message names it.
    OSError
        If a picture cannot be written.
    """
    run = Path(run)
    files = read_run(run)
    with _words(files):
        return _draw(files, run)


def _words(files: RunFiles) -> AbstractContextManager[Any]:
    """A context in which matplotlib can write all names, and a $ is a $."""
    names = "".join([files.title, *files.class_names])
    return rc_context({"font.family": families_for(names), "text.parse_math": False})


def _draw(files: RunFiles, run: Path) -> list[Path]:
    drawn = [save(draw_curves(files), run / "curves.png")]
    if files.frames is not None:
        drawn.append(save(draw_sheet(files), run / "transformer.png"))
        drawn.append(save_animation(files, run / "transformer.gif"))
    return drawn


def draw_banner(run: Path, path: Path) -> Path:
    """Draw one wide picture of what a run's transformer does, for a README or a slide.

    Parameters
    ----------
    run
        The run folder, of a model with a transformer.
    path
        The picture to write; its suffix says the format.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        As `draw_run`, or if the model has no transformer.
    OSError
        If the picture cannot be written.
    """
    return save(draw_strip(read_run(Path(run))), Path(path))


def draw_prediction(run: Path, arrays: dict[str, Any], path: Path) -> Path:
    """Draw what a run's transformer does with some pictures, and what the model says they are.

    Parameters
    ----------
    run
        The run folder.
    arrays
        The frames of a `stn_np.experiments.prediction.Prediction`.
    path
        The picture to write; its suffix says the format. Of more pictures than `MOST_PREDICTIONS`
        it shows the first.
    """
    files = read_run(Path(run), trained=False)
    files = replace(files, frames=followed(arrays, "frames"))
    with _words(files):
        return save(draw_sheet(files, "Pictures of one's own", 2 * MOST_PREDICTIONS), Path(path))


def remarks(run: Path) -> list[str]:
    """What to say beside a run's pictures: mostly nothing.

    Which classes are shown by number, as no font of this machine has their names; and whether the
    last line of metrics.csv, cut off, is not in the curves.
    """
    files = read_run(Path(run), trained=(Path(run) / "metrics.csv").exists())
    told = [f"class {i} is {name}" for i, name in files.numbered.items()]
    if files.cut:
        told.append("metrics.csv: the last line is cut off; the rows before it are drawn")
    return told


__all__ = [
    "draw_banner",
    "draw_frame",
    "draw_gallery",
    "draw_grid",
    "draw_prediction",
    "draw_run",
    "in_pixels",
    "remarks",
    "show_image",
    "show_images",
    "show_source",
]
