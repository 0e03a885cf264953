"""Every timing on a CPU, into the result file of this processor; the page is made from these files.

    python benchmarks/all.py                             everything, about five minutes
    python benchmarks/all.py --only sampler grids        these anew, the other tables are kept
    python scripts/pages.py                   then: the tables of the page and the README

It writes benchmarks/results/speed/PROCESSOR.json. Each timing runs in a process of its own, on the
package in this checkout. The profile runs on version 0.1 as well, taken from the history of git:
where there is none, the columns "before" are missing. Trainings have result files of their own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from side_by_side import machine, short_name
from speed_tables import FOLDER, Row

ROOT = Path(__file__).resolve().parents[1]

#: The last commit before the work on the speed of a step: what the profile calls "before".
BEFORE = "d1a3d0d"

#: Other work on more cores than this shows in the figures: a thread of PyTorch that has to wait for
#: its core makes all others wait.
TOO_BUSY = 0.1

#: Name: the command, and how many rounds; with --quick.
TIMINGS: dict[str, tuple[list[str], int, int]] = {
    "training-step": (["training_step.py"], 13, 3),
    "busy": (["training_step.py", "--busy"], 11, 3),
    "profile": (["profile_step.py"], 31, 5),
    "sampler": (["sampler.py"], 15, 5),
    "sampler-compiled": (["sampler.py"], 15, 5),
    "grids": (["grids.py"], 31, 9),
    "convolution": (["convolution.py"], 3, 1),
    "import-time": (["import_time.py"], 15, 5),
}


#: What is measured with the compiled loops; all else is NumPy alone.
COMPILED = {"sampler-compiled"}


def run(command: list[str], rounds: int, package: Path = ROOT, compiled: bool = False) -> list[Row]:
    """The rows of one benchmark, on the package in this folder; by Numba's loops or NumPy alone."""
    script, *flags = command
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        words = [sys.executable, str(ROOT / "benchmarks" / script), *flags]
        words += ["--rounds", str(rounds), "--json", str(out)]
        path = {"PYTHONPATH": str(package), "STN_NP_FAST": "" if compiled else "0"}
        setting = {**os.environ, **path}
        subprocess.run(words, check=True, env=setting)
        return json.loads(out.read_text())


def profile(command: list[str], rounds: int) -> list[Row]:
    """Rows of both versions, which take turns; medians of three runs of each."""
    with tempfile.TemporaryDirectory() as folder:
        versions = {"after": ROOT}
        if unpack(BEFORE, folder):
            versions["before"] = Path(folder)
        runs: dict[str, list[list[Row]]] = {version: [] for version in versions}
        for _, (version, package) in product(range(3), versions.items()):
            runs[version].append(run(command, rounds, package))
    return [
        {**middle(list(same)), "version": version}
        for version, some in runs.items()
        for same in zip(*some, strict=True)
    ]


def unpack(commit: str, folder: str) -> bool:
    """Write the package as of this commit into a folder; False if git does not have it."""
    command = ["git", "-C", str(ROOT), "archive", commit, "stn_np"]
    packed = subprocess.run(command, capture_output=True)
    if packed.returncode:
        print(f'no columns "before": {packed.stderr.decode().strip()}', file=sys.stderr)
        return False
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return True


def middle(rows: list[Row]) -> Row:
    """The medians of the numbers in rows of the same layer."""
    return {
        key: median(row[key] for row in rows) if isinstance(value, float) else value
        for key, value in rows[0].items()
    }


def file_of(about: dict[str, Any], folder: Path) -> Path:
    """The result file of this machine: amd-epyc.json."""
    slug = re.sub(r"[^a-z0-9]+", "-", short_name(about["processor"]).lower()).strip("-")
    return folder / f"{slug}.json"


def kept(file: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The tables in a file that is there already; they must be of a machine like this one."""
    if not file.exists():
        return {}
    old = json.loads(file.read_text("utf-8"))
    changed = [key for key, value in about.items() if old["machine"].get(key) != value]
    if changed:
        raise SystemExit(
            f"{file.name} was measured with another {', '.join(changed)}: measure everything anew"
        )
    return old["tables"]


def cores_busy() -> tuple[float, float]:
    """Seconds that all cores have worked, and that our ended processes have; 0, 0 outside Linux."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return 0.0, 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, words[:8])
    ours = os.times()
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK"), ours.children_user + ours.children_system


def measured(name: str, quick: bool) -> Row:
    """One timing: its rows, the day, and how many cores were busy with other work meanwhile."""
    command, rounds, few = TIMINGS[name]
    measure = profile if name == "profile" else partial(run, compiled=name in COMPILED)
    start, (all_before, ours_before) = time.perf_counter(), cores_busy()
    rows = measure(command, few if quick else rounds)
    seconds, (all_after, ours_after) = time.perf_counter() - start, cores_busy()
    others = max(0.0, (all_after - all_before - ours_after + ours_before) / seconds)
    print(f"{name}: {len(rows)} rows in {seconds:.0f} s", flush=True)
    if others > TOO_BUSY:
        print(f"  beside other work on {others:.2f} cores: measure it again", file=sys.stderr)
    return {"date": time.strftime("%Y-%m-%d"), "other_work": round(others, 2), "rows": rows}


def as_json(found: dict[str, Any]) -> str:
    """JSON with one line for each row."""
    text = json.dumps(found, indent=1, ensure_ascii=False)
    return re.sub(r"\n {5,}|\n {4}(?=\})", " ", text) + "\n"


def main() -> None:
    """Measure what was asked for, and write the file after each table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(TIMINGS), metavar="NAME", help="these")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the result files")
    options = parser.parse_args()
    about = machine()
    del about["date"]  # each table has its own
    file = file_of(about, options.out)
    tables = kept(file, about) if options.only else {}
    for name in options.only or TIMINGS:
        if name in COMPILED and not find_spec("numba"):
            print(f"{name}: Numba is not installed")
            continue
        tables[name] = measured(name, options.quick)
        found = {"name": short_name(about["processor"]), "machine": about, "tables": tables}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(as_json(found), "utf-8")


if __name__ == "__main__":
    main()
