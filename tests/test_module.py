"""Modules and parameters: names, order, gradients that add up, states, initial weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import assert_close, assert_equal

from stn_np import layers
from stn_np.layers import Conv2d, Linear, Parameter, Sequential
from stn_np.layers.initial import he_normal


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
