"""How long ``import stn_np`` takes beyond ``import numpy``, each in a fresh interpreter.

Run:  python benchmarks/import_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from side_by_side import arguments, report
from tables import Row

#: What must not be imported by it.
HEAVY = ("matplotlib", "pooch", "tqdm", "PIL", "cupy", "scipy", "torch")
TIMER = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def seconds(statement: str) -> float:
    """Time of one import in a fresh interpreter."""
    command = [sys.executable, "-c", TIMER.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def rows(rounds: int) -> list[Row]:
    """Both imports in turn, their medians, and which of the heavy modules were imported by it."""
    sides = {"numpy_s": "import numpy", "both_s": "import numpy, stn_np"}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, statement in sides.items():
            times[side].append(seconds(statement))
    found = {side: statistics.median(some) for side, some in times.items()}
    check = f"import sys, stn_np; print(*[m for m in {HEAVY} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    return [
        {**found, "beyond_s": found["both_s"] - found["numpy_s"], "heavy": output.stdout.split()}
    ]


def main() -> None:
    """Print the medians, and what was imported."""
    report("import-time", rows, arguments(__doc__, rounds=15))


if __name__ == "__main__":
    main()
