"""MNIST addition (appendix A.1): the paper's four models with affine transformers.

    python benchmarks/addition.py --out runs/addition     about two hours on two cores
    python benchmarks/addition.py --out benchmarks/results/addition --table    and into the docs

It writes what each run measured to FOLDER/MODEL/results.json and prints a table of these files. A
run that was stopped goes on where it was when the same command is given again; one that is finished
is not repeated. The CNN has 32 filters, and so a sixth of the others' parameters: with as many, an
epoch takes five times as long. It gets fewer epochs; the FCN, whose epochs are short, more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from side_by_side import print_machine

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "addition.md"
BEGIN, END = "<!-- written by benchmarks/addition.py -->\n", "<!-- end -->\n"

#: What is said on the command line besides the model.
OPTIONS = {
    "fcn": ["--epochs", "180"],
    "cnn": ["--epochs", "40", "--filters", "32"],
    "st-fcn": ["--epochs", "60", "--transform", "affine"],
    "2xst-fcn": ["--epochs", "60", "--transform", "affine"],
}


def train(model: str, folder: Path) -> None:
    """Train one model by the command line, or what is left of it."""
    command = [sys.executable, "-m", "stn_np", "train", "addition"]
    if (folder / "config.json").exists():
        command += ["--resume", str(folder)]
    else:
        command += ["--data", "mnist", "--model", model, *OPTIONS[model], "--out", str(folder)]
    subprocess.run(command, check=True)


def row(results: dict[str, Any]) -> str:
    """A run as a row of the table."""
    framed = results.get("frames", {}).values()
    cells = [
        results["model"].upper().replace("2X", "2×"),
        f"{results['parameters']:,}",
        f"{results['steps']:,}",
        f"**{results['test_error']:.1f} %**",
        f"{results['paper_error']:.1f} %",
        "; ".join(f"{share['left']:.1f} / {share['right']:.1f} %" for share in framed) or "–",
    ]
    return f"| {' | '.join(cells)} |"


def table(folder: Path) -> str:
    """All runs that are finished, as a table."""
    head = ["model (affine)", "parameters", "iterations", "test error", "paper's"]
    head.append("each transformer frames the left / right digit")
    files = [folder / model / "results.json" for model in OPTIONS]
    rows = [row(json.loads(file.read_text())) for file in files if file.exists()]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *rows])


def main() -> None:
    """Train all four, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument(
        "--table", action="store_true", help="train nothing; write the table into the documentation"
    )
    options = parser.parse_args()
    for model in OPTIONS:
        if not options.table:
            train(model, options.out / model)
    print_machine(with_torch=False)
    print(found := table(options.out))
    if options.table:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}{found}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
