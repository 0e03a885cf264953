"""`cross_entropy`: by hand, and with huge logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import FLOATS, assert_close

from stn_np import layers


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
