"""Both gradients of every kernel, padding and corner rule, by mathematics, in 2-D and 3-D."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from libraries import every_kernel, with_kernels
from oracles import (
    CORNERS,
    EVERY_PADDING,
    SIZES,
    assert_close,
    assert_equal,
    central_slope,
    grid_of,
    inner,
    padded,
    right_slope,
    sampled,
    smooth_points,
    unit_direction,
    value,
)

import stn_np
from stn_np.backend import to_numpy

every_padding = pytest.mark.parametrize("padding", EVERY_PADDING)
both_corners = pytest.mark.parametrize("corners", CORNERS)
both_dims = pytest.mark.parametrize("dims", [2, 3])

OUT = {2: (3, 2), 3: (2, 1, 3)}


def half_pixels(rng: np.random.Generator, shape: tuple[int, ...], size: Any) -> np.ndarray:
    """Points (*shape, 2 or 3) on whole and half pixels, where kernels have their kinks."""
    axes = [rng.integers(-4, 2 * n + 3, shape) / 2 for n in reversed(size)]
    return np.stack(axes, -1)


@every_kernel
@every_padding
@both_corners
@both_dims
def test_image_pullback_is_the_transpose(
    xp: Any, rng: Any, mode: Any, padding: str, corners: bool, dims: int
) -> None:
    """<S(U) - S(0), g> = <U, S^T g>, at kinks as well; S(0) is not 0 where a constant lies."""
    size, options = SIZES[dims], {"mode": mode, "align_corners": corners, **padded(padding)}
    U, g = rng.normal(size=(2, 3, *size)), rng.normal(size=(2, 3, *OUT[dims]))
    for points in (
        half_pixels(rng, (2, *OUT[dims]), size),
        smooth_points(rng, (2, *OUT[dims]), size, corners),
    ):
        grid = grid_of(points, size, corners)
        V, dU, _ = sampled(xp, U, grid, g, **options)
        V_of_nothing = value(xp, 0 * U, grid, **options)
        assert inner(V, g) - inner(V_of_nothing, g) == pytest.approx(
            inner(U, dU), rel=1e-12, abs=1e-12
        )


@every_kernel
@every_padding
@both_corners
@both_dims
def test_central_differences(
    xp: Any, rng: Any, mode: Any, padding: str, corners: bool, dims: int
) -> None:
    size, options = SIZES[dims], {"mode": mode, "align_corners": corners, **padded(padding)}
    U, g = rng.normal(size=(2, 2, *size)), rng.normal(size=(2, 2, *OUT[dims]))
    grid = grid_of(smooth_points(rng, (2, *OUT[dims]), size, corners), size, corners)
    _, dU, dgrid = sampled(xp, U, grid, g, **options)
    v = unit_direction(rng, U.shape)
    slope = central_slope(lambda U: inner(value(xp, U, grid, **options), g), U, v)
    assert inner(dU, v) == pytest.approx(slope, rel=1e-8, abs=1e-8)
    for _ in range(2):
        v = unit_direction(rng, grid.shape)
        slope = central_slope(lambda grid: inner(value(xp, U, grid, **options), g), grid, v)
        assert inner(dgrid, v) == pytest.approx(slope, rel=1e-7, abs=1e-7)


@every_kernel
@pytest.mark.parametrize("padding", ["zeros", "constant", "wrap"])
@both_corners
@both_dims
def test_right_derivative_at_whole_and_half_pixels(
    xp: Any, rng: Any, mode: Any, padding: str, corners: bool, dims: int
) -> None:
    size, options = SIZES[dims], {"mode": mode, "align_corners": corners, **padded(padding)}
    U, one = rng.normal(size=(1, 1, *size)), np.ones((1, 1, *[1] * (dims - 1), 40))
    grid = grid_of(half_pixels(rng, one.shape[1:], size), size, corners)
    _, _, dgrid = sampled(xp, U, grid, one, **options)
    for axis in range(dims):
        to_the_right = np.zeros(grid.shape)
        to_the_right[..., axis] = 1
        expected = right_slope(
            lambda grid: np.asarray(to_numpy(value(xp, U, grid, **options))),
            grid, to_the_right,
        )  # fmt: skip
        assert_close(dgrid[..., axis], expected[0], 1e-5)


@with_kernels("bicubic", "lanczos", "lopsided")
@every_padding
@both_dims
def test_smooth_kernels_have_no_kinks(
    xp: Any, rng: Any, mode: Any, padding: str, dims: int
) -> None:
    """At whole pixels, those on the border too, the left slope is the right one and is dgrid."""
    size, options = SIZES[dims], {"mode": mode, **padded(padding)}
    U, one = rng.normal(size=(1, 1, *size)), np.ones((1, 1, *[1] * (dims - 1), 40))
    points = np.stack([rng.integers(-1, n + 1, one.shape[1:]) for n in reversed(size)], -1)
    grid = grid_of(points, size, True)
    _, _, dgrid = sampled(xp, U, grid, one, **options)
    for axis, sign in product(range(dims), (1, -1)):
        direction = np.zeros(grid.shape)
        direction[..., axis] = sign
        slope = right_slope(
            lambda grid: np.asarray(to_numpy(value(xp, U, grid, **options))),
            grid, direction,
        )  # fmt: skip
        assert_close(dgrid[..., axis], sign * slope[0], 1e-5)


@every_padding
@both_dims
def test_nearest_gives_the_grid_exact_zeros(xp: Any, rng: Any, padding: str, dims: int) -> None:
    U, grid = rng.normal(size=(2, 3, *SIZES[dims])), rng.uniform(-2, 2, (2, *OUT[dims], dims))
    dV = rng.normal(size=(2, 3, *OUT[dims]))
    _, _, dgrid = sampled(xp, U, grid.astype(np.float32), dV, mode="nearest", **padded(padding))
    assert_equal(dgrid, np.zeros(grid.shape, np.float32))
    assert dgrid.dtype == np.float32
    _, _, dgrid = sampled(xp, np.full_like(U, np.inf), grid, dV, mode="nearest", **padded(padding))
    assert_equal(dgrid, np.zeros(grid.shape))


@every_kernel
@every_padding
@both_dims
def test_gradients_not_asked_for_are_none(
    xp: Any, rng: Any, mode: Any, padding: str, dims: int
) -> None:
    U, grid = rng.normal(size=(2, 3, *SIZES[dims])), rng.uniform(-2, 2, (2, *OUT[dims], dims))
    dV, options = rng.normal(size=(2, 3, *OUT[dims])), {"mode": mode, **padded(padding)}
    V, dU, dgrid = sampled(xp, U, grid, dV, **options)
    for needs_dU, needs_dgrid in product((True, False), repeat=2):
        again = sampled(
            xp, U, grid, dV, needs_dU=needs_dU, needs_dgrid=needs_dgrid, **options
        )  # fmt: skip
        assert_equal(again[0], V)
        for needed, got, full in zip((needs_dU, needs_dgrid), again[1:], (dU, dgrid), strict=True):
            if needed:
                assert_equal(got, full)
            else:
                assert got is None


@every_kernel
@every_padding
@both_dims
def test_one_image_many_grids_and_many_images_one_grid(
    xp: Any, rng: Any, mode: Any, padding: str, dims: int
) -> None:
    """Batch 1 stands for as many copies as are needed, and their gradients add up."""
    U, grid = rng.normal(size=(4, 2, *SIZES[dims])), rng.uniform(-2, 2, (4, *OUT[dims], dims))
    dV, options = rng.normal(size=(4, 2, *OUT[dims])), {"mode": mode, **padded(padding)}
    for U_few, grid_few in ((U[:1], grid), (U, grid[:1])):
        copies = np.broadcast_to(U_few, U.shape), np.broadcast_to(grid_few, grid.shape)
        few = sampled(xp, U_few, grid_few, dV, **options)
        many = sampled(xp, *copies, dV, **options)
        assert_equal(few[0], many[0])
        for got, wanted in zip(few[1:], many[1:], strict=True):
            summed = wanted if got.shape == wanted.shape else wanted.sum(0, keepdims=True)
            assert_close(got, summed, 1e-13)


@every_kernel
@both_dims
def test_a_pullback_may_be_used_twice_and_keeps_its_own_numbers(
    xp: Any, rng: Any, mode: Any, dims: int
) -> None:
    """Two forwards, then both backwards, one twice; the caller's arrays stay as they are."""
    grid = xp.asarray(rng.uniform(-1.5, 1.5, (2, *OUT[dims], dims)))
    U = [xp.asarray(rng.normal(size=(2, 3, *SIZES[dims]))) for _ in range(2)]
    dV = xp.asarray(rng.normal(size=(2, 3, *OUT[dims])))
    before = [to_numpy(a).copy() for a in (*U, grid, dV)]
    (_, first), (_, second) = (stn_np.grid_sample(image, grid, mode=mode) for image in U)
    got = [first(dV), second(dV), first(dV)]
    for a, b in zip((*U, grid, dV), before, strict=True):
        assert_equal(a, b)
    for gradients, image in zip(got, (U[0], U[1], U[0]), strict=True):
        alone = stn_np.grid_sample(image, grid, mode=mode)[1](dV)
        for a, b in zip(gradients, alone, strict=True):
            assert_equal(a, b)
