"""The grid generator and the sampler against SciPy and PyTorch."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from oracles import CORNERS, FLOATS, PADDINGS, assert_close, grid_at, normalised, smooth_grid

import stn_np

SIZES = [(1, 1), (1, 6), (5, 1), (2, 3), (7, 4), (28, 28), (13, 42)]
SCIPY_MODE = {
    ("zeros", True): "grid-constant",
    ("zeros", False): "grid-constant",
    ("border", True): "nearest",
    ("border", False): "nearest",
    ("reflection", True): "mirror",
    ("reflection", False): "reflect",
}


@pytest.mark.parametrize(("padding", "corners"), SCIPY_MODE)
@pytest.mark.parametrize(("H", "W"), SIZES[3:])
def test_scipy(xp: Any, rng: Any, H: int, W: int, padding: str, corners: bool) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    U = rng.normal(size=(1, 2, H, W))
    random = rng.uniform(-3, 3, (2, 60)) * [[W], [H]]
    lattice = np.array(list(product(np.arange(-2.0, W + 2), np.arange(-2.0, H + 2)))).T
    x, y = np.concatenate([random, lattice], axis=1)
    V, _ = stn_np.grid_sample(
        xp.asarray(U), xp.asarray(grid_at(x, y, H, W, corners)),
        padding_mode=padding, align_corners=corners,
    )  # fmt: skip
    mode = SCIPY_MODE[padding, corners]
    for c in range(2):
        expected = ndimage.map_coordinates(U[0, c], [y, x], order=1, mode=mode, prefilter=False)
        assert_close(V[0, c, 0], expected, 1e-12)


# ----------------------------------------------------------------------------------------- PyTorch


def torch_sample(
    U: np.ndarray, grid: np.ndarray, dV: np.ndarray, padding: str, corners: bool
) -> list[np.ndarray]:
    """V, dU and dgrid by PyTorch; batch 1 is expanded, which it does not do by itself."""
    torch = pytest.importorskip("torch")
    U, grid = (torch.tensor(a, requires_grad=True) for a in (U, grid))
    N = len(dV)
    V = torch.nn.functional.grid_sample(
        U.expand(N, -1, -1, -1), grid.expand(N, -1, -1, -1), "bilinear", padding, corners
    )
    V.backward(torch.tensor(dV))
    return [V.detach().numpy(), U.grad.numpy(), grid.grad.numpy()]


def check_against_torch(
    xp: Any, U: np.ndarray, grid: np.ndarray, padding: str, corners: bool, seed: int = 7
) -> None:
    N = max(len(U), len(grid))
    dV = np.random.default_rng(seed).normal(size=(N, U.shape[1], *grid.shape[1:3]))
    dV = dV.astype(U.dtype)
    V, backward = stn_np.grid_sample(
        xp.asarray(U), xp.asarray(grid), padding_mode=padding, align_corners=corners
    )
    tolerance = 3e-5 if U.dtype == np.float32 else 1e-12
    expected = torch_sample(U, grid, dV, padding, corners)
    for got, wanted in zip((V, *backward(xp.asarray(dV))), expected, strict=True):
        assert got.dtype == wanted.dtype
        assert_close(got, wanted, tolerance)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("H", "W"), SIZES)
def test_torch_inside_and_far_outside(
    xp: Any, rng: Any, H: int, W: int, padding: str, corners: bool, dtype: Any
) -> None:
    """Away from kinks, where PyTorch's one-sided derivative depends on its rounding."""
    U = rng.normal(size=(3, 2, H, W)).astype(dtype)
    random = rng.uniform(-3, 3, (3, 4, 6, 2))
    for k, n in enumerate((W, H)):  # move away from whole and half pixel coordinates
        slope, centre = ((n - 1) / 2 if corners else n / 2), (n - 1) / 2
        pixel = random[..., k] * slope + centre
        pixel = np.floor(pixel * 2) / 2 + 0.05 + 0.4 * (pixel * 2 % 1)
        if slope:
            random[..., k] = (pixel - centre) / slope
    check_against_torch(xp, U, random.astype(dtype), padding, corners)
    smooth = smooth_grid(rng, 3, H, W, corners)
    check_against_torch(xp, U, smooth.astype(dtype), padding, corners)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    ("H", "W", "corners"),
    [(2, 3, True), (5, 9, True), (3, 17, True), (2, 4, False), (8, 4, False), (1, 16, False)],
)
def test_torch_on_the_lattice_and_on_the_frame(
    xp: Any, rng: Any, H: int, W: int, padding: str, corners: bool, dtype: Any
) -> None:
    """Pixel centres inside and outside, -1, 0 and +1; at these sizes nothing is rounded."""
    U = rng.normal(size=(1, 2, H, W)).astype(dtype)
    x = normalised(np.arange(-3, W + 3), W, corners)
    y = normalised(np.arange(-3, H + 3), H, corners)
    points = [*product((-1.0, 0.0, 1.0), repeat=2), *product(x, y)]
    grid = np.array(points, dtype).reshape(1, 1, -1, 2)
    check_against_torch(xp, U, grid, padding, corners)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("N_U", "N_grid"), [(1, 4), (4, 1), (1, 1)])
def test_torch_batch_of_one(
    xp: Any, rng: Any, N_U: int, N_grid: int, padding: str, corners: bool
) -> None:
    U, grid = rng.normal(size=(N_U, 3, 5, 8)), smooth_grid(rng, N_grid, 5, 8, corners)
    check_against_torch(xp, U, grid, padding, corners)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")  # PyTorch's, at axes of one pixel
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (6, 9), (28, 42)])
def test_torch_affine_grid(
    xp: Any, rng: Any, shape: tuple[int, int], corners: bool, dtype: Any
) -> None:
    torch = pytest.importorskip("torch")
    theta = rng.normal(size=(3, 2, 3)).astype(dtype)
    grid, backward = stn_np.affine_grid(xp.asarray(theta), shape, align_corners=corners)
    leaf = torch.tensor(theta, requires_grad=True)
    expected = torch.nn.functional.affine_grid(leaf, (3, 1, *shape), corners)
    tolerance = 2e-6 if dtype == np.float32 else 1e-14
    assert_close(grid, expected.detach().numpy(), tolerance)
    dgrid = rng.normal(size=grid.shape).astype(dtype)
    expected.backward(torch.tensor(dgrid))
    assert_close(backward(xp.asarray(dgrid)), leaf.grad.numpy(), tolerance)


def test_torch_loses_the_identity_and_we_do_not(xp: Any, rng: Any) -> None:
    """The documented difference: in float32 PyTorch's identity misses some pixels to the left."""
    torch = pytest.importorskip("torch")
    U = rng.normal(size=(1, 1, 28, 28)).astype(np.float32)
    theta = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
    grid = torch.nn.functional.affine_grid(torch.tensor(theta), (1, 1, 28, 28), True)
    theirs = torch.nn.functional.grid_sample(torch.tensor(U), grid, align_corners=True).numpy()
    ours, _ = stn_np.grid_sample(xp.asarray(U), stn_np.affine_grid(xp.asarray(theta), (28, 28))[0])
    assert (stn_np.backend.to_numpy(ours) == U).all()
    assert (theirs != U).any()
    assert_close(ours, theirs, 1e-5)
