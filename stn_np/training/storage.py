"""A run's files: whenever the power fails, each is the old one or the new one, and whole."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stn_np.backend import Array

#: Columns of timings.csv: a row for each epoch, or part of one between two stops.
TIMINGS = ("epoch", "steps", "seconds", "images_per_second")

#: The most bytes of a JSON or CSV file; of an .npz file; and of the arrays in one that is smaller
#: than they are: ours are not compressed, so arrays may take what the file takes.
MOST_TEXT, MOST_FILE, MOST_ARRAYS = 2**24, 2**33, 2**29
#: The largest number that a figure may be, and the digits of a whole one.
MOST, MOST_DIGITS = 1e30, 20

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
        If the file has other columns, or something else than numbers that figures may be.
    """
    if not path.exists():
        return []
    head, rows, _ = read_table(path)
    if tuple(head) != tuple(columns):
        wanted, got = ",".join(columns), shortened(",".join(head))
        raise ValueError(f"{path}: expected the columns {wanted}; got {got}")
    return rows


def read_table(path: Path) -> tuple[list[str], list[list[float]], bool]:
    """The columns of a CSV file, its rows of numbers, and whether its last line is cut off.

    A line without its end, as a kill leaves one in files that are not replaced at once, is left
    out.

    Raises
    ------
    ValueError
        If it is damaged otherwise; the message names the line.
    OSError
        If it cannot be opened.
    """
    content = read_file(path, MOST_TEXT)
    whole, end, rest = content.rpartition(b"\n")
    cut = bool(rest) and bool(end)
    try:
        lines = list(csv.reader((whole if end else content).decode().splitlines()))
    except (csv.Error, ValueError) as e:
        raise damaged(path, "a table", e) from e
    head, *rows = [line for line in lines if line] or [[]]
    numbers = []
    for number, row in enumerate(rows, 2):
        try:
            numbers.append([float(cell) for cell in row])
        except ValueError as e:
            raise damaged(path, f"numbers in line {number}", e) from e
        if len(row) != len(head) or any(abs(x) > MOST for x in numbers[-1]):
            wanted = f"{len(head)} numbers of at most {MOST:g} in line {number}"
            raise damaged(path, wanted, ",".join(row))
    return head, numbers, cut


def read_timings(path: Path) -> list[list[float]]:
    """The rows of timings.csv; none if it is damaged: no run shall fail because of a clock."""
    try:
        rows = read_csv(path, TIMINGS)
    except (ValueError, OSError):
        return []
    return rows if all(0 <= x for row in rows for x in row) else []


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
        If it is something else: no object, or with numbers that no figure has.
    """
    content = read_file(path, MOST_TEXT)

    def whole(text: str) -> int:
        if len(text) > MOST_DIGITS:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text)

    def finite(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise ValueError(f"the number {shortened(text, 30)}")
        return value

    try:
        found = json.loads(content, parse_int=whole, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError) as e:
        raise damaged(path, "JSON", e) from e
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


# ------------------------------------------------------------- reading what others may have written


def read_file(path: Path, most: int) -> bytes:
    """The content of a file.

    Parameters
    ----------
    path
        The file. Links are followed; a pipe or a device in its place is not read.
    most
        How many bytes it may have.

    Raises
    ------
    ValueError
        If it is no regular file, or larger.
    OSError
        If it cannot be opened.
    """
    if path.is_dir():  # os.fdopen would say so of a number
        raise ValueError(f"{path}: expected a regular file, got a folder")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path}: expected a regular file, got a folder, pipe or device")
        content = file.read(most + 1) if found.st_size <= most else b""
        if found.st_size > most or len(content) > most:
            raise ValueError(f"{path}: expected at most {most:,} bytes, got {found.st_size:,}")
    return content


def read_npz(content: bytes, label: str | Path) -> dict[str, Array]:
    """The arrays in an .npz file. No memory is taken on the word of a header.

    Raises
    ------
    ValueError
        If it is damaged, holds objects, or unpacks to more than `MOST_ARRAYS` bytes; it begins with
        `label`.
    """
    arrays: dict[str, Array] = {}
    most = max(MOST_ARRAYS, len(content))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if (total := sum(m.file_size for m in members)) > most:
                raise ValueError(f"{total:,} bytes of arrays, {most:,} are allowed")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name in arrays or name == member.filename:
                    raise ValueError(f"the member {shortened(member.filename, 40)}")
                with archive.open(member) as file:
                    arrays[name] = _array(file.read(member.file_size))
    except Exception as e:  # zipfile and NumPy raise half a dozen types for a damaged file
        raise damaged(label, "an .npz file", e) from e
    return arrays


def _array(raw: bytes) -> Array:
    """One member of an .npz file."""
    file = io.BytesIO(raw)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array of version {version}")
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, by_columns, dtype = read[version[0]](file)
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or len(raw) - file.tell() != size:
        raise ValueError(f"an array {dtype} {shape} in {len(raw) - file.tell():,} bytes")
    flat = np.frombuffer(raw, dtype, math.prod(shape), file.tell()) if size else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if by_columns else "C").copy("K")


def damaged(path: str | Path, expected: str, got: object) -> ValueError:
    """An error about a file: one line, however long what was found there is."""
    return ValueError(f"{path}: expected {expected}, got a damaged file ({shortened(str(got))})")


def shortened(text: str, most: int = 120) -> str:
    """One line of printable characters, cut off."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "?" for c in line[:most])
    return line if len(text) <= most else line[: most - 1] + "…"
