"""The sampling kernels themselves, and what they do to images."""

from __future__ import annotations

from math import floor, hypot, pi, sin
from typing import Any

import literal
import numpy as np
import pytest
from libraries import with_kernels
from oracles import (
    CORNERS,
    EVERY_PADDING,
    SIZES,
    assert_close,
    assert_equal,
    grid_of,
    padded,
    sampled,
    smooth_points,
)

import stn_np
from stn_np.backend import to_numpy
from stn_np.sampling.kernels import (
    CUBIC,
    LINEAR,
    NEAREST,
    Kernel,
    area,
    gaussian,
    lanczos,
    reduction,
)

CASES = [
    pytest.param(NEAREST, literal.NEAREST, id="nearest"),
    pytest.param(LINEAR, literal.LINEAR, id="linear"),
    pytest.param(CUBIC, literal.CUBIC, id="cubic"),
    pytest.param(gaussian(), literal.gaussian(0.5), id="gaussian"),
    pytest.param(gaussian(0.2), literal.gaussian(0.2), id="narrow-gaussian"),
    pytest.param(gaussian(2.3), literal.gaussian(2.3), id="wide-gaussian"),
    pytest.param(lanczos(1), literal.lanczos(1), id="lanczos-1"),
    pytest.param(lanczos(2), literal.lanczos(2), id="lanczos-2"),
    pytest.param(lanczos(), literal.lanczos(3), id="lanczos"),
    pytest.param(area(1), literal.area(1), id="area-1"),
    pytest.param(area(2.7), literal.area(2.7), id="area"),
]
every_kernel = pytest.mark.parametrize(("kernel", "formula"), CASES)


# ------------------------------------------------------------------------------------ as functions


@every_kernel
def test_values_and_slopes_follow_the_formulas(
    xp: Any, rng: Any, kernel: Kernel, formula: literal.Formula
) -> None:
    """Within the radius, -radius included: further away nobody asks."""
    r = formula.radius
    assert (kernel.radius, kernel.normalise) == (r, formula.normalise)
    steps = [np.arange(-r, r, 0.5), np.arange(-floor(r), r)]  # whole and half pixels too
    d = np.concatenate([rng.uniform(-r, r, 200), *steps, [0, 9.9e-4, -1.01e-3, 0.01]])
    d = d[d < r]
    assert_close(kernel.k(xp.asarray(d)), [formula.k(x) for x in d.tolist()], 1e-13)
    assert_close(kernel.k_slope(xp.asarray(d)), [formula.slope(x) for x in d.tolist()], 1e-12)


@every_kernel
def test_a_kernel_as_one_would_draw_it(
    xp: Any, rng: Any, kernel: Kernel, formula: literal.Formula
) -> None:
    """Called itself, a kernel is 0 outside its radius."""
    d = np.concatenate([rng.uniform(-9, 9, 300), np.arange(-8, 8.5, 0.5)]).reshape(3, -1)
    assert_close(kernel(xp.asarray(d)), np.vectorize(formula.k)(d), 1e-13)
    outside = d[abs(d) > formula.radius]
    assert_equal(kernel(xp.asarray(outside)), np.zeros(len(outside)))
    assert kernel(xp.asarray(d.astype(np.float32))).dtype == np.float32


@every_kernel
def test_the_slope_is_the_derivative(
    xp: Any, rng: Any, kernel: Kernel, formula: literal.Formula
) -> None:
    """Central differences; where the kernel begins and in its middle differences to the right."""

    def k(d: np.ndarray) -> np.ndarray:
        return to_numpy(kernel.k(xp.asarray(d)))

    h, r = 1e-3, formula.radius
    d = rng.choice([-1, 1], 500) * rng.uniform(2 * h, r - 2 * h, 500)
    central = (8 * (k(d + h) - k(d - h)) - (k(d + 2 * h) - k(d - 2 * h))) / (12 * h)
    assert_close(kernel.k_slope(xp.asarray(d)), central, 1e-8)
    d, h = np.array([-r, 0.0]), 1e-5
    to_the_right = (4 * k(d + h) - k(d + 2 * h) - 3 * k(d)) / (2 * h)
    assert_close(kernel.k_slope(xp.asarray(d)), to_the_right, 1e-6)


