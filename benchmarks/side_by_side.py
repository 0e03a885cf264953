"""Time several callables against each other, fairly, on a noisy machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from stn_np import threads

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


def processor() -> str:
    """The processor's name, as the system knows it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            lines = dict(line.split(":", 1) for line in info if ":" in line)
        return " ".join({key.strip(): value for key, value in lines.items()}["model name"].split())
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """What a table was measured on: processor, BLAS, threads, versions, day."""
    import torch

    blas = ThreadpoolController().select(user_api="blas").info()
    return {
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
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "date": time.strftime("%Y-%m-%d"),
    }
