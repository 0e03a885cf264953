"""MNIST: found on this machine, or downloaded, and in both cases checked by hash."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stn_np.data.dataset import DataError, Dataset, DataUnavailableError, expanded
from stn_np.data.download import download_files
from stn_np.data.idx import in_unit_range, read_idx

#: The four files and the SHA-256 of each one's *uncompressed* content.
SHA256: Mapping[str, str] = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

#: The environment variable that names a folder with the four files.
ENVIRONMENT = "STN_NP_DATA"


def load_mnist(
    data_dir: str | Path | None = None, download: bool = True
) -> tuple[Dataset, Dataset]:
    """The MNIST database of handwritten digits: 60,000 pictures for training, 10,000 for testing.

    Parameters
    ----------
    data_dir
        A folder with the four IDX files, as they are or compressed (``.gz``), under any of the
        names in use (``train-images.idx3-ubyte``, too), or torchvision's root. If given, nowhere
        else is looked. Otherwise: the folder named by the environment variable ``STN_NP_DATA``,
        then the user's cache, then the network (into that cache).
    download
        Whether the network may be used.

    Returns
    -------
    train, test : Dataset
        Images (N, 1, 28, 28) float32 in [0, 1], background 0; `note` says where they came from.

    Raises
    ------
    DataUnavailableError
        If the files are not here and cannot be downloaded; the message says what was tried.
    DataError
        If the files are not in `data_dir`, or one is damaged, of the wrong kind or another file.

    Notes
    -----
    Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".
    """
    folder = _named_folder(data_dir) if data_dir is not None else _find_folder(download)
    note = f"MNIST, read from {folder}"
    variable = _variable()
    if data_dir is None and variable and variable != folder:
        note += f" (${ENVIRONMENT} is {variable}, which does not hold all four files)"
    return _read_half("train", folder, note), _read_half("t10k", folder, note)


def _named_folder(data_dir: str | Path) -> Path:
    """The folder that the caller named, which must hold all four files."""
    folder = expanded(data_dir)
    missing = _missing_files(folder)
    if missing:
        absent = "none of them" if len(missing) == len(SHA256) else f"all but {', '.join(missing)}"
        what = f"it holds {absent}" if folder.is_dir() else "no such folder"
        raise DataError(
            f"data_dir: expected a folder with the four files {', '.join(SHA256)} "
            f"(each with or without .gz), got {str(folder)!r} ({what})"
        )
    return folder


def _find_folder(download: bool) -> Path:
    """The first place with all four files; the cache is filled from the network if allowed."""
    variable = _variable()
    if variable and not _missing_files(variable):
        return variable
    told = f"${ENVIRONMENT} ({variable or 'not set'})"
    try:
        import pooch
    except ImportError as error:
        raise DataUnavailableError(
            f"MNIST: the files are not in {told}, and the cache and the network need pooch, which "
            f"is not installed (pip install pooch); {_ADVICE}"
        ) from error
    cache = Path(pooch.os_cache("stn_np"))
    if not _missing_files(cache):
        return cache
    tried = f"the files are neither in {told} nor in the cache ({cache})"
    if not download:
        raise DataUnavailableError(f"MNIST: {tried}; {_ADVICE}")
    try:
        download_files({f"{n}.gz": SHA256[n] for n in _missing_files(cache)}, cache)
    except DataUnavailableError as error:
        raise DataUnavailableError(f"MNIST: {tried}, and {error}; {_ADVICE}") from error
    return cache


_ADVICE = (
    f"to use your own copy, put {', '.join(SHA256)} (each with or without .gz) into one folder "
    f"and name it by data_dir (--data-dir) or by the environment variable {ENVIRONMENT}"
)


def _variable() -> Path | None:
    """The folder that the environment variable names."""
    named = os.environ.get(ENVIRONMENT)
    return expanded(named) if named else None


def _missing_files(folder: Path) -> list[str]:
    """Which of the four files are not in the folder, neither plain nor compressed."""
    return [name for name in SHA256 if _path(folder, name) is None]


def _path(folder: Path, name: str) -> Path | None:
    """Where a file is, under one of the names that it has on people's disks.

    With a dot in place of the last but one hyphen; compressed; in a folder that is called like it;
    and all that in the folder itself or where torchvision puts it.
    """
    for inside in ("", "raw", "MNIST/raw", "MNIST", "mnist"):
        for stem in (name, name.replace("-idx", ".idx")):
            for path in (stem, f"{stem}.gz", f"{stem}/{stem}", f"{stem}/{name}"):
                if (folder / inside / path).is_file():
                    return folder / inside / path
    return None


def _read_half(half: str, folder: Path, note: str) -> Dataset:
    """The pictures and labels of one half, ``"train"`` or ``"t10k"``."""
    arrays = []
    for name in (f"{half}-images-idx3-ubyte", f"{half}-labels-idx1-ubyte"):
        path = _path(folder, name)
        if path is None:  # it was there a moment ago
            raise DataUnavailableError(f"{folder / name}: expected a file, got none")
        arrays.append(read_idx(path, ndim=3 if "images" in name else 1, sha256=SHA256[name]))
    images, labels = arrays
    names = tuple(str(digit) for digit in range(10))
    return Dataset("mnist", in_unit_range(images), labels.astype(np.int64), names, note)
