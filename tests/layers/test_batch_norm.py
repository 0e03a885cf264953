"""Batch normalisation in both modes: PyTorch's values, gradients and running statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import FLOATS, assert_close, assert_equal, gradients

from stn_np.backend import to_numpy
from stn_np.gpu.graph import capture
from stn_np.layers import BatchNorm1d, BatchNorm2d, Training, batch_norm
from stn_np.training import SGD

SHAPES = [(5, 3, 4, 7), (2, 4, 1, 3), (6, 3), (1, 2, 5, 4)]


def inputs(rng: Any, shape: tuple[int, ...], dtype: Any) -> list[np.ndarray]:
    """x, weight, bias, running_mean, running_var and dy; far from mean 0 and variance 1."""
    C = shape[1]
    drawn = [3 + 2 * rng.normal(size=shape), *rng.normal(size=(3, C)), rng.uniform(0.5, 2, C)]
    return [a.astype(dtype) for a in (*drawn, rng.normal(size=shape))]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_is_pytorchs(xp: Any, rng: Any, shape: Any, dtype: Any, training: bool) -> None:
    torch = pytest.importorskip("torch")
    x, weight, bias, mean, var, dy = inputs(rng, shape, dtype)
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    running = torch.tensor(mean), torch.tensor(var)
    settings: dict[str, Any] = {"training": training, "momentum": 0.3, "eps": 1e-3}
    expected = torch.nn.functional.batch_norm(leaves[0], *running, *leaves[1:], **settings)
    expected.backward(torch.tensor(dy))

    ours = [xp.asarray(a) for a in (x, weight, bias, mean, var)]
    y, backward = batch_norm(*ours, **settings)
    tolerance = 5e-6 if dtype == np.float32 else 1e-13
    assert y.dtype == dtype
    assert_close(y, expected.detach().numpy(), tolerance)
    for d, leaf in zip(gradients(backward(xp.asarray(dy))), leaves, strict=True):
        assert d.dtype == dtype
        assert_close(d, leaf.grad.numpy(), tolerance)
    for got, want in zip(ours[3:], running, strict=True):
        assert_close(got, want.numpy(), tolerance)


def test_layer_over_steps_is_pytorchs(xp: Any, rng: Any) -> None:
    """Three steps of training, then evaluation, with the defaults of both."""
    torch = pytest.importorskip("torch")
    layer, theirs = BatchNorm2d(3, dtype=np.float64), torch.nn.BatchNorm2d(3, dtype=torch.float64)
    if xp is not np:
        layer.to("gpu")
    for step in range(3):
        x = rng.normal(step, 1 + step, size=(4, 3, 5, 2))
        y, _ = layer(xp.asarray(x), mode=Training(0, step))
        assert_close(y, theirs(torch.tensor(x)).detach().numpy(), 1e-13)
    y, _ = layer(xp.asarray(x))
    assert_close(y, theirs.eval()(torch.tensor(x)).detach().numpy(), 1e-13)
    state = theirs.state_dict()
    assert layer.state_dict().keys() == state.keys() - {"num_batches_tracked"}
    for name, a in layer.state_dict().items():
        assert_close(a, state[name].numpy(), 1e-13)


def test_each_channel_comes_out_normalised(rng: Any) -> None:
    x = rng.normal(size=(4, 3, 5, 6)) * [[[[2.0]], [[30.0]], [[0.1]]]] + 7
    y, _ = BatchNorm2d(3, eps=1e-12, dtype=np.float64)(x, mode=Training(0, 0))
    assert_close(y.mean(axis=(0, 2, 3)), np.zeros(3), 1e-12)
    assert_close(y.var(axis=(0, 2, 3)), np.ones(3), 1e-9)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 2, 3, 0), (2, 1, 3, 0), (3, 0, 2, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_any_memory_order_stays(xp: Any, rng: Any, order: Any, training: bool) -> None:
    x, *vectors, dy = inputs(rng, (5, 3, 4, 2), np.float64)
    want, want_backward = batch_norm(x, *(v.copy() for v in vectors), training=training)
    back = np.argsort(order)
    stored = xp.asarray(np.ascontiguousarray(x.transpose(order))).transpose(*back.tolist())
    y, backward = batch_norm(stored, *map(xp.asarray, vectors), training=training)
    assert_close(y, want, 1e-13)
    assert y.strides == stored.strides
    dx, *others = backward(xp.asarray(dy))
    assert dx.strides == stored.strides
    for got, expected in zip((dx, *others), want_backward(dy), strict=True):
        assert_close(got, expected, 1e-13)


@pytest.mark.parametrize("training", [True, False])
def test_the_pullback_reads_nothing_that_changes_later(rng: Any, training: bool) -> None:
    x, *vectors, dy = inputs(rng, (4, 3, 2, 5), np.float64)
    _, backward = batch_norm(x, *vectors, training=training)
    expected = [d.copy() for d in backward(dy)]
    for v in vectors[2:]:
        v[...] = 17
    for d, want in zip(backward(dy), expected, strict=True):
        assert_equal(d, want)


def test_half_precision_is_summed_up_in_single(xp: Any, rng: Any) -> None:
    x, *vectors, dy = inputs(rng, (64, 2, 30, 30), np.float64)
    half = [xp.asarray(a.astype(np.float16)) for a in (x + 20, *vectors)]
    y, backward = batch_norm(*half, training=True)
    want, want_backward = batch_norm(x + 20, *vectors, training=True)
    assert_close(to_numpy(y).astype(float), want, 0.02)
    got = gradients(backward(xp.asarray(dy.astype(np.float16))))
    assert {d.dtype for d in got} == {np.dtype(np.float16)}
    assert_close(to_numpy(got[0]).astype(float), want_backward(dy)[0], 0.02)


def test_statistics_are_saved_and_moved_but_not_trained(xp: Any, rng: Any) -> None:
    layer = BatchNorm2d(3, dtype=np.float64)
    if xp is not np:
        layer.to("gpu")
        assert isinstance(layer.running_var.data, xp.ndarray)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert [name for name, _ in layer.named_buffers()] == ["running_mean", "running_var"]
    assert layer.n_parameters() == 6
    x = xp.asarray(rng.normal(2, 3, size=(4, 3, 2, 5)))
    kept = layer.running_mean.data
    y, backward = layer(x, mode=Training(0, 0))
    assert layer.running_mean.data is kept  # in place: a captured graph knows the place
    backward(y)
    learned = to_numpy(kept).copy()
    optimizer = SGD(layer)
    optimizer.step(0.1)
    assert_equal(layer.running_mean.data, learned)
    fresh = BatchNorm2d(3, dtype=np.float64)
    fresh.load_state_dict(layer.state_dict())
    assert_equal(fresh(to_numpy(x))[0], fresh(to_numpy(x))[0])
    assert_close(fresh(to_numpy(x))[0], layer(x)[0], 1e-14)
    with pytest.raises(ValueError, match=r"missing \['running_var'\]"):
        fresh.load_state_dict({k: v for k, v in fresh.state_dict().items() if k[-1] != "r"})


def test_a_captured_step_moves_the_statistics_in_each_replay(stand_in: Any, rng: Any) -> None:
    cupy, batches = stand_in.cupy, rng.normal(1, 2, size=(3, 4, 3, 2, 5))
    here, there = (BatchNorm2d(3, dtype=np.float64) for _ in range(2))
    with stand_in.installed():
        there.to("gpu")
        x, dx = cupy.asarray(batches[0]), cupy.zeros((4, 3, 2, 5))

        def work() -> None:
            y, backward = there(x, mode=Training(0, 0))
            dx[...] = backward(y * x)

        replay = capture(work)
        for batch in batches[1:]:
            x[...] = cupy.asarray(batch)
            replay()
    for batch in batches:
        y, backward = here(batch, mode=Training(0, 0))
        expected = backward(y * batch)
    assert_close(dx, expected, 1e-12)
    for name, a in here.state_dict().items():
        assert_close(there.state_dict()[name], a, 1e-13)
    for p, q in zip(here.parameters(), there.parameters(), strict=True):
        assert_close(q.grad, p.grad, 1e-12)


def test_bad_input(xp: Any, rng: Any) -> None:
    x, *vectors, dy = (xp.asarray(a) for a in inputs(rng, (4, 3, 2, 5), np.float64))
    ones = xp.ones(4)
    for k, name in enumerate(("weight", "bias", "running_mean", "running_var")):
        wrong = [*vectors[:k], ones, *vectors[k + 1 :]]
        with pytest.raises(ValueError, match=rf"^{name}: expected shape \(3,\), got \(4,\)"):
            batch_norm(x, *wrong)
    with pytest.raises(ValueError, match="^x: expected shape"):
        batch_norm(x[0], *vectors)
    with pytest.raises(TypeError, match="x float32, weight float64"):
        batch_norm(x.astype(np.float32), *vectors)
    with pytest.raises(ValueError, match="^x: expected two or more numbers a channel in training"):
        batch_norm(x[:1, :, 0, 0], *vectors, training=True)
    with pytest.raises(ValueError, match="^dy: expected shape"):
        batch_norm(x, *vectors)[1](dy[:1])
    with pytest.raises(TypeError, match="^training: expected True or False"):
        batch_norm(x, *vectors, training=1)  # type: ignore[arg-type]


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="^num_features: expected at least 1"):
        BatchNorm2d(0)
    with pytest.raises(ValueError, match=r"^eps: expected a number in \(0, 1\]"):
        BatchNorm2d(3, eps=0)
    with pytest.raises(ValueError, match="^momentum: "):
        BatchNorm1d(3, momentum=2)
    with pytest.raises(ValueError, match=r"^x: expected shape \(N, C, H, W\)"):
        BatchNorm2d(3)(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"^x: expected shape \(N, C\)"):
        BatchNorm1d(3)(np.ones((2, 3, 1, 1), np.float32))
    with pytest.raises(TypeError, match="^mode: expected None"):
        BatchNorm1d(3)(np.ones((2, 3), np.float32), mode="train")  # type: ignore[arg-type]