@every_kernel
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_and_shape_are_kept(
    xp: Any, rng: Any, kernel: Kernel, formula: Any, dtype: Any
) -> None:
    d = rng.uniform(-kernel.radius, kernel.radius, (3, 1, 50)).astype(dtype)
    d[0, 0, :5] = 0, 1e-8, 1.2e-3, -2e-3, 1e-2  # where sin(d)/d and its slope need care
    for f in (kernel.k, kernel.k_slope):
        value = f(xp.asarray(d))
        assert (value.shape, value.dtype) == (d.shape, dtype)
        assert_close(value, f(xp.asarray(d.astype(np.float64))), 1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", [NEAREST, LINEAR, CUBIC, lanczos(2), lanczos(3)])
def test_interpolating_kernels_are_one_at_zero_and_zero_at_other_pixels(
    xp: Any, kernel: Kernel, dtype: Any
) -> None:
    m = np.arange(-floor(kernel.radius), kernel.radius, dtype=dtype)
    assert_equal(kernel.k(xp.asarray(m)), (m == 0).astype(dtype))


@pytest.mark.parametrize("kernel", [NEAREST, LINEAR, CUBIC, area(3)])
def test_partition_of_unity(xp: Any, rng: Any, kernel: Kernel) -> None:
    d = rng.uniform(0, 1, (200, 1)) + np.arange(-5, 5)
    within = xp.asarray((-kernel.radius <= d) & (d < kernel.radius))
    total = (kernel.k(xp.asarray(d)) * within).sum(axis=1)
    assert_close(total / total[0], np.ones(200), 1e-14)
    assert_close((kernel.k_slope(xp.asarray(d)) * within).sum(axis=1), np.zeros(200), 1e-14)


@pytest.mark.parametrize("a", [1, 2, 3, 8])
def test_lanczos_is_a_product_of_two_sincs(xp: Any, rng: Any, a: int) -> None:
    d = rng.uniform(-a, a, 300)
    assert_close(lanczos(a).k(xp.asarray(d)), np.sinc(d) * np.sinc(d / a), 1e-14)


def test_a_gaussian_is_one(xp: Any) -> None:
    """Apart from the height at its end, which is taken off."""
    sigma = 0.8
    k = to_numpy(gaussian(sigma).k(xp.asarray([0.0, 0.8, 1.6, 2.39])))
    end = np.exp(-4.5)
    ratios = (np.exp([0, -0.5, -2.0, -0.5 * (2.39 / sigma) ** 2]) - end) / (1 - end)
    assert_close(k / k[0], ratios, 1e-14)


# --------------------------------------------------------------------------------------- on images


@with_kernels("nearest", "bilinear", "gaussian", "lanczos", "area")
@pytest.mark.parametrize("padding", ["border", "reflection", "wrap", "constant"])
@pytest.mark.parametrize("dims", [2, 3])
def test_constant_images_stay_constant(
    xp: Any, rng: Any, mode: Any, padding: str, dims: int
) -> None:
    U = np.full((1, 2, *SIZES[dims]), 3.0)
    grid = rng.uniform(-2, 2, (1, *[1] * (dims - 1), 50, dims))
    V, _, dgrid = sampled(
        xp, U, grid, np.ones((1, 2, *grid.shape[1:-1])), mode=mode, **padded(padding, 3.0)
    )
    assert_close(V, np.full(V.shape, 3.0), 1e-14)
    assert_close(dgrid, np.zeros(grid.shape), 1e-12)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", EVERY_PADDING)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("name", "kernel"), [("nearest", NEAREST), ("bilinear", LINEAR), ("bicubic", CUBIC)]
)
def test_names_and_kernels_are_the_same(
    xp: Any, rng: Any, name: str, kernel: Kernel, padding: str, corners: bool, dims: int
) -> None:
    """On borders and ties as well; one for all axes, or one each."""
    U, dV = rng.normal(size=(2, 2, *SIZES[dims])), rng.normal(size=(2, 2, *[1] * (dims - 1), 60))
    points = np.stack([rng.integers(-6, 2 * n + 6, (2, *dV.shape[2:])) / 2
                       for n in reversed(SIZES[dims])], -1)  # fmt: skip
    grid, options = grid_of(points, SIZES[dims], corners), padded(padding)
    by_name = sampled(xp, U, grid, dV, mode=name, align_corners=corners, **options)
    for mode in (kernel, (kernel,) * dims):
        by_kernel = sampled(xp, U, grid, dV, mode=mode, align_corners=corners, **options)
        for a, b in zip(by_name, by_kernel, strict=True):
            assert_close(a, b, 1e-13)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_kernel_each_for_x_y_and_z(xp: Any, rng: Any, dims: int) -> None:
    """In the order of the grid's last axis, not of the image's: one image pixel, seen all round."""
    lopsided = Kernel(*literal.LOPSIDED[:3])
    modes, ks = (CUBIC, lopsided, LINEAR)[:dims], (literal.CUBIC, literal.LOPSIDED, literal.LINEAR)
    pixel = (4, 5, 6)[:dims]  # x, y, z
    U = np.zeros((1, 1, *(13, 11, 12)[-dims:]))
    U[(0, 0, *pixel[::-1])] = 1
    points = np.array(pixel) + rng.uniform(-2.5, 2.5, (1, *[1] * (dims - 1), 80, dims))
    V, _ = stn_np.grid_sample(
        xp.asarray(U), xp.asarray(grid_of(points, U.shape[2:], True)), mode=modes
    )
    # k(x - m), the point minus the pixel: `lopsided` the other way round is another picture.
    expected = [
        np.prod([f.k(x - m) for f, x, m in zip(ks, point, pixel, strict=False)])
        for point in points.reshape(-1, dims).tolist()
    ]
    assert_close(V.ravel(), expected, 1e-13)
    assert max(expected) > 0.1


