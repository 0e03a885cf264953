"""Under the identity grid the named modes give the image back bit for bit."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from oracles import CORNERS, EVERY_PADDING, FLOATS, assert_equal, grid_of, padded, sampled

NAMES = ["nearest", "bilinear", "bicubic"]


def pixels(size: tuple[int, ...]) -> np.ndarray:
    """Where the pixels of an image are, (1, [D,] H, W, 2 or 3)."""
    return np.stack(np.meshgrid(*map(np.arange, size), indexing="ij")[::-1], -1)[None]


def check(
    xp: Any, rng: Any, size: tuple[int, ...], mode: str, padding: str, corners: bool, dtype: Any
) -> None:
    """V is U, and dU is dV."""
    U, dV = (rng.normal(size=(1, 2, *size)).astype(dtype) for _ in range(2))
    # Coordinates are computed in float32 for images of float16 too.
    grid = grid_of(pixels(size), size, corners).astype(np.promote_types(dtype, np.float32))
    V, dU, _ = sampled(
        xp, U, grid, dV, mode=mode, align_corners=corners, needs_dgrid=False, **padded(padding)
    )
    assert V.dtype == dU.dtype == dtype
    assert_equal(V, U)
    assert_equal(dU, dV)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", EVERY_PADDING)
@pytest.mark.parametrize("mode", NAMES)
def test_every_padding(xp: Any, rng: Any, mode: str, padding: str, corners: bool) -> None:
    sizes = [(1, 1), (1, 5), (5, 1), (28, 42), (64, 23), (3, 250),
             (1, 1, 1), (2, 1, 7), (1, 6, 1), (5, 14, 23), (28, 3, 9)]  # fmt: skip
    for size, dtype in product(sizes, (np.float16, *FLOATS)):
        check(xp, rng, size, mode, padding, corners, dtype)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("mode", NAMES)
def test_every_size_up_to_130(xp: Any, rng: Any, mode: str, corners: bool) -> None:
    """In float32, along x, y and z."""
    for n in range(1, 131):
        for size in ((1, n), (n, 1), (n, 1, 1)):
            check(xp, rng, size, mode, "zeros", corners, np.float32)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("mode", NAMES)
@pytest.mark.parametrize("n", [511, 1023, 1025, 4099, 65_537])
def test_large_sizes(xp: Any, rng: Any, n: int, mode: str, corners: bool) -> None:
    for padding in ("border", "wrap"):
        check(xp, rng, (1, n), mode, padding, corners, np.float32)
        check(xp, rng, (n, 1, 1), mode, padding, corners, np.float32)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("mode", NAMES)
@pytest.mark.parametrize(
    ("order", "flipped"), [((0, 2, 1), ()), ((2, 1, 0), (0,)), ((1, 2, 0), (1, 2))]
)
def test_turned_and_flipped_volumes(
    xp: Any, rng: Any, order: tuple[int, ...], flipped: Any, mode: str, corners: bool, dtype: Any
) -> None:
    """No two axes of one length, so that a confusion of x, y and z cannot hide."""
    size = (6, 11, 8)
    U = rng.normal(size=(1, 2, *size)).astype(dtype)
    turned = np.flip(np.transpose(pixels(size)[0], (*order, 3)), flipped)[None]
    grid = grid_of(turned, size, corners).astype(dtype)
    expected = np.flip(np.transpose(U, (0, 1, *(2 + axis for axis in order))),
                       [2 + axis for axis in flipped])  # fmt: skip
    for padding in EVERY_PADDING:
        V, dU, _ = sampled(
            xp, U, grid, expected, mode=mode, align_corners=corners, **padded(padding)
        )
        assert_equal(V, expected)
        assert_equal(dU, U)
