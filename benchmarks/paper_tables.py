"""Our tables beside the paper's, from the files that `stn-np reproduce` writes.

They are kept as benchmarks/results/reproduce/TABLE-PRESET.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from side_by_side import short_name

from stn_np.reproduce import report
from stn_np.reproduce.tables import TABLES as PAPER

FOLDER = Path(__file__).parent / "results" / "reproduce"
Runs = dict[str, list[dict[str, Any]]]


def runs(table: str, preset: str, folder: Path = FOLDER) -> Runs:
    """The runs of each cell, in the order of the table; none if there is no such file."""
    path = folder / f"{table}-{preset}.json"
    found = json.loads(path.read_text("utf-8"))["cells"] if path.exists() else []
    by_cell: Runs = {cell.name: [] for cell in PAPER[table].cells}
    for run in sorted(found, key=lambda run: run["seed"]):
        by_cell.setdefault(run["cell"], []).append(run)
    return {name: those for name, those in by_cell.items() if those}


def errors(table: str, preset: str, folder: Path = FOLDER) -> list[list[str]]:
    """A row for each model, a column for each distortion: mean ± half the range (the paper's)."""
    found = runs(table, preset, folder)
    names = [name.partition("/") for name in found]
    columns = list(dict.fromkeys(column for column, _, _ in names))
    rows = [[f"test error, % ({preset})", *columns]]
    for row in dict.fromkeys(row for _, _, row in names):
        cells = (found.get(f"{column}/{row}") for column in columns)
        rows.append([row, *(report.error(those) if those else "–" for those in cells)])
    return rows


def effort(table: str, preset: str, folder: Path = FOLDER) -> list[list[str]]:
    """What each column has cost."""
    rows = [["", "parameters", "iterations", "seeds", "minutes a run", "on", "days"]]
    by_column: Runs = {}
    for name, those in runs(table, preset, folder).items():
        by_column.setdefault(name.partition("/")[0], []).extend(those)
    for column, those in by_column.items():
        minutes = [run["machine"]["seconds"] / 60 for run in those]
        days = [run["machine"]["date"] for run in those]
        rows.append(
            [
                column,
                ends([run["parameters"] for run in those]),
                ends([run["steps"] for run in those]),
                " ".join(str(seed) for seed in sorted({run["seed"] for run in those})),
                ends(minutes, ".1f"),
                "; ".join(sorted({place(run["machine"]) for run in those})),
                ends(days, ""),
            ]
        )
    return rows


def place(machine: dict[str, Any]) -> str:
    """Processor and threads, or the GPU."""
    if machine["device"] != "cpu":
        return str(machine["device"])
    many = "threads" if machine["threads"] > 1 else "thread"
    return f"{short_name(machine['processor'])}, {machine['threads']} {many}"


def ends(values: list[Any], form: str = ",") -> str:
    """The least and the largest of some numbers; one where they are the same."""
    return " to ".join(dict.fromkeys(f"{end:{form}}" for end in (min(values), max(values))))


def to_the_papers_error(table: str, preset: str, folder: Path = FOLDER) -> list[list[str]]:
    """How soon the cells come to the paper's error: the first epoch whose test error is as low.

    Time is the run's, by the share of its epochs.
    """
    rows = [["cell", "the paper's error, %", "iterations", "minutes", "seeds that come to it"]]
    for name, those in runs(table, preset, folder).items():
        paper, reached = those[0]["paper_error"], []
        for run in those if paper is not None else ():
            epochs = (n for n, error in enumerate(run["errors"], 1) if error <= paper)
            if first := next(epochs, 0):
                reached.append((run, first / run["epochs"]))
        if reached:
            iterations = mean(run["steps"] * share for run, share in reached)
            minutes = mean(run["machine"]["seconds"] / 60 * share for run, share in reached)
            counted = f"{len(reached)} of {len(those)}"
            rows.append([name, f"{paper:.1f}", f"{iterations:,.0f}", f"{minutes:.1f}", counted])
    return rows


#: What stands in the markers of scripts/pages.py.
KINDS = {"errors": errors, "effort": effort, "to the paper's error": to_the_papers_error}
TABLES: dict[str, Callable[[], list[list[str]]]] = {
    f"{table}, {preset}, {kind}": partial(make, table, preset)
    for table, paper in PAPER.items()
    for preset in paper.presets
    for kind, make in KINDS.items()
}
