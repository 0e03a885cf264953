"""Parallel: branches side by side, and the gradients that come back from all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import assert_close, assert_equal

from stn_np import layers
from stn_np.gradcheck import gradcheck
from stn_np.layers import Conv2d, Linear, Module, Parallel, ReLU, Sequential


def branches(rng: Any, dtype: Any = np.float64) -> Parallel:
    return Parallel(
        wide=Conv2d(2, 3, 1, rng=rng, dtype=dtype),
        none=ReLU(),
        deep=Sequential(first=Conv2d(2, 4, 1, rng=rng, dtype=dtype), second=ReLU()),
    )


def test_each_branch_gets_the_same_input_and_its_own_gradient(xp: Any, rng: Any) -> None:
    both = branches(rng)
    if xp is not np:
        both.to("gpu")
    x, dy = xp.asarray(rng.normal(size=(3, 2, 4, 5))), xp.asarray(rng.normal(size=(3, 9, 4, 5)))
    y, backward = both(x)
    alone = [branch(x) for branch in both]
    assert_equal(y, np.concatenate([np.asarray(out.get() if xp is not np else out)
                                    for out, _ in alone], axis=1))  # fmt: skip
    dx = backward(dy)
    found = [p.grad.copy() for p in both.parameters()]
    both.zero_grad()
    parts = [dy[:, :3], dy[:, 3:5], dy[:, 5:]]
    expected = [pullback(part) for (_, pullback), part in zip(alone, parts, strict=True)]
    assert_close(dx, expected[0] + expected[1] + expected[2], 1e-14)
    for p, grad in zip(both.parameters(), found, strict=True):
        assert_equal(p.grad, grad)
        assert float(abs(grad).sum()) > 0


def test_the_gradient_of_parallel_is_the_slope(rng: Any) -> None:
    both = branches(rng)
    assert gradcheck(both, rng.uniform(0.1, 1, (2, 2, 3, 4)))


def test_nobody_needs_dx(rng: Any) -> None:
    both = branches(rng)
    y, backward = both(rng.normal(size=(2, 2, 3, 4)), needs_dx=False)
    assert backward(rng.normal(size=y.shape)) is None
    assert all(np.abs(p.grad).sum() > 0 for p in both.parameters())


def test_vectors_too_and_names(rng: Any) -> None:
    both = Parallel(left=Linear(4, 2, rng=rng), right=Linear(4, 3, rng=rng))
    assert both(np.ones((5, 4), np.float32))[0].shape == (5, 5)
    assert [name for name, _ in both.named_parameters()] == [
        "left.weight", "left.bias", "right.weight", "right.bias",
    ]  # fmt: skip


def test_a_shared_branch_gets_both_gradients(rng: Any) -> None:
    shared = Linear(4, 2, rng=rng, dtype=np.float64)
    x, dy = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    Parallel(a=shared, b=shared)(x)[1](dy)
    together = shared.weight.grad.copy()
    shared.zero_grad()
    shared(x)[1](dy[:, :2] + dy[:, 2:])
    assert_close(together, shared.weight.grad, 1e-14)


class Half(Module):
    """Every other row: not what a branch should give."""

    def __call__(self, x: Any, *, needs_dx: bool = True) -> Any:
        return x[:, :, ::2], None


def test_bad_input(rng: Any) -> None:
    with pytest.raises(ValueError, match="branches: expected at least one"):
        Parallel()
    with pytest.raises(TypeError, match=r"as in Parallel\(hidden="):
        Parallel(ReLU())
    with pytest.raises(TypeError, match="a: expected a layer"):
        Parallel(a=layers.relu)  # type: ignore[arg-type]
    x = rng.normal(size=(2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"output of b: expected shape \(2, C, 4, 5\), got"):
        Parallel(a=ReLU(), b=Half())(x)
    _, backward = Parallel(a=ReLU(), b=ReLU())(x)
    with pytest.raises(ValueError, match=r"dy: expected shape \(2, 6, 4, 5\), got \(2, 3, 4, 5\)"):
        backward(x)
