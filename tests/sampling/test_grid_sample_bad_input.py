"""Arguments that the samplers refuse, and coordinates that they survive."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import pi
from typing import Any

import numpy as np
import pytest
from libraries import every_kernel, with_kernels
from oracles import (
    CORNERS,
    EVERY_PADDING,
    PADDINGS,
    assert_equal,
    grid_of,
    padded,
    sampled,
)

import stn_np
from stn_np import layers, transforms
from stn_np.backend import to_numpy
from stn_np.sampling.kernels import CUBIC, LINEAR, Kernel, area, gaussian, lanczos, reduction

pytestmark = pytest.mark.filterwarnings("error")

IMAGES, GRID = np.ones((2, 3, 4, 5)), np.zeros((2, 3, 4, 2))
VOLUMES, GRID_3D = np.ones((2, 3, 4, 5, 6)), np.zeros((2, 2, 3, 4, 3))
NAN, INF = float("nan"), float("inf")
REFUSED = (TypeError, ValueError)


# -------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("mode", "message"),
    [("bicubc", ".*got 'bicubc'; did you mean 'bicubic'"),
     ("trilinear", ".*got 'trilinear'; did you mean 'bilinear'"),
     ("neares", ".*did you mean 'nearest'"),
     ("xyz", "expected one of 'nearest', 'bilinear', 'bicubic', got 'xyz'$"),
     ("", "expected one of"), (None, "expected"), (3, "expected"), (["nearest"], "expected"),
     (LINEAR.k, "expected"), ((), "expected 2 kernels"), ((CUBIC,), "expected 2 kernels"),
     ((CUBIC,) * 3, "expected 2 kernels"), (("nearest", "nearest"), "expected 2 kernels"),
     ((CUBIC, None), "expected 2 kernels"), ([CUBIC, CUBIC], "expected")],
)  # fmt: skip
def test_unknown_modes(mode: Any, message: str) -> None:
    with pytest.raises(REFUSED, match=rf"^mode: {message}"):
        stn_np.grid_sample(IMAGES, GRID, mode=mode)


def test_volumes_need_three_kernels() -> None:
    with pytest.raises(REFUSED, match=r"^mode: expected 3 kernels \(x, y, z\)"):
        stn_np.grid_sample(VOLUMES, GRID_3D, mode=(CUBIC, CUBIC))


@pytest.mark.parametrize(
    ("padding", "message"),
    [("wrapped", ".*did you mean 'wrap'"), ("zero", ".*did you mean 'zeros'"),
     ("const", ".*did you mean 'constant'"), ("reflect", ".*did you mean 'reflection'"),
     ("xyz", ".*got 'xyz'$"), (None, "expected one of"), (0, "expected one of")],
)  # fmt: skip
def test_unknown_paddings(padding: Any, message: str) -> None:
    for mode in ("bilinear", CUBIC):
        with pytest.raises(ValueError, match=f"^padding_mode: {message}"):
            stn_np.grid_sample(IMAGES, GRID, mode=mode, padding_mode=padding)


@pytest.mark.parametrize("value", ["1", None, [1.0], (1,), np.ones(1), np.ones(2), 1j, NAN, INF])
def test_a_padding_value_that_is_no_number(value: Any) -> None:
    with pytest.raises(REFUSED, match="^padding_value: expected"):
        stn_np.grid_sample(IMAGES, GRID, padding_mode="constant", padding_value=value)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection", "wrap"])
def test_a_padding_value_without_use(padding: str) -> None:
    with pytest.raises(ValueError, match="^padding_value: expected 0 unless .*'constant'.*got 0.5"):
        stn_np.grid_sample(IMAGES, GRID, padding_mode=padding, padding_value=0.5)


@with_kernels("nearest", "bilinear", "gaussian")
def test_numbers_of_any_kind_are_a_padding_value(xp: Any, mode: Any) -> None:
    U, grid = np.full((1, 1, 3, 4), 2.0, np.float32), np.full((1, 1, 1, 2), 3.0, np.float32)
    for value in (2, np.float16(2), np.float64(2), np.array(2.0), np.int64(2)):
        V, _ = stn_np.grid_sample(
            xp.asarray(U), xp.asarray(grid), mode=mode, padding_mode="constant", padding_value=value
        )
        assert V.dtype == np.float32
        assert_equal(V, np.full(V.shape, 2.0))


def test_images_and_grids_of_different_ranks() -> None:
    def refused(match: str, U: np.ndarray, grid: np.ndarray) -> None:
        for mode in ("nearest", "bilinear", CUBIC):
            with pytest.raises(ValueError, match=match):
                stn_np.grid_sample(U, grid, mode=mode)

    plane, volume = r"\(N, H', W', 2\)", r"\(N, D', H', W', 3\)"
    refused(f"^grid: expected shape {plane}, got", IMAGES, GRID_3D)
    refused(f"^grid: expected shape {plane}, got", IMAGES, np.zeros((2, 3, 4, 3)))
    refused(f"^grid: expected shape {volume}, got", VOLUMES, GRID)
    refused(f"^grid: expected shape {volume}, got", VOLUMES, np.zeros((2, 2, 3, 4, 2)))
    refused(f"^grid: expected shape {volume}, got", VOLUMES, np.zeros((2, 3, 4, 3)))
    for U in (np.ones(()), np.ones(5), np.ones((2, 5)), np.ones((2, 3, 4)), VOLUMES[None]):
        refused(r"^U: expected shape .*, got \(", U, GRID_3D)
    refused("^grid: expected as many grids as images .2., or one, got 3",
            VOLUMES, np.zeros((3, 2, 3, 4, 3)))  # fmt: skip
    for axis in (2, 3, 4):
        empty = np.ones([0 if k == axis else 2 for k in range(5)])
        refused("^U: expected at least one pixel", empty, GRID_3D)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.complex128, object])
@pytest.mark.parametrize("mode", ["bilinear", gaussian()])
def test_other_dtypes(mode: Any, dtype: Any) -> None:
    for U, grid in ((IMAGES, GRID), (VOLUMES, GRID_3D)):
        with pytest.raises(TypeError, match="^U: expected a floating-point dtype"):
            stn_np.grid_sample(U.astype(dtype), grid, mode=mode)
        with pytest.raises(TypeError, match="^grid: expected a floating-point dtype"):
            stn_np.grid_sample(U, grid.astype(dtype), mode=mode)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", gaussian()])
def test_upstream_gradients_of_another_shape(mode: Any) -> None:
    for U, grid in ((IMAGES, GRID), (VOLUMES, GRID_3D)):
        V, backward = stn_np.grid_sample(U, grid, mode=mode)
        for bad in (V[..., :1], V[:1], V[None], V.ravel(), np.ones(())):
            with pytest.raises(ValueError, match="^dV: expected shape"):
                backward(bad)
        for wrong in (V.astype(int), V.tolist(), None, 1.0):
            with pytest.raises(TypeError, match="^dV: expected"):
                backward(wrong)


# ---------------------------------------------------------------------------------------- kernels


@pytest.mark.parametrize("radius", [0, -1, 65, 1e9, NAN, INF, -INF, "2", None, 1j, np.ones(2)])
def test_radii_that_make_no_sense(radius: Any) -> None:
    with pytest.raises(REFUSED, match="^radius: expected"):
        Kernel(LINEAR.k, LINEAR.k_slope, radius)


@pytest.mark.parametrize(
    "f",
    [
        None, 3, "linear", np.ones(3),  # no functions
        lambda d: 1.0, lambda d: d[0], lambda d: d.ravel(), lambda d: d[..., None],  # other shapes
        lambda d: None, lambda d: d > 0, lambda d: d.astype(int), lambda d: d * 1j,  # other kinds
        lambda d: d.tolist(), lambda d: d * NAN, lambda d: d * 1e308 * 1e308,
        lambda d: np.sin(d) / d,  # not a number at 0
        lambda d: np.log(d), lambda d: np.arccos(9 * d), lambda d: np.where(d < 0, NAN, d),
    ],
)  # fmt: skip
def test_functions_that_are_no_kernels(f: Any) -> None:
    """Found out when the kernel is made, by an error that says which of the two it is."""
    with np.errstate(all="ignore"):  # what f itself warns of
        with pytest.raises(REFUSED, match="^k: expected"):
            Kernel(f, LINEAR.k_slope, 2)
        with pytest.raises(REFUSED, match="^k_slope: expected"):
            Kernel(LINEAR.k, f, 2)


def test_a_kernel_cannot_be_changed() -> None:
    for kernel in (CUBIC, gaussian()):
        with pytest.raises(AttributeError):
            kernel.radius = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "name", "bad"),
    [(gaussian, "sigma", (0, -1, 0.01, 1e9, NAN, INF, "1", None, 1j, np.ones(2))),
     (lanczos, "a", (0, -3, 2.5, 65, 10**30, NAN, INF, "3", None, 1j, np.ones(2))),
     (area, "reduction", (0, -1, 0.99, 65, 1e9, NAN, INF, "2", None, 1j, np.ones(2)))],
)  # fmt: skip
def test_kernels_of_impossible_width(make: Any, name: str, bad: Any) -> None:
    for value in bad:
        with pytest.raises(REFUSED, match=f"^({name}|radius): expected"):
            make(value)


def test_reduction_of_what_is_no_grid() -> None:
    for bad in (None, [[1.0]], 3):
        with pytest.raises(TypeError, match="^grid: expected a NumPy or CuPy array"):
            reduction(bad, (4, 5))  # type: ignore[arg-type]
    for grid, size in ((GRID, (4, 5, 6)), (GRID_3D, (4, 5)), (GRID[0], (4, 5)), (GRID, (4,))):
        with pytest.raises(REFUSED, match="^(grid|size): expected"):
            reduction(grid, size)
    with pytest.raises(TypeError, match="^grid: expected a floating-point dtype"):
        reduction(GRID.astype(int), (4, 5))
    for size in ((0, 5), (4.5, 5), ("4", 5), None, 4):
        with pytest.raises(REFUSED, match="^size: expected"):
            reduction(GRID, size)  # type: ignore[arg-type]


# --------------------------------------------------------------- NaN, infinite and huge coordinates

WILD = [NAN, -NAN, INF, -INF, 3.4e38, -3.4e38, 3e38, 1e30, -1e30, 1e10, -1e10, 2.0**31, -(2.0**31),
        2.0**63, 1e5, -1e5, 1e-45, -1e-45, 0.3, -1.0, 1.0]  # fmt: skip


def wild_values(dtype: Any) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = np.array(WILD).astype(dtype)
    if dtype == np.float64:
        values = np.concatenate([values, [1e300, -1e308, np.finfo(np.float64).max]])
    return values


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", EVERY_PADDING)
@every_kernel
def test_wild_coordinates_give_finite_numbers(
    xp: Any, rng: Any, mode: Any, padding: str, corners: bool
) -> None:
    """Never an exception, a warning or a foreign number: only pixels and padding are read."""
    sizes = [(1, 1), (1, 5), (3, 4), (28, 2), (1, 1, 1), (3, 2, 4)]
    for dtype, size in product((np.float16, np.float32, np.float64), sizes):
        values = wild_values(dtype)
        pairs = np.stack(np.meshgrid(values, values), -1)[None]
        triples = np.stack(np.meshgrid(*[values[[0, 1, 2, 3, 4, 10, -3, -1]]] * 3), -1)[None]
        grid = pairs if len(size) == 2 else triples
        U = rng.uniform(1, 2, (1, 2, *size)).astype(dtype)
        dV = np.ones((1, 2, *grid.shape[1:-1]), dtype)
        V, dU, dgrid = sampled(
            xp, U, grid, dV, mode=mode, align_corners=corners, **padded(padding, 1.25)
        )
        for a in map(to_numpy, (V, dU, dgrid)):
            assert np.isfinite(a).all()
        if mode in ("nearest", "bilinear"):
            assert to_numpy(V).min() >= (0 if padding == "zeros" else 1)
            assert to_numpy(V).max() <= 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dims", [2, 3])
@every_kernel
def test_nan_is_far_to_the_left_and_infinity_far_away(
    xp: Any, rng: Any, mode: Any, dims: int, dtype: Any
) -> None:
    size, corners = (3, 4, 7)[-dims:], dims == 2
    U = rng.normal(size=(1, 1, *size)).astype(dtype)
    middle = grid_of(np.full((1, *[1] * (dims - 1), 10, dims), 1.0), size, corners).astype(dtype)
    left, right = middle.copy(), middle.copy()
    left[..., 0], right[..., 0] = -20, 20
    lost = middle.copy()
    lost[..., 0] = [NAN, -NAN, -INF, -3e38, -1e20, -1e6, INF, 3e38, 1e20, 1e6]
    far = np.where(np.arange(10)[:, None] < 6, left, right)
    dV = np.ones((1, 1, *lost.shape[1:-1]), dtype)
    for padding in ("zeros", "constant", "border"):
        options = {"mode": mode, "align_corners": corners, **padded(padding)}
        V, dU, dgrid = sampled(xp, U, lost, dV, **options)
        V_far, dU_far, dgrid_far = sampled(xp, U, far, dV, **options)
        assert_equal(V, V_far)
        assert_equal(dU, dU_far)
        assert_equal(dgrid[..., 1:], dgrid_far[..., 1:])
        assert_equal(dgrid[..., 0], np.zeros(dgrid.shape[:-1]))


@every_kernel
@pytest.mark.parametrize("padding", EVERY_PADDING)
def test_a_bad_pixel_is_felt_within_the_radius_only(
    xp: Any, rng: Any, mode: Any, padding: str
) -> None:
    U = rng.normal(size=(2, 2, 12, 13))
    radius = (
        {"nearest": 0.5, "bilinear": 1, "bicubic": 2}.get(mode)
        if isinstance(mode, str)
        else mode.radius
    )
    points = np.stack([rng.uniform(0, 12, 300), rng.uniform(0, 11, 300)], -1)[None, None]
    grid, options = grid_of(points, (12, 13), True), {"mode": mode, **padded(padding)}
    dV = rng.normal(size=(2, 2, 1, 300))
    clean, clean_dU, _ = sampled(xp, U, grid, dV, **options)
    U[0, 1, 6, 7] = NAN
    V, dU, _ = sampled(xp, U, grid, dV, **options)
    assert_equal(dU, clean_dU)  # it does not depend on U
    touched = (np.abs(points[0, 0] - [7, 6]) < radius).all(axis=-1)
    assert touched.any()
    expected = np.array(to_numpy(clean))
    expected[0, 1, 0, touched] = NAN
    assert_equal(V, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("corners", CORNERS)
def test_where_nan_and_infinity_are_read(xp: Any, corners: bool, dtype: Any) -> None:
    U = np.arange(1.0, 13).reshape(1, 1, 3, 4).astype(dtype)
    grid = np.array([[NAN, 0], [0, NAN], [NAN, NAN], [INF, 0], [-INF, 0], [0, INF], [0, -INF]])
    grid = xp.asarray(grid.reshape(1, 1, -1, 2).astype(dtype))

    def sample(padding: str) -> Any:
        V, backward = stn_np.grid_sample(
            xp.asarray(U), grid, padding_mode=padding, align_corners=corners
        )
        dU, dgrid = backward(xp.ones(V.shape, dtype))
        return V[0, 0, 0], dU, dgrid

    V, dU, dgrid = sample("zeros")
    assert_equal(V, np.zeros(7))
    assert_equal(dU, np.zeros_like(U))
    assert_equal(dgrid, np.zeros(grid.shape))
    # NaN: far to the left, or above. The middle of the image is row 1, column 1.5.
    V, _, dgrid = sample("border")
    assert_equal(V, [5, 2.5, 1, 8, 5, 10.5, 2.5])
    outside = np.isfinite(to_numpy(grid))  # only the coordinate that is inside has a slope
    assert_equal(to_numpy(dgrid)[~outside], np.zeros((~outside).sum()))
    V, _, dgrid = sample("reflection")
    assert_equal(V[:3], [5, 2.5, 1])
    assert_equal(to_numpy(dgrid)[~outside], np.zeros((~outside).sum()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("padding", PADDINGS)
def test_one_pixel_is_read_wherever_the_point_is(xp: Any, padding: str, dtype: Any) -> None:
    """With aligned corners an axis of one pixel has no extent: all finite points lie on it."""
    x = np.array([-9.0, -1, -0.3, 0, 0.7, 1, 40, 3e38, -1e30], dtype)
    grid = np.stack([x, x], -1).reshape(1, 1, -1, 2)
    V, backward = stn_np.grid_sample(
        xp.full((1, 1, 1, 1), 3.0, dtype), xp.asarray(grid), padding_mode=padding
    )
    assert_equal(V, np.full(V.shape, 3))
    dU, dgrid = backward(xp.ones(V.shape, dtype))
    assert_equal(dU, [[[[9]]]])
    assert_equal(dgrid, np.zeros(grid.shape))


@pytest.mark.parametrize("value", [NAN, INF, -INF, 3e38, -3e38, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wild_theta_goes_through_grid_and_sampler(xp: Any, value: float, dtype: Any) -> None:
    U = xp.asarray(np.ones((7, 1, 4, 5), dtype))
    theta = np.stack([np.eye(2, 3)] * 7).astype(dtype)
    for k in range(6):  # the seventh image keeps its identity
        theta[k, k // 3, k % 3] = value
    grid, grid_backward = stn_np.affine_grid(xp.asarray(theta), (4, 5))
    for padding in PADDINGS:
        V, backward = stn_np.grid_sample(U, grid, padding_mode=padding)
        assert np.isfinite(to_numpy(V)).all()
        assert_equal(V[6], np.ones((1, 4, 5)))
        dU, dgrid = backward(xp.ones(V.shape, dtype))
        assert np.isfinite(to_numpy(dU)).all()
        assert np.isfinite(to_numpy(dgrid)).all()
        assert np.isfinite(to_numpy(grid_backward(dgrid))).all()


def test_huge_pixels_are_interpolated_without_overflow(xp: Any) -> None:
    """As long as the difference of two neighbours is representable."""
    U = xp.asarray(np.array([[[[-1.5e38, 1.5e38]]]], np.float32))
    V, _ = stn_np.grid_sample(U, xp.zeros((1, 1, 1, 2), np.float32))
    assert_equal(V, [[[[0]]]])


# ---------------------------------------------------------- settings that would be taken for others


@pytest.mark.parametrize("bad", ["False", None, 0, 1, NAN, [True]])
def test_only_true_and_false_are_flags(bad: Any) -> None:
    theta = np.zeros((2, 2, 3))
    for name in ("align_corners", "needs_dU", "needs_dgrid"):
        with pytest.raises(TypeError, match=f"^{name}: expected True or False, got"):
            stn_np.grid_sample(IMAGES, GRID, **{name: bad})
    with pytest.raises(TypeError, match="^align_corners: expected True or False, got"):
        stn_np.affine_sample(IMAGES, theta, (3, 4), align_corners=bad)
    with pytest.raises(TypeError, match="^needs_dtheta: expected True or False, got"):
        stn_np.affine_sample(IMAGES, theta, (3, 4), needs_dtheta=bad)
    with pytest.raises(TypeError, match="^normalise: expected True or False, got"):
        Kernel(np.ones_like, np.zeros_like, 1, normalise=bad)


def test_a_padding_value_that_the_images_cannot_hold() -> None:
    """It would become infinite, and infinity times the weight 0 spoil the pixels at the border."""
    constant: dict[str, Any] = {"padding_mode": "constant"}
    for dtype, value in ((np.float16, 1e5), (np.float32, 1e39), (np.float32, -1e300)):
        U = IMAGES.astype(dtype)
        with pytest.raises(ValueError, match=f"^padding_value: expected a number for {U.dtype}"):
            stn_np.grid_sample(U, GRID, mode="bicubic", padding_value=value, **constant)
        with pytest.raises(ValueError, match="^padding_value: expected a number for"):
            stn_np.affine_sample(U, np.zeros((2, 2, 3)), (3, 4), padding_value=value, **constant)


def test_a_kernel_that_changes_its_argument_is_refused() -> None:
    def in_place(d: np.ndarray) -> np.ndarray:
        return np.subtract(1, np.abs(d, out=d), out=d)

    with pytest.raises(ValueError, match="^k: expected a function that leaves d as it is"):
        Kernel(in_place, LINEAR.k_slope, 1)


def test_a_kernel_for_one_number_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match="^k: expected a function of an array of distances"):
        Kernel(lambda d: max(0, 1 - abs(d)), LINEAR.k_slope, 1)  # type: ignore[call-overload]


def test_small_integers_of_numpy_are_numbers_like_others() -> None:
    d = np.linspace(-2.9, 2.9, 30)
    np.testing.assert_array_equal(lanczos(np.uint8(3)).k(d), lanczos(3).k(d))
    grid = np.linspace(-0.9, 0.8, GRID.size).reshape(GRID.shape)
    wide = lanczos(np.int8(64))  # type: ignore[arg-type]
    stn_np.grid_sample(IMAGES, grid, mode=wide)
    assert stn_np.sampling.Linearised(np.int8(127)).n_samples + 1 == 128  # type: ignore[arg-type]


@pytest.mark.parametrize("noise", [1e-7, 5e-324, 0.0, 101.0, INF, NAN, True])
def test_noise_that_rounding_would_swallow(noise: float) -> None:
    with pytest.raises(REFUSED, match="^noise: expected"):
        stn_np.sampling.Linearised(noise=noise)


@pytest.mark.parametrize("mode", [(), (LINEAR,) * 3, ("bilinear", "bilinear")])
def test_a_transformer_refuses_what_the_sampler_would(mode: Any) -> None:
    net = stn_np.layers.Sequential(f=stn_np.layers.Flatten())
    with pytest.raises(TypeError, match="^mode: expected 2 kernels"):
        stn_np.SpatialTransformer(net, stn_np.transforms.Affine(), mode=mode)


# ------------------------------------------------------------------------ changes after the forward


@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "bicubic"}, {"padding_mode": "wrap"}, {"grid_gradient": "linearised"}],
)
def test_inputs_and_output_may_be_changed_before_backward(xp: Any, options: Any) -> None:
    rng = np.random.default_rng(3)
    U, grid = (
        xp.asarray(rng.normal(size=(2, 3, 5, 6))),
        xp.asarray(rng.uniform(-1, 1, (2, 3, 4, 2))),
    )
    dV = xp.asarray(rng.normal(size=(2, 3, 3, 4)))
    expected = stn_np.grid_sample(U, grid, **options)[1](dV)
    V, backward = stn_np.grid_sample(U, grid, **options)
    if xp is np:  # on a GPU, as documented, they are read again
        U *= 0.5
        grid += 0.1
    V *= 0
    for got, wanted in zip(backward(dV), expected, strict=True):
        np.testing.assert_array_equal(to_numpy(got), to_numpy(wanted))


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [2**20 + 1, 2**22 - 4])
def test_the_identity_of_very_long_images(mode: str, size: int) -> None:
    U = (np.arange(size) % 4093).astype(np.float32).reshape(1, 1, 1, size)
    theta = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
    grid, _ = stn_np.affine_grid(theta, (1, size))
    V, _ = stn_np.grid_sample(U, grid, mode=mode, needs_dU=False, needs_dgrid=False)
    np.testing.assert_array_equal(V, U)


# ----------------------------------------------------------------------------- first guesses, hints


@pytest.mark.parametrize("name", ["gaussian", "lanczos", "area"])
def test_kernels_that_are_no_modes_are_pointed_to(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^mode: expected .* use stn_np.sampling.kernels.{name}\("
    ):
        stn_np.grid_sample(IMAGES, GRID, mode=name)
    with pytest.raises(TypeError, match=r"^mode: expected a name, a Kernel such as .*lanczos\(\)"):
        stn_np.grid_sample(IMAGES, GRID, mode=getattr(stn_np.sampling.kernels, name))


def test_hints_for_one_image_and_for_whole_numbers() -> None:
    with pytest.raises(ValueError, match=r"^U: .*got \(3, 4, 5\); a batch of one is U\[None\]$"):
        stn_np.grid_sample(IMAGES[0], GRID)
    with pytest.raises(TypeError, match=r"^U: .*got uint8; use U.astype\(np.float32\) / 255"):
        stn_np.grid_sample(IMAGES.astype(np.uint8), GRID)
    similarity = stn_np.transforms.Similarity()
    with pytest.raises(ValueError, match=r"a batch of one is theta\[None\]$"):
        similarity(similarity.identity, (3, 4))
    with pytest.raises(ValueError, match=r"^transform: .*'affine3d': use Affine3d\(\)"):
        stn_np.transforms.by_name("affine3d")


@pytest.mark.parametrize(
    "k", [lambda d: np.sin(pi * d), np.zeros_like, lambda d: np.cos(pi * d) * (abs(d) < 0.5) - 0.2]
)
def test_weights_that_cannot_be_normalised(k: Any) -> None:
    """Sums that are zero everywhere, and sums that change sign."""
    Kernel(k, np.zeros_like, 1)
    with pytest.raises(ValueError, match="^k: expected weights whose sum is never 0"):
        Kernel(k, np.zeros_like, 1, normalise=True)


def test_an_unknown_way_to_dU_is_refused() -> None:
    U, grid, theta = np.ones((1, 1, 2, 3)), np.zeros((1, 2, 3, 2)), np.ones((1, 2, 3))
    localisation, affine = layers.Flatten(), transforms.Affine()
    calls: list[Callable[[], object]] = [
        lambda: stn_np.grid_sample(U, grid, dU_method="atomics"),
        lambda: stn_np.affine_sample(U, theta, (2, 3), dU_method="atomics"),
        lambda: stn_np.SpatialTransformer(localisation, affine, dU_method="atomics"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="dU_method: expected one of .* did you mean 'atomic'"):
            call()
