"""Linearised multi-sampling: V and dU as ever, and a grid gradient that sees further."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import (
    CORNERS,
    EVERY_PADDING,
    SIZES,
    assert_close,
    assert_equal,
    grid_of,
    padded,
    sampled,
)

import stn_np
from stn_np.backend import to_numpy
from stn_np.sampling import Kernel, Linearised
from stn_np.sampling.linearised import linearised_dgrid

both_dims = pytest.mark.parametrize("dims", [2, 3])


@both_dims
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", EVERY_PADDING)
def test_value_and_image_gradient_are_bilinear(
    xp: Any, rng: Any, padding: str, corners: bool, dims: int
) -> None:
    """Bit for bit; and the gradient to the grid has its shape and dtype, but is another one."""
    for dtype in [np.float16, np.float32, np.float64]:
        U = rng.normal(size=(2, 3, *SIZES[dims])).astype(dtype)
        grid = rng.uniform(-1.2, 1.2, (2, *(3, 2, 4)[:dims], dims)).astype(np.float32)
        dV = rng.normal(size=(2, 3, *grid.shape[1:-1])).astype(dtype)
        options = {"align_corners": corners, **padded(padding)}
        exact = sampled(xp, U, grid, dV, **options)
        linearised = sampled(xp, U, grid, dV, grid_gradient="linearised", **options)
        assert_equal(linearised[0], exact[0])
        assert_equal(linearised[1], exact[1])
        assert (linearised[2].shape, linearised[2].dtype) == (grid.shape, grid.dtype)
        assert np.isfinite(to_numpy(linearised[2])).all()
        assert (to_numpy(linearised[2]) != to_numpy(exact[2])).all()


@both_dims
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("settings", ["linearised", Linearised(4, 0.2, 7), Linearised(50, 0.4)])
def test_a_plane_has_the_slope_of_the_plane(
    xp: Any, rng: Any, settings: Any, corners: bool, dims: int
) -> None:
    """However the samples fall, on fine grids and coarse ones; all channels together."""
    for step in [0.3, 1.0, 4.0]:
        size = (50, 70, 60)[-dims:]
        slopes = rng.normal(size=(2, dims))  # of two channels, along x, y (, z), a pixel
        mesh = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij")[::-1])
        U = (np.einsum("ck,k...->c...", slopes, mesh) + 3)[None]
        middle = (np.array(size[::-1]) - 1) / 2
        corner = np.stack(np.meshgrid(*[np.arange(3) - 1] * dims, indexing="ij")[::-1], -1)
        grid = grid_of(middle + step * corner[None], size, corners)
        dV = rng.normal(size=(1, 2, *grid.shape[1:-1]))
        _, _, dgrid = sampled(xp, U, grid, dV, align_corners=corners, grid_gradient=settings)
        scale = (np.array(size[::-1]) - corners) / 2
        assert_close(dgrid, np.einsum("nc...,ck->n...k", dV, slopes) * scale, 1e-10)


def blob(size: tuple[int, ...], centre: Any, radius: float) -> np.ndarray:
    """A cone of height 1 (1, 1, *size), and nothing else."""
    mesh = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij")[::-1], -1)
    distance = np.sqrt(((mesh - centre) ** 2).sum(axis=-1))
    return np.maximum(0, 1 - distance / radius)[None, None]


@both_dims
def test_a_blob_between_the_points_of_a_coarse_grid(xp: Any, dims: int) -> None:
    """Bilinear sampling cannot see it; this does, and every point round it is drawn towards it."""
    size, centre = (33,) * dims, np.full(dims, 20.0)
    U = blob(size, centre, 3.9)
    axis = np.linspace(0, 32, 5)  # every eighth pixel: none less than 4 along x from the centre
    points = np.stack(np.meshgrid(*[axis] * dims, indexing="ij")[::-1], -1)[None]
    grid, dV = grid_of(points, size, True), np.ones((1, 1, *[5] * dims))
    V, _, exact = sampled(xp, U, grid, dV)
    assert_equal(V, np.zeros(V.shape))
    assert_equal(exact, np.zeros(grid.shape))
    assert (to_numpy(sampled(xp, U, grid, dV, grid_gradient="linearised")[2]) != 0).any()
    total = sum(
        np.asarray(to_numpy(sampled(xp, U, grid, dV, grid_gradient=Linearised(60, seed=seed))[2]))
        for seed in range(20)
    )
    near = (np.abs(points - centre) == 4).all(axis=-1)
    assert near.sum() == 2**dims
    towards, found = (centre - points)[near], total[near]
    cosine = (towards * found).sum(-1) / np.linalg.norm(towards, axis=-1)
    assert (cosine / np.linalg.norm(found, axis=-1) > 0.8).all()


@both_dims
def test_the_plane_is_fitted_by_least_squares(xp: Any, rng: Any, dims: int) -> None:
    """To the point and the samples round it, against NumPy's own fit."""
    grid = rng.uniform(-1, 1, (2, *(2, 3, 2)[:dims], dims))
    V, dV = (rng.normal(size=(2, 3, *grid.shape[1:-1])) for _ in range(2))
    places, values = [grid], [V]

    def sample(points: Any) -> Any:
        places.append(np.array(to_numpy(points)))
        values.append(rng.normal(size=V.shape))
        return xp.asarray(values[-1])

    dgrid = linearised_dgrid(
        sample, xp.asarray(grid), xp.asarray(V), xp.asarray(dV), SIZES[dims], Linearised(9),
        align_corners=False,
    )  # fmt: skip
    assert len(places) == 10
    heights = np.stack([(v * dV).sum(axis=1) for v in values])
    for at in np.ndindex(grid.shape[:-1]):
        d = np.stack([p[at] for p in places])
        plane = np.linalg.lstsq(np.c_[d, np.ones(10)], heights[(slice(None), *at)], rcond=None)[0]
        assert_close(dgrid[at], plane[:-1], 1e-10)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("step", [(1, 1), (0.5, 0.2), (5, 4)])
