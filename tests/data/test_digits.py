"""The embedded digits: the right ones, well placed, and split once and for all."""

from __future__ import annotations

import numpy as np
import pytest

from stn_np.data import DataError, digits, load_digits
from stn_np.data.dataset import Dataset, hold_out_fifth


def test_the_file_holds_what_scikit_learn_carries():
    datasets = pytest.importorskip("sklearn.datasets")
    counts, labels = digits.read_digits()
    theirs = datasets.load_digits()
    np.testing.assert_array_equal(counts, theirs.images)
    np.testing.assert_array_equal(labels, theirs.target)


def test_the_file_is_small_and_licensed():
    assert digits.FILE.stat().st_size < 50_000
    licence = digits.FILE.with_name("DIGITS-LICENCE.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in licence
    assert "10.24432/C50P49" in licence


def test_what_load_gives():
    train, test = load_digits()
    assert (train.images.shape, test.images.shape) == ((1442, 1, 28, 28), (355, 1, 28, 28))
    for half in (train, test):
        assert half.images.dtype == np.float32
        assert half.labels.dtype == np.int64
        assert half.class_names == tuple("0123456789")
        assert (half.images.min(), half.images.max()) == (0, pytest.approx(1, abs=0.05))
        assert half.images.max() <= 1


def test_the_split_is_that_of_every_fifth_of_each_class():
    counts, labels = digits.read_digits()
    train, test = load_digits()
    seen = dict.fromkeys(range(10), 0)
    held_out = []
    for i, label in enumerate(labels):
        seen[label] += 1
        if seen[label] % 5 == 0:
            held_out.append(i)
    np.testing.assert_array_equal(test.labels, labels[held_out])
    np.testing.assert_array_equal(train.labels, np.delete(labels, held_out))
    # The middle of each 8 x 8 picture shows at the middle of ours: pictures went with their labels.
    middle = counts[:, 3:5, 3:5].mean((1, 2)) / 16
    for half, which in ((test, held_out), (train, np.setdiff1d(range(1797), held_out))):
        got = half.images[:, 0, 13:15, 13:15].mean((1, 2))
        assert np.corrcoef(got, middle[which])[0, 1] > 0.99


def test_margin_and_scale():
    train, _ = load_digits()
    frame = np.ones((28, 28), bool)
    frame[2:-2, 2:-2] = False
    assert train.images[:, 0, frame].max() == 0
    assert train.images[:, 0, 3].max() > 0  # the box is not smaller than it should be
    counts, labels = digits.read_digits()
    ink = counts[hold_out_fifth(labels)[0]].sum((1, 2)) / 16
    np.testing.assert_allclose(train.images.sum((1, 2, 3)), ink * 2.5**2, rtol=0.02)


def test_two_loads_are_the_same_and_apart():
    first, second = load_digits()[0], load_digits()[0]
    np.testing.assert_array_equal(first.images, second.images)
    first.images[...] = 0
    assert second.images.max() > 0


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    damaged = tmp_path / "digits.npz"
    damaged.write_bytes(digits.FILE.read_bytes()[:20_000])
    for path in (damaged, tmp_path / "none.npz"):
        monkeypatch.setattr(digits, "FILE", path)
        with pytest.raises(DataError, match=f"{path.name}: expected the package's own digits"):
            load_digits()


def test_hold_out_fifth_is_stratified_and_complete():
    labels = np.array([0] * 4 + [1] * 5 + [2] * 14 + [0] * 2)
    train, test = hold_out_fifth(labels)
    assert test.tolist() == [8, 13, 18, 23]
    assert sorted([*train, *test]) == list(range(25))


def test_a_dataset_refuses_what_does_not_fit():
    images, labels = np.zeros((2, 1, 4, 4), np.float32), np.zeros(2, np.int64)
    assert len(Dataset("x", images, labels, ("a",))) == 2
    with pytest.raises(DataError, match=r"images: expected float32 \(N, 1 or 3, H, W\)"):
        Dataset("x", images[:, 0], labels, ("a",))
    with pytest.raises(DataError, match=r"images: .* got float64"):
        Dataset("x", images.astype(float), labels, ("a",))
    with pytest.raises(DataError, match=r"labels: expected int64 \(2,\), got int64 \(1,\)"):
        Dataset("x", images, labels[:1], ("a",))
