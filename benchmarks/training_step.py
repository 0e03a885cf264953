"""One training step of the ST-CNN against PyTorch eager, in either of PyTorch's memory formats.

Ours is `TrainingStep`, as a user's training makes it: forward, loss, backward, gradient norm,
update. SGD with momentum, float32. The images are those of three distortions: R 28x28, RTS 42x42
and TC 60x60. ``--busy``: beside another process that multiplies matrices on one core, R only.
Run:  python benchmarks/training_step.py [--busy]
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import arguments, medians, report
from speed_tables import Row
from torch import nn

from stn_np import models
from stn_np.models.networks import cnn_features, localisation_sides
from stn_np.training.optimizers import SGD
from stn_np.training.step import TrainingStep

LR, MOMENTUM = 1e-3, 0.9

#: Distortion, filters, batch.
BUSY_CASES = [("R", 32, 256), ("R", 64, 256)]
CASES = [(kind, filters, 256) for kind in ("R", "RTS", "TC") for filters in (32, 64)]
CASES += [("R", filters, batch) for batch in (64, 32) for filters in (32, 64)]

#: Multiplies until it is ended, its parent is gone, or ten minutes are over.
OTHER_WORK = """
import os, time
import numpy as np
parent, end = os.getppid(), time.monotonic() + 600
x = np.ones((512, 512), np.float32)
print("begun", flush=True)
while os.getppid() == parent and time.monotonic() < end:
    x @ x
"""


class TorchSTCNN(nn.Module):
    """The same network, as a user of PyTorch would write it; takes over our initial weights."""

    def __init__(self, ours: models.Model, filters: int) -> None:
        super().__init__()
        self.pooled = hasattr(ours, "pool")
        a, b = localisation_sides(ours.input_shape)
        C, H, W = ours.input_shape
        features = cnn_features((C, H // 2, W // 2) if self.pooled else (C, H, W), filters)
        self.loc1, self.loc2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 20, 5)
        self.loc3, self.loc4 = nn.Linear(20 * a * b, 20), nn.Linear(20, 6)
        self.conv1, self.conv2 = nn.Conv2d(1, filters, 9), nn.Conv2d(filters, filters, 7)
        self.classifier = nn.Linear(features, 10)
        with torch.no_grad():
            for p, q in zip(self.parameters(), ours.parameters(), strict=True):
                p.copy_(torch.from_numpy(q.data))

    def forward(self, U: torch.Tensor) -> torch.Tensor:
        """Images to logits; ReLU after pooling, and pooling that rounds up, as on our side."""
        h = F.relu(F.max_pool2d(self.loc1(F.max_pool2d(U, 2)), 2))
        h = F.relu(self.loc2(h)).flatten(1)
        theta = self.loc4(F.relu(self.loc3(h))).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(U.shape), align_corners=True)
        V = F.grid_sample(U, grid, align_corners=True)
        V = F.avg_pool2d(V, 2) if self.pooled else V
        h = F.relu(F.max_pool2d(self.conv1(V), 2, ceil_mode=True))
        h = F.relu(F.max_pool2d(self.conv2(h), 2, ceil_mode=True))
        return self.classifier(h.flatten(1))


def our_step(model: models.Model, x: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """One step of our side, as a callable that returns the loss."""
    training_step = TrainingStep(model, SGD(model, momentum=MOMENTUM))

    def step() -> float:
        before = training_step.sums[0]
        training_step(x, labels, LR)
        return float(training_step.sums[0] - before)

    return step


def torch_step(model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Callable[[], float]:
    """The same for PyTorch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def compare(distortion: str, filters: int, batch: int, rounds: int) -> Row:
    """The row of one case."""
    rng = np.random.default_rng(0)
    ours = models.build("st-cnn", filters=filters, distortion=distortion)
    x = rng.random((batch, *ours.input_shape), dtype=np.float32)
    labels = rng.integers(0, 10, batch)
    sides: dict[str, Callable[[], float]] = {}
    for name, layout in (("nchw", torch.contiguous_format), ("nhwc", torch.channels_last)):
        theirs = TorchSTCNN(ours, filters)
        images = torch.from_numpy(x).to(memory_format=layout)
        theirs = theirs.to(memory_format=layout)
        sides[name] = torch_step(theirs, images, torch.from_numpy(labels))
    sides["ours"] = our_step(ours, x, labels)
    first = [step() for step in sides.values()]
    np.testing.assert_allclose(first, first[0], rtol=1e-4)  # the same task
    seconds = medians(sides, rounds)
    H, W = ours.input_shape[1:]
    return {
        "images": f"{distortion}, {H}×{W}",
        "filters": filters,
        "batch": batch,
        **{f"{name}_ms": 1e3 * t for name, t in seconds.items()},
        "ratio": seconds["ours"] / min(seconds["nchw"], seconds["nhwc"]),
    }


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process works on one core meanwhile."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    command = [sys.executable, "-c", OTHER_WORK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **one}) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"begun\n"
            yield
        finally:
            other.kill()


def rows(rounds: int, busy: bool = False) -> list[Row]:
    """All cases, beside the other process or alone."""
    with busy_core() if busy else nullcontext():
        return [compare(*case, rounds) for case in (BUSY_CASES if busy else CASES)]


def main() -> None:
    """Print the table."""
    options = arguments(__doc__, rounds=15, busy="another process multiplies matrices meanwhile")
    name = "busy" if options.busy else "training-step"
    report(name, lambda rounds: rows(rounds, options.busy), options)


if __name__ == "__main__":
    main()
