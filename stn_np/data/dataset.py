"""What a data set is here, what can be wrong with one, and how a fifth of it is held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array

#: Of the pictures of one class, in their order, every FOLDS-th one is held out.
FOLDS = 5


class DataError(ValueError):
    """Data that cannot be used: missing, damaged, or not of the expected kind."""


class DataUnavailableError(DataError):
    """Data that are not on this machine, and that the network does not give now."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled pictures.

    Attributes
    ----------
    name : str
        Of the data set, e.g. ``"mnist"``.
    images : Array
        (N, C, H, W), float32, in [0, 1]; C = 1 is grey, 3 red, green and blue. The background is 0,
        the value that the sampler takes for everything outside a picture; otherwise a transformer
        learns to avoid the edge.
    labels : Array
        (N,), int64, indices into `class_names`.
    class_names : tuple of str
        One name a class.
    note : str
        What the user should be told about these data, or empty.
    inverted, white : bool or None
        Of a folder of pictures: whether they were inverted, and whether transparent parts count as
        white. A single picture is shown to a model in the same way.

    Raises
    ------
    DataError
        If shapes or dtypes are others than these.
    """

    name: str
    images: Array
    labels: Array
    class_names: tuple[str, ...]
    note: str = ""
    inverted: bool | None = None
    white: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what no part of the library could use."""
        images, labels = self.images, self.labels
        if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != np.float32:
            got = f"{images.dtype} {images.shape}"
            raise DataError(f"images: expected float32 (N, 1 or 3, H, W), got {got}")
        if labels.shape != (len(images),) or labels.dtype != np.int64:
            got = f"{labels.dtype} {labels.shape}"
            raise DataError(f"labels: expected int64 ({len(images)},), got {got}")

    def __repr__(self) -> str:
        size = "x".join(map(str, self.images.shape[1:]))
        counts = f"{len(self)} images {size}, {len(self.class_names)} classes"
        return f"Dataset({self.name!r}, {counts})"

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.images)


def expanded(path: str | Path) -> Path:
    """A path with the home folder in place of a leading ~. ValueError if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as e:
        raise ValueError(f"{path}: ~ stands for the home folder, but there is none: {e}") from e


def hold_out_fifth(labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split into four fifths for training and one fifth for testing, class by class.

    Every fifth picture *of each class*, in the order of the data, is held out. No random number
    is involved, so that the split is the same for every seed, machine and version of NumPy.

    Parameters
    ----------
    labels
        (N,), the class of each picture.

    Returns
    -------
    train, test : NDArray of int64
        Indices, both ascending. A class of n pictures gives n // 5 to `test`.
    """
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held_out[np.flatnonzero(labels == label)[FOLDS - 1 :: FOLDS]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def split(whole: Dataset) -> tuple[Dataset, Dataset]:
    """The (train, test) halves of a data set that comes without a split: see `hold_out_fifth`."""
    train, test = (
        replace(whole, images=whole.images[i], labels=whole.labels[i])
        for i in hold_out_fifth(whole.labels)
    )
    return train, test
