"""The mode goes down through containers to those layers that use it, and to no others."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracles import assert_equal

from stn_np.layers import (
    BatchNorm1d,
    Dropout,
    Linear,
    Module,
    Parallel,
    ReLU,
    Sequential,
    Training,
    apply,
    relu,
)

TRAIN = Training(0, 3)


class Own(Module):
    """A user's layer that knows of no mode."""

    def __call__(self, x: Any, *, needs_dx: bool = True) -> Any:
        return relu(x)


class Block(Module):
    """A user's block with a layer in it that uses the mode."""

    def __init__(self, inner: Module) -> None:
        self.inner = inner

    def __call__(self, x: Any, *, needs_dx: bool = True, mode: Training | None = None) -> Any:
        return apply(self.inner, x, needs_dx=needs_dx, mode=mode)


def test_who_uses_the_mode(rng: Any) -> None:
    drop = Dropout(0.5, rng=rng)
    for module in (drop, BatchNorm1d(3), Sequential(a=ReLU(), b=Parallel(c=Own(), d=drop))):
        assert module.uses_mode
    for module in (Own(), ReLU(), Linear(2, 3, rng=rng), Sequential(a=Own()), Parallel(a=ReLU())):
        assert not module.uses_mode
    assert Block(drop).uses_mode and not Block(ReLU()).uses_mode


def test_the_mode_reaches_all_depths(rng: Any) -> None:
    drop, x = Dropout(0.5, rng=rng), rng.uniform(1, 2, size=(4, 50))
    net = Sequential(own=Own(), both=Parallel(plain=Own(), deep=Sequential(block=Block(drop))))
    y, backward = net(x, mode=TRAIN)
    dropped, _ = drop(x, mode=TRAIN)
    assert_equal(y, np.concatenate([x, dropped], axis=1))
    assert_equal(backward(y), x + drop(dropped, mode=TRAIN)[0])
    assert_equal(net(x)[0], np.concatenate([x, x], axis=1))  # evaluation, as before it


def test_apply_hands_it_to_nobody_else(rng: Any) -> None:
    x = rng.normal(size=(2, 3))
    assert_equal(apply(Own(), x, mode=TRAIN)[0], relu(x)[0])
    assert_equal(apply(Sequential(a=Own()), x, mode=TRAIN)[0], relu(x)[0])


def test_buffers_of_all_depths_are_saved_once(rng: Any) -> None:
    norm = BatchNorm1d(3, dtype=np.float64)
    net = Sequential(a=Parallel(b=norm, c=norm), dense=Linear(6, 2, rng=rng, dtype=np.float64))
    assert [name for name, _ in net.named_buffers()] == ["a.b.running_mean", "a.b.running_var"]
    assert list(net.state_dict()) == [
        "a.b.weight", "a.b.bias", "dense.weight", "dense.bias",
        "a.b.running_mean", "a.b.running_var",
    ]  # fmt: skip
    net(rng.normal(size=(5, 3)), mode=TRAIN)
    saved = net.state_dict()
    assert (saved["a.b.running_mean"] != 0).all()
    net(rng.normal(size=(5, 3)), mode=TRAIN)
    assert (net.state_dict()["a.b.running_mean"] != saved["a.b.running_mean"]).all()
    net.load_state_dict(saved)
    assert_equal(norm.running_mean.data, saved["a.b.running_mean"])
