"""What `benchmarks/gpu.py` measures on and with: one GPU, its clock, and the rows of the table."""

from __future__ import annotations

import itertools
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

#: What is compared: a name and a call for each side.
Sides = dict[str, Callable[[], object]]

#: Buffers are rotated until they are this many times the L2 cache, or this many.
TIMES_L2, MOST_COPIES = 4, 64


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    what, figure : str
        What was measured, and what the value is.
    value, goal : float
        The goal is one of the issue's figures; None: there is none.
    at_least : bool
        Whether the value is to be at least the goal, not at most.
    ours, beside : float or None
        Seconds of our side, and of what stands beside it.
    error : float or None
        Relative error of our result before anything was timed.
    """

    what: str
    figure: str
    value: float
    goal: float | None = None
    at_least: bool = False
    ours: float | None = None
    beside: float | None = None
    error: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        if self.goal is None:
            return ""
        met = self.value >= self.goal if self.at_least else self.value <= self.goal
        return "met" if met else "missed"

    def line(self) -> str:
        """The row as Markdown."""
        sign = "≥" if self.at_least else "≤"
        goal = "" if self.goal is None else f"{sign} {self.goal:g}"
        times = ["" if t is None else f"{1e3 * t:.4g}" for t in (self.ours, self.beside)]
        error = "" if self.error is None else f"{self.error:.1e}"
        cells = [self.what, self.figure, *times, f"{self.value:.3g}", goal, self.verdict, error]
        return f"| {' | '.join(cells)} |"


#: The head of the table.
HEAD = (
    "| what | figure | ours, ms | beside, ms | value | goal | | relative error |\n"
    "|---|---|---|---|---|---|---|---|"
)


class Machine(Protocol):
    """What the rows need to know of where they run."""

    xp: Any
    device: str
    l2: int

    def tensor(self, x: Any) -> torch.Tensor:
        """An array of ours as PyTorch sees it, in the same memory."""

    def copy(self, target: Any, source: Any) -> None:
        """Copy all bytes of an array into another."""

    def kernel_seconds(self, sides: Sides, repeat: int) -> dict[str, float]:
        """Median seconds that a call keeps the GPU busy."""

    def step_seconds(self, sides: Sides, repeat: int) -> dict[str, float]:
        """Median seconds a call, of many in a row, the CPU's part included."""


class Gpu:
    """The current GPU, with CuPy on our side; both libraries use its default stream."""

    device = "cuda"

    def __init__(self) -> None:
        import cupy

        self.xp = cupy
        self._properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        self.l2 = int(self._properties["l2CacheSize"])
        self._busy = cupy.RawKernel(
            'extern "C" __global__ void busy(long long cycles) {'
            "    for (long long begin = clock64(); clock64() - begin < cycles;) {} }",
            "busy",
        )

    def describe(self) -> dict[str, str]:
        """Device and versions."""
        cuda = self.xp.cuda.runtime
        driver = "--query-gpu=driver_version --format=csv,noheader".split()
        return {
            "device": self._properties["name"].decode(),
            "compute capability": self.xp.cuda.Device().compute_capability,
            "driver": subprocess.run(
                ["nvidia-smi", *driver], capture_output=True, text=True, check=True
            ).stdout.split()[0],
            "CUDA of the driver": str(cuda.driverGetVersion()),
            "CUDA runtime of CuPy": str(cuda.runtimeGetVersion()),
            "CUDA of PyTorch": str(torch.version.cuda),
            "cuDNN of PyTorch": str(torch.backends.cudnn.version()),
            "CuPy": self.xp.__version__,
            "PyTorch": torch.__version__,
            "NumPy": np.__version__,
            "Python": platform.python_version(),
        }

    def tensor(self, x: Any) -> torch.Tensor:
        """Through DLPack."""
        return torch.from_dlpack(x)

    def copy(self, target: Any, source: Any) -> None:
        """By cudaMemcpyDeviceToDevice."""
        target.data.copy_from_device_async(source.data, source.nbytes)

    def kernel_seconds(self, sides: Sides, repeat: int) -> dict[str, float]:
        """By CUDA events behind a kernel that keeps the GPU busy while the CPU queues the call.

        So the events enclose the work alone, not the waiting for Python.
        """
        begin, end = self.xp.cuda.Event(), self.xp.cuda.Event()

        def once(call: Callable[[], object]) -> float:
            call()
            self._busy((1,), (1,), (np.int64(4_000_000),))  # 2 to 3 ms
            begin.record()
            call()
            end.record()
            end.synchronize()
            return float(self.xp.cuda.get_elapsed_time(begin, end)) / 1e3

        return _alternating(sides, repeat, once)

    def step_seconds(self, sides: Sides, repeat: int) -> dict[str, float]:
        """By the wall clock, from an idle GPU to an idle GPU: that is what a user waits for."""
        calls = 20

        def once(call: Callable[[], object]) -> float:
            call()
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            torch.cuda.synchronize()
            return (time.perf_counter() - start) / calls

        return _alternating(sides, repeat, once)


def _alternating(
    sides: Sides, repeat: int, once: Callable[[Callable[[], object]], float]
) -> dict[str, float]:
    """Medians of alternating measurements, after three calls of each side to warm up."""
    for call in sides.values():
        for _ in range(3):
            call()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeat):
        for name, call in sides.items():
            seconds[name].append(once(call))
    return {name: statistics.median(times) for name, times in seconds.items()}


def copies(machine: Machine, size: int) -> int:
    """How many buffers of `size` bytes to rotate, so that none is still in the cache."""
    return max(1, min(MOST_COPIES, -(-TIMES_L2 * machine.l2 // size)))


def in_turn(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """A call that makes the next of `calls` each time."""
    following = itertools.cycle(calls)
    return lambda: next(following)()


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The norm of the difference over the norm, both in float64."""
    difference = torch.linalg.vector_norm(ours - theirs, dtype=torch.float64)
    return float(difference / torch.linalg.vector_norm(theirs, dtype=torch.float64))
