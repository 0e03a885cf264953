"""A user's own pictures: a folder with one sub-folder a class. Pillow is imported on use."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array
from stn_np.checks import check_size, check_size_pair
from stn_np.data.dataset import FOLDS, DataError, Dataset, expanded, split
from stn_np.data.resample import area_means, resample

#: What counts as a picture; other files are passed over, and the note says how many. What is in a
#: file is told by its content.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

#: Sub-folders of a folder that is split already, and the half that each is.
HALVES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}

#: A picture of a few KB may claim to be of any size. (Rows cost memory, however short they are.)
MAX_PIXELS, MAX_SIDE = 2**26, 2**22

#: Shares of red, green and blue in the brightness that one sees (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

#: Where no picture is brighter than this, the values do not use what their format holds.
DIM = 1 / 8


def load_folder(
    path: str | Path, image_size: tuple[int, int] = (28, 28), channels: int = 1
) -> tuple[Dataset, Dataset]:
    """Pictures in one sub-folder a class, all of one size.

    Parameters
    ----------
    path
        The folder. Its sub-folders' names, sorted, are the classes. Or a folder with `train` and
        `test` inside, which have the classes.
    image_size
        (H, W) that all pictures are brought to, in pixels: as large as fits, not stretched, in the
        middle of zeros.
    channels
        1 for grey, 3 for red, green and blue.

    Returns
    -------
    train, test : Dataset
        Images (N, channels, H, W) float32 in [0, 1]. Unless the folder is split already, every
        fifth picture of each class, by sorted name, is held out, whatever the seed. `note` says
        what was done.

    Raises
    ------
    DataError
        If there is no such folder, fewer than two classes, a class with fewer than five pictures
        (in a folder that is split: none), a class that only `test` has, or a picture that cannot be
        read or whose numbers have no agreed black and white. The message names it.
    TypeError, ValueError
        If image_size is no pair of sizes, or channels neither 1 nor 3.

    Notes
    -----
    The background must be 0, the value that the sampler takes for what lies outside. If the pixels
    along the borders are bright (in the median over all pictures), all pictures are inverted, and
    `note` says so. Transparent parts count as black or as white, in all pictures alike: as the
    borders of most pictures are if most have no transparent parts, else as what is not the subject:
    black under a bright one.
    """
    image_size = _check_form(image_size, channels)
    root = Path(path)
    halves = _halves(root)
    classes = _classes(halves.get("train", root))
    names = tuple(folder.name for folder in classes)
    folders = [halves["train"], halves["test"]] if halves else [root]
    parts = [_pictures(folder, names, 1 if halves else FOLDS) for folder in folders]
    files = [file for part in parts for file in part.files]
    images, notes, ground = _read_all(files, image_size, channels)
    note = f"{len(images)} pictures of {len(names)} classes from {root}"
    if halves:
        sizes = [f"{f.name}/ {len(p.files)}" for f, p in zip(folders, parts, strict=True)]
        note += f", split as they are: {', '.join(sizes)}"
        if halves.get("validation", halves["test"]) != halves["test"]:
            notes.append(f"{halves['validation'].name}/ is not used")
    note = "; ".join([note, *notes, *_passed_over(sum(part.ignored for part in parts))])
    labels = np.concatenate([part.labels for part in parts])
    whole = Dataset(root.resolve().name, images, labels, names, note, *ground)
    if not halves:
        return split(whole)
    n = len(parts[0].files)
    train, test = (
        replace(whole, images=images[half], labels=labels[half])
        for half in (slice(n), slice(n, None))
    )
    return train, test


def load_pictures(
    files: Sequence[str | Path],
    image_size: tuple[int, int] = (28, 28),
    channels: int = 1,
    *,
    inverted: bool | None = None,
    white: bool | None = None,
) -> Array:
    """Single pictures as `load_folder` reads them: (N, channels, H, W) float32 in [0, 1].

    `inverted` and `white` (what transparent parts are) are those of the `Dataset` that a model was
    trained with; None judges each picture by itself. Errors as `load_folder`.
    """
    size = _check_form(image_size, channels)
    images = np.zeros((len(files), channels, *size), np.float32)
    for i, file in enumerate(files):
        images[i : i + 1] = _read_all([expanded(file)], size, channels, (inverted, white))[0]
    return images


def _check_form(image_size: tuple[int, int], channels: int) -> tuple[int, int]:
    """What pictures shall be brought to; returns (H, W)."""
    if check_size("channels", channels) not in (1, 3):
        raise ValueError(f"channels: expected 1 (grey) or 3 (colour), got {channels}")
    return check_size_pair("image_size", image_size)


class Pictures(NamedTuple):
    """The files of a folder with a sub-folder a class."""

    files: list[Path]
    labels: NDArray[np.int64]
    ignored: int  # other files


def _halves(root: Path) -> dict[str, Path]:
    """The folders of the training and the test half, if all sub-folders are halves; else none."""
    if not root.is_dir():
        what = "a file" if root.exists() else "no such folder"
        raise DataError(f"path: expected a folder with one sub-folder a class, got {root} ({what})")
    folders = [p for p in _visible(root) if p.is_dir()]
    if not folders or any(p.name.lower() not in HALVES for p in folders):
        return {}
    by_half = {HALVES[p.name.lower()]: p for p in folders}
    twice = len(by_half) < len(folders)
    if "validation" in by_half:
        by_half.setdefault("test", by_half["validation"])
    if twice or not {"train", "test"} <= by_half.keys():
        found = ", ".join(p.name for p in folders)
        raise DataError(
            f"{root}: expected sub-folders train and test, each with one sub-folder a class, or "
            f"one sub-folder a class, got {found}"
        )
    return by_half


def _classes(root: Path) -> list[Path]:
    """The sub-folders, at least two."""
    classes = [p for p in _visible(root) if p.is_dir()]
    if len(classes) < 2:
        found = f"only {classes[0].name!r}" if classes else "no sub-folders"
        raise DataError(f"{root}: expected at least two sub-folders, one a class, got {found}")
    return classes


def _pictures(root: Path, names: Sequence[str], least: int) -> Pictures:
    """The pictures of all classes, at least so many of each."""
    if extra := [p.name for p in _visible(root) if p.is_dir() and p.name not in names]:
        raise DataError(f"{root}: expected the classes of train, got {extra[0]!r} besides")
    files: list[Path] = []
    labels, ignored = [], 0
    for label, name in enumerate(names):
        folder = root / name
        found = _visible(folder) if folder.is_dir() else []
        pictures = [f for f in found if f.suffix.lower() in SUFFIXES]
        if len(pictures) < least:
            raise DataError(
                f"{folder}: expected at least {least} picture{'s' * (least > 1)} "
                f"({', '.join(sorted(SUFFIXES))}) in each class, got {len(pictures)}"
            )
        files += pictures
        labels += [label] * len(pictures)
        ignored += len(found) - len(pictures)
    return Pictures(files, np.array(labels, np.int64), ignored)


def _passed_over(ignored: int) -> list[str]:
    """The end of a note."""
    return [f"{ignored} other files or folders passed over"] if ignored else []


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, by name, without hidden entries and those of tools (__pycache__)."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__")))


def _read_all(
    files: list[Path],
    size: tuple[int, int],
    channels: int,
    ground: tuple[bool | None, bool | None] = (None, None),
) -> tuple[Array, list[str], tuple[bool, bool | None]]:
    """All pictures as (N, channels, H, W) with background 0, and what to say about them.

    `ground` is whether they are to be inverted, and whether transparent parts are white; what is
    None is decided here. It is returned.
    """
    inverted, white = ground
    images = np.empty((len(files), channels, *size), np.float32)
    holes = np.empty((len(files), 1, *size), np.float32)  # how transparent it is, 0 outside
    inside = np.empty_like(holes)  # 1 where the picture is, 0 where it was completed by zeros
    borders, subjects, highest, clear = np.empty((4, len(files)))
    for i, file in enumerate(files):
        found = _read(file, size, channels)
        images[i], holes[i], inside[i] = found.images, found.holes, found.inside
        borders[i], subjects[i], highest[i] = found.border, found.subject, found.highest
        clear[i] = found.clear
    notes = []
    if many := int(holes.any((1, 2, 3)).sum()):
        cut_out = clear > 0.5  # their border says nothing
        if white is None and 2 * cut_out.sum() < len(files):
            white = bool(np.median(borders[~cut_out]) > 0.5)
        elif white is None:
            white = bool(np.median(subjects[cut_out]) <= 0.5)
        behind = "white" if white else "black"
        notes.append(f"transparent parts, in {many} of them, count as {behind} in all")
        images += np.float32(white) * holes
        borders[cut_out] = float(white)
    if highest.max() < DIM:
        notes.append(
            f"DARK: the brightest pixel of all has {highest.max():.3f} of what its format can hold "
            "(12 bits in a file of 16 give 0.062); if that is not meant, multiply the numbers and "
            "save the pictures again"
        )
    bright = borders > 0.5
    if inverted is None:
        inverted = bool(np.median(borders) > 0.5)
    if inverted:
        # Resampling is linear: inverting before it is the same as this, and needs no second pass.
        images = inside - images
        median = np.median(borders)
        notes.append(f"inverted, because their borders are bright (median {median:.2f})")
    if odd := int(min(bright.sum(), (~bright).sum())):
        notes.append(f"the borders of {odd} of them are unlike the others', dark against bright")
    return np.clip(images, 0, 1, out=images), notes, (inverted, white)


class Picture(NamedTuple):
    """One picture, resampled; and what it was like before."""

    images: Array  # (channels, H, W), transparent parts black
    holes: Array  # (1, H, W), 1 - alpha
    inside: Array  # (1, H, W)
    border: float  # the median brightness along the border, transparent parts black
    clear: float  # how much of the border is transparent, 0 to 1
    subject: float  # brightness, weighed by alpha
    highest: float  # of all numbers


def _read(file: Path, size: tuple[int, int], channels: int) -> Picture:
    """One picture, only some of its rows as floating-point numbers at a time."""
    try:
        pixels, unit = _decoded(file)
    except Exception as error:  # whatever the decoder of that format raises
        why = " ".join(str(error).split()) or type(error).__name__
        if type(error).__name__ == "UnidentifiedImageError":  # whose text is about Python's objects
            why = "its content is of no format of pictures"
        raise DataError(
            f"{file}: expected a picture, got a file that cannot be read as one ({why})"
        ) from error
    (h, w), (H, W) = pixels.shape[:2], size
    step = max(h / H, w / W)

    def layers(part: NDArray[Any]) -> NDArray[np.float32]:
        """Pixels (rows, w, c) as colours times alpha, 1 - alpha, 1: (channels + 2, rows, w)."""
        values = part.astype(np.float32) / np.float32(unit)
        colours, alpha = values, np.ones_like(values[..., :1])
        if values.shape[2] in (2, 4):
            colours, alpha = values[..., :-1], values[..., -1:]
        if channels == 1 and colours.shape[2] == 3:
            colours = (colours @ LUMA)[..., None]
        colours = np.broadcast_to(colours * alpha, (*colours.shape[:2], channels))
        return np.concatenate([colours, 1 - alpha, np.ones_like(alpha)], axis=2).transpose(2, 0, 1)

    if step > 1 and h > w:  # what `resample` does, without the whole as floating-point numbers
        rows = area_means(lambda a, b: layers(pixels[a:b]), h, H, step)
        small = area_means(lambda a, b: rows[..., a:b].mT, w, W, step).mT
    elif step > 1:
        columns = area_means(lambda a, b: layers(pixels[:, a:b]).mT, w, W, step).mT
        small = area_means(lambda a, b: columns[:, a:b], h, H, step)
    else:
        small = resample(layers(pixels)[None], size, step)[0]
    colours, holes, inside = np.split(small, [channels, channels + 1])
    ring = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ring = ring[:: ceil(len(ring) / 2**14)]
    along = layers(ring[None])
    return Picture(
        colours,
        holes,
        inside,
        border=float(np.median(_brightness(along[:channels]))),
        clear=float(along[channels].mean()),
        subject=float(_brightness(colours).sum() / max((inside - holes).sum(), 1e-6)),
        highest=float(pixels[..., : 3 if pixels.shape[2] > 2 else 1].max() / unit),
    )


def _brightness(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of (1 or 3, ...) colours."""
    return colours[0] if len(colours) == 1 else np.tensordot(LUMA, colours, 1)


