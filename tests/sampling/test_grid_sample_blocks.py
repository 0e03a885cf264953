"""Images, channels and grids too many for one pass on the CPU: the whole equals the parts."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from oracles import assert_close, assert_equal, sampled

from stn_np.backend import to_numpy
from stn_np.sampling.blocks import BLOCK, groups_of, point_blocks

#: Of the image, and of the grid's points; in the order in which the sampler's blocks give out.
LARGE = [
    ((1, 1, 9, 11), (360, 370)),  # more points than a block in one image
    ((2500, 1, 3, 4), (7, 9)),  # many images in a block, and more than one block
    ((3, 250, 5, 4), (19, 29)),  # more channels than fit with so many points
    ((1, 140_000, 1, 2), (1, 1)),  # more channels than a block
    ((2, 3, 4, 6, 5), (30, 40, 60)),
    ((4000, 2, 2, 3, 4), (3, 3, 4)),
]


@pytest.mark.parametrize(
    ("mode", "padding"), [("nearest", "border"), ("bilinear", "zeros"), ("bilinear", "wrap")]
)
@pytest.mark.parametrize(("U_shape", "out"), LARGE)
def test_results_do_not_depend_on_the_blocks(
    rng: Any, U_shape: tuple[int, ...], out: tuple[int, ...], mode: str, padding: str
) -> None:
    N, C = U_shape[:2]
    U, grid = rng.normal(size=U_shape), rng.uniform(-1.5, 1.5, (N, *out, len(out)))
    dV, options = rng.normal(size=(N, C, *out)), {"mode": mode, "padding_mode": padding}
    V, dU, dgrid = sampled(np, U, grid, dV, **options)
    dU_sum, dgrid_sum = np.zeros(U.shape), np.zeros(grid.shape)
    images = [slice(0, N // 2), slice(N // 2, N - 1), slice(N - 1, N)]
    channels = [slice(0, C // 2), slice(C // 2, C)]
    rows = [slice(0, 1), slice(1, out[0] // 2), slice(max(1, out[0] // 2), None)]
    for n, c, i in product(images, channels, rows):
        V_part, dU_part, dgrid_part = sampled(np, U[n, c], grid[n, i], dV[n, c, i], **options)
        assert_equal(V[n, c, i], V_part)
        dU_sum[n, c] += to_numpy(dU_part)
        dgrid_sum[n, i] += to_numpy(dgrid_part)
    assert_close(dU, dU_sum, 1e-12)
    assert_close(dgrid, dgrid_sum, 1e-12)


@pytest.mark.parametrize(("mode", "padding"), [("bilinear", "border"), ("bicubic", "wrap")])
@pytest.mark.parametrize("shared", ["U", "grid"])
def test_sharing_across_blocks(rng: Any, shared: str, mode: str, padding: str) -> None:
    U, grid = rng.normal(size=(3400, 2, 3, 4)), rng.uniform(-1.5, 1.5, (3400, 6, 7, 2))
    dV, options = rng.normal(size=(3400, 2, 6, 7)), {"mode": mode, "padding_mode": padding}
    one_U, one_grid = (U[:1], grid) if shared == "U" else (U, grid[:1])
    copies = np.broadcast_to(one_U, U.shape), np.broadcast_to(one_grid, grid.shape)
    V, *gradients = sampled(np, one_U, one_grid, dV, **options)
    V_copies, *of_copies = sampled(np, *copies, dV, **options)
    assert_equal(V, V_copies)
    for got, wanted in zip(gradients, of_copies, strict=True):
        summed = wanted if got.shape == wanted.shape else wanted.sum(0, keepdims=True)
        assert_close(got, summed, 1e-12)


def test_what_gives_to_the_same_pixels_is_work_for_one_thread() -> None:
    blocks = [(slice(0, 2), slice(0, 5)), (slice(2, 4), slice(0, 5)), (slice(0, 2), slice(5, 9))]
    assert groups_of(blocks, True) == [[0, 2], [1]]  # each image has its own pixels
    assert groups_of(blocks, False) == [[0, 1, 2]]  # one image for all
    assert groups_of(blocks, None) == [[0], [1], [2]]  # nothing is given


@pytest.mark.parametrize(
    ("N", "points", "C", "step"), [(300, 784, 1, 1), (1, 10**6, 3, 1000), (5, 70_000, 8, 350)]
)
def test_blocks_hold_every_point_once(N: int, points: int, C: int, step: int) -> None:
    seen = np.zeros((N, points), int)
    blocks = point_blocks(N, points, C, step)
    for images, columns in blocks:
        seen[images, columns] += 1
        assert columns.start % step == 0
        assert (images.stop - images.start) * (columns.stop - columns.start) <= BLOCK
    assert (seen == 1).all()
    assert len(blocks) > 1
