"""The families of transformations: formulas, identities, gradients and natural parametrisations."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from maps import MAPS, extent
from oracles import (
    CORNERS,
    FLOATS,
    PADDINGS,
    assert_close,
    assert_equal,
    beside,
    central_slope,
    inner,
    target_points,
    tolerance_of,
)

import stn_np
from stn_np.backend import to_numpy
from stn_np.transforms import (
    FAMILIES,
    Affine3d,
    AffineNatural,
    Attention,
    LogScale,
    Similarity,
    by_name,
    polynomial,
)

SHAPES = [(3, 5), (6, 4), (1, 4), (4, 1), (1, 1)]
MATRIX_FAMILIES = [name for name in MAPS if name != "projective"]
every_map = pytest.mark.parametrize("name", MAPS)


def thetas(rng: np.random.Generator, name: str, N: int = 3) -> np.ndarray:
    """Thetas (N, n_params) that move things a lot, with the whole image in front of the horizon."""
    transform = by_name(name)
    theta: np.ndarray = transform.identity + rng.uniform(-0.45, 0.45, (N, transform.n_params))
    return theta


def grid_by_points(name: str, theta: np.ndarray, shape: Any, corners: bool) -> np.ndarray:
    grid = np.zeros((len(theta), *shape, 2))
    points, size = target_points(shape, corners), extent(shape, corners)
    for n, i, j in np.ndindex(len(theta), *shape):
        grid[n, i, j] = MAPS[name](theta[n], points[i, j], size)
    return grid


@pytest.mark.parametrize("corners", CORNERS)
@every_map
def test_each_grid_is_its_formula_point_by_point(
    xp: Any, rng: Any, name: str, corners: bool
) -> None:
    for shape, dtype in product(SHAPES, FLOATS):
        theta = thetas(rng, name).astype(dtype)
        grid, _ = by_name(name)(xp.asarray(theta), shape, align_corners=corners)
        assert grid.dtype == dtype
        expected = grid_by_points(name, theta.astype(np.float64), shape, corners)
        assert_close(grid, expected, 20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("corners", CORNERS)
@every_map
def test_each_gradient_is_the_slope(xp: Any, rng: Any, name: str, corners: bool) -> None:
    """Of the formula itself, parameter by parameter, for a random upstream gradient."""
    shape, theta = (4, 3), thetas(rng, name, 2)
    g = rng.normal(size=(2, *shape, 2))
    _, backward = by_name(name)(xp.asarray(theta), shape, align_corners=corners)
    dtheta = to_numpy(backward(xp.asarray(g)))
    for index in np.ndindex(theta.shape):
        v = np.zeros(theta.shape)
        v[index] = 1
        slope = central_slope(lambda t: inner(grid_by_points(name, t, shape, corners), g), theta, v)
        assert dtheta[index] == pytest.approx(slope, rel=1e-8, abs=1e-9)


def identity_of(name: str, shape: Any, corners: bool) -> Any:
    """A family and its identity grid's corner rule; a polynomial is made for one of them."""
    if name == "linear-basis":
        return polynomial(shape, align_corners=corners)
    return by_name(name, shape)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_identity_is_exact(xp: Any, rng: Any, name: str, corners: bool) -> None:
    """Bit for bit, so that the image comes back bit for bit too, with the right derivative."""
    for dtype in FLOATS:
        for shape in ((28, 28), (5, 7), (42, 23), (1, 6), (6, 1), (1, 1)):
            transform = identity_of(name, shape, corners)
            assert transform.name == name
            assert transform.identity.shape == (transform.n_params,)
            assert not transform.identity.flags.writeable
            theta = xp.asarray(np.stack([transform.identity] * 2).astype(dtype))
            grid, _ = transform(theta, shape, align_corners=corners)
            eye = xp.asarray(np.stack([np.eye(2, 3)] * 2).astype(dtype))
            assert_equal(grid, stn_np.affine_grid(eye, shape, align_corners=corners)[0])
            U = rng.normal(size=(2, 2, *shape)).astype(dtype)
            V, _ = stn_np.grid_sample(xp.asarray(U), grid, align_corners=corners)
            assert_equal(V, U)