@pytest.mark.parametrize("corners", CORNERS)
def test_reflection_turns_the_image_round_but_not_the_kernel(xp: Any, corners: bool) -> None:
    """Beyond the edge the image runs backwards, and the kernel goes on looking forwards."""
    U = np.array([1.0, 0, 0, 0, 0, 0, 0, 0]).reshape(1, 1, 1, 8)
    x = np.array([-1.7, -1.2, -0.6, -0.2, 0.3, 0.9, 1.6])
    points = np.stack([x, 0 * x], -1)[None, None]
    V, _ = stn_np.grid_sample(
        xp.asarray(U), xp.asarray(grid_of(points, (1, 8), corners)),
        mode=(Kernel(*literal.LOPSIDED[:3]), LINEAR), padding_mode="reflection",
        align_corners=corners,
    )  # fmt: skip
    k = literal.LOPSIDED.k
    bright = [0] if corners else [0, -1]  # mirrored at pixel 0's centre: it stands once; or twice
    assert_close(V[0, 0, 0], [sum(k(v - m) for m in bright) for v in x], 1e-13)


def test_only_pixels_within_the_radius_are_read(xp: Any, rng: Any) -> None:
    """ceil(2 radius) of them, floor(x - radius) + 1 first, whatever k is beyond."""
    for radius in (0.5, 1, 1.25, 1.5, 2.75):
        kernel = Kernel(lambda d: d * 0 + 1, lambda d: d * 0, radius)
        x = np.concatenate([rng.uniform(8, 12, 40), np.arange(8, 12, 0.25)])
        points = np.stack([x, 0 * x], -1)[None, None]
        U = 2.0 ** np.arange(20).reshape(1, 1, 1, 20)
        V, _ = stn_np.grid_sample(
            xp.asarray(U), xp.asarray(grid_of(points, (1, 20), True)), mode=(kernel, NEAREST)
        )
        m = np.arange(20)
        d = x[:, None] - m
        assert_equal(V[0, 0, 0], ((-radius <= d) & (d < radius)) @ U.ravel())


def test_a_kernel_that_answers_in_float64_changes_no_dtype(xp: Any, rng: Any) -> None:
    kernel = Kernel(
        lambda d: LINEAR.k(d.astype(np.float64)), lambda d: LINEAR.k_slope(d.astype(np.float64)), 1
    )
    U, grid = rng.normal(size=(2, 1, 4, 5)), rng.uniform(-1, 1, (2, 2, 3, 2))
    dV = rng.normal(size=(2, 1, 2, 3))
    single = [a.astype(np.float32) for a in (U, grid, dV)]
    got = sampled(xp, *single, mode=kernel)
    for a, b in zip(got, sampled(xp, *single), strict=True):
        assert a.dtype == np.float32
        assert_close(a, b, 1e-5)


# ------------------------------------------------------------------------------------------ Pillow


def resized(U: np.ndarray, size: tuple[int, int], name: str) -> np.ndarray:
    """By Pillow: kernels normalised, and stretched where the image is reduced."""
    image = pytest.importorskip("PIL.Image")
    shrunk = image.fromarray(U).resize(size[::-1], getattr(image.Resampling, name))
    return np.asarray(shrunk)


