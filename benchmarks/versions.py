"""Two versions of the library against each other: a training step, and the sampler.

    git worktree add --detach ../before COMMIT
    python benchmarks/versions.py ../before .

Each version runs in a process of its own. They take turns, so that noise falls on both alike;
what is printed are medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from side_by_side import print_machine

WORK = """
import sys, time
import numpy as np
import stn_np
from stn_np import layers, models
from stn_np.training import AdamW
try:
    from stn_np.training.memory import keep_freed_memory
except ImportError:
    from stn_np.backend import keep_freed_memory

keep_freed_memory()
rng = np.random.default_rng(0)
net = models.build("st-cnn", filters=64, seed=1)
optimizer = AdamW(net)
images, labels = rng.random((256, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 256)

def step():
    y, backward = net(images, needs_dx=False)
    _, loss_backward = layers.cross_entropy(y, labels)
    net.zero_grad()
    backward(loss_backward())
    optimizer.step(lr=1e-3)

def sampler(shape, affine=False):
    U, dV = rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32)
    theta = np.tile(np.eye(2, 3), (shape[0], 1, 1)) + 0.1 * rng.standard_normal((shape[0], 2, 3))
    theta = theta.astype(np.float32)
    grid, _ = stn_np.affine_grid(theta, shape[2:])
    def both_ways():
        if affine:
            _, backward = stn_np.affine_sample(U, theta, shape[2:])
        else:
            _, backward = stn_np.grid_sample(U, grid)
        backward(dV)
    return both_ways

works = {
    "step": step,
    "bilinear 256x1x28x28": sampler((256, 1, 28, 28)),
    "bilinear 64x32x28x28": sampler((64, 32, 28, 28)),
    "bilinear 8x3x224x224": sampler((8, 3, 224, 224)),
    "affine 256x1x28x28": sampler((256, 1, 28, 28), affine=True),
}
for work in works.values():
    work(), work()
print(stn_np.__file__, flush=True)
for line in sys.stdin:
    name, times = line.split("\\t")
    start = time.perf_counter()
    for _ in range(int(times)):
        works[name]()
    print((time.perf_counter() - start) / int(times), flush=True)
"""

#: What is timed, and how often in one turn.
TURNS = {
    "step": 1,
    "bilinear 256x1x28x28": 5,
    "bilinear 64x32x28x28": 5,
    "bilinear 8x3x224x224": 5,
    "affine 256x1x28x28": 5,
}


class Side:
    """One version, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder.resolve())}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )
        print(self.answer().strip())

    def answer(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def seconds(self, name: str) -> float:
        """How long one of its works takes."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\t{TURNS[name]}\n")
        self.process.stdin.flush()
        return float(self.answer())


def main() -> None:
    """Let both versions take turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    sides = [Side(arguments.before), Side(arguments.after)]
    print_machine(with_torch=False)
    print(f"{'median ms':<24}{'before':>10}{'after':>10}{'after ÷ before':>18}")
    for name in TURNS:
        times: list[list[float]] = [[], []]
        for turn in range(arguments.rounds):
            for k in (0, 1) if turn % 2 else (1, 0):
                times[k].append(sides[k].seconds(name))
        before, after = (1e3 * statistics.median(each) for each in times)
        print(f"{name:<24}{before:>10.2f}{after:>10.2f}{after / before:>18.3f}", flush=True)


if __name__ == "__main__":
    main()
