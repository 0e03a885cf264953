"""Distorted MNIST: cells of the paper's table 1, each beside the paper's own figure.

Without options the ST-CNN and the CNN under R, with about the same number of parameters and the
same time (8 minutes each on two cores). Projective and thin plate spline under P and E:

    python benchmarks/mnist.py --out FOLDER --models st-cnn --transforms projective tps \
--distortions P E

A run that was stopped goes on where it was when the same command is given again; one that is
finished is not repeated.
Run:  python benchmarks/mnist.py --out FOLDER [--data-dir FOLDER] [options, see --help]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from itertools import product
from pathlib import Path

from side_by_side import print_machine

#: Epochs that take the ST-CNN and the CNN about the same time: a step of the CNN is a fifth
#: shorter. The others get as many as the ST-CNN.
EPOCHS = {"st-cnn": 26, "cnn": 32}


def cells(options: argparse.Namespace) -> list[tuple[str, str, str | None]]:
    """The runs as (distortion, model, transform); a model without a transformer stands once."""
    wanted = []
    for distortion, model in product(options.distortions, options.models):
        transforms = options.transforms if model.startswith("st-") else [None]
        wanted += [(distortion, model, transform) for transform in transforms]
    return wanted


def train(cell: tuple[str, str, str | None], options: argparse.Namespace) -> dict:
    """Train one model by the command line, or what is left of it; return its results.json."""
    distortion, model, transform = cell
    out = options.out / "-".join(part for part in cell if part)
    command = [sys.executable, "-m", "stn_np", "train"]
    if (out / "config.json").exists():
        command += ["--resume", str(out)]
    else:
        epochs = options.epochs or EPOCHS.get(model, EPOCHS["st-cnn"])
        command += ["--data", "mnist", "--distortion", distortion, "--model", model]
        command += ["--epochs", str(epochs), "--seed", str(options.seed), "--out", str(out)]
        command += ["--transform", transform] if transform else []
        command += ["--filters", str(options.filters)] if options.filters else []
    if options.data_dir:
        command += ["--data-dir", str(options.data_dir)]
    subprocess.run(command, check=True)
    return json.loads((out / "results.json").read_text())


def row(results: dict) -> str:
    """A run as a row of the table."""
    machine, paper = results["machine"], results["paper_error"]
    peak = machine["peak_memory_mb"]
    cells = [
        results["distortion"],
        results["model"],
        results["transform"] or "–",
        f"{results['parameters']:,}",
        str(results["epochs"]),
        f"{results['test_error']:.2f} %",
        "–" if paper is None else f"{paper:.1f} %",
        f"{machine['seconds']:.0f} s",
        "–" if peak is None else f"{peak:.0f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Train all that were asked for, print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--data-dir", type=Path, help="where the MNIST files are")
    parser.add_argument("--distortions", nargs="+", default=["R"], help="default: R")
    parser.add_argument("--models", nargs="+", default=list(EPOCHS), help="default: st-cnn cnn")
    parser.add_argument("--transforms", nargs="+", default=["affine"], help="default: affine")
    parser.add_argument("--epochs", type=int, help="default: 32 for the CNN, else 26")
    parser.add_argument("--filters", type=int, help="of the ST-CNN (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    options = parser.parse_args()
    rows = [row(train(cell, options)) for cell in cells(options)]
    head = ["distortion", "model", "transform", "parameters", "epochs"]
    head += ["test error", "paper's error", "time", "peak memory"]
    print_machine(with_torch=False)
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
