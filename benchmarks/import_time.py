"""How long ``import stn_np`` takes beyond ``import numpy``, each in a fresh interpreter.

Run:  python benchmarks/import_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

TIMER = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def seconds(statement: str) -> float:
    """Time of one import in a fresh interpreter."""
    command = [sys.executable, "-c", TIMER.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Alternate both imports, print the medians and what was not imported."""
    numpy_alone, with_stn_np = [], []
    for _ in range(15):
        numpy_alone.append(seconds("import numpy"))
        with_stn_np.append(seconds("import numpy, stn_np"))
    numpy_s, both_s = statistics.median(numpy_alone), statistics.median(with_stn_np)
    print(f"import numpy {numpy_s:.3f} s, with stn_np {both_s:.3f} s: +{both_s - numpy_s:.3f} s")
    heavy = "'matplotlib', 'pooch', 'tqdm', 'PIL', 'cupy', 'scipy', 'torch', 'numba'"
    check = f"import sys, stn_np; print([m for m in ({heavy}) if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    print(f"imported by it of {heavy}:".replace("'", ""), found.stdout.strip())


if __name__ == "__main__":
    main()