@pytest.mark.parametrize("name", FAMILIES)
def test_coordinates_are_float32_at_least_and_planar(xp: Any, name: str) -> None:
    transform = by_name(name, (5, 7))
    theta = xp.asarray(transform.identity[None].astype(np.float16))
    grid, backward = transform(theta, (5, 7))
    assert grid.dtype == np.float32
    assert backward(xp.ones(grid.shape, np.float32)).dtype == np.float16
    if isinstance(grid, np.ndarray):
        assert grid.transpose(0, 3, 1, 2).flags.c_contiguous


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("name", MATRIX_FAMILIES)
def test_the_matrix_makes_the_grid(xp: Any, rng: Any, name: str, corners: bool) -> None:
    transform: Any = by_name(name)
    theta = thetas(rng, name)
    A, matrix_backward = transform.matrix(xp.asarray(theta), (3, 5), align_corners=corners)
    assert A.shape == (3, 2, 3)
    grid, backward = transform(xp.asarray(theta), (3, 5), align_corners=corners)
    through_A, grid_backward = stn_np.affine_grid(A, (3, 5), align_corners=corners)
    assert_equal(grid, through_A)
    g = xp.asarray(rng.normal(size=grid.shape))
    assert_equal(backward(g), matrix_backward(grid_backward(g)))
    A += 1  # its own numbers, not theta's
    assert_equal(transform(xp.asarray(theta), (3, 5), align_corners=corners)[0], grid)


# ------------------------------------------------------------------------- similarity and its kin


def turned(U: np.ndarray, k: int) -> np.ndarray:
    """Each image turned k quarters about its middle, pixel by pixel; zeros come in from outside."""
    V = np.zeros_like(U)
    H, W = U.shape[2:]
    for i, j in np.ndindex(H, W):
        y, x = i - (H - 1) / 2, j - (W - 1) / 2
        for _ in range(k):
            x, y = -y, x
        row, column = y + (H - 1) / 2, x + (W - 1) / 2
        if 0 <= row < H and 0 <= column < W:
            V[:, :, i, j] = U[:, :, int(row), int(column)]
    return V


def quarter_turns(k: int, family: str) -> tuple[Any, np.ndarray]:
    transform = by_name(family)
    theta = transform.identity.copy()
    theta[0] = k * np.pi / 2
    return transform, theta[None]


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("family", ["similarity", "similarity-log", "affine-natural"])
def test_quarter_turns_move_pixels_onto_pixels(
    xp: Any, rng: Any, family: str, corners: bool
) -> None:
    for shape, dtype in product([(5, 7), (8, 4), (28, 42), (6, 6)], FLOATS):
        U = rng.normal(size=(1, 2, *shape)).astype(dtype)
        for k in (1, 2, 3):
            transform, theta = quarter_turns(k, family)
            grid, _ = transform(xp.asarray(theta.astype(dtype)), shape, align_corners=corners)
            V, _ = stn_np.grid_sample(xp.asarray(U), grid, align_corners=corners)
            assert_close(V, turned(U, k), tolerance_of(dtype))


def test_a_positive_angle_turns_counter_clockwise(xp: Any) -> None:
    U = np.zeros((1, 1, 5, 5))
    U[0, 0, 2, 4] = 1  # to the right of the middle
    transform, theta = quarter_turns(1, "similarity")
    V, _ = stn_np.grid_sample(xp.asarray(U), transform(xp.asarray(theta), (5, 5))[0])
    assert to_numpy(V)[0, 0, 0, 2] == 1  # above


@pytest.mark.parametrize("family", [Similarity, AffineNatural])
def test_proportions_of_the_input_where_the_output_has_others(
    xp: Any, rng: Any, family: Any
) -> None:
    """9 rows read a 5x7 image at every half row: every other one is as if there were 5."""
    U = rng.normal(size=(1, 1, 5, 7))
    _, theta = quarter_turns(1, family.name)
    grid, _ = family(in_shape=(5, 7))(xp.asarray(theta), (9, 7))
    V, _ = stn_np.grid_sample(xp.asarray(U), grid)
    assert_equal(V[:, :, ::2], turned(U, 1))
    A, _ = family(in_shape=(5, 7)).matrix(xp.asarray(theta), (9, 7), align_corners=False)
    assert_close(A[0, :, :2], [[0, -5 / 7], [7 / 5, 0]], 1e-15)
    for bad in ((5,), 5, "57", (5.0, 7)):
        with pytest.raises(TypeError, match="^in_shape: expected a"):
            family(in_shape=bad)
    with pytest.raises(ValueError, match="^in_shape: expected at least 1, got 0"):
        family(in_shape=(0, 7))


def test_affine_natural_contains_similarity(xp: Any, rng: Any) -> None:
    similar = thetas(rng, "similarity-log")
    angle, log_s, tx, ty = similar.T
    theta = np.stack([angle, log_s, log_s, 0 * angle, tx, ty], axis=1)
    grid, _ = by_name("affine-natural")(xp.asarray(theta), (4, 7))
    assert_close(grid, by_name("similarity-log")(xp.asarray(similar), (4, 7))[0], 1e-15)


