"""Our numbers beside the paper's, as text and as a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

from stn_np.reproduce.job import Job, finished
from stn_np.reproduce.sweep import State
from stn_np.reproduce.tables import Cell, Table
from stn_np.training.folder import RunFolder
from stn_np.training.storage import read_table


def figures(cells: Iterable[Cell], state: State) -> tuple[list[str], list[list[str]]]:
    """A head, and a row for each model. Ours stands first, the paper's in brackets."""
    cells = list(cells)
    columns = list(dict.fromkeys(cell.column for cell in cells))
    rows = list(dict.fromkeys(cell.row for cell in cells))
    found = {(cell.row, cell.column): cell for cell in cells}
    body = [[row, *(_cell(found.get((row, column)), state) for column in columns)] for row in rows]
    body.append(["parameters", *(_parameters(column, cells, state) for column in columns)])
    return ["", *columns], body


def _cell(cell: Cell | None, state: State) -> str:
    """Mean and spread over the seeds that are there; or how far the first one is."""
    if cell is None:
        return ""
    jobs = [job for job in state.jobs if job.cell == cell.name]
    results = [state.done[job] for job in jobs if job in state.done]
    if results:
        return error(results)
    if any(job in state.failed for job in jobs):
        return "failed"
    under_way = (f"{n} of {job.epochs}" for job in jobs if (n := job.epochs_done))
    return next(under_way, "–")


def error(runs: list[dict[str, Any]]) -> str:
    """Mean and half the range of the runs' test errors, and the paper's in brackets."""
    errors, paper = [run["test_error"] for run in runs], runs[0]["paper_error"]
    spread = f" ±{(max(errors) - min(errors)) / 2:.2f}" if len(errors) > 1 else ""
    return f"{mean(errors):.2f}{spread}{'' if paper is None else f' ({paper:.1f})'}"


def _parameters(column: str, cells: list[Cell], state: State) -> str:
    """The least and the most parameters that a model of the column has, in thousands."""
    names = {cell.name for cell in cells if cell.column == column}
    found = [results["parameters"] for job, results in state.done.items() if job.cell in names]
    ends = dict.fromkeys(f"{n / 1000:.1f}" for n in (min(found), max(found))) if found else ()
    return "–".join(ends) + "k" if ends else "–"


def records(table: Table, preset: str, data: str, jobs: Iterable[Job]) -> dict[str, Any]:
    """What is kept of a sweep: a record for each of these jobs that is finished."""
    kept = "test_error paper_error parameters optimizer epochs steps angles frames machine".split()
    return {
        "table": table.name,
        "preset": preset,
        "data": data,
        "cells": [
            {
                "cell": job.cell,
                "seed": job.seed,
                **{name: results[name] for name in kept if name in results},
                "errors": _course(job),
            }
            for job in jobs
            if (results := finished(job)) is not None
        ],
    }


def _course(job: Job) -> list[float]:
    """The test error after each epoch; empty if metrics.csv has been lost since."""
    try:
        head, rows, _ = read_table(RunFolder(Path(job.folder)).metrics)
        return [row[head.index("test_error")] for row in rows]
    except (OSError, ValueError):
        return []
