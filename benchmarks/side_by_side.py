"""Time several callables against each other, fairly, on a noisy machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

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


def machine() -> str:
    """What a table was measured on."""
    import torch

    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"NumPy {np.__version__}, PyTorch {torch.__version__} on {torch.get_num_threads()} threads"
    )
