"""Both ways of a convolution against each other, and which one the library's rule takes.

Forward and backward, float32, one thread. The table counts how often the rule is wrong: the other
way would have taken less than 1 / 1.1 of the time. ``--each``: one line a shape.
Run:  python benchmarks/convolution.py
"""

from __future__ import annotations

from itertools import product

import numpy as np
from side_by_side import arguments, medians, report
from speed_tables import Row

from stn_np.layers.convolution import direct
from stn_np.layers.convolution_spectral import pays, spectral
from stn_np.threads import one_blas_thread

#: Batch; (channels, filters); side of the kernels; side of the maps.
BATCHES = (64, 256)
WIDTHS = ((1, 64), (8, 8), (20, 20), (32, 32), (64, 64), (64, 128))
KERNELS = (3, 5, 7, 9)
MAPS = (8, 10, 12, 16, 20)


def compare(N: int, C: int, F: int, k: int, side: int, rounds: int) -> Row:
    """Milliseconds of both ways, and the rule's choice."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((side, C, side, N), dtype=np.float32)
    weight = rng.standard_normal((F, C, k, k), dtype=np.float32)
    bias = np.zeros(F, np.float32)
    dy = rng.standard_normal((side - k + 1, F, side - k + 1, N), dtype=np.float32)
    sides = {
        "direct": lambda: direct(rows, weight, bias, (1, 1), needs_dx=True)[1](dy),
        "spectral": lambda: spectral(rows, weight, bias, needs_dx=True)[1](dy),
    }
    seconds = medians(sides, rounds)
    taken = "spectral" if pays(side, side, N, weight) else "direct"
    return {
        "batch": N,
        "channels": f"{C} to {F}",
        "kernel": f"{k}×{k}",
        "maps": f"{side}×{side}",
        **{f"{name}_ms": 1e3 * t for name, t in seconds.items()},
        "ratio": seconds["spectral"] / seconds["direct"],
        "taken": taken,
        "wrong": seconds[taken] > 1.1 * min(seconds.values()),
    }


def rows(rounds: int) -> list[Row]:
    """All shapes whose arrays are of a size that training has."""
    found = []
    with one_blas_thread():
        for N, (C, F), k, side in product(BATCHES, WIDTHS, KERNELS, MAPS):
            if side > k + 1 and side * side * max(C, F) * N <= 4e6:
                found.append(compare(N, C, F, k, side, rounds))
    return found


def main() -> None:
    """Print the table."""
    options = arguments(__doc__, rounds=7, each="one line a shape")
    report("each-convolution" if options.each else "convolution", rows, options)


if __name__ == "__main__":
    main()