def test_how_far_the_samples_lie(xp: Any, corners: bool, step: tuple[float, float]) -> None:
    """Normally distributed: `noise` pixels, or as many steps of a grid that steps over several."""
    size = (4, 6)  # small: the two corner rules differ much
    x, y = step[0] * np.arange(40), step[1] * np.arange(30)
    grid = grid_of(np.stack(np.meshgrid(x, y), -1)[None], size, corners)
    V, places = np.zeros((1, 1, 30, 40)), []

    def sample(points: Any) -> Any:
        places.append(to_numpy(points))
        return xp.asarray(V)

    linearised_dgrid(sample, *map(xp.asarray, (grid, V, V)), size, Linearised(20, 0.3),
                     align_corners=corners)  # fmt: skip
    pixels = (np.stack(places) - grid) * (np.array(size[::-1]) - corners) / 2
    expected = 0.3 * np.maximum(step, 1)
    assert pixels.std(axis=(0, 1, 2, 3)) == pytest.approx(expected, rel=0.05)
    assert (np.abs(pixels.mean(axis=(0, 1, 2, 3))) < 0.05 * expected).all()


def test_the_seed_decides(xp: Any, rng: Any) -> None:
    U, grid = (
        xp.asarray(rng.normal(size=(2, 1, 9, 8))),
        xp.asarray(rng.uniform(-1, 1, (2, 3, 4, 2))),
    )
    dV = xp.asarray(rng.normal(size=(2, 1, 3, 4)))

    def dgrid(settings: Any) -> np.ndarray:
        backward = stn_np.grid_sample(U, grid, grid_gradient=settings)[1]
        return np.array(to_numpy(backward(dV)[1]))

    assert_equal(dgrid("linearised"), dgrid(Linearised(8, 0.5, 0)))  # the defaults
    assert_equal(dgrid(Linearised(seed=3)), dgrid(Linearised(seed=3)))
    assert (dgrid(Linearised(seed=3)) != dgrid(Linearised(seed=4))).all()
    generator = Linearised(seed=np.random.default_rng(3))
    assert_equal(dgrid(generator), dgrid(Linearised(seed=3)))
    assert (dgrid(generator) != dgrid(generator)).all()  # it moves on
    backward = stn_np.grid_sample(U, grid, grid_gradient=Linearised(seed=3))[1]
    assert_equal(backward(dV)[1], backward(dV)[1])


