"""The bilinear sampler against mathematics: tables, the literal loops, adjoints, differences."""

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
    assert_equal,
    grid_at,
)

import stn_np
from stn_np.sampling import sample_reference

# ------------------------------------------------------------------------------ worked out by hand

TABLE_U = np.array([[[[1.0, 2, 4], [3, 8, 16]]]])  # 2 rows, 3 columns
#                 x     y     V     dV/dx  dV/dy   in pixels, image continued by zeros
TABLE_INSIDE = [
    (0.5, 0.0, 1.5, 1.0, 4.0),
    (0.5, 0.5, 3.5, 3.0, 4.0),
    (1.25, 0.75, 8.125, 6.5, 7.5),
    (1.0, 0.0, 2.0, 2.0, 6.0),  # a lattice point: right derivatives
    (0.0, 0.0, 1.0, 1.0, 2.0),
]
TABLE_OUTSIDE = [
    (-0.25, 0.0, 0.75, 1.0, 1.5),
    (-1.0, 0.0, 0.0, 1.0, 0.0),  # just touches the image: the right derivative feels it
    (2.5, 1.0, 8.0, -16.0, -8.0),
    (2.0, 1.0, 16.0, -16.0, -16.0),
    (3.0, 1.0, 0.0, 0.0, 0.0),
    (0.5, -0.5, 0.75, 0.5, 1.5),
    (0.5, 1.5, 2.75, 2.5, -5.5),
    (-1.5, 0.5, 0.0, 0.0, 0.0),
    (9.0, 9.0, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("corners", CORNERS)
def test_table_inside(xp: Any, padding: str, corners: bool) -> None:
    table = TABLE_INSIDE if padding == "zeros" else TABLE_INSIDE[1:3]  # the others lie on a border
    check_table(xp, table, padding, corners)


@pytest.mark.parametrize("corners", CORNERS)
def test_table_outside_zeros(xp: Any, corners: bool) -> None:
    check_table(xp, TABLE_OUTSIDE, "zeros", corners)


@pytest.mark.parametrize("corners", CORNERS)
def test_table_outside_border(xp: Any, corners: bool) -> None:
    table = [
        (-0.25, 0.5, 2.0, 0.0, 2.0),
        (0.0, 0.5, 2.0, 0.0, 2.0),
        (2.0, 0.5, 10.0, 0.0, 12.0),
        (7.5, 0.5, 10.0, 0.0, 12.0),
        (0.5, 1.0, 5.5, 5.0, 0.0),
        (1.5, -3.0, 3.0, 2.0, 0.0),
        (-5.0, 5.0, 3.0, 0.0, 0.0),
    ]
    check_table(xp, table, "border", corners)


def test_table_outside_reflection(xp: Any) -> None:
    aligned = [  # mirrors at x = 0 and 2, y = 0 and 1
        (-0.25, 0.5, 2.75, -3.0, 3.0),  # as at x = 0.25: the slope turns round
        (2.5, 0.5, 7.5, -5.0, 9.0),  # as at 1.5
        (4.25, 0.5, 2.75, 3.0, 3.0),  # as at 0.25, after two mirrors
        (0.5, 1.25, 4.5, 4.0, -4.0),  # as at y = 0.75
        (0.5, -0.5, 3.5, 3.0, -4.0),
        (0.0, 0.5, 2.0, 0.0, 2.0),
        (4.0, 0.5, 2.0, 0.0, 2.0),
    ]
    check_table(xp, aligned, "reflection", True)
    centred = [  # mirrors at x = -0.5 and 2.5, y = -0.5 and 1.5
        (-0.75, 0.5, 2.0, 0.0, 2.0),  # as at -0.25, then the border
        (-1.25, 0.5, 2.75, -3.0, 3.0),  # as at 0.25
        (3.75, 0.5, 6.25, -5.0, 7.5),  # as at 1.25
        (6.25, 0.5, 2.75, 3.0, 3.0),  # as at -1.25 and 0.25
        (0.5, 2.75, 2.5, 2.0, -4.0),  # as at y = 0.25
        (0.5, -1.5, 3.5, 3.0, -4.0),  # as at y = 0.5
    ]
    check_table(xp, centred, "reflection", False)


def check_table(xp: Any, table: list[tuple[float, ...]], padding: str, corners: bool) -> None:
    x, y, V, dx, dy = np.array(table).T
    grid = grid_at(x, y, 2, 3, corners)
    out, backward = stn_np.grid_sample(
        xp.asarray(TABLE_U), xp.asarray(grid), padding_mode=padding, align_corners=corners
    )
    assert_close(out, V.reshape(1, 1, 1, -1), 1e-12)
    _, dgrid = backward(xp.full(out.shape, 2.0))
    scale_x, scale_y = (1.0, 0.5) if corners else (1.5, 1.0)
    expected = np.stack([2 * dx * scale_x, 2 * dy * scale_y], -1)
    assert_close(dgrid, expected.reshape(1, 1, -1, 2), 1e-12)


def test_image_gradient_by_hand(xp: Any) -> None:
    grid = grid_at([1.25, 1.0, -0.5], [0.75, 0.0, 1.0], 2, 3, True)
    _, backward = stn_np.grid_sample(xp.asarray(TABLE_U), xp.asarray(grid))
    dU, _ = backward(xp.asarray([[[[16.0, 1, 10]]]]))
    # 16 at (1.25, 0.75) is shared out 3/4 : 1/4 to the right, 1/4 : 3/4 downwards; 1 falls on
    # (1, 0); half of 10 falls on (0, 1), the other half outside.
    assert_close(dU, [[[[0, 3 + 1, 1], [5, 9, 3]]]], 1e-13)


# --------------------------------------------------------------------------------- known geometry


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (-2, 3), (4, -5), (9, 9)])
def test_integer_shifts(
    xp: Any, rng: Any, down: int, right: int, corners: bool, dtype: Any
) -> None:
    H, W = 7, 9
    U = rng.integers(1, 9, (1, 2, H, W)).astype(dtype)
    span_x, span_y = (W - 1, H - 1) if corners else (W, H)
    theta = np.array([[[1, 0, 2 * right / span_x], [0, 1, 2 * down / span_y]]], dtype)
    grid, _ = stn_np.affine_grid(xp.asarray(theta), (H, W), align_corners=corners)
    V, _ = stn_np.grid_sample(xp.asarray(U), grid, align_corners=corners)
    expected = np.zeros_like(U)
    for i, j in product(range(H), range(W)):
        if 0 <= i + down < H and 0 <= j + right < W:
            expected[:, :, i, j] = U[:, :, i + down, j + right]
    assert_close(V, expected, 4e-6 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_of_an_asymmetric_image(
    xp: Any, rng: Any, turns: int, padding: str, corners: bool, dtype: Any
) -> None:
    """Each turn reads along the other axis, so a confusion of x and y, H and W cannot hide."""
    U = rng.normal(size=(1, 2, 14, 23)).astype(dtype)
    c, s = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    theta = xp.asarray(np.array([[[c, s, 0], [-s, c, 0]]], dtype))
    out_shape = (14, 23) if turns == 2 else (23, 14)
    grid, _ = stn_np.affine_grid(theta, out_shape, align_corners=corners)
    V, backward = stn_np.grid_sample(
        xp.asarray(U), grid, padding_mode=padding, align_corners=corners
    )
    assert_equal(V, np.rot90(U, -turns, axes=(2, 3)))
    dV = rng.normal(size=V.shape).astype(dtype)
    assert_equal(backward(xp.asarray(dV))[0], np.rot90(dV, turns, axes=(2, 3)))


def test_a_linear_image_is_sampled_exactly_and_has_its_slopes(xp: Any, rng: Any) -> None:
    H, W = 6, 9
    rows, cols = np.mgrid[:H, :W]
    U = (3.0 * cols - 2.0 * rows + 5)[None, None]
    x, y = rng.uniform(0.5, W - 1.5, 40), rng.uniform(0.5, H - 1.5, 40)
    V, backward = stn_np.grid_sample(xp.asarray(U), xp.asarray(grid_at(x, y, H, W, True)))
    assert_close(V, (3 * x - 2 * y + 5).reshape(1, 1, 1, -1), 1e-13)
    _, dgrid = backward(xp.ones(V.shape))
    assert_close(dgrid[0, 0], np.tile([3 * (W - 1) / 2, -2 * (H - 1) / 2], (40, 1)), 1e-12)


def test_channels_share_the_grid_and_images_do_not(xp: Any, rng: Any) -> None:
    U = rng.normal(size=(3, 4, 5, 6))
    grid = rng.uniform(-1.3, 1.3, (3, 2, 7, 2))
    dV = rng.normal(size=(3, 4, 2, 7))
    V, backward = stn_np.grid_sample(xp.asarray(U), xp.asarray(grid))
    dU, dgrid = backward(xp.asarray(dV))
    total = np.zeros(grid.shape)
    for n, c in product(range(3), range(4)):
        one = U[n : n + 1, c : c + 1], grid[n : n + 1], dV[n : n + 1, c : c + 1]
        V_nc, backward_nc = stn_np.grid_sample(*map(xp.asarray, one[:2]))
        dU_nc, dgrid_nc = backward_nc(xp.asarray(one[2]))
        assert_equal(V[n : n + 1, c : c + 1], V_nc)
        assert_equal(dU[n : n + 1, c : c + 1], dU_nc)
        total[n] += stn_np.backend.to_numpy(dgrid_nc)[0]
    assert_close(dgrid, total, 1e-13)


@pytest.mark.parametrize("U_dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("grid_dtype", [np.float16, np.float32, np.float64])
def test_dtypes_may_differ_and_are_kept(xp: Any, rng: Any, U_dtype: Any, grid_dtype: Any) -> None:
    U = rng.uniform(-1, 1, (2, 2, 5, 6)).astype(U_dtype)
    grid = rng.uniform(-1.5, 1.5, (2, 3, 4, 2)).astype(grid_dtype)
    dV = rng.uniform(-1, 1, (2, 2, 3, 4)).astype(U_dtype)
    V, backward = stn_np.grid_sample(xp.asarray(U), xp.asarray(grid))
    dU, dgrid = backward(xp.asarray(dV))
    assert (V.dtype, dU.dtype, dgrid.dtype) == (U_dtype, U_dtype, grid_dtype)
    exact = (a.astype(np.float64) for a in (U, grid, dV))
    expected = sample_reference(*exact)
    image = {np.float16: 2e-3, np.float32: 1e-5, np.float64: 1e-5}[U_dtype]
    points = 2e-3 if np.float16 in (grid_dtype,) else 2e-5
    if U_dtype == grid_dtype == np.float64:
        image = points = 1e-12
    assert_close(V, expected[0], image)
    assert_close(dU, expected[1], image)
    assert_close(dgrid, expected[2], points)


def test_float16_images_are_read_at_float32_coordinates(xp: Any) -> None:
    """Float16 knows positions on 1024 pixels to half a pixel only."""
    U = np.zeros((1, 1, 1, 1024), np.float16)
    U[..., 700] = 1
    x = np.array([699.75, 700.0, 700.25])
    V, _ = stn_np.grid_sample(
        xp.asarray(U), xp.asarray(grid_at(x, 0, 1, 1024, True).astype(np.float32))
    )
    assert_close(V, [[[[0.75, 1.0, 0.75]]]], 1e-3)


# ------------------------------------------------------------------------- sizes beyond 32 bits


@pytest.mark.parametrize(
    "U_shape",
    [
        (2, 3, 50_000, 60_000),  # one plane alone has more than 2^31 pixels
        (700, 1, 2000, 2000),  # all images together have
        (4, 400, 2000, 2000),  # because of the channels
        (500, 1, 2000, 2050),  # just below
    ],
)
def test_indexes_of_images_too_large_to_allocate(U_shape: tuple[int, ...]) -> None:
    """Only where they would be read is computed: at the last pixel of the first and last image."""
    from stn_np.sampling.bilinear import PAD, from_grid, locate
    from stn_np.sampling.blocks import channel_index
    from stn_np.sampling.rules import Rules

    N, C, H, W = U_shape
    W_p, plane = W + 2 * PAD, (H + 2 * PAD) * (W + 2 * PAD)
    grid = np.tile(grid_at([W - 1.0], [H - 1.0], H, W, True), (N, 1, 1, 1))
    U = np.broadcast_to(np.float32(0), U_shape)
    points = locate(U_shape, from_grid(U, grid, N, Rules()), N).at((slice(0, N), slice(0, 1)))
    last = (H - 1 + PAD) * W_p + W - 1 + PAD
    assert points.corner.dtype == np.int64
    assert_equal(points.corner[:: N - 1, 0], [last, (N - 1) * C * plane + last])
    start, index = channel_index(points.corner, slice(C - 1, C), plane)
    assert index.dtype == np.int64
    assert_equal(
        start + index[:: N - 1, 0, 0], [(C - 1) * plane + last, (N * C - 1) * plane + last]
    )
