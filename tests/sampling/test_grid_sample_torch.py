"""The sampler against PyTorch: values and both gradients, in two and three dimensions."""

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
    grid_of,
    normalised,
    sampled,
    smooth_points,
)

import stn_np

torch = pytest.importorskip("torch")

#: PyTorch has no bicubic sampler of volumes.
KINDS = [(2, "nearest"), (2, "bilinear"), (2, "bicubic"), (3, "nearest"), (3, "bilinear")]
SIZES = {
    2: [(1, 1), (1, 6), (5, 1), (2, 3), (7, 4), (28, 28)],
    3: [(1, 1, 1), (1, 6, 2), (2, 3, 4), (7, 4, 5)],
}


def leaf(a: np.ndarray) -> Any:
    return torch.tensor(np.ascontiguousarray(a), requires_grad=True)


def torch_sample(
    U: np.ndarray, grid: np.ndarray, dV: np.ndarray, mode: str, padding: str, corners: bool
) -> list[np.ndarray]:
    """V, dU and dgrid by PyTorch; batch 1 is expanded, which it does not do by itself."""
    U, grid = leaf(U), leaf(grid)
    copies = [len(dV)] + [-1] * (U.ndim - 1)  # type: ignore[attr-defined]
    V = torch.nn.functional.grid_sample(
        U.expand(*copies), grid.expand(*copies), mode, padding, corners
    )
    V.backward(torch.tensor(np.ascontiguousarray(dV)))
    return [V.detach().numpy(), U.grad.numpy(), grid.grad.numpy()]


