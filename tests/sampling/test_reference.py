"""`sample_reference`, eqs (3) to (7) as loops in the library, against the sampler."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from oracles import (
    CORNERS,
    FLOATS,
    PADDINGS,
    assert_close,
    awkward_grid,
    tolerance_of,
)

import stn_np
from stn_np.sampling import sample_reference

MODES = [pytest.param(p, c, id=f"{p}-{'aligned' if c else 'centred'}")
         for p, c in product(PADDINGS, CORNERS)]  # fmt: skip
SIZES = [(1, 4), (3, 1), (3, 5)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("padding", "corners"), MODES)
@pytest.mark.parametrize(("H", "W"), SIZES)
def test_the_reference_says_the_same(
    rng: Any, H: int, W: int, padding: str, corners: bool, dtype: Any
) -> None:
    grid = awkward_grid(rng, 2, H, W, corners)
    U, dV = rng.uniform(-1, 1, (2, 3, H, W)), rng.uniform(-1, 1, (2, 3, *grid.shape[1:3]))
    if dtype == np.float32:  # multiples of 1/256 off the lattice, and the corners: exact in float32
        grid = np.round(grid * 64) / 64 + np.where(np.abs(grid) == 1, 0, 1 / 256)
        grid = grid.astype(dtype)
    else:
        grid = onto_lattice(grid, H, W, corners)
    U, dV = U.astype(dtype), dV.astype(dtype)
    V, backward = stn_np.grid_sample(U, grid, padding_mode=padding, align_corners=corners)
    dU, dgrid = backward(dV)
    expected = sample_reference(U, grid, dV, padding_mode=padding, align_corners=corners)
    tolerance = tolerance_of(dtype, 3e-5, 1e-12)
    for actual, wanted in zip((V, dU, dgrid), expected, strict=True):
        assert_close(actual, wanted, tolerance)


def onto_lattice(grid: np.ndarray, H: int, W: int, corners: bool) -> np.ndarray:
    """Nudge points meant to lie on the lattice so that the literal loops, too, find them on it.

    The library rounds pixel coordinates, the loops do not: a point that the loops see a rounding
    error to the left of its pixel has another one-sided derivative there.
    """
    out = grid.copy()
    for k, n in enumerate((W, H)):
        slope, centre = ((n - 1) / 2 if corners else n / 2), (n - 1) / 2
        if slope == 0:
            continue
        g = out[..., k]
        for step in (0, 1, -1, 2, -2, 3, -3):
            near = g + step * np.spacing(np.abs(g))
            pixel = near * slope + centre
            off = g * slope + centre
            fix = (np.abs(off - np.round(off)) < 1e-9) & (off != np.round(off))
            g = np.where(fix & (pixel == np.round(pixel)), near, g)
        out[..., k] = g
    return out
