"""How upright the embedded digits come out of the transformer, and at what error.

Trains the ST-CNN on the embedded digits, once for each seed, by the settings of
``stn-np train --data digits`` or by those that are given. After each run it asks how far the
distorted test digits are still turned as the transformer hands them on. It prints for each seed

- the middle half of the angles, from the first quartile to the third, before and after,
- the test error,
- the seconds that the training steps took (``stn-np train`` also evaluates after each epoch),

then the medians, and writes all of it to a JSON file.

To choose settings, give ``--validate``. The test digits are then left alone. For each of five seeds
another fifth of the training digits is held out, and each of those is shown at three angles.

Run:  python benchmarks/digits_recipe.py [--seeds 0 1 2] [--validate] [settings, see --help]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stn_np.training.config import TEST_SEED, defaults_for

from stn_np import data
from stn_np.data import Dataset
from stn_np.data.distortions.kinds import _TEST_STREAM
from stn_np.training import TrainConfig, Trainer
from stn_np.transforms import Transform

#: With --validate: how many parts the training digits have, of which one is held out.
FOLDS = 5
#: With --validate: at how many angles each held-out digit is shown.
SHOWN = 3


def remaining_angles(
    transform: Transform,
    theta: NDArray[Any],
    maps: NDArray[Any],
    out_size: tuple[int, int],
    in_size: tuple[int, int],
) -> NDArray[np.float64]:
    """The angles by which the original pictures are turned in the transformer's output.

    The output reads the distorted picture through T_theta, eq. (1), and that picture read the
    original one through a known affine map. So the output shows the original through
    ``map(T_theta(.))``. Of that map the linear part L is taken, in pixels. The angle is that of the
    rotation which comes nearest to L: the rotation in the polar decomposition of L.

    Parameters
    ----------
    transform
        The transformer's family.
    theta
        (N, n_params), what its localisation net says about the distorted pictures. With
        ``transform.identity`` for all of them the result is the angles before the transformer.
    maps
        (N, 2, 3), from the distorted pictures to the original ones, target to source, corners
        aligned: `stn_np.data.random_theta`.
    out_size
        (H', W') of the output, in pixels.
    in_size
        (H, W) of the original pictures, in pixels.

    Returns
    -------
    NDArray of float64
        (N,), radians in [-pi, pi]. Positive: the picture is turned counter-clockwise.

    Notes
    -----
    T_theta need not be affine. It is replaced by the affine map that is nearest to its grid, in the
    sum of squares, on the middle half of the output along both axes, where the digit is. For the
    affine families that is the map itself.
    """
    grid, _ = transform(theta.astype(np.float64), out_size)
    y, x = (np.linspace(-1, 1, n) for n in out_size)
    rows, columns = np.abs(y) <= 0.5, np.abs(x) <= 0.5
    x, y = x[columns], y[rows]
    middle = grid[:, rows][:, :, columns]  # (N, h, w, 2)
    # x and y have mean 0 and are independent on this grid: two regressions, each on its own.
    along_x = middle.mean(axis=1).swapaxes(1, 2) @ x / (x @ x)  # (N, 2)
    along_y = middle.mean(axis=2).swapaxes(1, 2) @ y / (y @ y)
    L = maps[:, :, :2] @ np.stack([along_x, along_y], axis=2)
    per_source, per_target = ((np.array(size[::-1]) - 1) / 2 for size in (in_size, out_size))
    L = per_source[:, None] * L / per_target
    return np.arctan2(L[:, 1, 0] - L[:, 0, 1], L[:, 0, 0] + L[:, 1, 1])


def middle_half(angles: NDArray[Any]) -> float:
    """How wide the middle half of some angles is, from the first quartile to the third.

    Parameters
    ----------
    angles
        (N,), in radians. Whole turns do not matter: they are measured from the circular mean,
        the direction of the mean of the unit vectors, and lie within half a turn of it.

    Returns
    -------
    float
        In degrees, from 0 to 360.
    """
    centre = np.angle(np.exp(1j * angles).mean())
    first, third = np.percentile(np.angle(np.exp(1j * (angles - centre))), [25, 75])
    return float(np.rad2deg(third - first))


def load(seed: int, validate: bool) -> tuple[Dataset, Dataset]:
    """What to train on, and what to measure on; the latter undistorted."""
    train, test = data.load("digits")
    if not validate:
        return train, test
    held_out = np.arange(len(train)) % FOLDS == seed % FOLDS

    def part(rows: NDArray[Any]) -> Dataset:
        return replace(train, images=train.images[rows], labels=train.labels[rows])

    return part(np.flatnonzero(~held_out)), part(np.tile(np.flatnonzero(held_out), SHOWN))


def run(settings: dict[str, Any], seed: int, validate: bool) -> dict[str, float]:
    """Train once, and measure."""
    train, test = load(seed, validate)
    where = {"data": "digits", "data_checksum": "", "data_dir": None}
    trainer = Trainer(TrainConfig(**where, **settings, seed=seed), train, test)
    start = time.perf_counter()
    while not trainer.finished:
        trainer.train_step()
    seconds = time.perf_counter() - start

    # The maps by which Trainer distorted its test digits: the same numbers, drawn once more.
    in_size, rng = test.images.shape[2:], np.random.default_rng((TEST_SEED, _TEST_STREAM))
    maps = data.random_theta(settings["distortion"], len(test), rng, in_size)
    out_size = trainer.test.images.shape[2:]
    assert np.allclose(data.warp(test.images, maps, out_size), trainer.test.images, atol=1e-5)

    transformer = trainer.model.transformer
    assert transformer is not None, "the model must have a spatial transformer"
    theta = transformer.theta(trainer.test.images)
    unturned = np.tile(transformer.transform.identity, (len(theta), 1))
    before, after = (
        middle_half(remaining_angles(transformer.transform, t, maps, out_size, in_size))
        for t in (unturned, theta)
    )
    error = trainer.evaluate().error
    return {"seed": seed, "before": before, "after": after, "error": error, "seconds": seconds}


def main() -> None:
    """Train for all seeds, print a row after each, and the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)), help="default: 0-7")
    parser.add_argument("--validate", action="store_true", help="leave the test digits alone")
    parser.add_argument("--out", type=Path, default=Path("digits_recipe.json"), help="JSON file")
    names = [name for name in defaults_for("digits") if name != "seed"]
    for name in names:
        value = defaults_for("digits")[name]
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=type(value), default=value, help=f"default: {value}")
    options = parser.parse_args()
    settings = {name: getattr(options, name) for name in names}

    print(", ".join(f"{name} {value}" for name, value in settings.items()))
    kind = "validation" if options.validate else "test"
    print(f"{'seed':>6} {'angles: middle half':>20} {kind + ' error':>17} {'time':>8}")
    runs = []
    for seed in options.seeds:
        runs.append(run(settings, seed, options.validate))
        print(row(str(seed), runs[-1]), flush=True)
    medians = {name: median(r[name] for r in runs) for name in runs[0] if name != "seed"}
    print(row("median", medians))
    written = {"settings": settings, "measured_on": kind, "runs": runs, "medians": medians}
    options.out.write_text(json.dumps(written, indent=2) + "\n")


def row(name: str, measured: dict[str, float]) -> str:
    """A line of the table."""
    angles = f"{measured['before']:.0f}° → {measured['after']:.0f}°"
    error, seconds = f"{measured['error']:.2f} %", f"{measured['seconds']:.0f} s"
    return f"{name:>6} {angles:>20} {error:>17} {seconds:>8}"


if __name__ == "__main__":
    main()