def check(
    xp: Any, U: np.ndarray, grid: np.ndarray, mode: str, padding: str, corners: bool, dV: Any = None
) -> None:
    if dV is None:
        dV = np.random.default_rng(7).normal(
            size=(max(len(U), len(grid)), U.shape[1], *grid.shape[1:-1])
        )
    dV = dV.astype(U.dtype, copy=False)
    got = sampled(xp, U, grid, dV, mode=mode, padding_mode=padding, align_corners=corners)
    wanted = torch_sample(U, grid, dV, mode, padding, corners)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        assert_close(ours, theirs, 3e-5 if U.dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dims", "mode"), KINDS)
def test_inside_and_far_outside(
    xp: Any, rng: Any, dims: int, mode: str, padding: str, corners: bool
) -> None:
    """Away from kinks and ties, where PyTorch's side of the step depends on its rounding."""
    for size, dtype in product(SIZES[dims], FLOATS):
        U = rng.normal(size=(3, 2, *size)).astype(dtype)
        points = smooth_points(rng, (3, *(2, 6, 5)[:dims]), size, corners)
        points += 2 * rng.integers(-1, 2, points.shape) * size[::-1]
        check(xp, U, grid_of(points, size, corners).astype(dtype), mode, padding, corners)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dims", "mode"), KINDS)
def test_on_the_lattice_and_on_the_frame(
    xp: Any, rng: Any, dims: int, mode: str, padding: str, dtype: Any
) -> None:
    """Pixel centres inside and outside, -1, 0 and +1; at these sizes nothing is rounded."""
    for *size, corners in (
        (5, 2, 3, True), (2, 5, 9, True), (3, 3, 17, True), (4, 2, 4, False), (2, 8, 4, False),
        (8, 1, 16, False),
    ):  # fmt: skip
        size = size[-dims:]
        axes = [normalised(np.arange(-2, n + 2), n, corners) for n in reversed(size)]
        if mode != "nearest":  # +-1 and 0 may be ties
            axes = [np.union1d(g, [-1.0, 0.0, 1.0]) for g in axes]
        grid = np.array(list(product(*axes)), dtype).reshape(1, *[1] * (dims - 1), -1, dims)
        U = rng.normal(size=(1, 2, *size)).astype(dtype)
        check(xp, U, grid, mode, padding, corners)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dims", "mode"), KINDS)
def test_batch_of_one(xp: Any, rng: Any, dims: int, mode: str, padding: str) -> None:
    size = (3, 5, 8)[-dims:]
    for N_U, N_grid, corners in ((1, 4, True), (4, 1, False), (1, 1, False)):
        points = smooth_points(rng, (N_grid, 2, 3, 4)[: dims + 1], size, corners)
        grid = grid_of(points, size, corners)
        check(xp, rng.normal(size=(N_U, 6, *size)), grid, mode, padding, corners)


@pytest.mark.parametrize(("dims", "mode"), KINDS)
@pytest.mark.parametrize(("N", "C", "row"), [(0, 2, 3), (2, 0, 3), (2, 2, 0), (0, 0, 0)])
def test_nothing_to_do(xp: Any, rng: Any, dims: int, mode: str, N: int, C: int, row: int) -> None:
    """Empty batches, no channels, and grids without points."""
    U = rng.normal(size=(N, C, *(3, 4, 5)[-dims:]))
    grid = rng.uniform(-1, 1, (N, *(2, 2, row)[-dims:], dims))
    for padding in PADDINGS:
        check(xp, U, grid, mode, padding, True)


def memory_orders(a: np.ndarray) -> list[np.ndarray]:
    """The same numbers, with axes in another order in memory, strided, and stored backwards."""
    strided = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    strided[..., ::2] = a
    backwards = np.flip(np.ascontiguousarray(np.flip(a)))
    return [np.asfortranarray(a), strided[..., ::2], backwards]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dims", "mode"), KINDS)
def test_any_memory_order(rng: Any, dims: int, mode: str, padding: str) -> None:
    size = (3, 5, 8)[-dims:]
    U = rng.normal(size=(2, 3, *size))
    grid = grid_of(smooth_points(rng, (2, 2, 3, 4)[: dims + 1], size, False), size, False)
    dV = rng.normal(size=(2, 3, *grid.shape[1:-1]))
    for U_view, grid_view, dV_view in zip(*map(memory_orders, (U, grid, dV)), strict=True):
        assert (U_view == U).all()
        assert U_view.strides != U.strides
        check(np, U_view, grid_view, mode, padding, False, dV_view)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dims", "mode"), KINDS)
def test_arrays_with_stride_zero(rng: Any, dims: int, mode: str, padding: str) -> None:
    """Images, grids and upstream gradients that were broadcast; nothing is written into them."""
    size, out = (3, 5, 8)[-dims:], (2, 3, 4)[-dims:]
    U = np.broadcast_to(rng.normal(size=(2, 1, *size[:-1], 1)), (2, 3, *size))
    point = grid_of(smooth_points(rng, (2,), size, False), size, False)
    grid = np.broadcast_to(point.reshape(2, *[1] * dims, dims), (2, *out, dims))
    dV = np.broadcast_to(rng.normal(size=(2, 3, *[1] * dims)), (2, 3, *out))
    before = U.copy(), grid.copy(), dV.copy()
    check(np, U, grid, mode, padding, False, dV)
    assert all((a == b).all() for a, b in zip((U, grid, dV), before, strict=True))


# --------------------------------------------------------- where we differ from PyTorch, on purpose


@pytest.mark.parametrize("dims", [2, 3])
def test_ties_go_up_and_not_to_the_even_pixel(xp: Any, dims: int) -> None:
    """floor(x + 1/2), as eq. (4) says; PyTorch rounds halves to even."""
    U = np.arange(5.0).reshape(1, 1, *[1] * (dims - 1), 5)
    points = np.zeros((1, *[1] * (dims - 1), 4, dims))
    points[..., 0] = [0.5, 1.5, 2.5, 3.5]
    grid = grid_of(points, U.shape[2:], True)
    V, _ = stn_np.grid_sample(xp.asarray(U), xp.asarray(grid), mode="nearest")
    theirs = torch.nn.functional.grid_sample(
        *map(torch.tensor, (U, grid)), "nearest", "zeros", True
    )
    assert_equal(V.ravel(), [1, 2, 3, 4])
    assert_equal(theirs.numpy().ravel(), [0, 2, 2, 4])


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_torch_loses_the_identity_and_we_do_not(xp: Any, rng: Any, mode: str) -> None:
    """In float32 PyTorch's identity misses some pixels to the left."""
    U = rng.normal(size=(1, 1, 28, 28)).astype(np.float32)
    theta = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
    grid = torch.nn.functional.affine_grid(torch.tensor(theta), (1, 1, 28, 28), True)
    theirs = torch.nn.functional.grid_sample(torch.tensor(U), grid, mode, align_corners=True)
    ours, _ = stn_np.grid_sample(
        xp.asarray(U), stn_np.affine_grid(xp.asarray(theta), (28, 28))[0], mode=mode
    )
    assert_equal(ours, U)
    assert (theirs.numpy() != U).any()
    assert_close(ours, theirs.numpy(), 1e-5)


def test_nan_is_padding_where_torch_spreads_it(xp: Any, rng: Any) -> None:
    U, grid = rng.normal(size=(1, 1, 4, 5)), np.full((1, 1, 1, 2), np.nan)
    for mode in ("bilinear", "bicubic"):
        assert np.isnan(torch_sample(U, grid, np.ones((1, 1, 1, 1)), mode, "zeros", True)[0]).all()
        V, dU, dgrid = sampled(xp, U, grid, np.ones((1, 1, 1, 1)), mode=mode)
        assert_equal(V, np.zeros((1, 1, 1, 1)))
        assert_equal(dU, np.zeros(U.shape))
        assert_equal(dgrid, np.zeros(grid.shape))
