"""Sweeps of small trainings, for tests."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from stn_np.reproduce.job import Job
from stn_np.reproduce.sweep import jobs_of
from stn_np.reproduce.tables import TABLES
from stn_np.training.run import StoppedError, StopSignals

#: Seconds of a training: enough to do something to it meanwhile.
LONG = {"epochs": 15, "batch_size": 64, "filters": 8}
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


# ------------------------------------------------------------------- what other processes shall do


def alone_or_together(folder: Path, name: str, patience: float) -> int:
    """How many of us there are at a time: 1, or 2 if the other one comes within some seconds."""
    (folder / name).touch()
    begun = time.monotonic()
    try:
        while time.monotonic() - begun < patience:
            if len(list(folder.iterdir())) == 2:
                time.sleep(0.2)  # so that the other one sees us too
                return 2
            time.sleep(0.02)
        return 1
    finally:
        (folder / name).unlink()


def _times_begun(folder: Path) -> int:
    """How many times this was begun, this time included."""
    times = len(list(folder.iterdir())) + 1
    (folder / str(times)).touch()
    return times


def die_first(folder: Path, deaths: int) -> int:
    """Be killed so many times, then say how many times this was begun."""
    if (times := _times_begun(folder)) <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return times


def stop_first(folder: Path, stops: int) -> int:
    """As a training that somebody has stopped."""
    if (times := _times_begun(folder)) <= stops:
        raise StoppedError("a signal")
    return times


def signals_for_all() -> tuple[bool, bool]:
    """Whether a Ctrl-C on our terminal, and signals to our parent's group, reach us."""
    return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, []), os.getsid(
        0
    ) == os.getsid(os.getppid())


def save_when_asked(ready: Path) -> str:
    """As a training that takes a while to save."""
    with StopSignals() as stop:
        ready.touch()
        while not stop.asked:
            time.sleep(0.01)
        time.sleep(0.5)
    return "saved"


class AwkwardError(Exception):
    """Its pickle cannot be read."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one}, {two}")


def fail() -> None:
    """Raise it."""
    raise AwkwardError("one", "two")


def touch_later(path: Path) -> None:
    """After a second."""
    time.sleep(1)
    path.touch()


def stubborn(ready: Path) -> None:
    """Do not end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready.touch()
    time.sleep(120)
