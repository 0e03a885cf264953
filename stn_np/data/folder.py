"""A user's own pictures: a folder with one sub-folder a class. matplotlib is imported on use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array
from stn_np.checks import check_size_pair
from stn_np.data.dataset import FOLDS, DataError, Dataset, split
from stn_np.data.resample import resample

#: What counts as a picture; other files are passed over, and the note says how many.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

#: A picture of a few KB may claim to be of any size; 64 million pixels take 1 GB when read.
MAX_PIXELS = 2**26

#: Shares of red, green and blue in the brightness that one sees (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def load_folder(
    path: str | Path, image_size: tuple[int, int] = (28, 28)
) -> tuple[Dataset, Dataset]:
    """Pictures in one sub-folder a class, in grey and all of one size.

    Parameters
    ----------
    path
        The folder. Its sub-folders' names, sorted, are the classes.
    image_size
        (H, W) that all pictures are brought to, in pixels: as large as fits, not stretched, in the
        middle of zeros.

    Returns
    -------
    train, test : Dataset
        Images (N, 1, H, W) float32 in [0, 1]. Every fifth picture of each class, by sorted name,
        is held out, whatever the seed. `note` says what was done.

    Raises
    ------
    DataError
        If there is no such folder, fewer than two classes, a class with fewer than five pictures,
        or a picture that cannot be read (which it names).
    TypeError, ValueError
        If image_size is no pair of sizes.

    Notes
    -----
    The background must be 0, the value that the sampler takes for what lies outside. If the pixels
    along the borders are bright (in the median over all pictures), all pictures are inverted, and
    `note` says so. Transparent parts count as black under a bright subject and as white under a
    dark one.
    """
    image_size = check_size_pair("image_size", image_size)
    root = Path(path)
    classes = _classes(root)
    files = [[f for f in _visible(folder) if f.suffix.lower() in SUFFIXES] for folder in classes]
    for folder, pictures in zip(classes, files, strict=True):
        if len(pictures) < FOLDS:
            raise DataError(
                f"{folder}: expected at least {FOLDS} pictures ({', '.join(sorted(SUFFIXES))}) "
                f"in each class, got {len(pictures)}"
            )
    images, note = _read_all([f for pictures in files for f in pictures], image_size)
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(p) for p in files])
    note = f"{len(images)} pictures of {len(classes)} classes from {root}{note}"
    ignored = sum(len(_visible(folder)) for folder in classes) - len(images)
    if ignored:
        note += f"; {ignored} other files or folders passed over"
    names = tuple(folder.name for folder in classes)
    return split(Dataset(root.resolve().name, images, labels, names, note))


def _classes(root: Path) -> list[Path]:
    """The sub-folders, at least two."""
    if not root.is_dir():
        what = "a file" if root.exists() else "no such folder"
        raise DataError(f"path: expected a folder with one sub-folder a class, got {root} ({what})")
    classes = [p for p in _visible(root) if p.is_dir()]
    if len(classes) < 2:
        found = f"only {classes[0].name!r}" if classes else "no sub-folders"
        raise DataError(f"{root}: expected at least two sub-folders, one a class, got {found}")
    return classes


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, by name, without hidden entries and those of tools (__pycache__)."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__")))


def _read_all(files: list[Path], size: tuple[int, int]) -> tuple[Array, str]:
    """All pictures as (N, 1, H, W) with background 0, and what to say about it."""
    images = np.empty((len(files), 1, *size), np.float32)
    inside = np.empty_like(images)  # 1 where the picture is, 0 where it was completed by zeros
    borders = np.empty(len(files))
    for i, file in enumerate(files):
        grey = _read_grey(file)
        border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        borders[i] = np.median(border)
        step = max(grey.shape[0] / size[0], grey.shape[1] / size[1])
        both = np.stack([grey, np.ones_like(grey)])[:, None]
        images[i], inside[i] = resample(both, size, step)
    bright = borders > 0.5
    note = ""
    if np.median(borders) > 0.5:
        # Resampling is linear: inverting before it is the same as this, and needs no second pass.
        images = inside - images
        note = f"; inverted, because their borders are bright (median {np.median(borders):.2f})"
    odd = min(bright.sum(), (~bright).sum())
    if odd:
        note += f"; the borders of {odd} of them are unlike the others', dark against bright"
    return np.clip(images, 0, 1, out=images), note


def _read_grey(file: Path) -> NDArray[np.float32]:
    """One picture as (h, w) float32 in [0, 1]."""
    from matplotlib.image import imread
    from PIL import Image  # matplotlib's own reader of pictures: it knows the size beforehand

    try:
        if not file.is_file():
            raise ValueError("it is no regular file")
        with Image.open(file) as header:
            width, height = header.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"it has {width} x {height} pixels, {MAX_PIXELS:,} are allowed")
        pixels = np.asarray(imread(file))
    except Exception as error:  # whatever the decoder of that format raises
        raise DataError(
            f"{file}: expected a picture, got a file that cannot be read as one ({error})"
        ) from error
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise DataError(f"{file}: expected grey, RGB or RGBA pixels, got shape {pixels.shape}")
    return np.clip(_grey(pixels), 0, 1)


def _grey(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Brightness of (h, w), (h, w, 3) or (h, w, 4) pixels, whole numbers or floats in [0, 1]."""
    unit = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    values: NDArray[np.float32] = pixels.astype(np.float32) / np.float32(unit)
    if values.ndim == 2:
        return values
    grey: NDArray[np.float32] = values[..., :3] @ LUMA
    if values.shape[2] == 4:
        alpha = values[..., 3]
        subject = float((grey * alpha).sum()) / max(float(alpha.sum()), 1e-6)
        behind = np.float32(0 if subject > 0.5 else 1)
        grey = (grey - behind) * alpha + behind
    return grey
