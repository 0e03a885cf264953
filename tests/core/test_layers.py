"""The layers against mathematics: tables, literal loops, adjoints, differences, SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import FLOATS, assert_close, assert_equal, central_slope, inner, unit_direction

from stn_np import layers
from stn_np.layers import Conv2d, Linear, Parameter, Sequential
from stn_np.layers.dense import he_normal

# ------------------------------------------------------------------------------------- convolution


def conv_loops(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The equation at the head of the module, literally."""
    (N, _C, H, W), (F, _, kh, kw) = x.shape, w.shape
    y = np.zeros((N, F, H - kh + 1, W - kw + 1))
    for n, f, i, j in np.ndindex(y.shape):
        y[n, f, i, j] = b[f] + (w[f] * x[n, :, i : i + kh, j : j + kw]).sum()
    return y


def test_conv2d_by_hand(xp: Any) -> None:
    x = xp.asarray([[[[1.0, 2, 3], [4, 5, 6]]]])
    w = xp.asarray([[[[1.0, 10], [100, 1000]]]])
    y, backward = layers.conv2d(x, w, xp.asarray([0.5]))
    assert_equal(y, [[[[1 + 20 + 400 + 5000.5, 2 + 30 + 500 + 6000.5]]]])
    dx, dw, db = backward(xp.asarray([[[[1.0, 2]]]]))
    assert_equal(dx, [[[[1, 12, 20], [100, 1200, 2000]]]])
    assert_equal(dw, [[[[5, 8], [14, 17]]]])
    assert_equal(db, [3])


CONVOLUTIONS = [
    ((2, 1, 5, 7), (3, 1, 3, 2)),
    ((1, 3, 4, 4), (2, 3, 4, 4)),  # as large as the image
    ((3, 2, 6, 5), (1, 2, 1, 1)),
    ((2, 1, 9, 8), (2, 1, 1, 5)),
    ((2, 1, 9, 8), (2, 1, 5, 1)),
    ((1, 1, 40, 6), (1, 1, 2, 3)),  # so few channels that rows share a product
    ((2, 40, 5, 6), (3, 40, 3, 3)),  # so many that they do not
    ((1, 5, 13, 7), (2, 5, 9, 2)),
]


