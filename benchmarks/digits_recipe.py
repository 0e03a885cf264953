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
from side_by_side import print_machine

from stn_np import data
from stn_np.data import Dataset
from stn_np.experiments.distorted_digits import DistortedDigits, DistortedDigitsSettings
from stn_np.training.loop import Trainer

#: With --validate: how many parts the training digits have, of which one is held out.
FOLDS = 5
#: With --validate: at how many angles each held-out digit is shown.
SHOWN = 3


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
    experiment = DistortedDigits(
        DistortedDigitsSettings(data="digits", **settings, seed=seed), halves=load(seed, validate)
    )
    trainer = Trainer(experiment)
    start = time.perf_counter()
    while not trainer.finished:
        trainer.train_step()
    seconds = time.perf_counter() - start
    with trainer.optimizer.averaged():
        angles = experiment.figures(trainer.model)["angles"]
    error = trainer.evaluate().figures["error"]
    return {"seed": seed, **angles, "error": error, "seconds": seconds}


def main() -> None:
    """Train for all seeds, print a row after each, and the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)), help="default: 0-7")
    parser.add_argument("--validate", action="store_true", help="leave the test digits alone")
    parser.add_argument("--out", type=Path, default=Path("digits_recipe.json"), help="JSON file")
    kind = DistortedDigitsSettings
    usual = {item.name: item.default for item in kind.options()} | dict(kind.defaults("digits"))
    names = [name for name in usual if name not in ("seed", "data", "data_dir")]
    for name in names:
        value = usual[name]
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=type(value), default=value, help=f"default: {value}")
    options = parser.parse_args()
    settings = {name: getattr(options, name) for name in names}

    print(", ".join(f"{name} {value}" for name, value in settings.items()))
    measured_on = "validation" if options.validate else "test"
    print_machine(with_torch=False)
    print(f"{'seed':>6} {'angles: middle half':>20} {measured_on + ' error':>17} {'time':>8}")
    runs = []
    for seed in options.seeds:
        runs.append(run(settings, seed, options.validate))
        print(row(str(seed), runs[-1]), flush=True)
    medians = {name: median(r[name] for r in runs) for name in runs[0] if name != "seed"}
    print(row("median", medians))
    written = {"settings": settings, "measured_on": measured_on, "runs": runs, "medians": medians}
    options.out.write_text(json.dumps(written, indent=2) + "\n")


def row(name: str, measured: dict[str, float]) -> str:
    """A line of the table."""
    angles = f"{measured['before']:.0f}° → {measured['after']:.0f}°"
    error, seconds = f"{measured['error']:.2f} %", f"{measured['seconds']:.0f} s"
    return f"{name:>6} {angles:>20} {error:>17} {seconds:>8}"


if __name__ == "__main__":
    main()
