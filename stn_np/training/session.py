"""One sitting of a training in its run folder: from the newest checkpoint to the end or a stop."""

from __future__ import annotations

from pathlib import Path

from stn_np.backend import keep_freed_memory
from stn_np.training import checkpoint
from stn_np.training.folder import RunFolder
from stn_np.training.loop import METRICS, Trainer
from stn_np.training.progress import Progress
from stn_np.training.records import TIMINGS, read_csv, read_timings, write_csv
from stn_np.training.state import restore, state_of
from stn_np.training.stopping import StopSignals
from stn_np.training.storage import npz_bytes, remove_temporaries, write_atomic


class StoppedError(Exception):
    """Training was asked to stop, and did; everything is in the newest checkpoint."""


def go_on(trainer: Trainer, folder: RunFolder) -> list[str]:
    """Put a fresh trainer where its run was left.

    Parameters
    ----------
    trainer
        Built from the run's settings.
    folder
        The run.

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
        if epochs := len(read_csv(folder.metrics, METRICS)):
            raise checkpoint.CheckpointError(
                f"{folder.checkpoints}: there is no checkpoint, but metrics.csv has {epochs} epochs"
            )
        return ["the run stopped before its first checkpoint: it begins at step 0"]
    newest = checkpoint.load_newest(folder.checkpoints)
    restore(trainer, newest.arrays)
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
            stopping = stop.asked and not trainer.finished  # looked at once: it may change any time
            if row is None and not stopping:
                continue
            timings.append(progress.part())
            path = _save(trainer, folder)
            write_csv(folder.timings, TIMINGS, timings)
            if row is not None:
                progress.epoch(row, timings[-1])  # last: a terminal that has gone loses nothing
            if stopping:
                raise StoppedError(f"step {trainer.step:,} is saved in {path}")


def _save(trainer: Trainer, folder: RunFolder) -> Path:
    """The checkpoint first; the other files can be made from it at any time."""
    path = checkpoint.save(folder.checkpoints, trainer.step, state_of(trainer))
    write_csv(folder.metrics, METRICS, trainer.rows)
    if trainer.frames is not None:
        write_atomic(folder.frames, npz_bytes(trainer.frames.arrays()))
    return path
