"""IDX files, the format of MNIST: read with suspicion, because files come from the network.

Layout, big-endian: two zero bytes, a byte for the type (8 = unsigned byte), a byte for the number
of axes, one 4-byte length an axis, then the values, last axis fastest. Source: Y. LeCun,
C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", section "File formats".
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stn_np.data.dataset import DataError

_UNSIGNED_BYTE = 8
_MAX_AXES = 4
_BLOCK = 1 << 20

Source = BufferedReader | gzip.GzipFile


def read_idx(
    path: str | Path, *, ndim: int | None = None, sha256: str | None = None, name: str = ""
) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzip (told by its first bytes, not its name).

    Parameters
    ----------
    path
        The file.
    ndim
        The number of axes that it must have: 3 for images, 1 for labels.
    sha256
        Expected SHA-256, in hex, of the *uncompressed* content. (Compressed bytes differ from
        mirror to mirror.)
    name
        What error messages call the file; by default its path.

    Returns
    -------
    values : NDArray of uint8
        Of the shape given in the file, writeable.

    Raises
    ------
    DataError
        If the file is no IDX file of unsigned bytes, is cut short or too long, has another number
        of axes or another hash. Memory is taken as the bytes arrive, never on the header's word.
    OSError
        If the file cannot be opened.
    """
    path, name = Path(path), name or str(path)
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            file = gzip.open(raw, "rb") if zipped else raw
            header, shape = _read_header(file, name, ndim)
            content = _read_exactly(file, math.prod(shape), name, shape)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{name}: expected a whole gzip file, got a damaged one ({error})"
            ) from error
    if sha256 is not None:
        _check_hash(name, sha256, header, content)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_header(file: Source, name: str, ndim: int | None) -> tuple[bytes, tuple[int, ...]]:
    """The header's bytes and the shape that it claims."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"{name}: expected an IDX file (two zero bytes first), got {magic!r}")
    if magic[2] != _UNSIGNED_BYTE:
        raise DataError(f"{name}: expected IDX type 8 (unsigned byte), got type {magic[2]}")
    axes = magic[3]
    if not 1 <= axes <= _MAX_AXES or ndim not in (None, axes):
        expected = f"1 to {_MAX_AXES}" if ndim is None else ndim
        raise DataError(f"{name}: expected {expected} axes, got {axes}")
    lengths = file.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise DataError(
            f"{name}: expected a header of {4 + 4 * axes} bytes, got {4 + len(lengths)}: cut short"
        )
    return magic + lengths, struct.unpack(f">{axes}I", lengths)


def _read_exactly(file: Source, size: int, name: str, shape: tuple[int, ...]) -> bytearray:
    """The `size` bytes that must be left in the file, block by block."""
    content = bytearray()
    while len(content) <= size:
        # One byte more than is wanted, so that a byte too many shows.
        block = file.read(min(_BLOCK, size + 1 - len(content)))
        if not block:
            break
        content += block
    if len(content) != size:
        got = f"only {len(content):,}: cut short" if len(content) < size else "more than that"
        raise DataError(f"{name}: expected {size:,} bytes of values for shape {shape}, got {got}")
    return content


def _check_hash(name: str, expected: str, header: bytes, content: bytearray) -> None:
    """The SHA-256 of the two together must be the expected one."""
    digest = hashlib.sha256(header)
    digest.update(content)
    if digest.hexdigest() != expected:
        raise DataError(
            f"{name}: expected content with SHA-256 {expected}, got {digest.hexdigest()}; "
            "the file is damaged or another one: delete or replace it"
        )
