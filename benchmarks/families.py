"""Every family of transformations on the embedded digits, with the same settings.

Trains the ST-CNN by ``stn-np train --data digits --transform NAME`` with its defaults, one family
after the other (about half a minute each on two cores), and prints one table.
Run:  python benchmarks/families.py [--transforms NAME ...] [--seeds N] [--distortion R]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

from side_by_side import print_machine

from stn_np.transforms import FAMILIES


def train(transform: str, seed: int, distortion: str, out: Path) -> dict:
    """Train one model by the command line; return its results.json."""
    command = [sys.executable, "-m", "stn_np", "train", "--data", "digits", "--out", str(out)]
    command += ["--transform", transform, "--seed", str(seed), "--distortion", distortion]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "results.json").read_text())


def main() -> None:
    """Train all, print a row of the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transforms", nargs="+", default=list(FAMILIES), help="default: all")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each (default: 1, seed 0)")
    parser.add_argument("--distortion", default="R", help="default: R")
    options = parser.parse_args()
    print_machine(with_torch=False)
    print("\n| transform | numbers | parameters | test error, mean | each | seconds a run |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.transforms:
            runs = [
                train(name, seed, options.distortion, Path(folder, f"{name}-{seed}"))
                for seed in range(options.seeds)
            ]
            errors = [run["test_error"] for run in runs]
            seconds = mean(run["machine"]["seconds"] for run in runs)
            print(
                f"| {name} | {n_params(Path(folder, f'{name}-0'))} | {runs[0]['parameters']:,} "
                f"| {mean(errors):.2f} % | {', '.join(f'{e:.2f}' for e in errors)} "
                f"| {seconds:.0f} |",
                flush=True,
            )


def n_params(run: Path) -> int:
    """How many numbers the run's transformer predicts for each image."""
    import numpy as np

    with np.load(run / "frames.npz") as file:
        return file["thetas"].shape[-1]


if __name__ == "__main__":
    main()
