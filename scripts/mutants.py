"""Break the library, one line at a time, and see whether a test notices.

    python scripts/mutants.py                  all of them, two at a time
    python scripts/mutants.py --only bilinear  those whose name contains a word
    python scripts/mutants.py --list           what is broken, and which tests look for it
    python scripts/mutants.py --out FILE       the report as JSON, beside what is printed

A mutant is a line of `mutants.txt`. It names a text that stands once in a file, what replaces
it, and the tests that should notice. Each runs in a copy of the working tree, in a process of its
own. Before the first mutant of a set of tests, these run once without a fault: tests that fail
anyway catch nothing. The exit code is 1 if a mutant survives without an explanation, if its tests
fail without it, or if it can no longer be made because its line has changed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import SimpleQueue
from resource import RUSAGE_CHILDREN, getrusage
from threading import Lock

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).with_suffix(".txt")
#: What a copy of the working tree needs.
PARTS = ("stn_np", "tests", "scripts", "docs", "benchmarks", "README.md", "pyproject.toml")
#: Seconds after which a test run counts as hanging, which is a way of noticing too.
LONGEST = 600


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes
    ----------
    file : str
        What is broken, relative to the repository.
    old, new : str
        A part of one line that stands exactly once in the file, and what replaces it.
    tests : tuple of str
        The test files that should notice, separated by blanks, as pytest takes them.
    survives : str
        Why no test can notice, if none can; else empty.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    survives: str = ""

    @property
    def name(self) -> str:
        """For messages: ``bilinear.py: a + b -> a - b``."""
        return f"{self.file}: {self.old} -> {self.new}"


@dataclass
class Outcome:
    """What became of a mutant.

    Attributes
    ----------
    mutant : Mutant
        Which one.
    outcome : str
        "caught"; "survived"; "gone", if its line is not there, or more than once; or "broken", if
        its tests fail without it.
    caught_by : list of str
        The tests that failed.
    seconds : float
        How long they ran.
    """

    mutant: Mutant
    outcome: str
    caught_by: list[str] = field(default_factory=list)
    seconds: float = 0.0


def read_list(path: Path = LIST) -> list[Mutant]:
    """The mutants of a list.

    Lines of the list::

        @ stn_np/sampling/bilinear.py | tests/sampling/test_bilinear.py
        u01 -= u00 => u01 -= u10
        # survives: why the next one is not noticed
        a => b
    """
    mutants: list[Mutant] = []
    file, tests, why = "", (), ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if text.startswith("@"):
            file, _, after = text[1:].partition("|")
            file, tests = file.strip(), tuple(after.split())
        elif text.startswith("# survives:"):
            why = text.removeprefix("# survives:").strip()
        elif text and not text.startswith("#"):
            old, arrow, new = text.partition(" => ")
            if not (arrow and file and tests):
                raise ValueError(f"{path.name}:{number}: expected 'old => new' below an @ line")
            mutants.append(Mutant(file, old, "" if new == "(nothing)" else new, tests, why))
            why = ""
    return mutants


def break_line(root: Path, mutant: Mutant) -> bool:
    """Put the fault into a tree; False if its line is not there exactly once."""
    path = root / mutant.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.count(mutant.old) != 1:
        return False
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    return True


def run_tests(root: Path, tests: tuple[str, ...]) -> list[str]:
    """The first tests that fail in a tree, or how pytest itself failed; empty if all pass."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    environment["STN_NP_FAST"] = "0"  # what is broken in NumPy's samplers must not go unseen
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0"]
    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        return [f"hangs: more than {LONGEST} s"]
    if done.returncode == 0:
        return []
    if done.returncode < 0:
        return [f"pytest is ended by signal {-done.returncode}"]
    named = re.findall(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if not named and done.returncode not in (1, 2):
        raise RuntimeError(f"pytest {' '.join(tests)}: {done.stdout[-2000:]}{done.stderr[-500:]}")
    return named or [f"pytest ends with code {done.returncode}"]


class Baseline:
    """What fails in the tree as it is: each set of tests runs once, when it is first asked for."""

    def __init__(self) -> None:
        self._locks: defaultdict[tuple[str, ...], Lock] = defaultdict(Lock)
        self._failed: dict[tuple[str, ...], list[str]] = {}

    def failed(self, root: Path, tests: tuple[str, ...]) -> list[str]:
        """The first tests that fail in a tree that nobody has broken."""
        with self._locks[tests]:  # who comes second waits for the answer
            if tests not in self._failed:
                self._failed[tests] = run_tests(root, tests)
            return self._failed[tests]


def try_out(root: Path, mutant: Mutant, baseline: Baseline) -> Outcome:
    """Break a tree, run the tests, and mend the tree."""
    if failed := baseline.failed(root, mutant.tests):
        return Outcome(mutant, "broken", failed)
    path, begun = root / mutant.file, time.perf_counter()
    before = path.read_bytes() if path.is_file() else b""
    if not break_line(root, mutant):
        return Outcome(mutant, "gone")
    try:
        caught_by = run_tests(root, mutant.tests)
    finally:
        path.write_bytes(before)
    seconds = round(time.perf_counter() - begun, 1)
    return Outcome(mutant, "caught" if caught_by else "survived", caught_by, seconds)


def copy_tree(to: Path) -> Path:
    """The working tree without what is built."""
    skip = shutil.ignore_patterns("__pycache__", "_build", "*.pyc")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, to / part, ignore=skip)
        elif source.is_file():
            shutil.copy(source, to / part)
    return to


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--only", metavar="WORD", default="", help="mutants with this in their name"
    )
    parser.add_argument("--list", action="store_true", help="show the mutants and run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default: 2)")
    parser.add_argument("--out", type=Path, help="write the report as JSON")
    options = parser.parse_args()
    mutants = [m for m in read_list() if options.only in m.name]
    if options.list:
        print("\n".join(f"{m.name}   [{' '.join(m.tests)}]" for m in mutants))
        return 0

    outcomes, baseline = list[Outcome](), Baseline()
    with tempfile.TemporaryDirectory() as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        for i in range(options.jobs):
            trees.put(copy_tree(Path(folder) / str(i)))

        def job(mutant: Mutant) -> Outcome:
            tree = trees.get()
            try:
                return try_out(tree, mutant, baseline)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(options.jobs) as pool:
            for outcome in pool.map(job, mutants):
                outcomes.append(outcome)
                by = f"  by {outcome.caught_by[0]}" if outcome.caught_by else ""
                why = f"  ({outcome.mutant.survives})" if outcome.mutant.survives else ""
                print(f"{outcome.outcome:<8} {outcome.mutant.name}{by}{why}", flush=True)

    kinds = ("caught", "survived", "gone", "broken")
    count = ", ".join(f"{sum(o.outcome == kind for o in outcomes)} {kind}" for kind in kinds)
    used = getrusage(RUSAGE_CHILDREN)
    print(f"\n{len(outcomes)} mutants: {count}; {used.ru_utime + used.ru_stime:.0f} s of CPU time")
    if options.out:
        options.out.write_text(json.dumps([asdict(o) for o in outcomes], indent=1) + "\n")
    return int(
        any(
            o.outcome in ("gone", "broken") or (o.outcome == "survived" and not o.mutant.survives)
            for o in outcomes
        )
    )


if __name__ == "__main__":
    sys.exit(main())