@pytest.mark.parametrize("family", [Attention(), Similarity(in_shape=(3, 8))])
def test_log_scale_is_its_family_with_the_logarithm(xp: Any, rng: Any, family: Any) -> None:
    log = LogScale(family)
    assert log.name == f"{family.name}-log"
    assert_equal(log.identity, np.zeros(family.n_params))
    theta = rng.normal(size=(3, family.n_params))
    plain = theta.copy()
    plain[:, family.scale_column] = np.exp(theta[:, family.scale_column])
    grid, backward = log(xp.asarray(theta), (4, 5))
    expected, plain_backward = family(xp.asarray(plain), (4, 5))
    assert_close(grid, expected, 1e-15)
    g = xp.asarray(rng.normal(size=grid.shape))
    dtheta = to_numpy(plain_backward(g)).copy()
    dtheta[:, family.scale_column] *= plain[:, family.scale_column]
    assert_close(backward(g), dtheta, 1e-14)


# ---------------------------------------------------------------------------------- names and wild


@pytest.mark.parametrize("name", ["attention-log", "similarity-log", "affine-natural"])
def test_a_scale_that_stays_has_no_slope(xp: Any, rng: Any, name: str) -> None:
    """Beyond e^40 and e^-40; up to there the slope is the scale itself."""
    family = by_name(name)
    columns = [1, 2] if name == "affine-natural" else [family.family.scale_column]
    theta = np.zeros((4, family.n_params))
    theta[:, columns] = np.array([-41.0, -39.0, 39.0, 41.0])[:, None]
    dA = rng.uniform(1, 2, (4, 2, 3))
    A, backward = family.matrix(xp.asarray(theta), (3, 5))
    slopes = to_numpy(backward(xp.asarray(dA)))[:, columns]
    assert_equal(slopes[[0, 3]], np.zeros((2, len(columns))))
    diagonal = np.stack([(np.asarray(to_numpy(A)) * dA)[:, k, k] for k in (0, 1)], axis=1)
    expected = diagonal if name == "affine-natural" else diagonal.sum(axis=1, keepdims=True)
    assert_close(slopes[1] / expected[1], np.ones(len(columns)), 1e-12)
    assert_close(slopes[2] / expected[2], np.ones(len(columns)), 1e-12)


def test_families_by_name() -> None:
    sizes = {"translation": 2, "attention": 3, "attention-log": 3, "similarity": 4,
             "similarity-log": 4, "affine": 6, "affine-natural": 6, "projective": 8, "tps": 32,
             "piecewise-affine": 32, "flow": 70, "linear-basis": 12}  # fmt: skip
    assert set(FAMILIES) == set(sizes)
    for name, n_params in sizes.items():
        transform = by_name(name, (5, 7))
        assert (transform.name, transform.n_params) == (name, n_params)
    for name in ("flow", "linear-basis"):
        with pytest.raises(ValueError, match=f"^out_shape: .*which '{name}' needs, got None"):
            by_name(name)
    with pytest.raises(ValueError, match="^transform: .*did you mean 'similarity'"):
        by_name("simlarity")


@pytest.mark.parametrize("name", MAPS)
def test_out_shape_is_checked(name: str) -> None:
    theta = by_name(name).identity[None]
    for bad in (3, (3,), (3, 4, 5), None):
        with pytest.raises((TypeError, ValueError), match="^out_shape: expected"):
            by_name(name)(theta, bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^out_shape: expected at least 1, got 0"):
        by_name(name)(theta, (0, 4))


@pytest.mark.parametrize("name", MATRIX_FAMILIES)
def test_out_shape_of_a_matrix_is_checked(name: str) -> None:
    transforms: list[Any] = [by_name(name)]
    if name in ("similarity", "affine-natural"):
        transforms.append(type(transforms[0])(in_shape=(3, 4)))
    for transform in transforms:
        theta = transform.identity[None]
        for bad in ("nonsense", 3, (3,), (3, 4.0)):
            with pytest.raises(TypeError, match="^out_shape: expected a"):
                transform.matrix(theta, bad)
        with pytest.raises(ValueError, match="^out_shape: expected at least 1, got 0"):
            transform.matrix(theta, (0, 4))


def test_log_scale_refuses_families_without_a_scale() -> None:
    for bad in ("x", by_name("affine"), AffineNatural(), Attention, LogScale(Attention())):
        message = r"^family: expected Attention\(\) or Similarity\(\), got "
        with pytest.raises(TypeError, match=message + re.escape(repr(bad))):
            LogScale(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*FAMILIES, "learned", "affine3d"])
