"""Data sets by name, and what "auto" says when it has to make do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from stn_np import data
from stn_np.data import DataError, DataUnavailableError, load


@pytest.fixture
def no_mnist(monkeypatch):
    def load_mnist(data_dir=None, download=True):
        raise DataUnavailableError("MNIST: the network is down")

    monkeypatch.setattr(data, "load_mnist", load_mnist)


def test_auto_takes_mnist_where_it_is(monkeypatch):
    asked = []
    halves = data.load_digits()

    def load_mnist(data_dir=None, download=True):
        asked.append((data_dir, download))
        return halves

    monkeypatch.setattr(data, "load_mnist", load_mnist)
    for name in ("auto", "mnist"):
        assert load(name) is halves
        assert load(name, "somewhere") is halves
    assert load() is halves
    assert asked == [(None, True), ("somewhere", True)] * 2 + [(None, True)]


def test_auto_without_mnist_says_so(no_mnist):
    train, test = load("auto")
    digits_train, digits_test = data.load_digits()
    np.testing.assert_array_equal(train.images, digits_train.images)
    np.testing.assert_array_equal(test.labels, digits_test.labels)
    assert train.name == "digits"
    for half in (train, test):
        assert half.note.startswith("NOT MNIST")
        assert "1,797 embedded" in half.note
        assert "MNIST: the network is down" in half.note


def test_mnist_asked_for_by_name_is_never_replaced(no_mnist):
    with pytest.raises(DataUnavailableError, match="the network is down"):
        load("mnist")


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_named_folder_without_mnist_is_never_replaced(tmp_path, name):
    with pytest.raises(DataError, match="data_dir: expected a folder with the four files"):
        load(name, tmp_path)


def test_a_damaged_file_is_never_replaced(monkeypatch, tmp_path):
    for file in data.mnist.SHA256:
        (tmp_path / file).write_bytes(b"damaged")
    monkeypatch.setenv("STN_NP_DATA", str(tmp_path))
    with pytest.raises(DataError, match="train-images-idx3-ubyte: expected an IDX file"):
        load("auto")


def test_digits():
    train, _ = load("digits")
    assert train.name == "digits"
    assert "NOT MNIST" not in train.note


def test_folder(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(data, "load_folder", lambda path: asked.append(path) or "halves")
    assert load(str(tmp_path)) == "halves"
    assert asked == [str(tmp_path)]


def test_unknown_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError,
        match=r"data: expected one of 'auto', 'mnist', 'digits', got 'mnits'; did you "
        r"mean 'mnist'\? \(and there is no folder 'mnits'\)",
    ):
        load("mnits")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("x")
    with pytest.raises(DataError, match=r"expected a folder .* \(a file\)"):
        load(str(tmp_path / "x"))


def test_data_dir_is_not_ignored(tmp_path):
    with pytest.raises(DataError, match="data_dir: expected with 'auto' or 'mnist' only"):
        load("digits", tmp_path)


def test_heavy_imports_wait_until_they_are_needed():
    code = (
        "import sys, stn_np.data; stn_np.data.load_digits(); "
        "print(sorted({'matplotlib', 'pooch', 'tqdm', 'PIL', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