def inside(U: np.ndarray, size: tuple[int, int], mode: Any, margin: int) -> tuple[Any, Any]:
    """U at the centres of size pixels, and which of these lie that far from the border."""
    y, x = np.mgrid[: size[0], : size[1]]
    points = np.stack([(x + 0.5) * U.shape[1] / size[1], (y + 0.5) * U.shape[0] / size[0]], -1)
    grid = grid_of(points - 0.5, U.shape, False)[None]
    V, _ = stn_np.grid_sample(U[None, None], grid, mode=mode, align_corners=False)
    ends = np.array(U.shape[::-1]) - margin
    return V[0, 0], ((points > margin) & (points < ends)).all(axis=-1)


@pytest.mark.parametrize("size", [(40, 66), (33, 31), (20, 22)])
def test_lanczos_is_pillows(rng: Any, size: tuple[int, int]) -> None:
    U = rng.uniform(size=(20, 22)).astype(np.float32)
    V, far_from_the_border = inside(U, size, lanczos(3), 4)
    assert far_from_the_border.sum() > 100
    expected = resized(U, size, "LANCZOS")
    assert_close(V[far_from_the_border], expected[far_from_the_border], 2e-6)


@pytest.mark.parametrize("size", [(16, 12), (25, 10), (15, 24), (64, 60)])
def test_area_is_pillows_reduction(rng: Any, size: tuple[int, int]) -> None:
    """By whole numbers and others, by another one along x and y, and not at all."""
    U = rng.uniform(size=(64, 60)).astype(np.float32)
    mode = area(60 / size[1]), area(64 / size[0])
    V, far_from_the_border = inside(U, size, mode, 7)
    assert far_from_the_border.sum() > 50
    expected = resized(U, size, "BILINEAR")
    assert_close(V[far_from_the_border], expected[far_from_the_border], 2e-6)


# ------------------------------------------------------------------------- reduction without alias


def reduced(U: np.ndarray, mode: Any, step: int = 4) -> np.ndarray:
    """Every step-th pixel of U, away from the border, as a kernel sees it."""
    y, x = (np.arange(2 * step, n - 2 * step, step) for n in U.shape)
    points = np.stack(np.meshgrid(x, y), -1)
    V, _ = stn_np.grid_sample(U[None, None], grid_of(points, U.shape, True)[None], mode=mode)
    return V[0, 0]


def test_a_checkerboard_vanishes_instead_of_turning_into_one_colour() -> None:
    y, x = np.mgrid[:41, :49]
    U = (-1.0) ** (x + y)
    assert_equal(reduced(U, "bilinear"), np.ones((7, 9)))
    assert np.abs(reduced(U, area(4))).max() < 1e-14


@pytest.mark.parametrize("period", [2.1, 3.8, 4.3, 5.5, 7.0, 30.0])
def test_waves_are_damped_as_the_kernel_says(period: float) -> None:
    """By (sin(4 a) / (4 sin a))^2, a = pi / period: a tent is two boxes, one after the other."""
    U = np.tile(np.sin(2 * pi * (np.arange(97) + 0.3) / period), (41, 1))
    a = pi / period
    response = (sin(4 * a) / (4 * sin(a))) ** 2
    kept = reduced(U, (area(4), NEAREST))
    assert_close(kept, response * U[8:33:4, 8:89:4], 1e-13)
    alias = reduced(U, "bilinear")
    if period < 4.5:  # above what every fourth pixel can show: 8 pixels
        assert np.abs(kept).max() < 0.02
        assert np.abs(alias).max() > 0.9
    if period == 30:
        assert np.abs(kept).max() > 0.8


@pytest.mark.parametrize("padding", EVERY_PADDING)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("dims", [2, 3])
def test_area_of_no_reduction_is_bilinear(
    xp: Any, rng: Any, padding: str, corners: bool, dims: int
) -> None:
    size = SIZES[dims]
    U, dV = rng.normal(size=(2, 3, *size)), rng.normal(size=(2, 3, *[1] * (dims - 1), 50))
    grid = grid_of(smooth_points(rng, (2, *dV.shape[2:]), size, corners), size, corners)
    options = {"align_corners": corners, **padded(padding)}
    ours = sampled(xp, U, grid, dV, mode=area(1), **options)
    for a, b in zip(ours, sampled(xp, U, grid, dV, **options), strict=True):
        assert_close(a, b, 1e-13)


# ------------------------------------------------------------------------------ steps of the grid


