"""Data: MNIST, embedded digits, folders of pictures, and the paper's distortions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stn_np.checks import check_choice
from stn_np.data.dataset import DataError, Dataset, DataUnavailableError, expanded
from stn_np.data.digits import load_digits
from stn_np.data.distortions import (
    distort,
    distorted_size,
    fixed_test_set,
    fixed_test_theta,
    random_theta,
    warp,
)
from stn_np.data.folder import load_folder
from stn_np.data.idx import load_idx
from stn_np.data.mnist import load_mnist

#: What `load` knows beside folders.
NAMES = ("auto", "mnist", "digits")


#: Before a folder with four files in MNIST's format.
IDX = "idx:"


def load(
    name: str = "auto",
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    channels: int = 1,
) -> tuple[Dataset, Dataset]:
    """A data set by name.

    Parameters
    ----------
    name
        "mnist"; "digits", the 1,797 embedded ones; "auto", MNIST where it can be had, on this
        machine or from the network, and otherwise the embedded digits; "idx:FOLDER", four files in
        MNIST's format; or the path of a folder with one sub-folder a class (one called like a
        name: with ``./`` before it).
    data_dir
        The folder in which MNIST's files are, for "mnist" and "auto" only.
    image_size, channels
        Of a folder of pictures: their side in pixels, by default 28, and 1 (grey) or 3 (colour).

    Returns
    -------
    train, test : Dataset
        `note` says what the user must know: where the data came from and, under "auto", that these
        are not MNIST and why.

    Raises
    ------
    DataError
        If the data are missing or damaged. Under "auto" only what cannot be had gives way to the
        digits; a damaged file, or a `data_dir` without the files, is an error there too.
    ValueError
        If the name is unknown and no folder either; or if data other than a folder of pictures are
        asked for in another size or in colour.
    """
    if not isinstance(name, str) or not name:
        got = f"{name!r:.60}" if name else "an empty one"
        raise DataError(f"data: expected a name or a folder, got {got}")
    if data_dir is not None and name not in ("auto", "mnist"):
        raise DataError(f"data_dir: expected with 'auto' or 'mnist' only, got it with {name!r}")
    if name in NAMES or name.startswith(IDX):
        if name.startswith(IDX):
            halves = load_idx(name.removeprefix(IDX))
        elif name == "digits":
            halves = load_digits()
        else:
            halves = load_mnist(data_dir) if name == "mnist" else _load_auto(data_dir)
        C, H = halves[0].images.shape[1:3]
        if channels != C or image_size not in (None, H):
            raise DataError(
                f"image_size, channels: expected a folder of pictures, or {H} and {C} as {name!r} "
                f"has, got {image_size or H} and {channels}"
            )
        return halves
    folder = expanded(name)
    if not folder.exists():
        try:
            check_choice("data", name, NAMES)
        except ValueError as error:
            raise DataError(f"{error} (and there is no folder {name!r})") from None
    side = 28 if image_size is None else image_size
    return load_folder(folder, (side, side), channels)


def full_name(name: str) -> str:
    """A name of data that means the same wherever one stands: folders as absolute paths."""
    if name in NAMES:
        return name
    prefix = IDX if name.startswith(IDX) else ""
    return prefix + str(expanded(name.removeprefix(IDX)).resolve())


def _load_auto(data_dir: str | Path | None) -> tuple[Dataset, Dataset]:
    """MNIST, or else the embedded digits with a note that cannot be missed."""
    try:
        return load_mnist(data_dir)
    except DataUnavailableError as error:
        train, test = load_digits()
        note = (
            "NOT MNIST: it could not be had, so these are the 1,797 embedded UCI digits "
            f"(8 x 8 pixels enlarged); errors do not compare with the paper's.\nWhy: {error}"
        )
        return replace(train, note=note), replace(test, note=note)


__all__ = [
    "NAMES",
    "DataError",
    "DataUnavailableError",
    "Dataset",
    "distort",
    "distorted_size",
    "expanded",
    "fixed_test_set",
    "fixed_test_theta",
    "full_name",
    "load",
    "load_digits",
    "load_folder",
    "load_idx",
    "load_mnist",
    "random_theta",
    "warp",
]
