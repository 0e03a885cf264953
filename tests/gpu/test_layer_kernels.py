"""Convolution and pooling as kernels: any memory order, any window, in pieces, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from oracles import assert_close, assert_equal

from stn_np import layers
from stn_np.backend import to_numpy
from stn_np.gpu import convolution as convolution_on_gpu
from stn_np.gpu import losses as losses_on_gpu
from stn_np.gpu import optimizers as optimizers_on_gpu
from stn_np.gpu import pooling as pooling_on_gpu
from stn_np.gpu import variants
from stn_np.training import SGD, Adam

# Images and kernels: one image, one channel, one pixel, a kernel of the image's size, more images
# than threads share a place, and many channels.
CONVOLUTIONS = [
    ((3, 2, 6, 5), (4, 2, 3, 2)),
    ((1, 1, 7, 9), (2, 1, 5, 3)),
    ((2, 3, 4, 6), (5, 3, 4, 6)),
    ((2, 4, 5, 3), (3, 4, 1, 1)),
    ((130, 1, 4, 5), (2, 1, 2, 4)),
    ((2, 17, 1, 8), (1, 17, 1, 3)),
]
POOLINGS = [layers.max_pool2d, layers.avg_pool2d]
ORDERS = list(permutations(range(4)))


def ordered(xp: Any, a: Any, order: tuple[int, ...]) -> Any:
    """The same values with the axes in this order in memory."""
    return xp.ascontiguousarray(xp.asarray(a).transpose(order)).transpose(*np.argsort(order))


def with_gaps(xp: Any, a: Any) -> Any:
    """The same values backwards in memory, with gaps filled with what must not be read."""
    wide = np.full([2 * n for n in a.shape], np.nan, a.dtype)
    wide[::2, ::2, ::2, ::2] = a[::-1, ::-1, ::-1, ::-1]
    return xp.asarray(wide)[::2, ::2, ::2, ::2][::-1, ::-1, ::-1, ::-1]


def as_column(xp: Any, a: Any) -> Any:
    """The first image and channel repeated, with strides of 0."""
    return xp.broadcast_to(xp.asarray(a[:1, :1]), a.shape)


def uneven(rng: Any, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """Numbers of which many are equal, so that maxima are tied."""
    return np.asarray(rng.integers(-3, 4, shape), dtype)


def bits(*arrays: Any) -> list[bytes]:
    return [to_numpy(a).tobytes() for a in arrays]


def convolved(xp: Any, x: Any, w: Any, b: Any, dy: Any) -> list[Any]:
    """Value and gradients."""
    y, backward = layers.conv2d(xp.asarray(x), xp.asarray(w), xp.asarray(b))
    return [y, *backward(xp.asarray(dy))]


def conv_inputs(rng: Any, x_shape: Any, w_shape: Any, dtype: Any = np.float64) -> list[Any]:
    """Image, weight, bias, and a gradient of the output."""
    (N, _, H, W), (F, _, kh, kw) = x_shape, w_shape
    shapes = (x_shape, w_shape, (F,), (N, F, H - kh + 1, W - kw + 1))
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


# ------------------------------------------------------------------------------------- convolution


def test_conv2d_in_any_memory_order(xp: Any, rng: Any) -> None:
    for order in ORDERS:
        x, w, b, dy = conv_inputs(rng, *CONVOLUTIONS[0])
        expected = convolved(xp, x, w, b, dy)
        x, w, dy = (ordered(xp, a, order) for a in (x, w, dy))
        for got, want in zip(convolved(xp, x, w, b, dy), expected, strict=True):
            assert_close(got, want, 1e-14)


@pytest.mark.parametrize("stored", [with_gaps, as_column])
def test_conv2d_of_views(xp: Any, rng: Any, stored: Callable[..., Any]) -> None:
    x, w, b, dy = conv_inputs(rng, *CONVOLUTIONS[0])
    views = [stored(xp, x), stored(xp, w), b, stored(xp, dy)]
    copies = [to_numpy(a).copy() for a in views]
    for got, want in zip(convolved(xp, *views), convolved(xp, *copies), strict=True):
        assert_close(got, want, 1e-14)


@pytest.mark.parametrize(("x_shape", "w_shape"), CONVOLUTIONS)
@pytest.mark.parametrize("places", [1, 7, 64])
def test_conv2d_in_pieces(
    gpu: Any, rng: Any, monkeypatch: Any, x_shape: Any, w_shape: Any, places: int
) -> None:
    """Of one place, of some, with and without a piece of another size at the end."""
    inputs = conv_inputs(rng, x_shape, w_shape)
    whole = convolved(gpu, *inputs)
    lines = int(np.prod(w_shape[1:]))
    monkeypatch.setattr(convolution_on_gpu, "PIECE", places * lines * 8 + 7)
    started = launches(monkeypatch, convolution_on_gpu)
    for got, want in zip(convolved(gpu, *inputs), whole, strict=True):
        assert_close(got, want, 1e-13)
    pieces = -(-inputs[3][:, 0].size // places)
    unfolded = 1 if pieces == 1 else 2 * pieces  # what does not fit is not kept
    assert [function for _, function, _ in started].count("unfold") == unfolded
    assert [function for _, function, _ in started].count("fold") == pieces


def test_a_piece_is_at_least_one_place(gpu: Any, rng: Any, monkeypatch: Any) -> None:
    inputs = conv_inputs(rng, *CONVOLUTIONS[0])
    whole = convolved(gpu, *inputs)
    monkeypatch.setattr(convolution_on_gpu, "PIECE", 1)
    for got, want in zip(convolved(gpu, *inputs), whole, strict=True):
        assert_close(got, want, 1e-13)


@pytest.mark.parametrize("places", [5, 10**9])
def test_conv2d_gives_the_same_bits_again(xp: Any, rng: Any, monkeypatch: Any, places: int) -> None:
    monkeypatch.setattr(convolution_on_gpu, "PIECE", places * 12 * 4)
    inputs = conv_inputs(rng, *CONVOLUTIONS[0], np.float32)
    assert bits(*convolved(xp, *inputs)) == bits(*convolved(xp, *inputs))


def test_conv2d_without_dx_folds_nothing(gpu: Any, rng: Any, monkeypatch: Any) -> None:
    x, w, b, dy = map(gpu.asarray, conv_inputs(rng, *CONVOLUTIONS[0]))
    started = launches(monkeypatch, convolution_on_gpu)
    _, backward = layers.conv2d(x, w, b, needs_dx=False)
    assert backward(dy)[0] is None
    assert [function for _, function, _ in started] == ["unfold"]


# ----------------------------------------------------------------------------------------- pooling


def pooled(xp: Any, pool: Any, x: Any, dy: Any, k: int, s: int) -> list[Any]:
    """Value and gradient, with windows that may stick out; dy is cut to what is needed."""
    y, backward = pool(xp.asarray(x), k, s, ceil_mode=True)
    N, C, H, W = y.shape
    return [y, backward(xp.asarray(dy)[:N, :C, :H, :W])]


def pooled_one_by_one(average: bool, x: Any, dy: Any, k: int, s: int, shape: Any) -> list[Any]:
    """The same as literal loops; the uppermost of the leftmost largest gets the gradient."""
    y, dx = np.zeros(shape), np.zeros(x.shape)
    for n, c, i, j in np.ndindex(*shape):
        inside = (n, c, slice(i * s, i * s + k), slice(j * s, j * s + k))
        window = x[inside]
        if average:
            y[n, c, i, j] = window.mean()
            dx[inside] += dy[n, c, i, j] / window.size
        else:
            y[n, c, i, j] = window.max()
            column, row = np.unravel_index(window.T.argmax(), window.T.shape)
            dx[inside][row, column] += dy[n, c, i, j]
    return [y, dx]


@pytest.mark.parametrize("pool", POOLINGS)
def test_pooling_in_any_memory_order(xp: Any, rng: Any, pool: Any) -> None:
    for order in ORDERS:
        x, dy = rng.normal(size=(2, 3, 5, 7)), rng.normal(size=(2, 3, 5, 7))
        expected = pooled(xp, pool, x, dy, 3, 2)
        got = pooled(xp, pool, ordered(xp, x, order), ordered(xp, dy, order), 3, 2)
        for a, b in zip(got, expected, strict=True):
            assert_equal(a, b)


@pytest.mark.parametrize("pool", POOLINGS)
@pytest.mark.parametrize("stored", [with_gaps, as_column])
def test_pooling_of_views(xp: Any, rng: Any, pool: Any, stored: Callable[..., Any]) -> None:
    views = [stored(xp, rng.normal(size=(2, 3, 5, 7))) for _ in range(2)]
    copies = [to_numpy(a).copy() for a in views]
    for a, b in zip(pooled(xp, pool, *views, 3, 2), pooled(xp, pool, *copies, 3, 2), strict=True):
        assert_equal(a, b)


@pytest.mark.parametrize("pool", POOLINGS)
def test_pooling_gives_the_same_bits_again(xp: Any, rng: Any, pool: Any) -> None:
    x, dy = (rng.normal(size=(3, 2, 9, 8)).astype(np.float32) for _ in range(2))
    assert bits(*pooled(xp, pool, x, dy, 4, 1)) == bits(*pooled(xp, pool, x, dy, 4, 1))


@pytest.mark.parametrize("pool", POOLINGS)
def test_pixels_in_no_window_get_nothing(xp: Any, rng: Any, pool: Any) -> None:
    y, backward = pool(xp.asarray(rng.normal(size=(2, 1, 8, 9))), 2, 3)  # 3x3 windows with gaps
    dx = to_numpy(backward(xp.ones(y.shape)))
    assert (dx[:, :, 2::3] == 0).all()
    assert (dx[:, :, :, 2::3] == 0).all()
    assert dx.sum() == pytest.approx(y.size)


@pytest.mark.parametrize("pool", POOLINGS)
def test_huge_windows_and_steps(xp: Any, rng: Any, pool: Any) -> None:
    """No whole number is too large, also where it would not fit 64 bits."""
    x = xp.asarray(rng.normal(size=(2, 3, 4, 5)))
    for k, s in ((5, 2**40), (2**40, 2**40), (1, 2**40)):
        y, backward = pool(x, k, s, ceil_mode=True)
        assert y.shape == (2, 3, 1, 1)
        expected = x[:, :, :1, :1] if k == 1 else pool(x, 5, 5, ceil_mode=True)[0]
        assert_close(y, to_numpy(expected), 1e-15)
        assert_close(backward(xp.ones(y.shape)).sum(), 6.0, 1e-14)


def test_windows_of_more_pixels_than_a_byte_can_count(xp: Any) -> None:
    """The largest is the last of 17 x 17 = 289, number 288; in the next window number 256."""
    x = np.zeros((1, 1, 17, 34))
    x[0, 0, 16, 16], x[0, 0, 1, 17 + 15] = 5, 7
    y, backward = layers.max_pool2d(xp.asarray(x), 17)
    assert_equal(y, [[[[5.0, 7]]]])
    assert_equal(backward(xp.asarray([[[[2.0, 3]]]])), np.select([x == 5, x == 7], [2.0, 3], 0))


# --------------------------------------------------------------------- what is not a normal number


def test_max_pooling_of_infinities(xp: Any) -> None:
    inf = np.inf
    x = np.array([[-inf, -inf, inf, inf], [-inf, -inf, 0, inf]])[None, None]
    y, backward = layers.max_pool2d(xp.asarray(x), 2)
    assert_equal(y, [[[[-inf, inf]]]])
    assert_equal(backward(xp.asarray([[[[5.0, 7]]]])), [[[[5, 0, 7, 0], [0, 0, 0, 0]]]])


@pytest.mark.parametrize("place", range(9))
def test_max_pooling_of_nan(xp: Any, rng: Any, place: int) -> None:
    """A NaN spoils its own window and no other, and no gradient comes twice."""
    x = rng.normal(size=(2, 2, 3, 6))
    x[1, 0].reshape(-1)[[place // 3 * 6 + place % 3]] = np.nan
    y, backward = layers.max_pool2d(xp.asarray(x), 3)
    spoilt = np.zeros(y.shape, bool)
    spoilt[1, 0, 0, 0] = True
    assert_equal(xp.isnan(y), spoilt)
    dx = to_numpy(backward(xp.ones(y.shape)))
    assert_equal(dx.reshape(2, 2, 3, 2, 3).sum((2, 4)), np.ones((2, 2, 2)))
    assert np.isin(dx, (0.0, 1.0)).all()


def test_a_nan_in_a_window_that_sticks_out_gets_the_gradient(gpu: Any) -> None:
    for k in (2, 3):  # 2 has a kernel of its own
        x = np.zeros((1, 1, k + 1, k + 1))
        x[0, 0, k, k] = np.nan
        y, backward = layers.max_pool2d(gpu.asarray(x), k, ceil_mode=True)
        assert np.isnan(to_numpy(y[0, 0, 1, 1]))
        assert_equal(backward(gpu.ones(y.shape))[0, 0, k, k], 1.0)


def test_average_pooling_of_nan(xp: Any, rng: Any) -> None:
    x = rng.normal(size=(1, 1, 4, 4))
    x[0, 0, 1, 2] = np.nan
    y, backward = layers.avg_pool2d(xp.asarray(x), 2)
    assert_equal(xp.isnan(y), [[[[False, True], [False, False]]]])
    assert_equal(backward(xp.ones(y.shape)), np.full(x.shape, 0.25))


@pytest.mark.parametrize(("k", "s"), [(2, 2), (3, 1), (17, 5)])
@pytest.mark.parametrize("pool", POOLINGS)
def test_pooling_in_half_precision(xp: Any, rng: Any, pool: Any, k: int, s: int) -> None:
    x, dy = uneven(rng, (3, 2, 9, 7), np.float16), uneven(rng, (3, 2, 9, 7), np.float16)
    y, dx = pooled(xp, pool, x, dy, k, s)
    assert y.dtype == dx.dtype == np.float16
    expected = pooled_one_by_one(pool is layers.avg_pool2d, x, dy, k, s, y.shape)
    for got, want in zip((y, dx), expected, strict=True):
        assert_close(got.astype(np.float64), want, 2e-3)


def test_half_precision_is_summed_up_in_single(gpu: Any) -> None:
    """In half precision 2048 + 1 is 2048."""
    x = gpu.ones((1, 1, 64, 64), np.float16)
    y, _ = layers.avg_pool2d(x, 64)
    assert_equal(y, [[[[1]]]])
    _, backward = layers.avg_pool2d(gpu.zeros((1, 1, 127, 127), np.float16), 64, 1)
    assert_close(backward(x)[0, 0, 63, 63].astype(np.float64), 1.0, 1e-3)
    _, backward = layers.conv2d(
        gpu.zeros((1, 1, 127, 127), np.float16), x, gpu.zeros(1, np.float16)
    )
    assert_equal(backward(x)[0][0, 0, 63, 63], 4096)  # all pixels of the kernel met this one


@pytest.mark.parametrize("places", [7, 10**9])
def test_conv2d_in_half_precision(xp: Any, rng: Any, monkeypatch: Any, places: int) -> None:
    monkeypatch.setattr(convolution_on_gpu, "PIECE", places * 12 * 2)
    inputs = conv_inputs(rng, *CONVOLUTIONS[0], np.float16)
    expected = convolved(xp, *(a.astype(np.float64) for a in inputs))
    for got, want in zip(convolved(xp, *inputs), expected, strict=True):
        assert got.dtype == np.float16
        assert_close(got.astype(np.float64), want, 5e-3)


# ------------------------------------------------------------------------ the way they are launched


def launches(monkeypatch: Any, module: Any) -> list[tuple[str, str, tuple[Any, ...]]]:
    """A list that fills with (file, kernel, template) of whatever the module launches from here."""
    started: list[tuple[str, str, tuple[Any, ...]]] = []
    launch = module.launch

    def recorded(file: str, function: str, template: Any, n: int, *arguments: Any) -> None:
        started.append((file, function, tuple(template)))
        launch(file, function, template, n, *arguments)

    monkeypatch.setattr(module, "launch", recorded)
    return started


def test_variants_are_what_is_launched(gpu: Any, rng: Any, monkeypatch: Any) -> None:
    """Everything that runs is compiled beforehand in CI, and nothing that never does."""
    modules = (convolution_on_gpu, pooling_on_gpu, losses_on_gpu, optimizers_on_gpu)
    launched = [launches(monkeypatch, module) for module in modules]
    for dtype in (np.float16, np.float32, np.float64):
        logits = gpu.asarray(rng.normal(size=(3, 4)).astype(dtype))
        layers.cross_entropy(logits, gpu.asarray([0, 3, 1]))
        for optimizer in (SGD, Adam):
            net = layers.Sequential(a=layers.Linear(2, 3, rng=rng, dtype=dtype))
            optimizer(net.to("gpu")).step(0.1)
        for piece in (2**28, 1):
            monkeypatch.setattr(convolution_on_gpu, "PIECE", piece)
            convolved(gpu, *conv_inputs(rng, (1, 1, 2, 2), (1, 1, 1, 2), dtype))
        for pool in POOLINGS:
            for k, s in ((2, 2), (16, 16), (16, 1), (17, 17), (17, 1)):
                x, dy = (uneven(rng, (1, 1, k + 1, 2), dtype) for _ in range(2))
                pooled(gpu, pool, x, dy, k, s)
    assert {variant for found in launched for variant in found} == set(variants.layers())


def test_threads_run_in_any_order_and_nobody_waits(stand_in: Any, rng: Any) -> None:
    """No thread reads what another one writes, and no result is fetched on the way."""
    xp = stand_in.cupy
    inputs = conv_inputs(rng, *CONVOLUTIONS[0], np.float32)

    def everything() -> list[bytes]:
        with xp.no_synchronisation():
            results = convolved(xp, *inputs)
            for pool in POOLINGS:
                results += pooled(xp, pool, inputs[0], inputs[0], 3, 1)
        return bits(*results)

    forwards = everything()
    with stand_in.threads_backwards():
        assert everything() == forwards


def test_feature_maps_lie_with_the_batch_innermost(gpu: Any, rng: Any) -> None:
    x, w, b, dy = map(gpu.asarray, conv_inputs(rng, *CONVOLUTIONS[0]))
    y, backward = layers.conv2d(x, w, b)
    results = [y, backward(dy)[0]]
    for pool in POOLINGS:
        results += pooled(gpu, pool, x, x, 2, 2)
    for a in results:
        assert a.transpose(1, 2, 3, 0).flags.c_contiguous


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 2, 3, 0), (2, 1, 3, 0)])
def test_relu_keeps_the_memory_order(xp: Any, rng: Any, order: tuple[int, ...]) -> None:
    """The gradient's too, whatever the order of the one that comes in."""
    x, dy = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 4, 5))
    stored = ordered(xp, x, order)
    y, backward = layers.relu(stored)
    assert y.strides == stored.strides
    assert_equal(y, np.maximum(x, 0))
    dx = backward(ordered(xp, dy, order))
    assert dx.strides == stored.strides
    assert_equal(dx, dy * (x > 0))
    assert_equal(backward(xp.asarray(dy)), dy * (x > 0))
    if xp is not np:
        assert backward(xp.asarray(dy)).strides == stored.strides