def test_one_image_many_grids_and_many_images_one_grid(xp: Any) -> None:
    """On planes, where the samples do not matter."""
    y, x = np.mgrid[:30, :40]
    U = np.stack([2 * x - y, x + 3 * y])[:, None].astype(float)
    points = np.array([[15.2, 14.1], [20.7, 13.9], [18.0, 16.5]]).reshape(3, 1, 1, 2)
    grid, scale = grid_of(points, (30, 40), True), np.array([39, 29]) / 2
    slopes = np.array([[2, -1], [1, 3.0]])
    one = np.ones((2, 1, 1, 1))
    _, _, dgrid = sampled(xp, U, grid[:1], one, grid_gradient="linearised")
    assert_close(dgrid, (slopes.sum(axis=0) * scale).reshape(1, 1, 1, 2), 1e-10)
    _, dU, dgrid = sampled(xp, U[:1], grid, np.ones((3, 1, 1, 1)), grid_gradient="linearised")
    assert_close(dgrid, np.tile(slopes[0] * scale, (3, 1, 1, 1)), 1e-10)
    assert dU.shape == (1, 1, 30, 40)


@both_dims
def test_gradients_not_asked_for_are_none(xp: Any, rng: Any, dims: int) -> None:
    U, grid = rng.normal(size=(2, 1, *SIZES[dims])), rng.uniform(-1, 1, (2, *[2] * dims, dims))
    dV, options = np.ones((2, 1, *[2] * dims)), {"grid_gradient": "linearised"}
    _, dU, dgrid = sampled(xp, U, grid, dV, **options)
    assert_equal(sampled(xp, U, grid, dV, needs_dU=False, **options)[2], dgrid)
    assert sampled(xp, U, grid, dV, needs_dU=False, **options)[1] is None
    assert_equal(sampled(xp, U, grid, dV, needs_dgrid=False, **options)[1], dU)
    assert sampled(xp, U, grid, dV, needs_dgrid=False, **options)[2] is None


@both_dims
def test_nothing_to_do_and_nowhere_to_look(xp: Any, dims: int) -> None:
    """Empty arrays keep their shapes; points that are NaN or infinite get no gradient."""
    for N, C, row in ((0, 1, 2), (2, 0, 2), (2, 1, 0)):
        U, grid = np.ones((N, C, *SIZES[dims])), np.zeros((N, *[2] * (dims - 1), row, dims))
        dV = np.ones((N, C, *grid.shape[1:-1]))
        _, dU, dgrid = sampled(xp, U, grid, dV, grid_gradient="linearised")
        assert_equal(dU, np.zeros(U.shape))
        assert_equal(dgrid, np.zeros(grid.shape))
    for value in (np.nan, np.inf, -np.inf, 3e38):
        for dtype in (np.float32, np.float64):
            grid = np.full((1, *[2] * dims, dims), value, dtype)
            U = np.random.default_rng(0).normal(size=(1, 2, *SIZES[dims])).astype(dtype)
            dV = np.ones((1, 2, *[2] * dims), dtype)
            for padding in ("zeros", "constant"):
                _, _, dgrid = sampled(
                    xp, U, grid, dV, grid_gradient="linearised", **padded(padding, 2.0)
                )
                assert_close(dgrid, np.zeros(grid.shape), 1e-14 if dtype == np.float64 else 1e-5)


def test_bad_settings() -> None:
    U, grid = np.ones((1, 1, 3, 4)), np.zeros((1, 2, 2, 2))
    tent = Kernel(lambda d: 1 - abs(d), lambda d: (d < 0) * 2.0 - 1, 1)
    for mode in ("nearest", "bicubic", tent, (tent, tent)):
        for settings in ("linearised", Linearised()):
            with pytest.raises(ValueError, match="^grid_gradient: expected 'exact' with mode"):
                stn_np.grid_sample(U, grid, mode=mode, grid_gradient=settings)
    for unknown in ("linear", "exct", None, 3, Linearised):
        with pytest.raises((ValueError, TypeError), match="^grid_gradient: expected"):
            stn_np.grid_sample(U, grid, grid_gradient=unknown)
    for name, bad in [("n_samples", 3), ("n_samples", 8.0), ("n_samples", "8"), ("noise", 0),
                      ("noise", -1), ("noise", np.nan), ("noise", np.inf), ("noise", "1"),
                      ("noise", None), ("seed", -1), ("seed", 0.5), ("seed", None)]:  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=f"^{name}: expected"):
            Linearised(**{name: bad})
    for good in (np.int8(5), 4):
        assert Linearised(n_samples=good).n_samples == good
