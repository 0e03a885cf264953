"""Reading a run folder, with a clear word about whatever is missing or damaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stn_np.checks import format_shape
from stn_np.experiments import DEFAULT, by_name
from stn_np.plots.fonts import lacking
from stn_np.training.storage import (
    MOST_FILE,
    damaged,
    read_file,
    read_json,
    read_npz,
    read_table,
)
from stn_np.transforms import Affine3d, Transform
from stn_np.transforms import by_name as find_transform

#: What the pictures use of metrics.csv besides the figures of the score.
COLUMNS = ("epoch", "lr", "train_loss", "test_loss", "grad_norm")

#: The arrays of frames.npz and their axes: M examples, E + 1 moments.
SHAPES: dict[str, tuple[str, ...]] = {
    "images": ("M", "C", "H", "W"),
    "labels": ("M",),
    "predictions": ("E + 1", "M"),
    "epochs": ("E + 1",),
}

#: Those that are there for each transformer; of several, as "thetas/NAME" and so on.
SHAPES_OF_ONE: dict[str, tuple[str, ...]] = {
    "thetas": ("E + 1", "M", "n_params"),
    "warped": ("E + 1", "M", "C'", "H'", "W'"),
    "transform": (),
}


#: What their numbers are: floating-point, whole, or a text.
KINDS = dict.fromkeys(("images", "thetas", "warped"), "f")
KINDS |= dict.fromkeys(("labels", "predictions", "epochs"), "iu") | {"transform": "U"}


@dataclass(frozen=True)
class Warps:
    """What one transformer did; arrays as `stn_np.training.frames.Frames.arrays` describes them.

    Attributes
    ----------
    read : NDArray or None
        (E + 1, M, C', H, W), what it read; None if it reads the images themselves.
    """

    transform: Transform
    thetas: NDArray[Any]
    warped: NDArray[Any]
    read: NDArray[Any] | None = None


@dataclass(frozen=True)
class Followed:
    """The followed test examples, and what each transformer did with them, by its name."""

    images: NDArray[Any]
    labels: NDArray[Any]
    predictions: NDArray[Any]
    epochs: NDArray[Any]
    transformers: dict[str, Warps]

    def read_by(self, name: str, moment: int) -> NDArray[Any]:
        """(M, C, H, W), what a transformer reads."""
        read = self.transformers[name].read
        return self.images if read is None else np.asarray(read[moment])


@dataclass(frozen=True)
class RunFiles:
    """What the pictures are drawn from.

    Attributes
    ----------
    config, results : dict
        config.json; results.json, empty as long as the run is not finished.
    title : str
        What was trained, in one line.
    metrics : dict
        The columns of metrics.csv, one entry an epoch.
    frames : Followed or None
        None for a model without a transformer.
    cut : bool
        Whether the last line of metrics.csv is cut off; it is left out then.
    """

    config: dict[str, Any]
    results: dict[str, Any]
    title: str
    metrics: dict[str, NDArray[np.float64]]
    frames: Followed | None
    cut: bool = False

    @property
    def figure(self) -> str:
        """The first figure of the score, such as "error"."""
        loss = ("train_loss",)
        figures = [n for n in self.metrics if n.startswith("train_") and n not in loss]
        return figures[0].removeprefix("train_") if figures else "loss"

    @property
    def class_names(self) -> list[str]:
        """All of them; empty if they are not known yet."""
        return list(self.results.get("class_names", []))

    @property
    def numbered(self) -> dict[int, str]:
        """Classes that pictures call by their numbers, as no font here has their names."""
        return {i: name for i, name in enumerate(self.class_names) if lacking(name)}

    def class_name(self, label: int) -> str:
        """How a class is called; its number if its name is not known yet or cannot be written."""
        names = self.class_names
        name = names[label] if label < len(names) and label not in self.numbered else str(label)
        return name if len(name) <= 9 else name[:8] + "…"


def read_run(run: Path, *, trained: bool = True) -> RunFiles:
    """Read a run folder; unless `trained`, without what is written after an epoch.

    Raises
    ------
    ValueError
        If a file is missing or not what it should be; the message names it.
    """
    _check_exists(run / "config.json")
    config = read_json(run / "config.json")
    results = read_json(run / "results.json") if (run / "results.json").exists() else {}
    names = results.get("class_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise damaged(run / "results.json", "class_names, a list of texts", names)
    try:
        title = by_name(config.get("experiment", DEFAULT)).title(config)
        title = "".join("?" if lacking(letter) else letter for letter in title)
    except (KeyError, TypeError, ValueError) as error:
        wanted = "the settings of an experiment"
        raise damaged(run / "config.json", wanted, repr(error)) from error
    if not trained:
        return RunFiles(config, results, title, {}, None)
    has_frames = (run / "frames.npz").exists() or "st-" in str(config.get("model", ""))
    frames = read_frames(run / "frames.npz") if has_frames else None
    metrics, cut = read_metrics(run / "metrics.csv")
    return RunFiles(config, results, title, metrics, frames, cut)


def read_metrics(path: Path) -> tuple[dict[str, NDArray[np.float64]], bool]:
    """The columns of metrics.csv by name, at least one row; and whether a line is cut off."""
    _check_exists(path)
    head, rows, cut = read_table(path)
    missing = [name for name in COLUMNS if name not in head]
    if missing:
        raise ValueError(f"{path}: expected the columns {', '.join(COLUMNS)}; {missing} missing")
    if not rows:
        raise ValueError(f"{path}: expected at least one finished epoch, got none yet")
    table = np.array(rows, np.float64)
    return {name: table[:, k] for k, name in enumerate(head)}, cut


def read_frames(path: Path) -> Followed:
    """The followed examples, with all shapes checked against each other."""
    _check_exists(path)
    return followed(read_npz(read_file(path, MOST_FILE), path), path)


def followed(arrays: dict[str, Any], path: str | Path) -> Followed:
    """The same from arrays in memory; `path` is for messages."""
    names = [key.partition("/")[2] for key in arrays if key.startswith("transform/")]
    lengths: dict[str, int] = {}
    _check_shapes(path, arrays, SHAPES, "", lengths)
    transformers = {name: _warps(path, arrays, name, dict(lengths)) for name in names or [""]}
    return Followed(**{name: arrays[name] for name in SHAPES}, transformers=transformers)


def _warps(path: str | Path, arrays: dict[str, Any], name: str, lengths: dict[str, int]) -> Warps:
    """What one transformer did."""
    suffix = f"/{name}" if name else ""
    _check_shapes(path, arrays, SHAPES_OF_ONE, suffix, lengths)
    family = str(arrays[f"transform{suffix}"])
    try:
        size = (lengths["H'"], lengths["W'"])
        transform = Affine3d() if family == Affine3d.name else find_transform(family, size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if lengths["n_params"] != transform.n_params:
        want = f"{transform.n_params} numbers for {transform.name!r}"
        raise ValueError(f"{path}: thetas{suffix}: expected {want}, got {lengths['n_params']}")
    thetas, warped = arrays[f"thetas{suffix}"], arrays[f"warped{suffix}"]
    return Warps(transform, thetas, warped, arrays.get(f"read{suffix}"))


def _check_shapes(
    path: str | Path,
    arrays: dict[str, Any],
    shapes: dict[str, tuple[str, ...]],
    suffix: str,
    lengths: dict[str, int],
) -> None:
    """The arrays are there, and the lengths of their axes fit; those are noted by name."""
    wanted = {name + suffix: axes for name, axes in shapes.items()}
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise ValueError(f"{path}: expected the arrays {', '.join(wanted)}; {missing} missing")
    for name, axes in wanted.items():
        shape = arrays[name].shape
        kind, given = KINDS[name.partition("/")[0]], arrays[name]
        if given.dtype.kind not in kind or (name == "images" and not np.isfinite(given).all()):
            want = {"f": "numbers", "iu": "whole numbers", "U": "a name"}[kind]
            raise ValueError(f"{path}: {name}: expected {want}, got {given.dtype}")
        fits = len(shape) == len(axes) and all(
            lengths.setdefault(axis, n) == n and n > 0 for axis, n in zip(axes, shape, strict=True)
        )
        if not fits:
            want, got = format_shape(axes), format_shape(shape)
            raise ValueError(f"{path}: {name}: expected shape {want}, got {got}")


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: expected this file of a run, but there is none")
