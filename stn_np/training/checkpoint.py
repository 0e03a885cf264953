"""Checkpoints: one .npz file each, written all or nothing, and known to be sound before being used.

The zip comment at the end of a file is the SHA-256 of all bytes before it. So the whole file is
checked before anything in it is parsed, and plain ``numpy.load`` still opens it.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stn_np.backend import Array
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
