"""Reading a run folder, with a clear word about whatever is missing or damaged."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stn_np.checks import format_shape
from stn_np.transforms import Transform, by_name

#: What the pictures use of metrics.csv.
COLUMNS = ("epoch", "lr", "train_loss", "train_error", "test_loss", "test_error", "grad_norm")

#: The arrays of frames.npz and their axes: M digits, E + 1 moments.
SHAPES: dict[str, tuple[str, ...]] = {
    "images": ("M", "1", "H", "W"),
    "labels": ("M",),
    "predictions": ("E + 1", "M"),
    "thetas": ("E + 1", "M", "n_params"),
    "warped": ("E + 1", "M", "1", "H'", "W'"),
    "epochs": ("E + 1",),
    "transform": (),
}


@dataclass(frozen=True)
class Frames:
    """The followed test digits; arrays as `stn_np.training.frames.Frames.arrays` describes them."""

    images: NDArray[Any]
    labels: NDArray[Any]
    predictions: NDArray[Any]
    thetas: NDArray[Any]
    warped: NDArray[Any]
    epochs: NDArray[Any]
    transform: Transform


@dataclass(frozen=True)
class RunFiles:
    """What the pictures are drawn from.

    Attributes
    ----------
    config, results : dict
        config.json; results.json, empty as long as the run is not finished.
    metrics : dict
        The columns of metrics.csv, one entry an epoch.
    frames : Frames or None
        None for a model without a transformer.
    """

    config: dict[str, Any]
    results: dict[str, Any]
    metrics: dict[str, NDArray[np.float64]]
    frames: Frames | None

    @property
    def title(self) -> str:
        """Model, transform and data in one line."""
        config = self.config
        parts = [str(config["model"]).upper()]
        if self.frames is not None:
            parts[0] += f" ({config['transform']})"
        data = Path(str(config["data"])).name
        parts.append(f"{'MNIST' if data == 'mnist' else data}, distortion {config['distortion']}")
        return " · ".join(parts)

    def class_name(self, label: int) -> str:
        """How a class is called; its number if the names are not known yet."""
        names = self.results.get("class_names", [])
        name = str(names[label]) if label < len(names) else str(label)
        return name if len(name) <= 9 else name[:8] + "…"


def read_run(run: Path) -> RunFiles:
    """Read a run folder.

    Raises
    ------
    ValueError
        If a file is missing or not what it should be; the message names it.
    """
    config = _read_json(run / "config.json", ("model", "transform", "data", "distortion"))
    results = _read_json(run / "results.json", ()) if (run / "results.json").exists() else {}
    has_frames = (run / "frames.npz").exists() or str(config["model"]).startswith("st-")
    frames = read_frames(run / "frames.npz") if has_frames else None
    return RunFiles(config, results, read_metrics(run / "metrics.csv"), frames)


def read_metrics(path: Path) -> dict[str, NDArray[np.float64]]:
    """The columns of metrics.csv by name; at least one row."""
    _check_exists(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            head, *rows = [row for row in csv.reader(file) if row] or [[]]
        table = np.array([[float(cell) for cell in row] for row in rows], np.float64)
        if rows and table.shape != (len(rows), len(head)):
            raise ValueError("rows of different lengths")
    except ValueError as error:
        raise ValueError(
            f"{path}: expected a table of numbers, got a damaged file ({error})"
        ) from error
    missing = [name for name in COLUMNS if name not in head]
    if missing:
        raise ValueError(f"{path}: expected the columns {', '.join(COLUMNS)}; {missing} missing")
    if not rows:
        raise ValueError(f"{path}: expected at least one finished epoch, got none yet")
    return {name: table[:, head.index(name)] for name in COLUMNS}


def read_frames(path: Path) -> Frames:
    """The followed digits, with all shapes checked against each other."""
    _check_exists(path)
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in SHAPES if name in file.files}
    except Exception as error:  # np.load raises half a dozen types for a damaged file.
        raise ValueError(f"{path}: expected an .npz file, got a damaged one ({error})") from error
    missing = [name for name in SHAPES if name not in arrays]
    if missing:
        raise ValueError(f"{path}: expected the arrays {', '.join(SHAPES)}; {missing} missing")
    lengths: dict[str, int] = {"1": 1}
    for name, axes in SHAPES.items():
        shape = arrays[name].shape
        fits = len(shape) == len(axes) and all(
            lengths.setdefault(axis, n) == n and n > 0 for axis, n in zip(axes, shape, strict=True)
        )
        if not fits:
            want, got = format_shape(axes), format_shape(shape)
            raise ValueError(f"{path}: {name}: expected shape {want}, got {got}")
    try:
        transform = by_name(str(arrays["transform"]), (lengths["H'"], lengths["W'"]))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if lengths["n_params"] != transform.n_params:
        want = f"{transform.n_params} numbers for {transform.name!r}"
        raise ValueError(f"{path}: thetas: expected {want}, got {lengths['n_params']}")
    return Frames(**{**arrays, "transform": transform})


def _read_json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """The object in a JSON file, which must have these keys."""
    _check_exists(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got a damaged file ({error})") from error
    if not isinstance(found, dict) or any(key not in found for key in keys):
        raise ValueError(f"{path}: expected an object with {', '.join(keys) or 'the results'}")
    return found


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: expected this file of a run, but there is none")
