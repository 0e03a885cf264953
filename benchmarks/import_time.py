"""How long ``import stn_np`` takes beyond ``import numpy``, each in a fresh interpreter.

Run:  python benchmarks/import_time.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from side_by_side import arguments, report
from speed_tables import Row

#: What must not be imported by it.
HEAVY = ("matplotlib", "pooch", "tqdm", "PIL", "cupy", "scipy", "torch", "numba")
TIMER = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def seconds(statement: str, cache: str) -> float:
    """Time of one import in a fresh interpreter that keeps its bytecode in this folder."""
    setting = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", TIMER.format(statement)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=setting)
    return float(output.stdout)


def rows(rounds: int) -> list[Row]:
    """Both imports in turn, their medians, and which of the heavy modules were imported by it."""
    sides = {"numpy_s": "import numpy", "both_s": "import numpy, stn_np"}
    times: dict[str, list[float]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as cache:
        seconds(sides["both_s"], cache)  # this one compiles, as once after an installation
        for _ in range(rounds):
            for side, statement in sides.items():
                times[side].append(seconds(statement, cache))
    found = {side: statistics.median(some) for side, some in times.items()}
    check = f"import sys, stn_np; print(*[m for m in {HEAVY} if m in sys.modules])"
    command = [sys.executable, "-c", check]
    heavy = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [{**found, "beyond_s": found["both_s"] - found["numpy_s"], "heavy": heavy}]


def main() -> None:
    """Print the medians, and what was imported."""
    report("import-time", rows, arguments(__doc__, rounds=15))


if __name__ == "__main__":
    main()
