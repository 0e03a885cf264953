"""How the recipe for MNIST under R was chosen: variants of it, on held-out training digits.

Trains the ST-CNN on 55,000 of the training digits, by the settings with which the search began and
one change a row, and measures on the other 5,000, which are turned once and for all. The test
digits are left alone. A run of some seed holds out another part. Every epoch's errors, with the
averaged weights and with the trained ones, are written to a JSON file, also while a run is under
way; what stands there already is not run again.

Run:  python benchmarks/mnist_recipe.py --out FILE [--data-dir FOLDER] [--rows NAME ...]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from side_by_side import print_machine

from stn_np import data, threads
from stn_np.data import Dataset
from stn_np.experiments.distorted_digits import DistortedDigits
from stn_np.training.evaluate import measure
from stn_np.training.loop import Trainer
from stn_np.training.memory import keep_freed_memory
from stn_np.training.run import processor
from stn_np.training.storage import write_json

#: Held out, of 60,000.
HELD_OUT = 5_000

#: Where the search began. All else is the default.
START: dict[str, Any] = {
    "lr": 3e-3,
    "batch_size": 256,
    "filters": 64,
    "loc_lr_factor": 2.0,
    "label_smoothing": 0.1,
    "average": 0.999,
}

#: The rows of the table: what is changed in that.
ROWS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no label smoothing": {"label_smoothing": 0.0},
    "label smoothing 0.05": {"label_smoothing": 0.05},
    "batch 128": {"batch_size": 128},
    "rate 0.006": {"lr": 6e-3},
    "localisation at the same rate": {"loc_lr_factor": 1.0},
    "32 filters": {"filters": 32},
    "weight decay 0.1": {"weight_decay": 0.1},
}


def load(folder: Path | None, seed: int) -> tuple[Dataset, Dataset]:
    """What to train on, and what to measure on."""
    train, _ = data.load("mnist", folder)
    order = np.random.default_rng([seed, 1]).permutation(len(train.images))
    held_out, rest = np.sort(order[:HELD_OUT]), np.sort(order[HELD_OUT:])
    return tuple(
        replace(train, images=train.images[rows], labels=train.labels[rows])
        for rows in (rest, held_out)
    )


def run(changes: dict[str, Any], epochs: int, seed: int, folder: Path | None, keep: Any) -> None:
    """Train once; `keep` is handed errors in % and seconds after each epoch."""
    given = {"data": "mnist", "epochs": epochs, "seed": seed, **START, **changes}
    trainer = Trainer(DistortedDigits.create(given, halves=load(folder, seed)))
    errors, trained, train_errors, seconds, start = [], [], [], [], time.perf_counter()
    while not trainer.finished:
        trainer.train_step()
        if trainer.at_end_of_epoch:
            row = dict(zip(trainer.columns, trainer.end_epoch(), strict=True))
            errors.append(row["test_error"])
            held_out = trainer.data.inputs, trainer.data.targets
            trained.append(measure(trainer.model, *held_out).figures["error"])
            train_errors.append(row["train_error"])
            seconds.append(round(time.perf_counter() - start, 1))
            keep(
                {
                    "errors": errors,
                    "errors_of_trained_weights": trained,
                    "train_errors": train_errors,
                    "seconds": seconds,
                }
            )


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--data-dir", type=Path, help="where the MNIST files are")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="NAME")
    parser.add_argument("--epochs", type=int, default=30, help="default: 30")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--threads", type=int, help="default: one for each core")
    options = parser.parse_args()
    if options.threads:
        threads.set_threads(options.threads)
    keep_freed_memory()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for seed in options.seeds:
        for name in options.rows:
            key = f"{name}, {options.epochs} epochs, seed {seed}"
            if len(found.get(key, {}).get("errors", ())) == options.epochs:
                continue

            def keep(result: dict[str, Any], key: str = key) -> None:
                # Others may write to the file as well: what they have found stays.
                kept = json.loads(options.out.read_text()) if options.out.exists() else {}
                found.update(kept | {key: {**result, "processor": processor()}})
                write_json(options.out, found)

            run(ROWS[name], options.epochs, seed, options.data_dir, keep)
            print(f"{key}: {found[key]['errors'][-1]:.2f} %", flush=True)
    print_machine(with_torch=False)
    print("\n| change | validation error, averaged weights | mean | trained weights | mean |")
    print("|---|---|---|---|---|")
    for name in options.rows:
        runs = [found[f"{name}, {options.epochs} epochs, seed {seed}"] for seed in options.seeds]
        cells = [name]
        for kind in ("errors", "errors_of_trained_weights"):
            errors = [run[kind][-1] for run in runs]
            cells += [" · ".join(f"{error:.2f}" for error in errors), f"{mean(errors):.2f}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
