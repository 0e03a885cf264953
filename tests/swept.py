"""Sweeps of small trainings, for tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from stn_np.reproduce.job import Job
from stn_np.reproduce.sweep import jobs_of
from stn_np.reproduce.tables import TABLES

#: Seconds of a training: enough to do something to it meanwhile.
LONG = {"epochs": 25, "batch_size": 64, "filters": 8}
SHORT = {"epochs": 2, "batch_size": 256, "filters": 8}


def jobs(out: Path, *names: str, **settings) -> list[Job]:
    """Cells of table 1 on the embedded digits, with other settings than their preset's."""
    table = TABLES["table1"]
    found = jobs_of(table, table.chosen(names), "quick", [0], out, data="digits", threads=1)
    return [replace(job, settings={**job.settings, **settings}) for job in found]


def files(folder: str | Path) -> tuple[bytes, dict]:
    """What must be the same bits, however a run came to its end."""
    results = json.loads((Path(folder) / "results.json").read_text())
    del results["machine"]
    return (Path(folder) / "metrics.csv").read_bytes(), results