def test_relu_of_one_number_and_of_none(xp: Any) -> None:
    for x in (np.float64(-2.5), np.float64(1.5), np.zeros((0, 3))):
        y, backward = layers.relu(xp.asarray(x))
        assert_equal(y, np.maximum(x, 0))
        assert_equal(backward(xp.ones(np.shape(x))), np.asarray(x) > 0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_gradient_of_another_dtype_is_converted(xp: Any, rng: Any, dtype: Any) -> None:
    x, w, b, dy = conv_inputs(rng, *CONVOLUTIONS[0])
    *inputs, _ = (a.astype(dtype) for a in (x, w, b, dy))
    assert {a.dtype for a in convolved(xp, *inputs, dy)} == {np.dtype(dtype)}
    for pool in POOLINGS:
        assert {a.dtype for a in pooled(xp, pool, inputs[0], x, 2, 1)} == {np.dtype(dtype)}


def test_empty_batches(xp: Any) -> None:
    x, w, b = xp.zeros((0, 2, 5, 4)), xp.ones((3, 2, 2, 2)), xp.ones(3)
    y, dx, dw, db = convolved(xp, x, w, b, np.zeros((0, 3, 4, 3)))
    assert (y.shape, dx.shape) == ((0, 3, 4, 3), (0, 2, 5, 4))
    assert_equal(dw, np.zeros((3, 2, 2, 2)))
    assert_equal(db, np.zeros(3))
    for pool in POOLINGS:
        y, dx = pooled(xp, pool, x, np.zeros((0, 2, 5, 4)), 2, 2)
        assert (y.shape, dx.shape) == ((0, 2, 3, 2), (0, 2, 5, 4))


def test_no_kernels_at_all(xp: Any) -> None:
    """A bank of no kernels gives no maps, and nothing flows back."""
    x, w, b = np.ones((2, 3, 4, 5)), np.zeros((0, 3, 2, 2)), np.zeros(0)
    y, dx, dw, db = convolved(xp, x, w, b, np.zeros((2, 0, 3, 4)))
    assert (y.shape, dw.shape, db.shape) == ((2, 0, 3, 4), (0, 3, 2, 2), (0,))
    assert_equal(dx, np.zeros(x.shape))
