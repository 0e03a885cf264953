"""A run's files: whenever the power fails, each is the old one or the new one, and whole."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stn_np.backend import Array

#: Columns of timings.csv: a row for each epoch, or part of one between two stops.
TIMINGS = ("epoch", "steps", "seconds", "images_per_second")

#: The time stamp inside our .npz files: fixed, so that equal arrays give equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_atomic(path: Path, content: bytes, *, new: bool = False) -> None:
    """Replace a file's content in one step.

    The bytes go to a temporary file in the same folder, are forced to the disk, and then take the
    name; the folder's entry is forced to the disk too.

    Parameters
    ----------
    path
        The file. Its folder must exist.
    content
        What it shall hold.
    new
        The file must not exist yet; of two processes that make it at once one is refused.

    Raises
    ------
    FileExistsError
        If it is to be new and exists.
    OSError
        If that fails (disk full, folder gone, no permission). The temporary file is removed and
        the file is as it was before.
    """
    temporary: str | None = None
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        if new:
            _claim(path, temporary)
        os.replace(temporary, path)
        Path(temporary).unlink(missing_ok=True)  # replacing a file by a link to itself does nothing
        _sync_folder(path.parent)
    except BaseException as e:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(e, OSError) and not isinstance(e, FileExistsError):
            raise _explained(e, path) from e
        raise


def _claim(path: Path, content: str) -> None:
    """Take a file name that must be free, in one step: of two processes one gets it."""
    try:
        os.link(content, path)  # whole at once; unlike replace it refuses an existing name
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: empty for a moment
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _explained(error: OSError, path: Path) -> OSError:
    """The same error with the file's name and what to do in its message."""
    what = {
        errno.ENOSPC: "no space is left on the disk",
        errno.EDQUOT: "the disk quota is used up",
    }.get(error.errno or 0, error.strerror or str(error))
    return OSError(error.errno, f"cannot write {path}: {what}; what was there before is unchanged")


def _umask() -> int:
    """The process's umask. There is no way to read it but to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, where the system can (Windows cannot open folders)."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed `write_atomic` left behind."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def npz_bytes(arrays: Mapping[str, Array], comment: bytes = b"") -> bytes:
    """Arrays as the bytes of an .npz file: like ``numpy.savez``, but equal arrays give equal bytes.

    Parameters
    ----------
    arrays
        NumPy arrays by name, none of objects.
    comment
        The zip archive's comment; it is the last thing in the bytes.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), member.getbuffer())
        archive.comment = comment
    return buffer.getvalue()


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
