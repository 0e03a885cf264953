"""What the tests of the distortions share: known random numbers, and pictures."""

from __future__ import annotations

import numpy as np


class Scripted(np.random.Generator):
    """A generator whose numbers are given: the tests know what was drawn."""

    def __init__(self, *draws):
        super().__init__(np.random.PCG64(0))
        self.draws = [np.asarray(d) for d in draws]

    def uniform(self, low=0.0, high=1.0, size=None):
        draw = self.draws.pop(0)
        assert np.all((low <= draw) & (draw <= high))
        return np.broadcast_to(draw, size).astype(float)

    def normal(self, loc=0.0, scale=1.0, size=None):
        return loc + scale * np.broadcast_to(self.draws.pop(0), size).astype(float)

    def integers(self, low, high=None, size=None):
        low, high = (0, low) if high is None else (low, high)
        draw = self.draws.pop(0)
        assert draw.dtype.kind == "i"
        assert np.all((low <= draw) & (draw < high))
        return np.broadcast_to(draw, size)


def pictures(n, size, seed=0):
    return np.random.default_rng(seed).random((n, 1, *size)).astype(np.float32)


def check_uniform(values, low, high):
    """All within the range, and each tenth of it is hit by about a tenth of them."""
    assert low - 1e-3 <= values.min()
    assert values.max() <= high + 1e-3
    share = np.histogram(values, 10, (low - 1e-3, high + 1e-3))[0] / len(values)
    assert np.all(np.abs(share - 0.1) < 0.02)