def _decoded(file: Path) -> tuple[NDArray[Any], float]:
    """The pixels (h, w, 1 to 4) as the camera meant them to stand, and the number that is white."""
    from PIL import Image, ImageOps

    if not file.exists():
        raise ValueError("there is no such file")
    if not file.is_file():
        raise ValueError("it is no regular file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes, which are looked at here
        # Opened here: a file that Pillow (13.0) opens it maps, and turned TIFFs come out garbled.
        with file.open("rb") as opened, Image.open(opened) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ValueError(f"it has {width} x {height} pixels, {MAX_PIXELS:,} are allowed")
            if max(width, height) > MAX_SIDE:
                raise ValueError(
                    f"it has {width} x {height} pixels, {MAX_SIDE:,} a side are allowed"
                )
            tags = getattr(image, "tag_v2", None)  # of a TIFF; 339 is SampleFormat, 1 unsigned
            unsigned = tags is not None and np.ravel(tags.get(339, 1))[0] == 1
            upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return np.asarray(upright).astype(np.uint16)[..., None], 2**16 - 1
    if upright.mode == "I":
        if not unsigned:
            raise ValueError("its whole numbers have a sign: which of them is white is not agreed")
        return np.asarray(upright).view(np.uint32)[..., None], 2**32 - 1
    if upright.mode == "F":
        pixels = np.asarray(upright)[..., None]
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise ValueError(
                "its floating-point numbers are not all from 0, black, to 1, white: they go from "
                f"{pixels.min():g} to {pixels.max():g}"
            )
        return pixels, 1.0
    grey = upright.mode in ("1", "L", "LA", "La")
    alpha = upright.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in upright.info
    pixels = np.asarray(upright.convert(("L" if grey else "RGB") + "A" * alpha))
    return pixels.reshape(*pixels.shape[:2], -1), 255.0
