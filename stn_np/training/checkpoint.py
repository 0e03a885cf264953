"""Checkpoints: the whole state of a training, one .npz file each, written all or nothing.

A file is known to be sound before it is used.

The zip comment at the end of a file is the SHA-256 of all bytes before it. So the whole file is
checked before anything in it is parsed, and plain ``numpy.load`` still opens it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stn_np.backend import Array, to_numpy
from stn_np.training.folder import RunFolder
from stn_np.training.loop import Trainer
from stn_np.training.storage import (
    MOST_FILE,
    npz_bytes,
    read_file,
    read_npz,
    shortened,
    write_atomic,
)
from stn_np.training.task import Task
from stn_np.version import __version__

#: How many checkpoints are kept: the newest, and one in case that is damaged.
KEPT = 2
_DIGEST_LENGTH = 64
#: What in a checkpoint is text.
_TEXTS = ("config", "version")
_NAME = re.compile(r"checkpoint-(\d{8,})\.npz")


class CheckpointError(Exception):
    """No checkpoint can be read, or one does not belong to this run."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was read, with what there is to say about the newer ones that were not.

    Attributes
    ----------
    path : Path
        Where it was.
    arrays : dict of str to Array
        Its content.
    notes : list of str
        One line for every damaged checkpoint that was passed over.
    """

    path: Path
    arrays: dict[str, Array]
    notes: list[str]


def save(folder: Path, step: int, arrays: Mapping[str, Array]) -> Path:
    """Write the checkpoint of a step, then remove all but the two newest.

    Parameters
    ----------
    folder
        Where the checkpoints are; it must exist.
    step
        How many steps of training were done.
    arrays
        NumPy arrays by name.

    Returns
    -------
    Path
        The new file.

    Raises
    ------
    OSError
        If it cannot be written. The checkpoints that were there are untouched.
    CheckpointError
        If there is a sound one of a later step.
    """
    path, found = folder / f"checkpoint-{step:08d}.npz", checkpoints(folder)
    # Those of later steps were damaged when this run was taken up. A sound one is somebody else's.
    later = [p for p in found if _step(p) > step]
    if sound := [p for p in later if _is_sound(p)]:
        raise CheckpointError(
            f"{sound[0]}: expected none beyond step {step:,}; another process has trained this run "
            "further. Nothing was overwritten"
        )
    content = npz_bytes(arrays, comment=b"0" * _DIGEST_LENGTH)[:-_DIGEST_LENGTH]
    write_atomic(path, content + _digest(content))
    older = [p for p in found if _step(p) <= step and p != path]
    for old in [*later, *older[KEPT - 1 :]]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint files of a folder, sound or not, newest step first."""
    found = [p for p in folder.glob("checkpoint-*.npz") if _NAME.fullmatch(p.name)]
    return sorted(found, key=_step, reverse=True)


def load(path: Path) -> dict[str, Array]:
    """Read one checkpoint.

    Raises
    ------
    CheckpointError
        If it is damaged, or no checkpoint at all.
    OSError
        If the file cannot be read.
    """
    try:
        raw = read_file(path, MOST_FILE)
    except ValueError as e:
        raise CheckpointError(str(e)) from e
    except FileNotFoundError as e:
        if path.is_symlink():
            raise CheckpointError(f"{path.name} is a link to nowhere") from e
        raise
    content, digest = raw[:-_DIGEST_LENGTH], raw[-_DIGEST_LENGTH:]
    if digest != _digest(content):
        kind = "its checksum does not fit its content" if raw else "it is empty"
        raise CheckpointError(f"{path.name} is damaged: {kind} ({len(raw):,} bytes)")
    try:
        return read_npz(raw, path.name)
    except ValueError as e:
        raise CheckpointError(str(e)) from e


def newest_of(folder: RunFolder, task: Task) -> Loaded | None:
    """The newest sound checkpoint of a run, made with its settings; None if there is none at all.

    For a look before a network is built: a changed number in config.json could ask for any size.

    Raises
    ------
    CheckpointError
        As `load_newest`, or if it was made with other settings.
    OSError
        As `load_newest`.
    """
    if not checkpoints(folder.checkpoints):
        return None
    found = load_newest(folder.checkpoints)
    _check_same_run(_identity(task), _saved_settings(found.arrays))
    return found


def _saved_settings(state: Mapping[str, Array]) -> dict[str, Any]:
    """The settings in a checkpoint."""
    try:
        found = json.loads(str(state["config"]))
    except (KeyError, ValueError, RecursionError) as e:
        raise CheckpointError(f"the checkpoint does not fit this run: {e!r}") from e
    if not isinstance(found, dict):
        raise CheckpointError("the checkpoint does not fit this run: its settings are no object")
    return found


def _is_sound(path: Path) -> bool:
    """Whether a checkpoint can be read and is whole."""
    try:
        load(path)
    except CheckpointError:
        return False
    except FileNotFoundError:  # removed a moment ago
        return False
    return True


def load_newest(folder: Path) -> Loaded:
    """Read the newest checkpoint that is sound.

    Raises
    ------
    CheckpointError
        If there is none, or none is sound.
    OSError
        If the folder or a file cannot be read, sound or not.
    """
    notes: list[str] = []
    if folder.exists():
        os.listdir(folder)  # what cannot be read must not count as empty
    for path in checkpoints(folder):
        try:
            return Loaded(path, load(path), notes)
        except CheckpointError as e:  # Not OSError: what cannot be read now may be sound.
            notes.append(str(e))
    if not notes:
        raise CheckpointError(f"{folder}: there is no checkpoint (checkpoint-*.npz) in this folder")
    raise CheckpointError(f"{folder}: no sound checkpoint is left: " + "; ".join(notes))


