"""Training curves: error, loss, gradient norm and learning rate over the epochs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from stn_np.plots.run_files import RunFiles
from stn_np.plots.style import (
    BLUE,
    GREY,
    INK,
    SMALL,
    TEXT,
    TITLE,
    VERMILION,
    new_figure,
    plain_axes,
)


def draw_curves(files: RunFiles) -> Figure:
    """Draw three panels, one below the other, over the same epochs."""
    metrics = files.metrics
    figure = new_figure(6.4, 8.4)
    figure.suptitle(files.title, x=0.03, y=0.985, ha="left", fontsize=TITLE, color=INK)
    error, loss, steps = figure.subplots(3, 1, sharex=True, height_ratios=(5, 4, 3))
    figure.subplots_adjust(left=0.125, right=0.875, top=0.905, bottom=0.07, hspace=0.3)
    name = files.figure
    _compare(error, metrics, name, "Error in %" if name == "error" else name.capitalize())
    _compare(loss, metrics, "loss", "Cross-entropy")
    _draw_steps(steps, metrics)
    steps.set_xlabel("epoch", fontsize=TEXT, color=INK)
    epochs = metrics["epoch"]
    steps.set_xlim(min(epochs[0], 1) - 0.5, epochs[-1] + 0.5)
    if len(epochs) <= 12:
        steps.set_xticks(epochs)
    else:
        steps.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _compare(axes: Axes, metrics: dict[str, NDArray[np.float64]], name: str, title: str) -> None:
    """Draw training and test of one quantity, with the last values in the legend."""
    for part, colour, dashes in (("train", VERMILION, "--"), ("test", BLUE, "-")):
        values = metrics[f"{part}_{name}"]
        said = {"train": "training", "test": "test"}[part]
        _line(axes, metrics["epoch"], values, colour, f"{said} {values[-1]:.3g}", dashes)
    plain_axes(axes)
    _logarithmic(axes)
    axes.set_title(title, loc="left", fontsize=TEXT, color=INK)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        borderaxespad=0.3,
        borderpad=0,
        columnspacing=1.2,
    )


def _draw_steps(axes: Axes, metrics: dict[str, NDArray[np.float64]]) -> None:
    """Gradient norm on the left axis, learning rate on the right."""
    _line(axes, metrics["epoch"], metrics["grad_norm"], INK, "")
    plain_axes(axes)
    _logarithmic(axes)
    axes.set_title("Gradient norm, mean", loc="left", fontsize=TEXT, color=INK)
    right, rates = axes.twinx(), metrics["lr"]
    top = max(float(rates.max()), 1e-30)
    power = math.floor(math.log10(top))
    _line(right, metrics["epoch"], rates / 10.0**power, GREY, "", ":")
    right.spines[["top", "left"]].set_visible(False)
    right.spines[["right", "bottom"]].set_color(GREY)
    right.tick_params(colors=GREY, labelsize=SMALL)
    right.set_ylim(0, 1.15 * top / 10.0**power)
    right.yaxis.set_major_locator(MaxNLocator(4))
    unit = rf" / $10^{{{power}}}$" if power else ""
    title = right.set_title(f"Learning rate{unit}", loc="right", fontsize=TEXT, color=GREY)
    title.set_parse_math(True)  # else off, for names of one's own


def _line(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], colour: str, label: str, linestyle: str = "-"
) -> None:
    """A line through the epochs; with points where they are few, as one alone makes no line."""
    marker = "o" if len(x) <= 25 else ""
    axes.plot(x, y, linestyle, color=colour, marker=marker, ms=4, lw=1.8, label=label)


def _logarithmic(axes: Axes) -> None:
    """A logarithmic axis with plain numbers; linear where a value is 0 and has no logarithm."""
    values = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.lines])
    values = values[np.isfinite(values)]
    if values.size == 0 or values.min() <= 0:
        axes.set_ylim(bottom=0)
        return
    axes.set_yscale("log")
    # Never less than a factor of 4 in all, so that small changes do not look like large ones.
    low, high, middle = values.min(), values.max(), math.sqrt(values.min() * values.max())
    axes.set_ylim(min(low / 1.25, middle / 2), max(high * 1.25, middle * 2))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
