"""Checkpoints: the whole state of a training, one .npz file each, written all or nothing.

A file is known to be sound before it is used.

The zip comment at the end of a file is the SHA-256 of all bytes before it. So the whole file is
checked before anything in it is parsed, and plain ``numpy.load`` still opens it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stn_np.backend import Array, to_numpy
from stn_np.training.loop import Trainer
from stn_np.training.storage import npz_bytes, write_atomic

#: How many checkpoints are kept: the newest, and one in case that is damaged.
KEPT = 2
_DIGEST_LENGTH = 64
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
    """
    path = folder / f"checkpoint-{step:08d}.npz"
    content = npz_bytes(arrays, comment=b"0" * _DIGEST_LENGTH)[:-_DIGEST_LENGTH]
    write_atomic(path, content + _digest(content))
    # Files of later steps are those that a resumed run found damaged: training is behind them.
    older = [p for p in checkpoints(folder) if _step(p) <= step]
    for old in set(checkpoints(folder)) - set(older[:KEPT]):
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
    raw = path.read_bytes()
    content, digest = raw[:-_DIGEST_LENGTH], raw[-_DIGEST_LENGTH:]
    if digest != _digest(content):
        kind = "its checksum does not fit its content" if raw else "it is empty"
        raise CheckpointError(f"{path.name} is damaged: {kind} ({len(raw):,} bytes)")
    with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def load_newest(folder: Path) -> Loaded:
    """Read the newest checkpoint that is sound.

    Raises
    ------
    CheckpointError
        If there is none, or none is sound.
    OSError
        If one cannot be read, sound or not.
    """
    notes: list[str] = []
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
        config (the settings as JSON), step, sums and rows as in `Trainer`, and below
        ``weights/``, ``optimizer/`` and ``frames/`` the state of those. NumPy's, wherever the
        training runs, so that it can go on elsewhere.

    Raises
    ------
    DivergedError
        If a GPU has gone on with numbers that are not finite.
    """
    trainer.synchronise()
    parts: dict[str, Mapping[str, Array]] = {
        "weights": {name: to_numpy(x) for name, x in trainer.model.state_dict().items()},
        "optimizer": trainer.optimizer.state_dict(),
        "frames": trainer.frames.state_dict() if trainer.frames is not None else {},
    }
    return {
        "config": np.array(json.dumps(_identity(trainer))),
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
        _check_same_run(_identity(trainer), json.loads(str(state["config"])))
        trainer.model.load_state_dict(part_of(state, "weights"))
        trainer.weights_changed()
        trainer.optimizer.load_state_dict(part_of(state, "optimizer"))
        if trainer.frames is not None:
            trainer.frames.load_state_dict(part_of(state, "frames"))
        trainer.go_to(
            int(state["step"]),
            state["sums"],
            [[float(value) for value in row] for row in state["rows"]],
        )
    except (KeyError, ValueError) as e:
        raise CheckpointError(f"the checkpoint does not fit this run: {e}") from e


def _identity(trainer: Trainer) -> dict[str, Any]:
    """All that decides about the result."""
    return {"experiment": trainer.task.name, **trainer.settings.identity()}


def _check_same_run(own: dict[str, Any], saved: dict[str, Any]) -> None:
    """The settings must be those that the checkpoint was made with; version 0.1 saved fewer."""
    for name, value in saved.items():
        if own.get(name) != value:
            raise CheckpointError(
                f"the checkpoint was made with {name} {value!r}, "
                f"but the run's config.json says {own.get(name)!r}"
            )


def part_of(state: Mapping[str, Array], part: str) -> dict[str, Array]:
    """The entries of a state below one prefix, without it."""
    prefix = f"{part}/"
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
