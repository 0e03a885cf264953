"""What only the kernels for the GPU do: both ways to dU, any memory order, sizes beyond 32 bits.

What they compute is tested with everybody's: the tests of the sampler run for each array library.
"""

from __future__ import annotations

from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import stn_np
from stn_np import layers, transforms
from stn_np.backend import to_numpy
from stn_np.gpu import sampling as gpu_sampling
from stn_np.gpu import source as gpu_source
from stn_np.gpu.launcher import Argument, launch
from stn_np.sampling import PADDING_MODES

CASES = [
    *product(("nearest", "bilinear", "bicubic"), PADDING_MODES, (True, False), ("2-D",)),
    *product(("nearest", "bilinear", "bicubic"), ("zeros", "reflection"), (True,), ("3-D",)),
]


def case(
    rng: np.random.Generator, dims: str, dtype: Any = np.float64, N: int = 2
) -> tuple[Any, Any, Any]:
    """Image, grid that leaves it on all sides, upstream gradient; no two sides alike."""
    size, out = ((5, 7), (6, 4)) if dims == "2-D" else ((3, 5, 4), (2, 3, 5))
    U = rng.normal(size=(N, 3, *size)).astype(dtype)
    grid = rng.uniform(-1.6, 1.6, (N, *out, len(size))).astype(np.promote_types(dtype, np.float32))
    return U, grid, rng.normal(size=(N, 3, *out)).astype(dtype)