def _digest(content: bytes) -> bytes:
    """The checksum, as the 64 hexadecimal digits that stand in the file."""
    return hashlib.sha256(content).hexdigest().encode("ascii")


def _step(path: Path) -> int:
    """The step in a checkpoint's name."""
    match = _NAME.fullmatch(path.name)
    return int(match.group(1)) if match else -1


def state_of(trainer: Trainer) -> dict[str, Array]:
    """Everything that later steps and the run's files depend on.

    Returns
    -------
    dict of str to Array
        config (the settings as JSON), version (of this package), step, sums and rows as in
        `Trainer`, and below ``weights/``, ``optimizer/`` and ``frames/`` the state of those.
        NumPy's, wherever the training runs, so that it can go on elsewhere.

    Raises
    ------
    DivergedError
        If a GPU has gone on with numbers that are not finite.
    """
    trainer.synchronise()
    with trainer.optimizer.averaged():  # whoever loads the weights wants those
        weights = {name: to_numpy(x) for name, x in trainer.model.state_dict().items()}
        optimizer = trainer.optimizer.state_dict()
    parts: dict[str, Mapping[str, Array]] = {
        "weights": weights,
        "optimizer": optimizer,
        "frames": trainer.frames.state_dict() if trainer.frames is not None else {},
    }
    return {
        "config": np.array(json.dumps(_identity(trainer.task))),
        "version": np.array(__version__),
        "step": np.array(trainer.step, dtype=np.int64),
        "sums": trainer.sums,
        "rows": np.array(trainer.rows, dtype=np.float64).reshape(-1, len(trainer.columns)),
        **{f"{part}/{name}": x for part, arrays in parts.items() for name, x in arrays.items()},
    }


def restore(trainer: Trainer, state: Mapping[str, Array]) -> None:
    """Put a training into a state, so that it goes on as if it had never stopped.

    Parameters
    ----------
    trainer
        Of the same settings.
    state
        From `state_of`.

    Raises
    ------
    CheckpointError
        If it is the state of another run, or not of a run at all.
    """
    try:
        _check_same_run(_identity(trainer.task), _saved_settings(state))
        _check_contents(trainer, state)
        with trainer.optimizer.averaged():  # as they were when they were saved
            trainer.model.load_state_dict(part_of(state, "weights"))
            trainer.optimizer.load_state_dict(part_of(state, "optimizer"))
        trainer.weights_changed()
        if trainer.frames is not None:
            trainer.frames.load_state_dict(part_of(state, "frames"))
        trainer.go_to(
            int(state["step"]),
            state["sums"],
            [[float(value) for value in row] for row in state["rows"]],
        )
    except (KeyError, ValueError, TypeError) as e:
        raise CheckpointError(f"the checkpoint does not fit this run: {e}") from e


def _check_contents(trainer: Trainer, state: Mapping[str, Array]) -> None:
    """What stands there can be the state of this training; ValueError if not, before it is used."""
    for name, x in state.items():
        part, _, inside = name.partition("/")
        if part not in ("weights", "optimizer", "frames") and (
            inside or part not in (*_TEXTS, "step", "sums", "rows")
        ):
            raise ValueError(f"it holds {shortened(name, 60)}, which no run has")
        numbers = x.dtype.kind in "f" or (x.dtype.kind in "iu" and part not in ("weights", "sums"))
        if part not in _TEXTS and not (numbers and np.isfinite(x).all()):
            raise ValueError(f"{name}: expected finite numbers, got {x.dtype} {x.shape}")
    step, epochs = state["step"], len(state["rows"])
    if step.ndim or step.dtype.kind not in "iu" or not 0 <= step <= trainer.total_steps:
        raise ValueError(f"step: expected 0 to {trainer.total_steps}, got {step}")
    if epochs != int(step) // trainer.steps_per_epoch:
        raise ValueError(f"rows: expected one an epoch, got {epochs} at step {step}")
    for name, shape in (("rows", (epochs, len(trainer.columns))), ("sums", trainer.sums.shape)):
        if state[name].shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {state[name].shape}")
    expected = state_of(trainer)
    for name in {*expected, *state}:
        if name.startswith(("frames/", "version")) and name not in state:  # made by version 0.1
            continue
        if name not in state or name not in expected:
            raise ValueError(f"{name}: expected {'none' if name in state else 'it'} in this run")
        own, given = expected[name].shape, state[name].shape
        free = 1 if name.startswith("frames/") else 0  # the epochs
        if name.startswith(("weights/", "optimizer/", "frames/")) and own[free:] != given[free:]:
            raise ValueError(f"{name}: expected shape {own}, got {given}")


def _identity(task: Task) -> dict[str, Any]:
    """All that decides about the result."""
    return {"experiment": task.name, **task.settings.identity()}


def _check_same_run(own: dict[str, Any], saved: dict[str, Any]) -> None:
    """The settings must be those that the checkpoint was made with; version 0.1 saved fewer."""
    for name, value in saved.items():
        if name == "epochs" and isinstance(value, int) and 0 < value <= own.get(name, 0):
            continue  # the run was made longer since
        if own.get(name) != value:
            raise CheckpointError(
                f"the checkpoint was made with {name} {value!r}, "
                f"but the run's config.json says {own.get(name)!r}"
            )


def part_of(state: Mapping[str, Array], part: str) -> dict[str, Array]:
    """The entries of a state below one prefix, without it."""
    prefix = f"{part}/"
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
