"""Every layer against central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import central_slope, inner, unit_direction

from stn_np import layers

SMOOTH: list[tuple[str, Any, tuple[tuple[int, ...], ...]]] = [
    ("conv2d", layers.conv2d, ((2, 3, 6, 5), (4, 3, 3, 2), (4,))),
    ("linear", layers.linear, ((3, 5), (4, 5), (4,))),
    ("relu", lambda x: layers.relu(x), ((3, 4, 5),)),
    ("max", lambda x: layers.max_pool2d(x, 3, 2, ceil_mode=True), ((2, 2, 6, 7),)),
    ("avg", lambda x: layers.avg_pool2d(x, 3, 2, ceil_mode=True), ((2, 2, 6, 7),)),
    ("cross-entropy", lambda z: layers.cross_entropy(z, np.array([2, 0, 1])), ((3, 4),)),
]


@pytest.mark.parametrize(("f", "shapes"), [c[1:] for c in SMOOTH], ids=[c[0] for c in SMOOTH])
def test_central_differences(rng: Any, f: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    inputs = []
    for shape in shapes:  # all numbers 0.01 or more apart, and none near 0: no kink within reach
        n = int(np.prod(shape))
        numbers = (rng.permutation(n) - n // 2 + 0.5) / max(100, n) * 2
        inputs.append(numbers.reshape(shape))
    y, backward = f(*inputs)
    g = float(rng.normal()) if y.shape == () else rng.normal(size=y.shape)
    dx = backward(g)
    for k, d in enumerate(dx if isinstance(dx, tuple) else (dx,)):
        v = unit_direction(rng, inputs[k].shape)

        def value(x: np.ndarray, k: int = k) -> float:
            return float((f(*inputs[:k], x, *inputs[k + 1 :])[0] * g).sum())

        assert inner(d, v) == pytest.approx(central_slope(value, inputs[k], v), rel=1e-8, abs=1e-8)
