"""One sitting of a training in its run folder: from the newest checkpoint to the end or a stop."""

from __future__ import annotations

import platform
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from stn_np.gpu.devices import describe_gpu
from stn_np.threads import get_threads
from stn_np.training import checkpoint
from stn_np.training.folder import RunFolder
from stn_np.training.loop import Trainer
from stn_np.training.memory import keep_freed_memory
from stn_np.training.progress import Progress
from stn_np.training.storage import (
    TIMINGS,
    npz_bytes,
    read_csv,
    read_timings,
    remove_temporaries,
    write_atomic,
    write_csv,
    write_json,
)
from stn_np.version import __version__

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(Exception):
    """Training was asked to stop, and did; everything is in the newest checkpoint."""


def go_on(trainer: Trainer, folder: RunFolder, found: checkpoint.Loaded | None = None) -> list[str]:
    """Put a fresh trainer where its run was left.

    Parameters
    ----------
    trainer
        Built from the run's settings.
    folder
        The run.
    found
        Its newest sound checkpoint; by default it is read here.

    Returns
    -------
    list of str
        What to tell the user: damaged checkpoints, and which one is used.

    Raises
    ------
    CheckpointError
        If there are checkpoints, but none is sound, or they are of another run, or if they were
        removed from a run that had some.
    """
    if not checkpoint.checkpoints(folder.checkpoints):
        if epochs := len(read_csv(folder.metrics, trainer.columns)):
            raise checkpoint.CheckpointError(
                f"{folder.checkpoints}: there is no checkpoint, but metrics.csv has {epochs} epochs"
            )
        return ["the run stopped before its first checkpoint: it begins at step 0"]
    newest = found or checkpoint.load_newest(folder.checkpoints)
    checkpoint.restore(trainer, newest.arrays)
    return [
        *newest.notes,
        f"going on from {newest.path.name}: step {trainer.step:,} of {trainer.total_steps:,}",
    ]


def train(trainer: Trainer, folder: RunFolder, progress: Progress) -> None:
    """Make the steps that are left, with a checkpoint before the first and after each epoch.

    Parameters
    ----------
    trainer
        At the step where it shall begin.
    folder
        Where everything is written. It must exist.
    progress
        What the user sees.

    Raises
    ------
    StoppedError
        After SIGINT or SIGTERM, when the step under way is done and saved.
    DivergedError
        If the loss or the gradient is no longer finite. The last checkpoint stays.
    OSError
        If something cannot be written. The last checkpoint stays.
    """
    keep_freed_memory()
    folder.checkpoints.mkdir(exist_ok=True)
    remove_temporaries(folder.path)
    remove_temporaries(folder.checkpoints)
    timings = read_timings(folder.timings)
    with StopSignals() as stop:
        _save(trainer, folder)
        while not trainer.finished:
            trainer.train_step()
            progress.step()
            row = trainer.end_epoch() if trainer.at_end_of_epoch else None
            # Looked at once: it may change any time.
            stopping = trainer.ranks.any(stop.asked) and not trainer.finished
            if row is None and not stopping:
                continue
            timings.append(progress.part())
            path = _save(trainer, folder)
            write_csv(folder.timings, TIMINGS, timings)
            if row is not None:
                progress.epoch(row, timings[-1])  # last: a terminal that has gone loses nothing
            if stopping:
                raise StoppedError(f"step {trainer.step:,} is saved in {path}")


def train_along(trainer: Trainer) -> None:
    """The same steps in another process than the first, which alone tests, and writes files.

    Parameters
    ----------
    trainer
        At the step where the first process's is.

    Raises
    ------
    StoppedError
        If one of the processes was asked to stop.
    DivergedError
        As `train`.
    """
    keep_freed_memory()
    with StopSignals() as stop:
        while not trainer.finished:
            trainer.train_step()
            if trainer.ranks.any(stop.asked) and not trainer.finished:
                raise StoppedError("the first process has saved it")


def _save(trainer: Trainer, folder: RunFolder) -> Path:
    """The checkpoint first; the other files can be made from it at any time."""
    path = checkpoint.save(folder.checkpoints, trainer.step, checkpoint.state_of(trainer))
    write_csv(folder.metrics, trainer.columns, trainer.rows)
    if trainer.frames is not None:
        write_atomic(folder.frames, npz_bytes(trainer.frames.arrays()))
    return path


def finish(trainer: Trainer, folder: RunFolder) -> dict[str, Any]:
    """Write results.json, which marks the run as finished.

    Parameters
    ----------
    trainer
        With all steps made.
    folder
        The run.

    Returns
    -------
    dict
        What was written. Everything but "machine" is the same bits for the same settings.
    """
    timings = read_timings(folder.timings)
    seconds = sum(row[2] for row in timings)
    examples = sum(row[1] for row in timings) * trainer.batch_size
    results = {
        **outcome(trainer),
        "machine": {
            "device": "cpu" if trainer.task.device == "cpu" else f"gpu: CuPy {describe_gpu()}",
            "seconds": round(seconds, 1),
            "images_per_second": round(examples / seconds, 1) if seconds else None,
            "peak_memory_mb": peak_memory_mb(),
            "processor": processor(),
            "threads": get_threads(),
            "date": time.strftime("%Y-%m-%d"),
            "stn_np": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
    }
    write_json(folder.results, results)
    return results


def outcome(trainer: Trainer) -> dict[str, Any]:
    """What was trained, and how well it does on the test set."""
    settings, tested = trainer.settings, trainer.evaluate()
    with trainer.optimizer.averaged():
        own = trainer.task.results(trainer.model, tested)
    return {
        "experiment": trainer.task.name,
        **trainer.task.facts(),
        "parameters": trainer.model.n_parameters(),
        "optimizer": settings.optimizer,
        "epochs": settings.epochs,
        "steps": trainer.total_steps,
        **{f"test_{name}": value for name, value in tested.figures.items()},
        "test_loss": tested.loss,
        **own,
    }


def processor() -> str:
    """The processor's name, as the system knows it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            lines = dict(line.split(":", 1) for line in info if ":" in line)
        return " ".join({key.strip(): value for key, value in lines.items()}["model name"].split())
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def peak_memory_mb() -> float | None:
    """The most memory that this process ever held, in MB (10^6 bytes); None if not known."""
    try:
        import resource
    except ImportError:  # Windows has no such module.
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


class StopSignals:
    """A context in which SIGINT and SIGTERM ask for a stop instead of ending the program.

    The second such signal acts as usual, for whoever cannot wait for the step under way.

    Attributes
    ----------
    asked : bool
        Whether a signal came.
    patient : bool
        Of the class: whether all later ones are ignored, in a process that others watch over.
    """

    patient = False

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        """Take the signals over. Python allows that in the main thread only."""
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._ask) for s in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; the second acts as usual."""
        if self.asked and not self.patient:
            self._restore()
            signal.raise_signal(number)
        self.asked = True

    def _restore(self) -> None:
        """Handle signals as before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
