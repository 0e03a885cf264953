"""The sampler against scipy.ndimage: every kernel it knows, every padding, two and three axes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from oracles import CORNERS, EVERY_PADDING, assert_close, grid_of, padded

import stn_np
from stn_np.backend import array_module
from stn_np.sampling.kernels import Kernel

ndimage = pytest.importorskip("scipy.ndimage")
interpolate = pytest.importorskip("scipy.interpolate")

SIZES = [(2, 3), (7, 4), (13, 42), (1, 6), (2, 3, 4), (6, 1, 5)]
FILL = -1.25


def scipy_mode(padding: str, corners: bool) -> str:
    mirror = "mirror" if corners else "reflect"  # round the last pixel's centre, or its edge
    return {
        "zeros": "grid-constant",
        "constant": "grid-constant",
        "border": "nearest",
        "reflection": mirror,
        "wrap": "grid-wrap",
    }[padding]


def scipy_sample(
    U: np.ndarray, points: np.ndarray, order: int, padding: str, corners: bool
) -> np.ndarray:
    """Values (C, P) of U (C, [D,] H, W) at the pixels points (P, 2 or 3)."""
    where = points.T[::-1]  # rows first
    if padding == "border" and order > 1:
        # There SciPy clips the point instead of continuing the image.
        far = 4 * max(U.shape[1:]) + order
        U = np.pad(U, [(0, 0)] + [(far, far)] * (U.ndim - 1), mode="edge")
        where = where + far
    options = {
        "order": order, "mode": scipy_mode(padding, corners), "prefilter": False,
        "cval": padded(padding, FILL)["padding_value"],
    }  # fmt: skip
    return np.stack([ndimage.map_coordinates(u, where, **options) for u in U])


def points_everywhere(
    rng: np.random.Generator, size: tuple[int, ...], step: float, corners: bool
) -> np.ndarray:
    """Random points in and far outside an image, and the lattice of whole (or half) pixels."""
    one = [n == 1 and corners for n in reversed(size)]  # these axes have no extent
    random = rng.uniform(-3, 3, (60, len(size))) * size[::-1]
    lattice = product(*(np.arange(-2.0, min(n, 7) + 2, step) for n in reversed(size)))
    return np.where(one, 0.0, np.concatenate([random, np.array(list(lattice))]))


def check(
    xp: Any, rng: Any, size: tuple[int, ...], mode: Any, order: int, padding: str, corners: bool
) -> None:
    U = rng.normal(size=(1, 2, *size))
    points = points_everywhere(rng, size, 0.5 if len(size) == 2 else 1.0, corners)
    if mode == "nearest" and padding == "reflection":
        # The mirror image of a tie: SciPy sometimes reflects the point and sometimes the pixel.
        outside = (points < 0) | (points > np.array(size[::-1]) - 1)
        points += np.where(outside & (points % 1 == 0.5), 0.25, 0)
    grid = grid_of(points, size, corners).reshape(1, *[1] * (len(size) - 1), *points.shape)
    V, _ = stn_np.grid_sample(
        xp.asarray(U), xp.asarray(grid), mode=mode, align_corners=corners, **padded(padding, FILL)
    )
    expected = scipy_sample(U[0], points, order, padding, corners)
    assert_close(V.reshape(2, -1), expected, 1e-12)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", EVERY_PADDING)
@pytest.mark.parametrize(("mode", "order"), [("nearest", 0), ("bilinear", 1)])
def test_nearest_and_linear(
    xp: Any, rng: Any, mode: str, order: int, padding: str, corners: bool
) -> None:
    """Ties of the nearest pixel included: they go up, in the paper as in SciPy."""
    for size in SIZES:
        check(xp, rng, size, mode, order, padding, corners)


def b_spline(order: int) -> Kernel:
    """SciPy's sampler without its prefilter reads this kernel."""
    radius = (order + 1) / 2
    b = interpolate.BSpline.basis_element(np.arange(order + 2) - radius, extrapolate=False)
    slope = b.derivative()
    return Kernel(lambda d: np.nan_to_num(b(d)), lambda d: np.nan_to_num(slope(d)), radius)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", EVERY_PADDING)
@pytest.mark.parametrize("order", [2, 3, 5])
def test_b_splines_as_kernels_of_the_caller(
    rng: Any, order: int, padding: str, corners: bool
) -> None:
    """An odd and two even numbers of taps, through a kernel that the library does not have."""
    for size in SIZES:
        check(np, rng, size, b_spline(order), order, padding, corners)


@pytest.mark.parametrize("padding", ["border", "reflection", "wrap"])
def test_a_gaussian_at_the_pixels_is_a_gaussian_filter(xp: Any, rng: Any, padding: str) -> None:
    """With the tail that `gaussian` takes off put back, at the pixels the two are the same sum."""
    sigma, reach = 1.5, 4

    def bell(d: Any) -> Any:
        return array_module(d=d).exp(-0.5 * (d / sigma) ** 2)

    kernel = Kernel(
        bell,
        lambda d: -d / sigma**2 * bell(d),
        radius=reach + 0.5,
        normalise=True,
    )
    U = rng.normal(size=(9, 14))
    y, x = np.mgrid[:9, :14]
    grid = grid_of(np.stack([x, y], -1), U.shape, False)[None]
    V, _ = stn_np.grid_sample(
        xp.asarray(U[None, None]), xp.asarray(grid), mode=kernel,
        padding_mode=padding, align_corners=False,
    )  # fmt: skip
    mode = scipy_mode(padding, corners=False)
    expected = ndimage.gaussian_filter(U, sigma, mode=mode, radius=reach)
    assert_close(V[0, 0], expected, 1e-13)
