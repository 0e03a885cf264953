"""MNIST under R: the ST-CNN against the CNN, with about the same time and number of parameters.

Trains both from scratch, one after the other (8 minutes each on two cores).
Run:  python benchmarks/mnist.py --out FOLDER [--data-dir FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

#: Epochs that take about the same time: a step of the CNN is a fifth shorter.
EPOCHS = {"st-cnn": 18, "cnn": 22}


def train(model: str, out: Path, data_dir: Path | None) -> dict:
    """Train one model by the command line; return its results.json."""
    command = [sys.executable, "-m", "stn_np", "train", "--data", "mnist", "--distortion", "R"]
    command += ["--model", model, "--epochs", str(EPOCHS[model]), "--out", str(out)]
    if data_dir:
        command += ["--data-dir", str(data_dir)]
    subprocess.run(command, check=True)
    return json.loads((out / "results.json").read_text())


def main() -> None:
    """Train both, print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="new folder for both runs")
    parser.add_argument("--data-dir", type=Path, help="where the MNIST files are")
    options = parser.parse_args()
    results = {m: train(m, options.out / m, options.data_dir) for m in EPOCHS}
    print("\n| model | parameters | epochs | test error | time | peak memory |")
    print("|---|---|---|---|---|---|")
    for model, r in results.items():
        machine = r["machine"]
        print(
            f"| {model} | {r['parameters']:,} | {r['epochs']} | {r['test_error']:.2f} % "
            f"| {machine['seconds']:.0f} s | {machine['peak_memory_mb']:.0f} MB |"
        )


if __name__ == "__main__":
    main()
