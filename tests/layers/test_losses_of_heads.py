"""The cross-entropy of several labels an image: the sum of what each head's is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import FLOATS, assert_close

from stn_np.backend import to_numpy
from stn_np.layers import cross_entropy


@pytest.mark.parametrize("dtype", FLOATS)
def test_heads_add_up(xp: Any, rng: Any, dtype: Any) -> None:
    z, labels = rng.normal(size=(4, 3, 5)).astype(dtype), rng.integers(0, 5, (4, 3))
    loss, backward = cross_entropy(xp.asarray(z), xp.asarray(labels))
    single = [cross_entropy(z[:, h], labels[:, h]) for h in range(3)]
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    assert (loss.shape, loss.dtype) == ((), dtype)
    assert_close(loss, sum(value for value, _ in single), tolerance)
    dz = backward(1.7)
    assert (dz.shape, dz.dtype) == (z.shape, dtype)
    for h, (_, pull) in enumerate(single):
        assert_close(dz[:, h], pull(1.7), tolerance)


def test_is_pytorchs(xp: Any, rng: Any) -> None:
    torch = pytest.importorskip("torch")
    z, labels = 20 * rng.normal(size=(6, 5, 11)), rng.integers(0, 11, (6, 5))
    leaf = torch.tensor(z, requires_grad=True)
    heads = [torch.nn.functional.cross_entropy(leaf[:, h], torch.tensor(labels[:, h]))
             for h in range(5)]  # fmt: skip
    expected = sum(heads)
    expected.backward()
    loss, backward = cross_entropy(xp.asarray(z), xp.asarray(labels))
    assert float(loss) == pytest.approx(expected.item(), rel=1e-14)
    assert_close(backward(), leaf.grad.numpy(), 1e-14)


def test_an_unknown_label_of_one_head(xp: Any, rng: Any) -> None:
    z, labels = rng.normal(size=(4, 2, 3)), rng.integers(0, 3, (4, 2))
    labels[2, 1] = 3
    if xp is np:
        with pytest.raises(ValueError, match=r"^labels: expected values in \[0, 3\), got . to 3"):
            cross_entropy(z, labels)
        return
    loss, backward = cross_entropy(xp.asarray(z), xp.asarray(labels))
    bad = np.isnan(to_numpy(backward()))
    assert np.isnan(float(loss))
    assert bad[2, 1].all() and bad.sum() == 3


def test_shapes_that_do_not_fit(xp: Any) -> None:
    z, labels = xp.ones((4, 2, 3)), xp.zeros((4, 2), int)
    with pytest.raises(ValueError, match=r"^labels: expected shape \(4, 2\), got \(4,\)"):
        cross_entropy(z, labels[:, 0])
    with pytest.raises(ValueError, match=r"^labels: expected shape \(4,\), got \(4, 2\)"):
        cross_entropy(z[:, 0], labels)
    with pytest.raises(ValueError, match=r"^labels: expected shape \(4, 2\), got \(2, 4\)"):
        cross_entropy(z, labels.T)
    for bad in (z[0, 0], z[None]):
        with pytest.raises(ValueError, match=r"^logits: expected shape \(N, K\), got \("):
            cross_entropy(bad, labels[:, 0])
    with pytest.raises(ValueError, match="^logits: expected at least one row"):
        cross_entropy(z[:, :0], labels[:, :0])