@pytest.mark.parametrize(("x_shape", "w_shape"), CONVOLUTIONS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_conv2d_equals_the_loops(
    xp: Any, rng: Any, x_shape: tuple[int, ...], w_shape: tuple[int, ...], dtype: Any
) -> None:
    x, w = rng.normal(size=x_shape).astype(dtype), rng.normal(size=w_shape).astype(dtype)
    b = rng.normal(size=w_shape[0]).astype(dtype)
    y, backward = layers.conv2d(*map(xp.asarray, (x, w, b)))
    tolerance = 2e-6 if dtype == np.float32 else 1e-14
    assert_close(y, conv_loops(x, w, b), tolerance)

    dy = rng.normal(size=y.shape).astype(dtype)
    dx, dw, db = backward(xp.asarray(dy))
    assert {a.dtype for a in (y, dx, dw, db)} == {np.dtype(dtype)}
    dx_loops, dw_loops = np.zeros(x_shape), np.zeros(w_shape)
    kh, kw = w_shape[2:]
    for n, f, i, j in np.ndindex(dy.shape):
        dx_loops[n, :, i : i + kh, j : j + kw] += dy[n, f, i, j] * w[f]
        dw_loops[f] += dy[n, f, i, j] * x[n, :, i : i + kh, j : j + kw].astype(np.float64)
    assert_close(dx, dx_loops, tolerance)
    assert_close(dw, dw_loops, tolerance)
    assert_close(db, dy.astype(np.float64).sum((0, 2, 3)), tolerance)


@pytest.mark.parametrize(("x_shape", "w_shape"), CONVOLUTIONS[:4])
def test_conv2d_is_scipys_correlation(
    xp: Any, rng: Any, x_shape: tuple[int, ...], w_shape: tuple[int, ...]
) -> None:
    signal = pytest.importorskip("scipy.signal")
    x, w, b = rng.normal(size=x_shape), rng.normal(size=w_shape), rng.normal(size=w_shape[0])
    y, _ = layers.conv2d(*map(xp.asarray, (x, w, b)))
    expected = [[signal.correlate(x_n, w_f, "valid")[0] for w_f in w] for x_n in x]
    assert_close(y, np.array(expected) + b[:, None, None], 1e-13)


@given(
    N=st.integers(0, 3), C=st.integers(1, 3), F=st.integers(1, 3), kh=st.integers(1, 4),
    kw=st.integers(1, 4), more_h=st.integers(0, 5), more_w=st.integers(0, 5),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_conv2d_pullbacks_are_transposes(
    xp: Any, N: int, C: int, F: int, kh: int, kw: int, more_h: int, more_w: int, seed: int
) -> None:
    """Linear in x and in (w, b): <y, g> splits into inner products with the gradients."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(N, C, kh + more_h, kw + more_w)), rng.normal(size=(F, C, kh, kw))
    b = rng.normal(size=F)
    y, backward = layers.conv2d(*map(xp.asarray, (x, w, b)))
    g = rng.normal(size=(N, F, more_h + 1, more_w + 1))
    dx, dw, db = backward(xp.asarray(g))
    assert inner(y, g) == pytest.approx(inner(x, dx) + inner(b, db), rel=1e-11, abs=1e-11)
    assert inner(x, dx) == pytest.approx(inner(w, dw), rel=1e-11, abs=1e-11)


# ---------------------------------------------------------------------------------- dense and ReLU


def test_linear_by_hand(xp: Any) -> None:
    x, w = xp.asarray([[1.0, 2], [3, 4]]), xp.asarray([[1.0, 10], [0, -1], [5, 5]])
    y, backward = layers.linear(x, w, xp.asarray([0.5, 0, -1]))
    assert_equal(y, [[21.5, -2, 14], [43.5, -4, 34]])
    dx, dw, db = backward(xp.asarray([[1.0, 2, 3], [0, 0, 1]]))
    assert_equal(dx, [[16, 23], [5, 5]])
    assert_equal(dw, [[1, 2], [2, 4], [6, 10]])
    assert_equal(db, [1, 2, 4])


def test_needs_dx(xp: Any, rng: Any) -> None:
    cases = [
        (layers.linear, (3, 4), (2, 4), (2,)),
        (layers.conv2d, (2, 3, 5, 6), (2, 3, 2, 3), (2,)),
    ]
    for f, *shapes in cases:
        inputs = [xp.asarray(rng.normal(size=s)) for s in shapes]
        y, backward = f(*inputs)
        y_without, backward_without = f(*inputs, needs_dx=False)
        assert_equal(y_without, y)
        g = xp.asarray(rng.normal(size=y.shape))
        full, part = backward(g), backward_without(g)
        assert part[0] is None
        assert_equal(part[1], full[1])
        assert_equal(part[2], full[2])


def test_relu_by_hand(xp: Any) -> None:
    x = xp.asarray([[-2.0, -0.0, 0.0, 1e-300, 3.0]])
    y, backward = layers.relu(x)
    assert_equal(y, [[0, 0, 0, 1e-300, 3]])
    assert_equal(backward(xp.asarray([[1.0, 2, 3, 4, 5]])), [[0, 0, 0, 4, 5]])


def test_flatten_keeps_the_order_of_axes(xp: Any) -> None:
    x = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    for order in ((0, 1, 2, 3), (2, 1, 3, 0)):  # also where memory is in the layers' order
        stored = xp.ascontiguousarray(xp.asarray(x).transpose(order))
        y, backward = layers.Flatten()(stored.transpose(np.argsort(order)))
        assert_equal(y, x.reshape(2, 60))
        assert_equal(backward(xp.asarray(-x.reshape(2, 60))), -x)


# ----------------------------------------------------------------------------------------- pooling


def pool_loops(
    x: np.ndarray, dy: np.ndarray, k: int, s: int, average: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Window by window; the uppermost of the leftmost largest pixels gets the gradient."""
    y, dx = np.zeros(dy.shape), np.zeros(x.shape)
    for n, c, i, j in np.ndindex(dy.shape):
        window = x[n, c, i * s : i * s + k, j * s : j * s + k]
        target = dx[n, c, i * s : i * s + k, j * s : j * s + k]
        if average:
            y[n, c, i, j] = window.mean()
            target += dy[n, c, i, j] / window.size
        else:
            y[n, c, i, j] = window.max()
            column, row = np.unravel_index(window.T.argmax(), window.T.shape)
            target[row, column] += dy[n, c, i, j]
    return y, dx


def windows(size: int, k: int, s: int, ceil_mode: bool) -> int:
    """Windows are counted one by one; a partial one must begin inside the image."""
    n = 0
    while n * s < size and (
        n * s + k <= size or (ceil_mode and (n == 0 or (n - 1) * s + k < size))
    ):
        n += 1
    return n


@pytest.mark.parametrize("pool", [layers.max_pool2d, layers.avg_pool2d])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("k", "s"), [(1, 1), (2, 2), (2, None), (3, 2), (3, 1), (2, 3), (4, 3)])
@pytest.mark.parametrize(("H", "W"), [(4, 6), (7, 5), (13, 4), (5, 8)])
def test_pooling_equals_the_loops(
    xp: Any, rng: Any, pool: Any, H: int, W: int, k: int, s: int | None, ceil_mode: bool
) -> None:
    x = rng.integers(-3, 4, (2, 3, H, W)).astype(np.float64)  # many ties
    y, backward = pool(xp.asarray(x), k, s, ceil_mode=ceil_mode)
    stride = s or k
    assert y.shape[2:] == tuple(windows(n, k, stride, ceil_mode) for n in (H, W))
    dy = rng.normal(size=y.shape)
    y_loops, dx_loops = pool_loops(x, dy, k, stride, pool is layers.avg_pool2d)
    assert_close(y, y_loops, 1e-15)
    assert_close(backward(xp.asarray(dy)), dx_loops, 1e-14)


@pytest.mark.parametrize("pool", [layers.max_pool2d, layers.avg_pool2d])
@pytest.mark.parametrize(("k", "s"), [(2, 1), (3, 1), (4, 2), (5, 2), (3, 3)])
@pytest.mark.parametrize(("H", "W"), [(1, 1), (1, 6), (6, 1), (2, 1)])
def test_ceil_mode_gives_an_image_smaller_than_a_window_one_window(
    xp: Any, rng: Any, pool: Any, H: int, W: int, k: int, s: int
) -> None:
    x = rng.normal(size=(2, 1, H, W))
    y, backward = pool(xp.asarray(x), k, s, ceil_mode=True)
    assert y.shape[2:] == tuple(windows(n, k, s, True) for n in (H, W))
    dy = rng.normal(size=y.shape)
    y_loops, dx_loops = pool_loops(x, dy, k, s, pool is layers.avg_pool2d)
    assert_close(y, y_loops, 1e-15)
    assert_close(backward(xp.asarray(dy)), dx_loops, 1e-14)


def test_pooling_by_hand(xp: Any) -> None:
    x = xp.asarray([[[[1.0, 2, 7], [2, -1, 7], [0, 0, -3]]]])
    dy = xp.asarray([[[[10.0, 20], [30, 40]]]])
    y, backward = layers.max_pool2d(x, 2, ceil_mode=True)
    assert_equal(y, [[[[2, 7], [0, -3]]]])
    assert_equal(backward(dy), [[[[0, 0, 20], [10, 0, 0], [30, 0, 40]]]])
    y, backward = layers.avg_pool2d(x, 2, ceil_mode=True)
    assert_equal(y, [[[[1, 7], [0, -3]]]])
    assert_equal(backward(dy), [[[[2.5, 2.5, 10], [2.5, 2.5, 10], [15, 15, 40]]]])
    assert_equal(layers.max_pool2d(x, 2)[0], [[[[2]]]])
    assert_equal(layers.avg_pool2d(x, 2)[0], [[[[1]]]])


@pytest.mark.parametrize("size", range(1, 14))
def test_ceil_mode_leaves_no_pixel_out_and_floor_mode_no_window_partial(xp: Any, size: int) -> None:
    x = xp.asarray(np.arange(size * size, dtype=np.float64).reshape(1, 1, size, size))
    y, _ = layers.max_pool2d(x, 2, ceil_mode=True)
    assert y.shape[2:] == ((size + 1) // 2,) * 2
    assert y[0, 0, -1, -1] == size * size - 1
    if size > 1:
        assert layers.max_pool2d(x, 2)[0].shape[2:] == (size // 2,) * 2


def test_max_pooling_of_negative_infinity_gives_its_gradient_once(xp: Any) -> None:
    y, backward = layers.max_pool2d(xp.full((1, 1, 2, 2), -np.inf), 2)
    assert_equal(y, [[[[-np.inf]]]])
    assert_equal(backward(xp.ones((1, 1, 1, 1))), [[[[1, 0], [0, 0]]]])


@given(
    N=st.integers(0, 3), C=st.integers(1, 3), H=st.integers(1, 9), W=st.integers(1, 9),
    k=st.integers(1, 4), s=st.integers(1, 4), average=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_pooling_pullbacks_are_transposes(
    xp: Any, N: int, C: int, H: int, W: int, k: int, s: int, average: bool, seed: int
) -> None:
    """Both poolings are homogeneous: <y, g> = <x, dx>, for averages as for maxima."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, C, H, W))
    pool = layers.avg_pool2d if average else layers.max_pool2d
    y, backward = pool(xp.asarray(x), k, s, ceil_mode=True)
    g = rng.normal(size=y.shape)
    dx = backward(xp.asarray(g))
    assert dx.shape == x.shape
    assert inner(y, g) == pytest.approx(inner(x, dx), rel=1e-12, abs=1e-12)


# ----------------------------------------------------------------------------------- cross-entropy


def test_cross_entropy_by_hand(xp: Any) -> None:
    logits = xp.asarray(np.log([[1.0, 2, 1], [8, 1, 1]]))
    loss, backward = layers.cross_entropy(logits, xp.asarray([1, 2]))
    assert loss.shape == ()
    assert float(loss) == pytest.approx((np.log(2) + np.log(10)) / 2, rel=1e-14)
    expected = np.array([[0.25, -0.5, 0.25], [0.8, 0.1, -0.9]]) / 2
    assert_close(backward(), expected, 1e-15)
    assert_close(backward(-3.0), -3 * expected, 1e-15)
    assert_close(backward(dloss=2.0), 2 * expected, 1e-15)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("label_dtype", [np.uint8, np.int16, np.int64])
def test_cross_entropy_of_huge_logits_is_finite(xp: Any, dtype: Any, label_dtype: Any) -> None:
    logits = xp.asarray(np.array([[1e30, 0, -1e30], [-1000, -1000, -1001]], dtype))
    loss, backward = layers.cross_entropy(logits, xp.asarray(np.array([0, 1], label_dtype)))
    e = np.exp(-1.0)
    assert loss.dtype == dtype
    assert float(loss) == pytest.approx(np.log(2 + e) / 2, rel=1e-6)
    p = np.array([[1, 0, 0], [1 / (2 + e), 1 / (2 + e), e / (2 + e)]])
    dlogits = backward()
    assert dlogits.dtype == dtype
    assert_close(dlogits, (p - [[1, 0, 0], [0, 1, 0]]) / 2, 1e-6)


# ------------------------------------------------------------------------------ finite differences


SMOOTH: list[tuple[str, Any, tuple[tuple[int, ...], ...]]] = [
    ("conv2d", layers.conv2d, ((2, 3, 6, 5), (4, 3, 3, 2), (4,))),
    ("linear", layers.linear, ((3, 5), (4, 5), (4,))),
    ("relu", lambda x: layers.relu(x), ((3, 4, 5),)),
    ("max", lambda x: layers.max_pool2d(x, 3, 2, ceil_mode=True), ((2, 2, 6, 7),)),
    ("avg", lambda x: layers.avg_pool2d(x, 3, 2, ceil_mode=True), ((2, 2, 6, 7),)),
    ("cross-entropy", lambda z: layers.cross_entropy(z, np.array([2, 0, 1])), ((3, 4),)),
]


@pytest.mark.parametrize(("f", "shapes"), [c[1:] for c in SMOOTH], ids=[c[0] for c in SMOOTH])
def test_central_differences(rng: Any, f: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    inputs = []
    for shape in shapes:  # all numbers 0.01 or more apart, and none near 0: no kink within reach
        n = int(np.prod(shape))
        numbers = (rng.permutation(n) - n // 2 + 0.5) / max(100, n) * 2
        inputs.append(numbers.reshape(shape))
    y, backward = f(*inputs)
    g = float(rng.normal()) if y.shape == () else rng.normal(size=y.shape)
    dx = backward(g)
    for k, d in enumerate(dx if isinstance(dx, tuple) else (dx,)):
        v = unit_direction(rng, inputs[k].shape)

        def value(x: np.ndarray, k: int = k) -> float:
            return float((f(*inputs[:k], x, *inputs[k + 1 :])[0] * g).sum())

        assert inner(d, v) == pytest.approx(central_slope(value, inputs[k], v), rel=1e-8, abs=1e-8)


# --------------------------------------------------------------------------- modules and parameters


def small_net(seed: int = 0) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential(
        conv=Conv2d(2, 3, 2, rng=rng, dtype=np.float64),
        relu=layers.ReLU(),
        pool=layers.AvgPool2d(2, ceil_mode=True),
        flatten=layers.Flatten(),
        dense=Linear(3 * 2 * 2, 4, rng=rng, dtype=np.float64),
    )


def test_sequential_chains_values_and_gradients(rng: Any) -> None:
    net, x = small_net(), rng.normal(size=(2, 2, 4, 5))
    y, backward = net(x)
    g = rng.normal(size=y.shape)
    dx = backward(g)

    a, back_a = layers.conv2d(x, net.conv.weight.data, net.conv.bias.data)  # type: ignore[attr-defined]
    b, back_b = layers.relu(a)
    c, back_c = layers.avg_pool2d(b, 2, ceil_mode=True)
    d, back_d = layers.linear(c.reshape(2, 12), net.dense.weight.data, net.dense.bias.data)  # type: ignore[attr-defined]
    assert_equal(y, d)
    dc, ddense_w, ddense_b = back_d(g)
    dx_expected, dconv_w, dconv_b = back_a(back_b(back_c(dc.reshape(c.shape))))
    assert_equal(dx, dx_expected)
    expected = [dconv_w, dconv_b, ddense_w, ddense_b]
    for p, grad in zip(net.parameters(), expected, strict=True):
        assert_equal(p.grad, grad)


def test_parameters_have_names_and_a_fixed_order() -> None:
    net = small_net()
    assert [name for name, _ in net.named_parameters()] == [
        "conv.weight", "conv.bias", "dense.weight", "dense.bias",
    ]  # fmt: skip
    assert net.n_parameters() == 3 * 2 * 4 + 3 + 12 * 4 + 4
    assert [type(layer).__name__ for layer in net] == [
        "Conv2d", "ReLU", "AvgPool2d", "Flatten", "Linear",
    ]  # fmt: skip
    outer = Sequential(first=net, second=small_net())
    assert next(iter(outer.named_parameters()))[0] == "first.conv.weight"
    assert len(outer.parameters()) == 8


def test_gradients_of_parameters_accumulate_until_cleared(rng: Any) -> None:
    net, x = small_net(), rng.normal(size=(2, 2, 4, 5))
    y, backward = net(x)
    g = rng.normal(size=y.shape)
    backward(g)
    once = [p.grad.copy() for p in net.parameters()]
    backward(g)
    for p, grad in zip(net.parameters(), once, strict=True):
        assert_equal(p.grad, 2 * grad)
    net.zero_grad()
    assert all((p.grad == 0).all() for p in net.parameters())
    backward(g)
    for p, grad in zip(net.parameters(), once, strict=True):
        assert_equal(p.grad, grad)


def test_the_same_net_may_be_called_twice(rng: Any) -> None:
    """Siamese use: two forward passes, then both backward passes, in either order."""
    net = small_net()
    x1, x2 = rng.normal(size=(2, 2, 2, 4, 5))
    g = rng.normal(size=(2, 4))
    (_, back1), (_, back2) = net(x1), net(x2)
    dx1, dx2 = back1(g), back2(g)
    both = [p.grad.copy() for p in net.parameters()]
    net.zero_grad()
    assert_equal(dx2, net(x2)[1](g))
    assert_equal(dx1, net(x1)[1](g))
    for p, grad in zip(net.parameters(), both, strict=True):
        assert_close(p.grad, grad, 1e-14)


def test_sequential_without_dx_still_reaches_every_parameter(rng: Any) -> None:
    net, x = small_net(), rng.normal(size=(2, 2, 4, 5))
    g = rng.normal(size=(2, 4))
    net(x)[1](g)
    full = [p.grad.copy() for p in net.parameters()]
    net.zero_grad()
    _y, backward = net(x, needs_dx=False)
    assert backward(g) is None
    for p, grad in zip(net.parameters(), full, strict=True):
        assert_equal(p.grad, grad)
    # Layers without parameters before the first that has some do not stop it.
    wrapped = Sequential(relu=layers.ReLU(), pool=layers.MaxPool2d(1), net=net)
    net.zero_grad()
    wrapped(np.abs(x), needs_dx=False)[1](g)
    assert all((p.grad != 0).any() for p in net.parameters())


def test_state_dict_is_a_copy_and_comes_back(rng: Any) -> None:
    net, other = small_net(0), small_net(1)
    state, before = net.state_dict(), net.parameters()[0].data.copy()
    net.parameters()[0].data += 1
    other.load_state_dict(state)
    assert_equal(other.parameters()[0].data, before)
    kept = other.parameters()[0].data
    other.load_state_dict(net.state_dict())
    assert other.parameters()[0].data is kept  # in place: optimisers hold on to it


def test_load_state_dict_refuses_what_does_not_fit_and_changes_nothing() -> None:
    net, before = small_net(0), small_net(0).state_dict()
    good = small_net(1).state_dict()
    missing = {k: v for k, v in good.items() if k != "dense.bias"}
    with pytest.raises(ValueError, match=r"missing \['dense.bias'\], unknown nothing"):
        net.load_state_dict(missing)
    with pytest.raises(ValueError, match=r"missing nothing, unknown \['extra'\]"):
        net.load_state_dict(good | {"extra": np.zeros(1)})
    misfit = r"state\['dense.bias'\]: expected shape \(4,\), got \(5,\)"
    with pytest.raises(ValueError, match=misfit):
        net.load_state_dict(good | {"dense.bias": np.zeros(5)})
    for name, value in net.state_dict().items():
        assert_equal(value, before[name])


def test_initial_weights() -> None:
    w = he_normal((200, 30, 3, 3), np.random.default_rng(0), np.float32)
    assert w.dtype == np.float32
    assert w.std() == pytest.approx(np.sqrt(2 / 270), rel=0.02)
    assert abs(w.mean()) < 0.001
    same = [Linear(9, 4, rng=np.random.default_rng(5)).weight.data for _ in range(2)]
    assert_equal(*same)
    layer = Conv2d(2, 3, 4, rng=np.random.default_rng(0))
    assert layer.weight.data.shape == (3, 2, 4, 4)
    assert (layer.bias.data == 0).all()
    p = Parameter(np.ones((2, 3), np.float32))
    assert (p.grad.shape, p.grad.dtype) == ((2, 3), np.float32)


def test_a_shared_layer_counts_once() -> None:
    """As a localisation net that two transformers share: found once, gradients added up."""
    from stn_np.layers import Linear, Sequential

    layer = Linear(3, 3, rng=np.random.default_rng(0), dtype=np.float64)
    twice = Sequential(a=layer, b=layer)
    assert [name for name, _ in twice.named_parameters()] == ["a.weight", "a.bias"]
    x = np.random.default_rng(1).normal(size=(2, 3))
    y, backward = twice(x)
    backward(np.ones_like(y))
    W = layer.weight.data
    h = x @ W.T + layer.bias.data
    ones = np.ones((2, 3))
    np.testing.assert_allclose(layer.weight.grad, ones.T @ h + (ones @ W).T @ x, rtol=1e-12)


@pytest.mark.parametrize("name", ["names", "parameters", "zero_grad"])
def test_names_that_sequential_uses_itself(name: str) -> None:
    from stn_np.layers import ReLU, Sequential

    with pytest.raises(ValueError, match=f"^{name}: "):
        Sequential(**{name: ReLU()})
    with pytest.raises(TypeError, match="^a: expected a layer, got 'relu'"):
        Sequential(a="relu")  # type: ignore[arg-type]