def test_large_gradients_make_no_warning(xp: Any, rng: Any, name: str) -> None:
    """Neither infinite ones nor such as overflow; the image beside does not feel them."""
    for value, dtype in product([1, 1e4, 1e30, 1e300, np.inf, np.nan], [np.float16, *FLOATS]):
        shape: Any = (3, 4, 5) if name == "affine3d" else (4, 5)
        transform: Any = Affine3d() if name == "affine3d" else None
        if transform is None:
            learned = name == "learned"
            transform = polynomial(shape, learned=True) if learned else by_name(name, shape)
        theta = np.stack([transform.identity] * 2) + rng.uniform(-0.2, 0.2, (2, transform.n_params))
        grid, backward = beside(xp, transform)(xp.asarray(theta.astype(dtype)), shape)
        kinds = {grid.dtype, np.dtype(np.float64)}
        for kind in kinds if value != 1e300 else {np.dtype(np.float64)}:
            g = rng.choice([-1, 1], grid.shape) * np.float64(value)
            g[1] = 1
            dtheta = to_numpy(backward(xp.asarray(g.astype(kind))))
            assert dtheta.dtype == dtype
            assert np.isfinite(dtheta[1]).all()
            if not np.isfinite(value):
                assert not np.isfinite(dtheta[0]).any()


@pytest.mark.filterwarnings("error")
@every_map
def test_wild_theta_goes_through_grid_and_sampler(xp: Any, rng: Any, name: str) -> None:
    """No exception, no warning, and the last image, which keeps its theta, does not feel it."""
    for value, dtype in product([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e30], FLOATS):
        transform = by_name(name)
        n = transform.n_params
        theta = thetas(rng, name, n + 1).astype(dtype)
        theta[np.arange(n), np.arange(n)] = value
        U = rng.uniform(1, 2, (n + 1, 1, 4, 5)).astype(dtype)
        dV = xp.asarray(rng.normal(size=(n + 1, 1, 4, 5)).astype(dtype))
        for padding in PADDINGS:
            grid, grid_backward = transform(xp.asarray(theta), (4, 5))
            V, backward = stn_np.grid_sample(xp.asarray(U), grid, padding_mode=padding)
            dtheta = grid_backward(backward(dV)[1])
            assert np.isfinite(to_numpy(V)).all()

            alone, alone_backward = transform(xp.asarray(theta[n:]), (4, 5))
            V1, backward1 = stn_np.grid_sample(xp.asarray(U[n:]), alone, padding_mode=padding)
            tolerance = 100 * np.finfo(dtype).eps
            assert_close(V[n:], V1, tolerance)
            assert_close(dtheta[n:], alone_backward(backward1(dV[n:])[1]), tolerance)


@given(log_s=st.floats(-1e4, 1e4), seed=st.integers(0, 99))
def test_no_log_scale_is_too_large(xp: Any, log_s: float, seed: int) -> None:
    """Values and gradients stay finite in float32: a scale that explodes does not spread NaN."""
    rng = np.random.default_rng(seed)
    U = xp.asarray(rng.normal(size=(1, 2, 4, 5)).astype(np.float32))
    for name in ("attention-log", "similarity-log", "affine-natural"):
        transform = by_name(name)
        theta = rng.uniform(-0.5, 0.5, (1, transform.n_params)).astype(np.float32)
        theta[0, 0 if name == "attention-log" else 1] = log_s
        grid, grid_backward = transform(xp.asarray(theta), (4, 5))
        V, backward = stn_np.grid_sample(U, grid)
        dtheta = grid_backward(backward(xp.ones(V.shape, np.float32))[1])
        assert np.isfinite(to_numpy(V)).all()
        assert np.isfinite(to_numpy(dtheta)).all()


@pytest.mark.parametrize("name", [*FAMILIES, "affine3d"])
def test_only_true_and_false_are_corner_rules(name: str) -> None:
    """Also where the grid's constants are remembered from an earlier call."""
    family, shape = (
        (Affine3d(), (2, 3, 4)) if name == "affine3d" else (by_name(name, (3, 4)), (3, 4))
    )
    theta = np.array(family.identity)[None]
    family(theta, shape)
    for bad in ("False", 1, None):
        with pytest.raises(TypeError, match="^align_corners: expected True or False, got"):
            family(theta, shape, align_corners=bad)
