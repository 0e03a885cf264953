"""What every value-and-pullback pair promises, one body for all operations.

Memory order does not matter, arguments are not modified, a pullback may be called again and next
to others, an empty batch goes through, and a wrong upstream gradient is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracles import FLOATS, OPERATIONS, Operation, assert_close, assert_equal, gradients

from stn_np import layers
from stn_np.backend import to_numpy

all_operations = pytest.mark.parametrize("op", OPERATIONS.values(), ids=OPERATIONS)


def run(xp: Any, op: Operation, inputs: list[np.ndarray], seed: int = 3) -> list[Any]:
    """Value and gradients for a random upstream gradient."""
    y, backward = op.f(*map(xp.asarray, inputs))
    dy = np.random.default_rng(seed).normal(size=y.shape).astype(y.dtype)
    return [y, *gradients(backward(xp.asarray(dy)))]


def negative_strides(a: Any) -> Any:
    """The same values in memory that runs backwards along every axis."""
    back = (slice(None, None, -1),) * a.ndim
    return a[back].copy()[back]


def every_second(a: Any) -> Any:
    """The same values with gaps between them, filled with what must not be read."""
    wide = np.full([2 * n for n in a.shape], np.nan, a.dtype)
    gaps = (slice(None, None, 2),) * a.ndim
    wide[gaps] = a
    return wide[gaps]


def channels_last(a: Any) -> Any:
    return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim > 1 else a


def batch_innermost(a: Any) -> Any:
    return np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0)


def rows_outermost(a: Any) -> Any:
    """Memory in the order (H, C, W, N), the layers' own."""
    return a.transpose(2, 1, 3, 0).copy().transpose(3, 1, 0, 2) if a.ndim == 4 else a


def unaligned(a: Any) -> Any:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def read_only(a: Any) -> Any:
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS: list[Callable[[Any], Any]] = [
    np.asfortranarray, negative_strides, every_second, channels_last, batch_innermost,
    rows_outermost, unaligned, read_only,
]  # fmt: skip


@all_operations
def test_memory_order_does_not_matter(op: Operation) -> None:
    for layout in LAYOUTS:
        inputs = op.inputs(0)
        y, backward = op.f(*inputs)
        dy = np.random.default_rng(3).normal(size=y.shape)
        expected = [y, *gradients(backward(dy))]
        y, backward = op.f(*map(layout, inputs))
        got = [y, *gradients(backward(layout(dy)))]
        for a, b in zip(got, expected, strict=True):
            assert_close(a, b, 1e-14)  # BLAS may add up in another order


@all_operations
def test_stride_zero_is_read_as_copies(op: Operation) -> None:
    one = [x[:1] for x in op.inputs(0)]
    inputs = [np.broadcast_to(a, x.shape) for a, x in zip(one, op.inputs(0), strict=True)]
    y, backward = op.f(*inputs)
    dy = np.broadcast_to(np.random.default_rng(3).normal(size=y[:1].shape), y.shape)
    got = [y, *gradients(backward(dy))]
    y, backward = op.f(*(x.copy() for x in inputs))
    for a, b in zip(got, [y, *gradients(backward(dy.copy()))], strict=True):
        assert_close(a, b, 1e-14)


@all_operations
def test_nothing_handed_in_is_modified(xp: Any, op: Operation) -> None:
    """Also not where the memory is already in the order that an operation works in."""
    for dtype in FLOATS:
        for layout in (np.ascontiguousarray, batch_innermost, rows_outermost):
            inputs = [xp.asarray(layout(x)) for x in op.inputs(0, dtype)]
            before = [x.copy() for x in inputs]
            y, backward = op.f(*inputs)
            dy = xp.asarray(layout(np.random.default_rng(3).normal(size=y.shape).astype(dtype)))
            dy_before, y_before = dy.copy(), y.copy()
            results = gradients(backward(dy))
            if not isinstance(op.f, layers.Flatten):  # it hands on the same numbers, as a view
                for d in results:
                    d += 1  # what is handed out is the caller's: nothing else may change with it
            assert_equal(dy, dy_before)
            assert_equal(y, y_before)
            for x, x_before in zip(inputs, before, strict=True):
                assert_equal(x, x_before)


@all_operations
def test_a_pullback_may_be_called_again(xp: Any, op: Operation) -> None:
    y, backward = op.f(*map(xp.asarray, op.inputs(0)))
    rng = np.random.default_rng(3)
    dy, other = (xp.asarray(rng.normal(size=y.shape)) for _ in range(2))
    first = gradients(backward(dy))
    copies = [d.copy() for d in first]
    backward(other)
    for again, one, copy in zip(gradients(backward(dy)), first, copies, strict=True):
        assert_equal(again, copy)
        assert_equal(one, copy)  # earlier results are not overwritten


