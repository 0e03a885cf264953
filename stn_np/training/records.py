"""The text files of a run: metrics.csv, timings.csv, results.json."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stn_np.training.storage import write_atomic

#: Columns of timings.csv: a row for each epoch, or part of one between two stops.
TIMINGS = ("epoch", "steps", "seconds", "images_per_second")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[float]]) -> None:
    """Write rows of numbers with all their digits; whole numbers without a point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([int(x) if float(x).is_integer() else repr(float(x)) for x in r] for r in rows)
    write_atomic(path, text.getvalue().encode())


def read_csv(path: Path, columns: Sequence[str]) -> list[list[float]]:
    """The rows that `write_csv` wrote; none if there is no such file.

    Raises
    ------
    ValueError
        If the file has other columns or something else than numbers.
    """
    if not path.exists():
        return []
    with path.open(newline="") as file:
        head, *rows = list(csv.reader(file)) or [[]]
    if tuple(head) != tuple(columns):
        raise ValueError(f"{path}: expected the columns {','.join(columns)}; got {','.join(head)}")
    try:
        return [[float(x) for x in row] for row in rows]
    except ValueError as e:
        raise ValueError(f"{path}: expected numbers below the columns' names ({e})") from e


def read_timings(path: Path) -> list[list[float]]:
    """The rows of timings.csv; none if it is damaged: no run shall fail because of a clock."""
    try:
        rows = read_csv(path, TIMINGS)
    except (ValueError, OSError, csv.Error):
        return []
    sound = all(len(row) == len(TIMINGS) and all(map(math.isfinite, row)) for row in rows)
    return rows if sound else []


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write figures as JSON for people and programs: indented, but a flat list on one line."""
    text = json.dumps(content, indent=2, allow_nan=False)
    flat = re.sub(r"\[[^\[\]{}]*\]", lambda m: f"[{' '.join(m[0][1:-1].split())}]", text)
    write_atomic(path, (flat + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises
    ------
    ValueError
        If it is something else.
    """
    try:
        found = json.loads(path.read_bytes())
    except ValueError as e:
        raise ValueError(f"{path}: expected JSON, got something else ({e})") from e
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found
