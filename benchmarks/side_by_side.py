"""What the timings share: sides that take turns, the machine's name, the printed table."""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import speed_tables as tables
from speed_tables import Row
from threadpoolctl import ThreadpoolController

from stn_np.training.memory import keep_freed_memory

#: Seconds until no thread of the other side spins any more, and of untimed calls after that.
PAUSE, WARM = 0.01, 0.005


def medians(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each side. The sides alternate, so that noise falls on all alike.

    Each timed call comes right after untimed ones of the same side, and those after a pause:
    threads of the other side's library that still spin, and caches that the other side filled, are
    not part of what is timed. (PyTorch's threads keep their cores busy for milliseconds after a
    call.)
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, call in sides.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            while time.perf_counter() - start < WARM:
                call()
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def machine(with_torch: bool = True) -> dict[str, Any]:
    """What a table was measured on: processor, BLAS, threads, versions, day."""
    # Version 0.1, whose steps are profiled as well, has no such modules.
    from stn_np import threads
    from stn_np.training.run import processor

    blas = ThreadpoolController().select(user_api="blas").info()
    about = {
        "processor": processor(),
        "cores": threads.available_cores(),
        "threads": threads.get_threads(),
        "blas": ", ".join(
            f"{x['internal_api']} {x['version']} for {x.get('architecture', '?')}, "
            f"{x['num_threads']} threads"
            for x in blas
        ),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    if with_torch:
        import torch  # where it is not installed, the trainings can be timed all the same

        about["torch"] = f"{torch.__version__}, {torch.get_num_threads()} threads"
    return {**about, "date": time.strftime("%Y-%m-%d")}


def print_machine(with_torch: bool = True) -> None:
    """One line that stands above a table."""
    from stn_np.sampling.fast import path_in_use

    facts = machine(with_torch) | {"sampler": path_in_use()}
    print("; ".join(f"{name}: {value}" for name, value in facts.items()), flush=True)


def short_name(processor: str) -> str:
    """The name without trade marks and clock: Intel(R) Xeon(R) X CPU @ 2 GHz is Intel Xeon X."""
    return " ".join(re.sub(r"\((R|TM)\)|CPU|@.*", " ", processor, flags=re.I).split())


def arguments(doc: str | None, rounds: int, **flags: str) -> argparse.Namespace:
    """The command line of a timing: how many rounds, and flags with their help."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    parser.add_argument("--json", type=Path, help="write the rows to this file, print nothing")
    for flag, text in flags.items():
        parser.add_argument(f"--{flag}", action="store_true", help=text)
    return parser.parse_args()


def report(name: str, rows: Callable[[int], list[Row]], options: argparse.Namespace) -> None:
    """Measure, and print the machine and the tables, or write the rows as JSON.

    Freed memory is kept, for both sides: PyTorch's CPU arrays come from the same C library.
    """
    keep_freed_memory()
    found = rows(options.rounds)
    if options.json:
        options.json.write_text(json.dumps(found))
        return
    from stn_np.training.run import processor  # as in `machine`

    print_machine()
    for table in tables.TABLES.values():
        if table.of == name:
            print(f"\n{table.markdown({short_name(processor()): found})}")
