"""Data sets by name, and what "auto" says when it has to make do."""

from __future__ import annotations

import gzip
import re
import struct
import subprocess
import sys
from itertools import product

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
    monkeypatch.setattr(data, "load_folder", lambda *what: asked.append(what) or "halves")
    assert load(str(tmp_path)) == load(str(tmp_path), None, 96, 3) == "halves"
    assert asked == [(tmp_path, (28, 28), 1), (tmp_path, (96, 96), 3)]


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / 'mine'))}: expected at least"):
        load("~/mine")
    assert data.full_name("~/mine") == str(tmp_path / "mine")
    assert data.full_name("idx:~/mine") == f"idx:{tmp_path / 'mine'}"
    assert data.full_name("auto") == "auto"


@pytest.mark.parametrize("options", [{"image_size": 32}, {"channels": 3}])
def test_size_and_colour_are_for_folders(options):
    with pytest.raises(DataError, match="image_size, channels: expected a folder of pictures, or"):
        load("digits", **options)


def write_idx(path, values):
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = head + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize(
    "names",
    [
        "train-images-idx3-ubyte train-labels-idx1-ubyte "
        "t10k-images-idx3-ubyte t10k-labels-idx1-ubyte",
        "raw/train-images-idx3-ubyte.gz raw/train-labels-idx1-ubyte.gz "
        "raw/t10k-images-idx3-ubyte raw/t10k-labels-idx1-ubyte",
        "KMNIST/raw/train-images-idx3-ubyte KMNIST/raw/train-labels-idx1-ubyte "
        "KMNIST/raw/t10k-images-idx3-ubyte KMNIST/raw/t10k-labels-idx1-ubyte",
        "emnist-letters-train-images-idx3-ubyte.gz emnist-letters-train-labels-idx1-ubyte.gz "
        "emnist-letters-test-images-idx3-ubyte.gz emnist-letters-test-labels-idx1-ubyte.gz",
    ],
)
def test_any_data_in_the_format_of_mnist(tmp_path, names):
    rng = np.random.default_rng(0)
    images = {"train": rng.integers(0, 256, (7, 5, 6)), "test": rng.integers(0, 256, (4, 5, 6))}
    labels = {"train": np.array([3, 9, 3, 26, 9, 3, 3]), "test": np.array([26, 3, 9, 9])}
    for name, (half, what) in zip(names.split(), product(images, (images, labels)), strict=True):
        write_idx(tmp_path / "mine" / name, what[half])
    (tmp_path / "mine" / "readme-train-images.txt").write_text("idx")
    train, test = load(f"idx:{tmp_path / 'mine'}")
    assert train.name == "mine" and train.class_names == test.class_names == ("3", "9", "26")
    assert train.labels.tolist() == [0, 1, 0, 2, 1, 0, 0] and test.labels.tolist() == [2, 0, 1, 1]
    for half, found in (("train", train), ("test", test)):
        np.testing.assert_allclose(found.images[:, 0] * 255, images[half], atol=1e-4)


def test_of_several_data_sets_one_must_be_named(tmp_path):
    for name, value in (("KMNIST", 1), ("FashionMNIST", 2)):
        for half, what in product(("train", "t10k"), ("images-idx3", "labels-idx1")):
            values = np.full((4, 5, 5), value) if "images" in what else np.arange(4) % 2
            write_idx(tmp_path / name / "raw" / f"{half}-{what}-ubyte", values)
    with pytest.raises(DataError, match="one data set, got files of several: name one of .*KMNIST"):
        load(f"idx:{tmp_path}")
    train, _ = load(f"idx:{tmp_path / 'KMNIST'}")
    np.testing.assert_allclose(train.images, 1 / 255, rtol=1e-6)


def test_files_in_the_format_of_mnist_that_do_not_fit(tmp_path):
    def fails(match, **files):
        given = {
            "train-images-idx3-ubyte": np.zeros((3, 4, 4)),
            "train-labels-idx1-ubyte": np.arange(3),
            "t10k-images-idx3-ubyte": np.zeros((2, 4, 4)),
            "t10k-labels-idx1-ubyte": np.arange(2),
        } | {name.replace("_", "-"): values for name, values in files.items()}
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, values in given.items():
            if values is not None:
                write_idx(folder / name, values)
        with pytest.raises(DataError, match=match):
            load(f"idx:{folder}")

    fails("images of the test half .*got none", t10k_images_idx3_ubyte=None)
    fails(
        "images of the train half .*got fashion-train-images-idx3, train-images-idx3-ubyte",
        fashion_train_images_idx3=np.zeros((3, 4, 4)),
    )
    fails("a label for each of the 3 images", train_labels_idx1_ubyte=np.arange(2))
    fails("images of one size", t10k_images_idx3_ubyte=np.zeros((2, 4, 5)))
    fails("got 7 besides", t10k_labels_idx1_ubyte=np.array([0, 7]))
    fails(
        "at least two classes",
        train_labels_idx1_ubyte=np.ones(3),
        t10k_labels_idx1_ubyte=np.ones(2),
    )
    fails("expected 3 axes, got 1", train_images_idx3_ubyte=np.arange(3))
    with pytest.raises(DataError, match="no such folder"):
        load(f"idx:{tmp_path / 'nowhere'}")


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