@pytest.mark.parametrize(("mode", "padding", "corners", "dims"), CASES)
def test_atomic_and_deterministic_agree_with_numpy(
    gpu: ModuleType, rng: np.random.Generator, mode: str, padding: str, corners: bool, dims: str
) -> None:
    U, grid, dV = case(rng, dims)
    rules = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    V, backward = stn_np.grid_sample(U, grid, **rules)
    dU, dgrid = backward(dV)
    for method in ("deterministic", "atomic"):
        V_, backward_ = stn_np.grid_sample(
            gpu.asarray(U), gpu.asarray(grid), dU_method=method, **rules
        )
        dU_, dgrid_ = backward_(gpu.asarray(dV))
        for ours, theirs in ((V_, V), (dU_, dU), (dgrid_, dgrid)):
            np.testing.assert_allclose(to_numpy(ours), theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("padding", PADDING_MODES)
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_at_edges_and_far_outside_as_numpy(
    gpu: ModuleType, rng: np.random.Generator, mode: str, padding: str, corners: bool
) -> None:
    """On pixels, halfway between them, and where points begin to count as one."""
    W = 5
    near, far = np.arange(-12, 17) / 2, 1e5 + np.arange(-2, 3) / 2
    pixels = np.concatenate([near, -far, W - 1 + far])
    x = (pixels - (W - 1) / 2) / ((W - 1 if corners else W) / 2)
    x = np.concatenate([x, [-np.inf, np.inf, np.nan, -1e300, 1e300]])
    grid = np.zeros((1, 1, x.size, 2))
    grid[..., 0] = x
    U, dV = rng.integers(-8, 8, (1, 1, 1, W)).astype(float), np.ones((1, 1, 1, x.size))
    rules = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    V, backward = stn_np.grid_sample(U, grid, **rules)
    V_, backward_ = stn_np.grid_sample(gpu.asarray(U), gpu.asarray(grid), **rules)
    expected = V, *backward(dV)
    for ours, theirs in zip((V_, *backward_(gpu.asarray(dV))), expected, strict=True):
        np.testing.assert_allclose(to_numpy(ours), theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_both_ways_in_affine_sample(
    gpu: ModuleType, rng: np.random.Generator, padding: str, corners: bool
) -> None:
    U, theta = rng.normal(size=(2, 3, 5, 7)), rng.normal(size=(2, 2, 3))
    dV = rng.normal(size=(2, 3, 6, 4))
    rules = {"padding_mode": padding, "align_corners": corners}
    V, backward = stn_np.affine_sample(U, theta, (6, 4), **rules)
    expected = V, *backward(dV)
    for method in ("deterministic", "atomic"):
        V_, backward_ = stn_np.affine_sample(
            gpu.asarray(U), gpu.asarray(theta), (6, 4), dU_method=method, **rules
        )
        for ours, theirs in zip((V_, *backward_(gpu.asarray(dV))), expected, strict=True):
            np.testing.assert_allclose(to_numpy(ours), theirs, rtol=1e-10, atol=1e-11)


def test_each_pixel_adds_up_in_the_order_of_the_points(
    gpu: ModuleType, rng: np.random.Generator
) -> None:
    """All points read one pixel, and the sum depends on the order: 1e8 + 1 - 1e8 and so on."""
    U, n = np.zeros((2, 1, 3, 4), np.float32), 1000
    grid = np.zeros((1, 1, n, 2), np.float32)
    grid[..., 0], grid[..., 1] = -1, 1  # lower left pixel
    dV = rng.permutation(np.resize(np.float32([1e8, 1, -1e8, 3e-3]), 2 * n)).reshape(2, 1, 1, n)
    _, backward = stn_np.grid_sample(gpu.asarray(U), gpu.asarray(grid), mode="nearest")
    dU = to_numpy(backward(gpu.asarray(dV))[0])
    for image in range(2):
        total = np.float32(0)
        for value in dV[image].ravel():
            total += value
        assert dU[image, 0, 2, 0] == total
    assert np.count_nonzero(dU) <= 2


def test_pixels_find_the_points_that_read_them(
    gpu: ModuleType, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit what lists give: the same points with the same weights, in the same order."""
    identity, zero = np.eye(2, 3), np.zeros((2, 3))
    turned, nearly = np.array([[0, 1.0, 0], [-1, 0, 0]]), np.array([[1, 2, 0], [0.5, 1.0000001, 0]])
    cancelling = np.array([[3e7, 0, -1e7], [0, 1e20, 5e19]])  # a few points get into the image
    spoilt = [identity * np.where(identity == 1, x, 1) for x in (np.nan, np.inf, -np.inf)]
    maps = [identity, zero, turned, nearly, cancelling, *spoilt, identity * 1e-30, identity * 1e-42]
    maps += [np.array([[0.5, 0, 0.25], [0, 0, x]]) for x in (0, 0.3, 5)]  # all rows are one
    maps += [np.array([[1, 0, np.nan], [0, 1, 0]]), np.array([[1, 0, 0], [0, 1e-39, 1e-39]])]
    maps += list(rng.normal(size=(30, 2, 3)) * 10 ** rng.uniform(-3, 2, (30, 1, 1)))
    theta = np.array(maps)
    theta = np.concatenate([theta, theta * rng.choice([1, 0], theta.shape, p=(0.7, 0.3))])
    for (H, W), out, C in (((17, 33), (19, 40), 2), ((5, 7), (3, 41), 21), ((1, 6), (40, 1), 3)):
        for dtype, shared in ((np.float32, False), (np.float64, True), (np.float16, False)):
            U = gpu.zeros((1 if shared else len(theta), C, H, W), dtype)
            dV = gpu.asarray(rng.normal(size=(len(theta), C, *out)).astype(dtype))
            wide = np.float32 if dtype == np.float16 else dtype
            with np.errstate(invalid="ignore"):
                points = gpu.asarray(theta.astype(wide))
                _, backward = stn_np.affine_sample(U, points, out)
            found = to_numpy(backward(dV)[0])
            with monkeypatch.context() as patch:
                patch.setattr(gpu_sampling.Source, "is_affine", False)
                expected = to_numpy(backward(dV)[0])
            assert expected.any()
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("side", [2, 3, 27])
@pytest.mark.parametrize("source", ["grid", "map"])
def test_the_same_bits_whichever_thread_comes_first(
    stand_in: ModuleType, rng: np.random.Generator, source: str, side: int
) -> None:
    """A few entries a pixel, or hundreds; through the grid several of one point as well."""
    U = stand_in.cupy.zeros((2, 3, 2, 2), np.float32)
    dV = stand_in.cupy.asarray(rng.normal(size=(2, 3, side, side)).astype(np.float32))
    theta = stand_in.cupy.asarray(rng.normal(size=(2, 2, 3)).astype(np.float32))

    def dU() -> Any:
        if source == "map":
            _, backward = stn_np.affine_sample(U, theta, (side, side), padding_mode="border")
        else:
            grid, _ = stn_np.affine_grid(theta, (side, side))
            _, backward = stn_np.grid_sample(U, grid, mode="bicubic", padding_mode="wrap")
        return to_numpy(backward(dV)[0])

    expected = dU()
    with stand_in.threads_backwards():
        np.testing.assert_array_equal(dU(), expected)


@pytest.mark.parametrize("out", [(16, 32), (3, 70), (33, 17), (1, 1), (40, 5), (3, 7, 20)])
def test_points_in_patches_are_the_same_points(
    gpu: ModuleType, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, out: tuple
) -> None:
    """The same bits as one after the other, whatever sticks out; and NumPy's results."""
    size = (5, 7) if len(out) == 2 else (3, 5, 4)
    U, dV = rng.normal(size=(2, 3, *size)), rng.normal(size=(2, 3, *out))
    grid = rng.uniform(-1.3, 1.3, (2, *out, len(size)))
    V, backward = stn_np.grid_sample(U, grid)
    expected = (V, *backward(dV))
    found = []
    for most, method in product((0, 1000), ("deterministic", "atomic")):
        monkeypatch.setattr(gpu_sampling, "MOST_PLACES", most)
        patches, places = gpu_sampling._patches(out)
        assert (patches, places % 256 == 0) == ((out[-1], True) if most else (0, places % 256 == 0))
        V, backward = stn_np.grid_sample(*map(gpu.asarray, (U, grid)), dU_method=method)
        found.append([to_numpy(x) for x in (V, *backward(gpu.asarray(dV)))])
        for ours, theirs in zip(found[-1], expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-11)
    for ours, theirs in zip(found[0], found[2], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if len(out) == 2:
        theta = gpu.asarray(rng.normal(size=(2, 2, 3)))
        warped = []
        for most in (0, 1000):
            monkeypatch.setattr(gpu_sampling, "MOST_PLACES", most)
            V, backward = stn_np.affine_sample(gpu.asarray(U), theta, out)
            warped.append([to_numpy(x) for x in (V, backward(gpu.asarray(dV))[0])])
        for ours, theirs in zip(*warped, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_patches_where_few_threads_would_be_idle() -> None:
    assert gpu_sampling._patches((256, 256)) == (256, 256 * 256)
    assert gpu_sampling._patches((28, 28)) == (0, 784)  # 1,024 places
    assert gpu_sampling._patches((0, 5)) == (0, 0)


def test_lists_are_never_left(gpu: ModuleType, rng: np.random.Generator) -> None:
    """If `count` had found less than `fill` does: nothing is written or read beyond the lists."""
    n, rows, entries = 12, 6, 40  # 48 are found
    grid = gpu.asarray(rng.uniform(-0.9, 0.9, (1, 3, 4, 2)).astype(np.float32))
    source = gpu_source.from_grid((2, 3), grid, 1)
    ends = gpu.asarray(np.linspace(0, entries, rows).astype(np.int64))
    keys, weights = gpu.full(64, -7, np.int64), gpu.full(64, -7, np.float32)
    lists = (
        Argument("ends", ends, np.int64, (rows,)),
        Argument("keys", keys, np.int64, (64,)),
        Argument("weights", weights, np.float32, (64,)),
    )
    rules = source.kind, "LINEAR", "BORDER", True
    geometry = *source.size, n, 0, *source.steps
    launch(
        gpu_sampling.TRANSPOSE,
        "fill",
        ("float32", *rules),
        n,
        source.points,
        *lists,
        entries,
        1,
        *geometry,
        0,  # no patches
    )
    assert int(ends.max()) > entries
    assert (keys[entries:] == -7).all() and (weights[entries:] == -7).all()
    launch(gpu_sampling.TRANSPOSE, "sort_rows", ("float32",), rows, *lists, entries)
    assert (keys[entries:] == -7).all()
    keys[:] = 0
    weights[:] = 1
    weights[entries:] = np.inf  # to read one of these shows
    dV, dU = gpu.ones((1, 1, n), np.float32), gpu.empty((1, 1, 2, 3), np.float32)
    upstream = Argument("dV", dV, np.float32, dV.shape)
    image = Argument("dU", dU, np.float32, dU.shape)
    sizes = entries, 1, rows, n, 0, 1
    launch(
        gpu_sampling.TRANSPOSE, "gather", ("float32", 4, 4), rows, *lists, upstream, image, *sizes
    )
    assert np.isfinite(to_numpy(dU)).all()


@pytest.mark.parametrize(("N", "out_size"), [(270_000, (1, 1)), (90_000, (1, 3))])
def test_gradient_of_many_maps(
    gpu: ModuleType, rng: np.random.Generator, N: int, out_size: tuple[int, int]
) -> None:
    """Enough points for a thread to take two of an image."""
    U, theta = rng.normal(size=(N, 1, 2, 2)), rng.uniform(-0.4, 0.4, (N, 2, 3))
    dV = rng.normal(size=(N, 1, *out_size))
    _, expected = stn_np.affine_sample(U, theta, out_size)[1](dV)
    _, backward = stn_np.affine_sample(gpu.asarray(U), gpu.asarray(theta), out_size)
    _, dtheta = backward(gpu.asarray(dV))
    np.testing.assert_allclose(to_numpy(dtheta), expected, rtol=1e-11, atol=1e-12)


def test_gradient_of_a_map_is_summed_up_in_float64(gpu: ModuleType) -> None:
    U = gpu.asarray(np.float32([[[[0, 2], [0, 2]]]]))  # dV/d(offset along x) is 1 everywhere
    theta = gpu.asarray(np.float32([[[0.5, 0, 0], [0, 0, 0]]]))
    dV = gpu.asarray(np.float32([[[[1e8, 1, -1e8, 3]]]]))
    _, dtheta = stn_np.affine_sample(U, theta, (1, 4))[1](dV)
    assert to_numpy(dtheta)[0, 0, 2] == 4


@pytest.mark.parametrize("shared", ["neither", "image", "grid"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_any_memory_order(
    gpu: ModuleType, rng: np.random.Generator, shared: str, dtype: Any
) -> None:
    U, grid, dV = case(rng, "2-D", dtype, N=3)
    U = U[:1] if shared == "image" else U
    grid = grid[:1] if shared == "grid" else grid
    V, backward = stn_np.grid_sample(gpu.asarray(U), gpu.asarray(grid))
    expected = V, *backward(gpu.asarray(dV))
    turned = [gpu.asarray(x.transpose(2, 1, 3, 0).copy()).transpose(3, 1, 0, 2) for x in (U, dV)]
    planar = gpu.asarray(grid.transpose(0, 3, 1, 2).copy()).transpose(0, 2, 3, 1)
    strided = gpu.asarray(np.repeat(grid, 2, axis=2))[:, :, ::2]
    for g in (planar, strided):
        V_, backward_ = stn_np.grid_sample(turned[0], g)
        for ours, theirs in zip((V_, *backward_(turned[1])), expected, strict=True):
            np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))


@pytest.mark.parametrize("axis", [0, 1, 2, 3, 4])
def test_gaps_along_any_axis(gpu: ModuleType, rng: np.random.Generator, axis: int) -> None:
    U, grid, dV = case(rng, "3-D")
    V, backward = stn_np.grid_sample(gpu.asarray(U), gpu.asarray(grid))
    expected = V, *backward(gpu.asarray(dV))
    every_other = (slice(None),) * axis + (slice(None, None, 2),)
    gaps = [gpu.asarray(np.repeat(x, 2, axis=axis))[every_other] for x in (U, grid, dV)]
    V, backward = stn_np.grid_sample(*gaps[:2])
    for ours, theirs in zip((V, *backward(gaps[2])), expected, strict=True):
        np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))


@pytest.mark.parametrize(("images", "places"), [(0, 1), (1, 0)])
def test_none_of_what_is_shared(gpu: ModuleType, images: int, places: int) -> None:
    U, theta = gpu.ones((images, 2, 3, 4)), gpu.zeros((places, 2, 3))
    grid, dV = gpu.zeros((places, 5, 6, 2)), gpu.zeros((0, 2, 5, 6))
    for V, backward in (
        stn_np.grid_sample(U, grid),
        stn_np.affine_sample(U, theta, (5, 6)),
    ):
        assert V.shape == dV.shape
        assert not any(to_numpy(x).any() for x in backward(dV))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_coordinates_in_float64_for_narrower_images(
    gpu: ModuleType, rng: np.random.Generator, dtype: Any
) -> None:
    U, grid, dV = case(rng, "2-D", dtype)
    wide = [gpu.asarray(x) for x in (U.astype(np.float64), grid.astype(np.float64))]
    V, backward = stn_np.grid_sample(gpu.asarray(U), wide[1])
    V_wide, backward_wide = stn_np.grid_sample(*wide)
    dU, dgrid = backward(gpu.asarray(dV))
    assert (V.dtype, dU.dtype, dgrid.dtype) == (dtype, dtype, np.float64)
    np.testing.assert_array_equal(to_numpy(V), to_numpy(V_wide).astype(dtype))
    _, dgrid_wide = backward_wide(gpu.asarray(dV.astype(np.float64)))
    np.testing.assert_array_equal(to_numpy(dgrid), to_numpy(dgrid_wide))


@pytest.mark.parametrize("size", [(1, 2**22), (2**22, 1)])
def test_long_axes_take_coordinates_in_float64(
    gpu: ModuleType, rng: np.random.Generator, size: tuple[int, int]
) -> None:
    U = rng.normal(size=(1, 1, *size))
    grid = rng.uniform(-1, 1, (1, 5, 6, 2)).astype(np.float32)
    V, _ = stn_np.grid_sample(U, grid, padding_mode="border")
    V_, _ = stn_np.grid_sample(gpu.asarray(U), gpu.asarray(grid), padding_mode="border")
    np.testing.assert_allclose(to_numpy(V_), V, rtol=1e-9, atol=1e-9)


def test_more_images_than_65535(gpu: ModuleType, rng: np.random.Generator) -> None:
    N = 70_001
    U = gpu.asarray(rng.normal(size=(N, 1, 1, 2)).astype(np.float32))
    theta = gpu.asarray(np.tile(np.float32([[-1, 0, 0], [0, 1, 0]]), (N, 1, 1)))  # a mirror
    V, backward = stn_np.affine_sample(U, theta, (1, 2))
    np.testing.assert_array_equal(to_numpy(V), to_numpy(U)[..., ::-1])
    dU, _ = backward(V)
    np.testing.assert_array_equal(to_numpy(dU), to_numpy(U))
    grid, _ = stn_np.affine_grid(theta, (1, 2))
    V, backward = stn_np.grid_sample(U, grid)
    np.testing.assert_array_equal(to_numpy(V), to_numpy(U)[..., ::-1])
    np.testing.assert_array_equal(to_numpy(backward(V)[0]), to_numpy(U))


def test_a_running_sum_in_pieces(
    gpu: ModuleType, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    U, grid = gpu.asarray(rng.random((2, 1, 7, 9))), gpu.asarray(rng.uniform(-1, 1, (2, 5, 6, 2)))
    dV = gpu.asarray(rng.random((2, 1, 5, 6)))
    expected, _ = stn_np.grid_sample(U, grid)[1](dV)
    monkeypatch.setattr("stn_np.gpu.sampling.LONGEST_SUM", 50)
    dU, _ = stn_np.grid_sample(U, grid)[1](dV)
    np.testing.assert_array_equal(gpu.asnumpy(dU), gpu.asnumpy(expected))


def test_images_of_more_than_2_31_pixels(gpu: ModuleType) -> None:
    """With 32-bit arithmetic the last pixel's number would be negative."""
    side = 46_342
    U = gpu.zeros((1, 1, side, side), np.float16)  # memory that nobody touches takes none
    for i, j, value in ((-1, -1, 1), (-1, 0, 2), (0, -1, 3)):
        U[0, 0, i, j] = value
    grid = gpu.asarray(np.float32([[[[1, 1], [-1, 1], [1, -1], [-1, -1]]]]))
    V, _ = stn_np.grid_sample(U, grid, needs_dU=False, needs_dgrid=False)
    np.testing.assert_array_equal(to_numpy(V).ravel(), [1, 2, 3, 0])


@pytest.mark.parametrize("shape", [(33_000, 1, 256, 256), (1, 33_000, 256, 256)])
@pytest.mark.parametrize("source", ["grid", "map"])
def test_many_small_images_or_channels_of_2_31_pixels(
    gpu: ModuleType, shape: tuple[int, ...], source: str
) -> None:
    U = gpu.zeros(shape, np.float16)
    U[-1, -1, -1, -2], U[-1, -1, -1, -1] = 1, 3
    x = 1 - 1 / 255  # halfway between the two
    if source == "grid":
        grid = gpu.asarray(np.float32([[[[x, 1]]]]))
        V, backward = stn_np.grid_sample(U, grid, needs_dU=False)
    else:
        theta = gpu.asarray(np.float32([[[0, 0, x], [0, 0, 1]]]))
        V, backward = stn_np.affine_sample(U, theta, (1, 1), needs_dU=False)
    V = to_numpy(V).ravel()
    assert V[-1] == 2 and np.count_nonzero(V) == 1
    gradient = to_numpy(backward(gpu.ones((*shape[:2], 1, 1), np.float16))[1])
    along_x = gradient[..., 0] if source == "grid" else gradient[:, 0, 2]
    np.testing.assert_allclose(along_x.sum(), (3 - 1) * 255 / 2, rtol=1e-5)


def test_keys_beyond_32_bits(gpu: ModuleType) -> None:
    """A cubic kernel in three dimensions has 64 keys for each value of V."""
    U = gpu.zeros((33, 2**19, 1, 1, 1), np.float16)
    grid = gpu.zeros((1, 1, 1, 2, 3), np.float32)
    source = gpu_source.from_grid(U.shape[2:], grid, 33)
    sampling = gpu_sampling.Sampling(U, source, gpu_sampling.Settings("CUBIC", "ZEROS"))
    dV = gpu.zeros((33, 2**19, 1, 1, 2), np.float16)
    dV[-1, -1, 0, 0, 0], dV[-1, -1, 0, 0, 1] = 1, 2
    dU = to_numpy(sampling.backward_image(dV))
    assert dU[-1, -1] == 3 and np.count_nonzero(dU) == 1


@pytest.mark.parametrize("source", ["grid", "map"])
@pytest.mark.parametrize("groups", [1, 2, 3, 5])
def test_a_thread_takes_several_channels(
    gpu: ModuleType,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    groups: int,
    source: str,
) -> None:
    """Of 7 channels, where there are 70 points and 70 pixels: 7; 4, 3; 3, 3, 1; 2, 2, 2, 1."""
    U, dV = rng.normal(size=(2, 7, 5, 7)), rng.normal(size=(2, 7, 7, 5))
    theta = rng.normal(size=(2, 2, 3))
    grid, _ = stn_np.affine_grid(theta, (7, 5))

    def sample(xp: ModuleType, method: str) -> list[Any]:
        image, rules = xp.asarray(U), {"dU_method": method}
        if source == "grid":
            V, backward = stn_np.grid_sample(image, xp.asarray(grid), **rules)
        else:
            V, backward = stn_np.affine_sample(image, xp.asarray(theta), (7, 5), **rules)
        return [to_numpy(x) for x in (V, *backward(xp.asarray(dV)))]

    monkeypatch.setattr(gpu_sampling, "ENOUGH_THREADS", 70 * groups)
    for method in ("deterministic", "atomic"):
        for ours, theirs in zip(sample(gpu, method), sample(np, method), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])  # without a grid, and through one
@pytest.mark.parametrize("method", ["deterministic", "atomic"])
def test_the_transformer_hands_the_method_on(
    gpu: ModuleType,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    method: str,
) -> None:
    started: list[str] = []
    launch = gpu_sampling.launch

    def noted(file: str, function: str, *rest: Any) -> None:
        started.append(function)
        launch(file, function, *rest)

    monkeypatch.setattr(gpu_sampling, "launch", noted)
    localisation = layers.Sequential(
        flatten=layers.Flatten(), regression=layers.Linear(12, 6, rng=rng, dtype=np.float64)
    ).to("gpu")
    transformer = stn_np.SpatialTransformer(
        localisation, transforms.Affine(), mode=mode, dU_method=method
    )
    V, backward = transformer(gpu.asarray(rng.normal(size=(2, 1, 3, 4))))
    backward(V)
    assert any("atomic" in function for function in started) == (method == "atomic")
    assert any(function.startswith("gather") for function in started) == (method == "deterministic")


def test_points_as_a_grid_of_one_column(gpu: ModuleType, rng: np.random.Generator) -> None:
    # Its last axis is of length 1, and its stride there is 0 although it counts as contiguous.
    U, points = rng.random((2, 1, 7, 9)), rng.uniform(-1, 1, (2, 5, 2))
    expected, _ = stn_np.grid_sample(U, points[:, :, None])
    V, _ = stn_np.grid_sample(gpu.asarray(U), gpu.asarray(points)[:, :, None])
    np.testing.assert_allclose(gpu.asnumpy(V), expected, rtol=1e-12)


@pytest.mark.parametrize("dims", ["2-D", "3-D"])
def test_a_stride_along_an_axis_of_one_point_means_nothing(
    gpu: ModuleType, rng: np.random.Generator, dims: str
) -> None:
    """A row of points that became a column is contiguous, and the stride of its width is not 2."""
    U, _, _ = case(rng, dims)
    n = U.ndim - 2
    row = gpu.asarray(rng.uniform(-1.6, 1.6, (2, *(1,) * (n - 1), 5, n)))
    column = row.transpose(0, n, *range(1, n), n + 1)  # (2, 5, 1, 2) or (2, 5, 1, 1, 3)
    backwards = gpu.asarray(to_numpy(column))[..., ::-1, :]
    dV = gpu.asarray(rng.normal(size=(2, 3, *column.shape[1:-1])))
    V, backward = stn_np.grid_sample(U, to_numpy(column).copy())
    expected = V, *backward(to_numpy(dV))
    for grid in (column, backwards):
        V_, backward_ = stn_np.grid_sample(gpu.asarray(U), grid)
        for ours, theirs in zip((V_, *backward_(dV)), expected, strict=True):
            np.testing.assert_allclose(to_numpy(ours), theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("method", ["deterministic", "atomic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_too_large_for_half_precision(
    gpu: ModuleType, rng: np.random.Generator, method: str, dtype: Any
) -> None:
    """Whoever scales the loss of a float16 network up gives a gradient in a wider dtype."""
    U, grid, dV = case(rng, "2-D", np.float16)
    theta = rng.normal(size=(2, 2, 3)).astype(np.float32)
    huge, tiny = ((dV.astype(np.float64) * scale).astype(dtype) for scale in (1e6, 1e-9))
    for sample, first, *rest in (
        (stn_np.grid_sample, grid),
        (stn_np.affine_sample, theta, grid.shape[1:3]),
    ):
        _, backward = sample(U, first, *rest)
        _, backward_ = sample(gpu.asarray(U), gpu.asarray(first), *rest, dU_method=method)
        dU, dpoints = backward(huge)
        dU_, dpoints_ = backward_(gpu.asarray(huge))
        assert dU_.dtype == np.float16
        np.testing.assert_array_equal(np.isinf(to_numpy(dU_)), np.isinf(dU))
        scale = np.abs(dpoints).max()
        np.testing.assert_allclose(to_numpy(dpoints_), dpoints, rtol=1e-4, atol=1e-5 * scale)
        dU, dpoints = backward(tiny)
        dU_, dpoints_ = backward_(gpu.asarray(tiny))
        np.testing.assert_allclose(to_numpy(dU_), dU, atol=6e-8)
        np.testing.assert_allclose(to_numpy(dpoints_), dpoints, rtol=1e-3, atol=1e-12)
