"""One training step of the ST-CNN against PyTorch eager, in either of PyTorch's memory formats.

Batch 256, 28x28, SGD with momentum, float32; forward, loss, backward and update.
Run:  python benchmarks/training_step.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import machine, medians
from torch import nn

from stn_np import models
from stn_np.layers import cross_entropy
from stn_np.training.memory import keep_freed_memory
from stn_np.training.optimizers import SGD

LR, MOMENTUM = 1e-3, 0.9


class TorchSTCNN(nn.Module):
    """The same network, as a user of PyTorch would write it; takes over our initial weights."""

    def __init__(self, ours: models.Model, filters: int) -> None:
        super().__init__()
        self.loc1, self.loc2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 20, 5)
        self.loc3, self.loc4 = nn.Linear(20, 20), nn.Linear(20, 6)
        self.conv1, self.conv2 = nn.Conv2d(1, filters, 9), nn.Conv2d(filters, filters, 7)
        self.classifier = nn.Linear(4 * filters, 10)
        with torch.no_grad():
            for p, q in zip(self.parameters(), ours.parameters(), strict=True):
                p.copy_(torch.from_numpy(q.data))

    def forward(self, U: torch.Tensor) -> torch.Tensor:
        """Images to logits; ReLU after pooling, as on our side."""
        h = F.relu(F.max_pool2d(self.loc1(F.max_pool2d(U, 2)), 2))
        h = F.relu(self.loc2(h)).flatten(1)
        theta = self.loc4(F.relu(self.loc3(h))).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(U.shape), align_corners=True)
        V = F.grid_sample(U, grid, align_corners=True)
        h = F.relu(F.max_pool2d(self.conv1(V), 2))
        h = F.relu(F.max_pool2d(self.conv2(h), 2))
        return self.classifier(h.flatten(1))


def our_step(model: models.Model, x: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """One step of our side, as a callable that returns the loss."""
    optimizer = SGD(model, momentum=MOMENTUM)

    def step() -> float:
        model.zero_grad()
        logits, backward = model(x, needs_dx=False)
        loss, loss_backward = cross_entropy(logits, labels)
        backward(loss_backward())
        optimizer.step(LR)
        return float(loss)

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


def compare(filters: int, rounds: int) -> None:
    """Print the row of one width."""
    rng = np.random.default_rng(0)
    x = rng.random((256, 1, 28, 28), dtype=np.float32)
    labels = rng.integers(0, 10, 256)
    ours = models.build("st-cnn", filters=filters)
    sides: dict[str, Callable[[], float]] = {}
    for name, layout in (("nchw", torch.contiguous_format), ("nhwc", torch.channels_last)):
        theirs = TorchSTCNN(ours, filters).to(memory_format=layout)
        images = torch.from_numpy(x).to(memory_format=layout)
        sides[name] = torch_step(theirs, images, torch.from_numpy(labels))
    sides["ours"] = our_step(ours, x, labels)
    first = [step() for step in sides.values()]
    np.testing.assert_allclose(first, first[0], rtol=1e-4)  # the same task
    t = medians(sides, rounds)
    best = min(t["nchw"], t["nhwc"])
    print(
        f"| {filters} | {1e3 * t['ours']:.1f} | {1e3 * t['nchw']:.1f} | {1e3 * t['nhwc']:.1f} "
        f"| {t['ours'] / best:.2f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    keep_freed_memory()  # for both: PyTorch's CPU arrays come from the same C library
    print(machine())
    print("\n| filters | stn_np, ms | PyTorch NCHW, ms | PyTorch channels-last, ms | ratio |")
    print("|---|---|---|---|---|")
    for filters in (32, 64):
        compare(filters, rounds)


if __name__ == "__main__":
    main()
