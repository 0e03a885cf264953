"""`linear`, `relu`, `Flatten`: by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracles import assert_equal

from stn_np import layers


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