@all_operations
def test_two_forward_passes_then_both_backward(xp: Any, op: Operation) -> None:
    """No workspace is shared between live pullbacks, of equal or of different size."""
    for N in (2, 5):
        first, second = op.inputs(1), op.inputs(2, N=N)
        y1, back1 = op.f(*map(xp.asarray, first))
        y1_before = y1.copy()
        y2, back2 = op.f(*map(xp.asarray, second))
        assert_equal(y1, y1_before)
        dy1, dy2 = (np.random.default_rng(3).normal(size=y.shape) for y in (y1, y2))
        got1, got2 = gradients(back1(xp.asarray(dy1))), gradients(back2(xp.asarray(dy2)))
        for got, inputs in ((got1, first), (got2, second)):
            for a, b in zip(got, run(xp, op, inputs)[1:], strict=True):
                assert_equal(a, b)


@all_operations
def test_images_of_a_batch_do_not_touch(xp: Any, op: Operation) -> None:
    """The whole batch equals its images one by one; gradients of shared inputs add up."""
    inputs = op.inputs(4, N=3)
    y, backward = op.f(*map(xp.asarray, inputs))
    dy = np.random.default_rng(3).normal(size=y.shape)
    sums = [np.zeros(x.shape) for x in inputs]
    for n in (slice(0, 1), slice(1, 2), slice(2, 3)):
        one = [x[n] if b else x for x, b in zip(inputs, op.batched, strict=True)]
        y_n, backward_n = op.f(*map(xp.asarray, one))
        assert_close(y[n], y_n, 1e-14)
        parts = gradients(backward_n(xp.asarray(dy[n])))
        for total, d, batched in zip(sums, parts, op.batched, strict=True):
            total[n if batched else ...] += to_numpy(d)
    for d, total in zip(gradients(backward(xp.asarray(dy))), sums, strict=True):
        assert_close(d, total, 1e-13)


@all_operations
def test_empty_batch(xp: Any, op: Operation) -> None:
    for dtype in FLOATS:
        y_some, _ = op.f(*map(xp.asarray, op.inputs(0, dtype)))
        inputs = op.inputs(0, dtype, N=0)
        y, backward = op.f(*map(xp.asarray, inputs))
        assert y.shape == (0, *y_some.shape[1:])
        assert y.dtype == dtype
        for d, x in zip(gradients(backward(xp.zeros(y.shape, dtype))), inputs, strict=True):
            assert d.shape == x.shape
            assert d.dtype == dtype
            assert_equal(d, np.zeros(x.shape))  # nothing came in: nothing flows to the weights


@all_operations
def test_dtypes_are_kept(xp: Any, op: Operation) -> None:
    for dtype in FLOATS:
        assert {a.dtype for a in run(xp, op, op.inputs(0, dtype))} == {np.dtype(dtype)}


@all_operations
def test_upstream_gradients_are_checked(xp: Any, op: Operation) -> None:
    y, backward = op.f(*map(xp.asarray, op.inputs(0)))
    shape = y.shape
    wrong_shapes = [(), shape[1:], (*shape, 1), (1, *shape[1:]), (*shape[:-1], shape[-1] + 1),
                    (shape[0] + 1, *shape[1:]), shape[::-1]]  # fmt: skip
    for wrong in wrong_shapes:
        if wrong == shape:
            continue
        with pytest.raises(
            ValueError, match=r"d(y|V|A|grid|theta|inverse): expected shape \(.*\), got \("
        ):
            backward(xp.zeros(wrong))
    for dtype in (np.int64, bool, np.complex128):
        with pytest.raises(
            TypeError, match=r"d(y|V|A|grid|theta|inverse): expected a floating-point dtype, got"
        ):
            backward(xp.zeros(shape, dtype))
    for no_array in (1.0, None, [1.0, 2.0], np.float64(1.0)):
        with pytest.raises(
            TypeError, match=r"d(y|V|A|grid|theta|inverse): expected a NumPy or CuPy array, got"
        ):
            backward(no_array)


def test_pooling_layers_remember_their_windows(xp: Any, rng: Any) -> None:
    x = xp.asarray(rng.normal(size=(2, 3, 7, 5)))
    for layer, f in (
        (layers.MaxPool2d(3, 2, ceil_mode=True), layers.max_pool2d),
        (layers.AvgPool2d(3, 2, ceil_mode=True), layers.avg_pool2d),
    ):
        assert_equal(layer(x)[0], f(x, 3, 2, ceil_mode=True)[0])
    assert_equal(layers.MaxPool2d(2)(x)[0], layers.max_pool2d(x, 2)[0])
    assert_equal(layers.AvgPool2d(2)(x)[0], layers.avg_pool2d(x, 2)[0])
    assert_equal(layers.ReLU()(x)[0], layers.relu(x)[0])