def whole_image(size: tuple[int, ...], out: tuple[int, ...], corners: bool) -> np.ndarray:
    """The identity grid, (1, *out, 2 or 3)."""
    axes = [(2 * np.arange(n) / (n - 1) - 1) if corners else ((2 * np.arange(n) + 1) / n - 1)
            for n in out]  # fmt: skip
    return np.stack(np.meshgrid(*axes, indexing="ij")[::-1], -1)[None]


@pytest.mark.parametrize("corners", CORNERS)
def test_reduction_of_an_upright_grid(xp: Any, corners: bool) -> None:
    for size, out in [((40, 60), (40, 60)), ((40, 60), (10, 30)), ((9, 40, 60), (3, 8, 12))]:
        grid = xp.asarray(whole_image(size, out, corners))
        steps = [(n - 1) / (m - 1) if corners else n / m for n, m in zip(size, out, strict=True)]
        found = reduction(grid, size, align_corners=corners)
        assert found == pytest.approx(steps[::-1], rel=1e-12)  # x first
        tiny = reduction(grid * 0.01, size, align_corners=corners)
        assert tiny == (1,) * len(size)  # a magnification: what is nearest suffices


def test_reduction_of_a_turned_grid(xp: Any) -> None:
    """A grid that steps over (5, 2) pixels along its rows, and over (-3, 4) along its columns."""
    i, j = np.mgrid[:6, :7]
    points = np.stack([20 + 5 * j - 3 * i, 10 + 2 * j + 4 * i], -1)[None]
    found = reduction(xp.asarray(grid_of(points, (50, 80), True)), (50, 80))
    assert found == pytest.approx((hypot(5, 3), hypot(2, 4)), rel=1e-12)


def test_reduction_of_grids_without_steps(xp: Any) -> None:
    for shape in ((1, 1, 1, 2), (0, 3, 4, 2), (2, 0, 4, 2), (1, 3, 1, 2)):
        assert reduction(xp.zeros(shape), (30, 40)) == (1, 1)
    assert reduction(xp.full((1, 3, 4, 2), np.nan), (30, 40)) == (1, 1)
    assert reduction(xp.full((1, 3, 4, 2), np.inf), (30, 40)) == (1, 1)


def test_reduction_and_area_together_leave_no_alias(xp: Any) -> None:
    """As the documentation says it: a finely striped image, reduced 3.7 times, comes out grey."""
    U = np.broadcast_to((np.arange(112) % 2).astype(float), (1, 1, 60, 112))
    grid = xp.asarray(whole_image((60, 112), (16, 30), True))
    mode = tuple(map(area, reduction(grid, (60, 112))))
    V, _ = stn_np.grid_sample(xp.asarray(U.copy()), grid, mode=mode, padding_mode="reflection")
    assert np.abs(to_numpy(V) - 0.5).max() < 0.03
    V, _ = stn_np.grid_sample(xp.asarray(U.copy()), grid)
    assert np.abs(to_numpy(V) - 0.5).max() > 0.45


@pytest.mark.parametrize("padding", EVERY_PADDING)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize(("name", "kernel"), [("nearest", NEAREST), ("bilinear", LINEAR)])
def test_the_samplers_in_fewer_passes_equal_the_general_one(
    rng: Any, name: str, kernel: Kernel, padding: str, corners: bool
) -> None:
    """Points inside, outside, on pixels and half-way between them; more than a block holds."""
    U = rng.normal(size=(3, 2, 6, 9))
    grid = np.concatenate([rng.uniform(-3, 3, (3, 200, 150, 2)),
                           rng.integers(-40, 41, (3, 200, 150, 2)) / 8], axis=1)  # fmt: skip
    dV = rng.normal(size=(3, 2, *grid.shape[1:3]))
    options = padded(padding) | {"align_corners": corners}
    V, dU, dgrid = sampled(np, U, grid, dV, mode=name, **options)
    wanted = sampled(np, U, grid, dV, mode=kernel, **options)
    for got, expected in zip((V, dU, dgrid), wanted, strict=True):
        assert_close(got, expected, 1e-12)
    if name == "nearest":
        assert_equal(V, wanted[0])
        assert_equal(dgrid, np.zeros(grid.shape))


def test_area_names_its_own_argument() -> None:
    with pytest.raises(ValueError, match="^reduction: expected at most 64, got 64.5$"):
        area(64.5)
    assert area(64).radius == 64
