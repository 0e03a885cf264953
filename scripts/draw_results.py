"""Draw how the errors of Table 1 fall in training, with and without a transformer.

    python scripts/draw_results.py [PRESET]

From benchmarks/results/reproduce/ into docs/pictures/errors.png.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import paper_tables as tables  # noqa: E402

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

PICTURE = ROOT / "docs" / "pictures" / "errors.png"
#: What is drawn: a row of the table, how it is called, and its line.
LINES = {
    "fcn": ("FCN", GREY, ":"),
    "st-fcn/affine": ("ST-FCN, affine", BLUE, ":"),
    "cnn": ("CNN", INK, "-"),
    "st-cnn/affine": ("ST-CNN, affine", BLUE, "-"),
    "st-cnn/tps": ("ST-CNN, thin plate splines", VERMILION, "-"),
}


def draw(preset: str, path: Path = PICTURE, folder: Path = tables.FOLDER) -> Path:
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
    return save(figure, path)


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


if __name__ == "__main__":
    print(draw(*sys.argv[1:2] or ["quick"]))
