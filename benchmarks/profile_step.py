"""Where the time of a training step goes: each layer's forward and backward pass, in milliseconds.

One thread and 128 images of 28x28, which is one of the two parts that a batch of 256 is cut into.
`benchmarks/all.py` runs it with version 0.1 of the package as well, for the columns "before": so
it uses only what both versions have.
Run:  python benchmarks/profile_step.py
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from side_by_side import arguments, report
from speed_tables import Row
from threadpoolctl import threadpool_limits

from stn_np import models
from stn_np.layers import Module, cross_entropy
from stn_np.training.optimizers import SGD

BATCH, LR = 128, 1e-3

#: Seconds by (layer, way).
Times = defaultdict[tuple[str, str], float]


def timed(call: Callable[..., Any], key: tuple[str, str], times: Times) -> Callable[..., Any]:
    """The same callable; it adds to the seconds of a layer."""

    def measured(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = call(*args, **kwargs)
        times[key] += time.perf_counter() - start
        return result

    return measured


class Timed(Module):
    """A layer that measures its forward pass and its pullback."""

    def __init__(self, layer: Module, name: str, times: Times) -> None:
        self.layer, self.name, self.times = layer, name, times

    def __call__(self, x: Any, *, needs_dx: bool = True) -> Any:
        """As the layer's."""
        y, backward = timed(self.layer, (self.name, "forward"), self.times)(x, needs_dx=needs_dx)
        return y, timed(backward, (self.name, "backward"), self.times)


def wrap(net: Any, prefix: str, times: Times) -> None:
    """Put a `Timed` in place of each layer; inside the transformer of its localisation's too."""
    for name in net.names:
        layer = getattr(net, name)
        if hasattr(layer, "localisation"):
            wrap(layer.localisation, "localisation.", times)
        setattr(net, name, Timed(layer, prefix + name, times))


def one_step(model: Any, optimizer: SGD, x: np.ndarray, labels: np.ndarray, times: Times) -> None:
    """Forward, loss, backward, update, as every version of the library is trained."""
    start = time.perf_counter()
    model.zero_grad()
    logits, backward = model(x, needs_dx=False)
    _, loss_backward = timed(cross_entropy, ("loss", "forward"), times)(logits, labels)
    backward(timed(loss_backward, ("loss", "backward"), times)())
    timed(optimizer.step, ("update", "both"), times)(LR)
    times["whole step", "both"] = time.perf_counter() - start


def profile(filters: int, rounds: int) -> dict[tuple[str, str], float]:
    """Median seconds of a step by (layer, way)."""
    rng = np.random.default_rng(0)
    x = rng.random((BATCH, 1, 28, 28), dtype=np.float32)
    labels = rng.integers(0, 10, BATCH)
    model, times = models.build("st-cnn", filters=filters), Times(float)
    optimizer = SGD(model, momentum=0.9)
    wrap(model, "", times)
    steps = []
    for _ in range(rounds + 2):
        times.clear()
        one_step(model, optimizer, x, labels, times)
        inside = ("whole step", "update")
        for way in ("forward", "backward"):  # the transformer's own time is without its net's
            net = [t for (name, w), t in times.items() if w == way and "localisation." in name]
            times["transformer", way] -= sum(net)
        layers = sum(t for (name, _), t in times.items() if name not in inside)
        whole, update = times["whole step", "both"], times["update", "both"]
        times["rest", "both"] = whole - update - layers
        steps.append(dict(times))
    return {key: median(step[key] for step in steps[2:]) for key in steps[0]}


def rows(rounds: int) -> list[Row]:
    """A row a layer, in the order of the forward pass, for both widths."""
    found: list[Row] = []
    with threadpool_limits(1):
        for filters in (32, 64):
            times = profile(filters, rounds)
            last = ("update", "rest", "whole step")
            layers = dict.fromkeys(name for name, _ in times if name not in last)
            for name in (*layers, *last):
                ways = {way: 1e3 * t for (of, way), t in times.items() if of == name}
                both = sum(ways.values())
                row: Row = {"version": "after", "filters": filters, "layer": name}
                row |= {f"{way}_ms": ways.get(way) for way in ("forward", "backward")}
                share = both / (1e3 * times["whole step", "both"])
                found.append({**row, "both_ms": both, "share": share})
    return found


def main() -> None:
    """Print the tables."""
    report("profile", rows, arguments(__doc__, rounds=31))


if __name__ == "__main__":
    main()
