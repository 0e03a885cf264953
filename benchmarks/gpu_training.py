"""Rows of `benchmarks/gpu.py`: training steps, and the training curve on the CPU and on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from gpu_machine import Machine, Row
from gpu_sampler import same_task
from torch import nn
from training_step import LR, MOMENTUM, TorchSTCNN

from stn_np import models
from stn_np.data import load_digits
from stn_np.layers import cross_entropy
from stn_np.training.optimizers import SGD
from stn_np.training.step import TrainingStep

#: Steps after which both sides must have had the same losses, and how nearly: with TF32 a product
#: has 10 bits behind the point.
CHECKED, NEARLY, NEARLY_TF32 = 3, 1e-4, 1e-2

#: Of the training curve: enough that the losses fall.
CURVE_LR = 1e-2

Batches = list[tuple[np.ndarray, np.ndarray]]

LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}


def training(
    machine: Machine, batch: int, filters: int, repeat: int, compiled: bool = True
) -> Iterator[Row]:
    """A step of the ST-CNN, from the graph and without, against PyTorch eager and compiled."""
    rng = np.random.default_rng(0)
    x = rng.random((batch, 1, 28, 28), dtype=np.float32)
    labels = rng.integers(0, 10, batch)
    for tf32, which in ((False, "float32"), (True, "PyTorch with TF32, as it comes")):
        sides, error = _sides(machine, x, labels, filters, tf32, compiled)
        with tensor_cores(tf32):
            t = machine.step_seconds(sides, repeat)
        yield from _ratios(f"step, batch {batch}, {filters} filters, {which}", t, error, not tf32)


def _sides(
    machine: Machine, x: np.ndarray, labels: np.ndarray, filters: int, tf32: bool, compiled: bool
) -> tuple[dict[str, Callable[[], object]], float]:
    """A call for each side, and by how much their first losses differ at most."""
    torch.compiler.reset()  # it gives up on a network that it has compiled too often
    made: dict[str, tuple[Callable[[], object], Callable[[], float]]] = {}
    for name, graph in (("graph", True), ("plain", False)):
        made[name] = _ours(machine, x, labels, filters, graph)
    for layout in LAYOUTS:
        made[f"eager, {layout}"] = _theirs(machine, x, labels, filters, layout, False)
        if compiled:
            made[f"compiled, {layout}"] = _theirs(machine, x, labels, filters, layout, True)
    with tensor_cores(tf32):
        losses = {name: check() for name, (_, check) in made.items()}
    error = max(abs(loss / losses["graph"] - 1) for loss in losses.values())
    same_task(f"sum of {CHECKED} losses", error, NEARLY_TF32 if tf32 else NEARLY)
    return {name: call for name, (call, _) in made.items()}, error


def _network(filters: int) -> models.Model:
    """The ST-CNN a little off its initial weights.

    There θ is the identity, and every point lies where eq. (5) has a kink: PyTorch rounds some of
    them to its other side, and its gradient is another one.
    """
    model = models.build("st-cnn", filters=filters)
    rng = np.random.default_rng(2)
    for p in model.parameters():
        p.data += (0.03 * rng.standard_normal(p.data.shape)).astype(np.float32)
    return model


def _ours(
    machine: Machine, x: np.ndarray, labels: np.ndarray, filters: int, graph: bool
) -> tuple[Callable[[], object], Callable[[], float]]:
    """Our step, and the sum of its first losses."""
    model = _network(filters).to("gpu")
    step = TrainingStep(model, SGD(model, momentum=MOMENTUM), graph=graph)
    images, classes = machine.xp.asarray(x), machine.xp.asarray(labels)

    def call() -> None:
        step(images, classes, LR)

    def check() -> float:
        for _ in range(CHECKED):
            call()
        return float(step.sums[0])

    return call, check


def _theirs(
    machine: Machine, x: np.ndarray, labels: np.ndarray, filters: int, layout: str, compiled: bool
) -> tuple[Callable[[], object], Callable[[], float]]:
    """PyTorch's step, and the sum of its first losses."""
    network = TorchSTCNN(_network(filters), filters)
    model: nn.Module = network.to(machine.device).to(memory_format=LAYOUTS[layout])
    if compiled:
        model = torch.compile(model, mode="reduce-overhead")
    images = torch.from_numpy(x).to(machine.device).to(memory_format=LAYOUTS[layout])
    classes = torch.from_numpy(labels).to(machine.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)

    def call() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), classes)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return call, lambda: sum(float(call()) for _ in range(CHECKED))


@contextmanager
def tensor_cores(tf32: bool) -> Iterator[None]:
    """Whether PyTorch's convolutions may round to TF32; its own setting is True.

    Its matrix products do not, unless one asks for it, and neither do CuPy's.
    """
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=tf32):
        yield


def _ratios(what: str, t: dict[str, float], error: float, goals: bool) -> Iterator[Row]:
    """Our two sides against PyTorch's, in the faster of its two memory formats."""
    for theirs, goal in (("eager", 0.5), ("compiled", 1.0)):
        times = {name: seconds for name, seconds in t.items() if name.startswith(theirs)}
        if not times:
            continue
        best = min(times, key=times.__getitem__)
        for ours in ("graph", "plain"):
            yield Row(
                f"{what}, {ours}",
                f"÷ PyTorch {best}",
                t[ours] / t[best],
                goal if goals and ours == "graph" else None,
                ours=t[ours],
                beside=t[best],
                error=error,
            )


def curve(machine: Machine, batch: int, filters: int, steps: int) -> Iterator[Row]:
    """Losses of a training in float64, on the CPU and on the GPU: the greatest difference."""
    train, _ = load_digits()
    rng = np.random.default_rng(0)
    rows = [rng.choice(len(train.images), batch, replace=False) for _ in range(steps)]
    batches = [(train.images[i].astype(np.float64), train.labels[i]) for i in rows]

    def model() -> models.Model:
        return models.build("st-cnn", filters=filters, seed=1, dtype=np.float64)

    expected = _cpu_losses(model(), batches)
    what = f"training curve, {steps} steps, losses {expected[0]:.2f} to {expected[-1]:.2f}"
    for name, graph in (("graph", True), ("plain", False)):
        losses = _gpu_losses(machine, model().to("gpu"), batches, graph)
        difference = float(np.abs(losses - expected).max())
        yield Row(f"{what}, {name}", "greatest difference from the CPU", difference, 1e-10)


def _cpu_losses(model: models.Model, batches: Batches) -> np.ndarray:
    """The loss of each step by NumPy."""
    optimizer = SGD(model, momentum=MOMENTUM)
    losses = []
    for images, labels in batches:
        model.zero_grad()
        logits, backward = model(images, needs_dx=False)
        loss, loss_backward = cross_entropy(logits, labels)
        backward(loss_backward())
        optimizer.step(CURVE_LR)
        losses.append(float(loss))
    return np.array(losses)


def _gpu_losses(machine: Machine, model: models.Model, batches: Batches, graph: bool) -> np.ndarray:
    """The same by CuPy."""
    step = TrainingStep(model, SGD(model, momentum=MOMENTUM), graph=graph)
    sums = [0.0]
    for images, labels in batches:
        step(machine.xp.asarray(images), machine.xp.asarray(labels), CURVE_LR)
        sums.append(float(step.sums[0]))
    return np.diff(sums)
