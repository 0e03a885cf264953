"""Draw the results: how errors fall in training, predicted beside true angles, test digits.

    python scripts/draw_results.py [--preset PRESET] [--runs FOLDER]

From the files in benchmarks/results/reproduce/ into docs/pictures/: errors.png, and angles.png of
what scripts/measure_angles.py found. With --runs, the folder of a sweep, also its ST-CNNs' test
digits with frames and outputs, digits-COLUMN.png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import paper_tables as tables  # noqa: E402

from stn_np.plots.run_files import read_run  # noqa: E402
from stn_np.plots.sheet import draw_strip  # noqa: E402
from stn_np.plots.style import (  # noqa: E402
    BLUE,
    GREY,
    INK,
    SMALL,
    TEXT,
    TITLE,
    VERMILION,
    new_figure,
    plain_axes,
    save,
)
from stn_np.training.storage import read_json  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
#: What is drawn: a row of the table, how it is called, and its line.
LINES = {
    "fcn": ("FCN", GREY, ":"),
    "st-fcn/affine": ("ST-FCN, affine", BLUE, ":"),
    "cnn": ("CNN", INK, "-"),
    "st-cnn/affine": ("ST-CNN, affine", BLUE, "-"),
    "st-cnn/tps": ("ST-CNN, thin plate splines", VERMILION, "-"),
}


def draw_errors(preset: str, folder: Path = tables.FOLDER) -> Path:
    """A panel for each distortion; iterations against the test error of the first seed."""
    found = tables.runs("table1", preset, folder) | tables.runs("cluttered", preset, folder)
    if not found:
        raise SystemExit(f"no results of the preset {preset} in {folder}")
    columns = list(dict.fromkeys(name.partition("/")[0] for name in found))
    figure = new_figure(6.4, 1.45 + 2.5 * -(-len(columns) // 2))
    top = 1 - 1.3 / figure.get_figheight()
    panels = figure.subplots(-(-len(columns) // 2), 2, sharey=True, squeeze=False).ravel()
    figure.subplots_adjust(left=0.11, right=0.97, top=top, bottom=0.09, hspace=0.42, wspace=0.08)
    for axes, column in zip(panels, columns, strict=False):
        runs = {row: found[f"{column}/{row}"] for row in LINES if f"{column}/{row}" in found}
        _draw_panel(axes, column, runs)
    for axes in panels[len(columns) :]:
        axes.set_visible(False)
    figure.text(
        0.03, 1 - 0.22 / figure.get_figheight(), "Test error in %", fontsize=TITLE, va="top"
    )
    figure.legend(
        handles=[*{line.get_label(): line for axes in panels for line in axes.lines}.values()],
        loc="upper left",
        bbox_to_anchor=(0.02, 1 - 0.45 / figure.get_figheight()),
        ncols=3,
        frameon=False,
        fontsize=SMALL,
    )
    return save(figure, PICTURES / "errors.png")


def _draw_panel(axes: Axes, column: str, runs: dict[str, list[dict[str, Any]]]) -> None:
    """One distortion."""
    for row, (run, *_) in runs.items():
        label, colour, style = LINES[row]
        per_epoch = run["steps"] / run["epochs"]
        at = [per_epoch * epoch for epoch in range(1, len(run["errors"]) + 1)]
        axes.plot(at, run["errors"], style, color=colour, label=label, linewidth=1.8)
    plain_axes(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([0.5, 1, 2, 5, 10, 20, 50]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x else "0"))
    axes.set_title(column, loc="left", fontsize=TEXT, color=INK)
    axes.set_xlabel("iterations", fontsize=SMALL, color=INK)


def draw_angles(path: Path = tables.FOLDER / "angles-R.json") -> Path:
    """For each test digit, how far it was turned, and how far the transformer turns it back."""
    found = read_json(path)
    true, back = np.array(found["true"]), np.array(found["turned_back"])
    # Which way is up is the network's to choose: the same offset for all.
    offset = np.rad2deg(np.angle(np.exp(1j * np.deg2rad(back - true)).mean()))
    error = (back - true - offset + 180) % 360 - 180
    figure = new_figure(4.6, 4.9)
    axes = figure.add_axes((0.17, 0.12, 0.79, 0.72))
    axes.plot([-90, 90], np.array([-90, 90]) + offset, color=GREY, linewidth=1)
    axes.plot(true, true + offset + error, ".", color=BLUE, markersize=3.5, alpha=0.5)
    plain_axes(axes)
    axes.xaxis.set_major_locator(FixedLocator([-90, -45, 0, 45, 90]))
    axes.yaxis.set_major_locator(FixedLocator([-180, -135, -90, -45, 0, 45, 90, 135, 180]))
    axes.set_xlabel("the digit is turned by, in degrees", fontsize=SMALL, color=INK)
    axes.set_ylabel("the transformer turns it back by", fontsize=SMALL, color=INK)
    half = np.median(np.abs(error))
    figure.text(0.03, 0.95, "Predicted against true angle", fontsize=TITLE, color=INK)
    figure.text(
        0.03,
        0.895,
        f"{len(true):,} test digits; half of them within {half:.0f}° of the line",
        fontsize=SMALL,
        color=INK,
    )
    return save(figure, PICTURES / "angles.png")


def draw_digits(runs: Path) -> list[Path]:
    """Of each column's ST-CNN with affine maps a row of test digits, as the sweep left it."""
    found = [path.parent for path in sorted(runs.glob("*/st-cnn/affine/seed-0/results.json"))]
    return [
        save(draw_strip(read_run(run)), PICTURES / f"digits-{run.relative_to(runs).parts[0]}.png")
        for run in found
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="quick", help="default: quick")
    parser.add_argument("--runs", type=Path, help="where a sweep's runs are")
    options = parser.parse_args()
    drawn = [draw_errors(options.preset), draw_angles()]
    print(*drawn, *(draw_digits(options.runs) if options.runs else ()), sep="\n")
