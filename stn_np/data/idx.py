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

from stn_np.data.dataset import DataError, Dataset, expanded

_UNSIGNED_BYTE = 8
_MAX_AXES = 4
_BLOCK = 1 << 20

#: A few KB of gzip may hold gigabytes. All splits of EMNIST are smaller but byclass and bymerge.
MAX_BYTES = 2**28

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
        of axes or another hash, or is larger than `MAX_BYTES`. Memory is taken as the bytes arrive,
        never on the header's word.
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
            if math.prod(shape) > MAX_BYTES:
                raise DataError(
                    f"{name}: expected at most {MAX_BYTES:,} bytes of values, got shape {shape}"
                )
            content = _read_exactly(file, math.prod(shape), name, shape)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{name}: expected a whole gzip file, got a damaged one ({error})"
            ) from error
    if sha256 is not None:
        _check_hash(name, sha256, header, content)
    return np.frombuffer(content, np.uint8).reshape(shape)


def in_unit_range(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bytes (N, H, W) as float32 (N, 1, H, W) in [0, 1]."""
    return np.divide(images[:, None], np.float32(255), dtype=np.float32)


def load_idx(folder: str | Path) -> tuple[Dataset, Dataset]:
    """Any data set in MNIST's format: Fashion-MNIST, KMNIST, EMNIST, one of your own.

    Parameters
    ----------
    folder
        With four IDX files, plain or compressed, or torchvision's root. Their names tell which is
        which: images or labels, and train or (t10k, test).

    Returns
    -------
    train, test : Dataset
        Images (N, 1, H, W) float32 in [0, 1], as they are: the background should be 0. Classes are
        named by the numbers in the files of labels.

    Raises
    ------
    DataError
        If a file is missing, there are several for one purpose, or one is damaged; or if images and
        labels, or both halves, do not fit each other.
    """
    root = expanded(folder)
    files = _four_files(root)
    arrays = {
        (half, what): read_idx(path, ndim=3 if what == "images" else 1)
        for (half, what), path in files.items()
    }
    for half in ("train", "test"):
        images, labels = arrays[half, "images"], arrays[half, "labels"]
        if len(images) != len(labels) or not images.size:
            raise DataError(
                f"{files[half, 'labels']}: expected a label for each of the {len(images):,} images "
                f"in {files[half, 'images'].name}, at least one, got {len(labels):,}"
            )
    if arrays["train", "images"].shape[1:] != arrays["test", "images"].shape[1:]:
        size, other = (arrays[half, "images"].shape[1:] for half in ("train", "test"))
        raise DataError(f"{root}: expected images of one size, got {size} and {other}")
    known = np.unique(arrays["train", "labels"])
    if strange := np.setdiff1d(arrays["test", "labels"], known).tolist():
        raise DataError(
            f"{files['test', 'labels']}: expected the classes of {files['train', 'labels'].name}, "
            f"got {strange[0]} besides"
        )
    if len(known) < 2:
        raise DataError(
            f"{files['train', 'labels']}: expected at least two classes, got {len(known)}"
        )
    note = f"{root.name}, read from {files['train', 'images'].parent}; {len(known)} classes"
    train, test = (
        Dataset(
            root.resolve().name,
            in_unit_range(arrays[half, "images"]),
            np.searchsorted(known, arrays[half, "labels"]).astype(np.int64),
            tuple(map(str, known)),
            note,
        )
        for half in ("train", "test")
    )
    return train, test


def _four_files(root: Path) -> dict[tuple[str, str], Path]:
    """By half and by what is in them; in the folder, or where torchvision puts them."""
    if not root.is_dir():
        raise DataError(f"data: expected a folder with four IDX files, got {root} (no such folder)")
    wanted = [(half, what) for half in ("train", "test") for what in ("images", "labels")]
    sets: dict[Path, dict[tuple[str, str], list[Path]]] = {}
    for path in sorted({*root.glob("*"), *root.glob("raw/*"), *root.glob("*/raw/*")}):
        name = path.name.lower()
        halves = [h for h, words in _HALVES.items() if any(w in name for w in words)]
        kinds = [what for what in ("images", "labels") if what in name]
        if path.is_file() and "idx" in name and len(halves) == len(kinds) == 1:
            found = sets.setdefault(path.parent, {})
            found.setdefault((halves[0], kinds[0]), []).append(path)
    if len(sets) > 1:
        folders = ", ".join(str(folder) for folder in sets)
        raise DataError(
            f"{root}: expected one data set, got files of several: name one of {folders}"
        )
    found = next(iter(sets.values()), {})
    for half, what in wanted:
        paths = found.get((half, what), [])
        if len({_stem(p) for p in paths}) != 1:
            got = ", ".join(p.name for p in paths) or "none"
            told = f"one IDX file with the {what} of the {half} half"
            raise DataError(f"{root}: expected {told} ({half}-{what}-idx...), got {got}")
    return {key: paths[0] for key, paths in found.items()}


#: What the names of files say of the half that they belong to.
_HALVES = {"train": ("train",), "test": ("t10k", "test")}


def _stem(path: Path) -> str:
    """A file's name, compressed or not."""
    return path.name.removesuffix(".gz")


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
            "it is a whole file, so probably of another data set (--data idx:FOLDER takes any); "
            "if it should be this one, a byte has changed: replace it"
        )
