"""MNIST: where it is looked for, in which order, and what happens when something is wrong.

The files here are tiny, and their hashes are put in the place of the real ones.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import struct
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest

from stn_np.data import DataError, DataUnavailableError, download, load_mnist, mnist

NAMES = tuple(mnist.SHA256)
REAL_HASHES = dict(mnist.SHA256)
REAL_DATA = os.environ.get("STN_NP_DATA", "")
SIZES = {"train": 6, "t10k": 4}


def make_values(name: str) -> np.ndarray:
    """Tiny pictures, not square, or labels."""
    n = SIZES[name.partition("-")[0]]
    rng = np.random.default_rng(len(name) + n)
    shape, high = ((n, 3, 2), 256) if "images" in name else ((n,), 10)
    return rng.integers(0, high, shape, np.uint8)


def make_content(name: str) -> bytes:
    values = make_values(name)
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return head + values.tobytes()


def fill(folder: Path, names=NAMES, *, zipped=False) -> Path:
    """Write files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        content = make_content(name)
        path = folder / f"{name}.gz" if zipped else folder / name
        path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


class Network:
    """In the place of the network: each mirror has content or an error."""

    def __init__(self) -> None:
        self.failures: dict[str, Exception | bytes] = {}
        self.fetched: list[str] = []

    def __call__(self, url, output_file, pooch, check_only=False):
        mirror, _, file = url.rpartition("/")
        failure = self.failures.get(mirror + "/")
        if not check_only:
            self.fetched.append(url)
        if isinstance(failure, Exception):
            raise failure
        if check_only:
            return True
        content = failure or gzip.compress(make_content(file.removesuffix(".gz")))
        Path(output_file).write_bytes(content)
        return None


@pytest.fixture
def network(monkeypatch):
    network = Network()
    monkeypatch.setattr(download, "_http", lambda: network)
    return network


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache, no environment variable, and the tiny files' hashes."""
    hashes = {name: hashlib.sha256(make_content(name)).hexdigest() for name in NAMES}
    monkeypatch.setattr(mnist, "SHA256", hashes)
    monkeypatch.delenv("STN_NP_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "stn_np"


def files_below(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def check_halves(halves):
    for dataset, half in zip(halves, SIZES, strict=True):
        images = make_values(f"{half}-images-idx3-ubyte")
        np.testing.assert_array_equal(dataset.images[:, 0], images.astype(np.float32) / 255)
        assert dataset.images.dtype == np.float32
        np.testing.assert_array_equal(dataset.labels, make_values(f"{half}-labels-idx1-ubyte"))
        assert dataset.labels.dtype == np.int64
        assert dataset.class_names == tuple("0123456789")
        assert dataset.name == "mnist"


@pytest.mark.parametrize("zipped", [False, True])
def test_from_a_named_folder(tmp_path, zipped):
    folder = fill(tmp_path / "here", zipped=zipped)
    halves = load_mnist(folder, download=False)
    check_halves(halves)
    assert str(folder) in halves[0].note


def test_plain_and_compressed_may_be_mixed(tmp_path):
    folder = fill(tmp_path / "here", NAMES[:2], zipped=True)
    check_halves(load_mnist(str(fill(folder, NAMES[2:])), download=False))


@pytest.mark.parametrize("inside", ["", "raw", "MNIST/raw", "MNIST", "mnist"])
@pytest.mark.parametrize("called", ["{}", "{}.gz", "{0}/{0}"])
@pytest.mark.parametrize("dotted", [False, True])
def test_under_the_names_that_people_have(tmp_path, inside, called, dotted):
    for name in NAMES:
        stem = name.replace("-idx", ".idx") if dotted else name
        path = tmp_path / inside / called.format(stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = make_content(name)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    check_halves(load_mnist(tmp_path, download=False))


def test_the_home_folder(tmp_path, monkeypatch):
    fill(tmp_path / "digits")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    check_halves(load_mnist("~/digits", download=False))
    monkeypatch.setenv("STN_NP_DATA", "~/digits")
    halves = load_mnist(download=False)
    check_halves(halves)
    assert halves[0].note == f"MNIST, read from {tmp_path / 'digits'}"


@pytest.mark.parametrize("present", [None, (), NAMES[:3]])
def test_a_named_folder_without_the_files_is_an_error(
    tmp_path, monkeypatch, cache, network, present
):
    monkeypatch.setenv("STN_NP_DATA", str(fill(tmp_path / "elsewhere")))
    fill(cache)
    folder = tmp_path / "named"
    if present is not None:
        fill(folder, present)
    with pytest.raises(DataError, match=r"data_dir: expected") as error:
        load_mnist(folder)
    assert not isinstance(error.value, DataUnavailableError)  # "auto" must not pass over it
    assert all(word in str(error.value) for word in (str(folder), *NAMES))
    assert network.fetched == []


def test_environment_comes_before_the_cache(tmp_path, monkeypatch, cache):
    named = fill(tmp_path / "named")
    fill(cache)
    (cache / NAMES[0]).write_bytes(b"not to be read")
    monkeypatch.setenv("STN_NP_DATA", str(named))
    halves = load_mnist(download=False)
    check_halves(halves)
    assert str(named) in halves[0].note


def test_cache_where_the_environment_has_not_all_files(tmp_path, monkeypatch, cache):
    fill(cache, zipped=True)
    monkeypatch.setenv("STN_NP_DATA", str(fill(tmp_path / "half", NAMES[:2])))
    halves = load_mnist(download=False)
    check_halves(halves)
    assert str(cache) in halves[0].note
    assert "STN_NP_DATA" in halves[0].note
    assert "does not hold all four" in halves[0].note


def test_the_environment_needs_no_pooch(tmp_path, monkeypatch):
    """It is for the cache and the network only: a machine without either may lack it."""
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setenv("STN_NP_DATA", str(fill(tmp_path / "named")))
    train, _ = load_mnist()
    np.testing.assert_array_equal(train.labels, make_values("train-labels-idx1-ubyte"))
    monkeypatch.setenv("STN_NP_DATA", str(tmp_path))
    with pytest.raises(DataUnavailableError, match=r"need pooch, which is not .*pip install pooch"):
        load_mnist()


def test_nowhere_and_no_download(monkeypatch, network):
    monkeypatch.setenv("STN_NP_DATA", "/no/such/folder")
    with pytest.raises(DataUnavailableError, match="neither in .* nor in the cache") as error:
        load_mnist(download=False)
    assert "/no/such/folder" in str(error.value)
    assert network.fetched == []


@pytest.mark.parametrize("zipped", [False, True])
def test_wrong_hash_names_file_and_both_hashes(tmp_path, monkeypatch, zipped):
    folder = fill(tmp_path / "here", zipped=zipped)
    right = mnist.SHA256[NAMES[3]]
    monkeypatch.setitem(mnist.SHA256, NAMES[3], "f" * 64)
    with pytest.raises(DataError, match=f"{NAMES[3]}.*{'f' * 64}.*{right}") as error:
        load_mnist(folder)
    assert not isinstance(error.value, DataUnavailableError)


def test_pictures_and_labels_exchanged(tmp_path):
    folder = fill(tmp_path / "here")
    (folder / NAMES[0]).write_bytes(make_content(NAMES[1]))
    with pytest.raises(DataError, match=f"{NAMES[0]}: expected 3 axes, got 1"):
        load_mnist(folder)


def test_download_fills_the_cache_once(cache, network):
    check_halves(load_mnist())
    assert [url.rpartition("/")[0] + "/" for url in network.fetched] == [download.MIRRORS[0]] * 4
    assert files_below(cache.parent) == sorted(f"{name}.gz" for name in NAMES)
    check_halves(load_mnist(download=False))


def test_only_what_is_missing_is_downloaded(cache, network):
    fill(cache, NAMES[1:])
    check_halves(load_mnist())
    assert network.fetched == [f"{download.MIRRORS[0]}{NAMES[0]}.gz"]


def test_what_the_first_mirror_gave_is_kept(cache, network, monkeypatch):
    good = network.__call__

    def third_file_breaks(url, output_file, pooch, check_only=False):
        if url == f"{download.MIRRORS[0]}{NAMES[2]}.gz" and not check_only:
            raise ConnectionResetError("reset")
        return good(url, output_file, pooch, check_only=check_only)

    monkeypatch.setattr(download, "_http", lambda: third_file_breaks)
    check_halves(load_mnist())
    first, second = download.MIRRORS
    expected = [first + NAMES[0], first + NAMES[1], second + NAMES[2], second + NAMES[3]]
    assert network.fetched == [f"{url}.gz" for url in expected]


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionError("refused"),
        b"<html>Log in to the hotel's network</html>",
        gzip.compress(make_content(NAMES[0]))[:-9],
        gzip.compress(b"\0\0\x08\x01\0\0\0\1!"),
    ],
    ids=["down", "another page", "cut short", "another file"],
)
def test_second_mirror_stands_in_for_the_first(cache, network, failure):
    network.failures[download.MIRRORS[0]] = failure
    check_halves(load_mnist())
    assert sum(url.startswith(download.MIRRORS[1]) for url in network.fetched) == 4
    assert files_below(cache.parent) == sorted(f"{name}.gz" for name in NAMES)


def test_bad_files_from_both_mirrors_leave_nothing_behind(cache, network):
    network.failures = dict.fromkeys(download.MIRRORS, b"<html>")
    with pytest.raises(DataUnavailableError) as error:
        load_mnist()
    assert files_below(cache.parent) == []
    for mirror in download.MIRRORS:
        assert f"{mirror}{NAMES[0]}.gz: expected an IDX file" in str(error.value)


def test_a_wrong_hash_from_both_mirrors_names_the_hashes(cache, network, monkeypatch):
    right = mnist.SHA256[NAMES[0]]
    monkeypatch.setitem(mnist.SHA256, NAMES[0], "f" * 64)
    with pytest.raises(DataUnavailableError, match=f"{NAMES[0]}.*{'f' * 64}.*{right}"):
        load_mnist()
    assert files_below(cache.parent) == []


def test_no_network_says_what_was_tried_and_what_to_do(cache, network):
    network.failures = dict.fromkeys(download.MIRRORS, OSError("Network is unreachable"))
    with pytest.raises(DataUnavailableError) as error:
        load_mnist()
    message = str(error.value)
    for words in (*download.MIRRORS, "Network is unreachable", str(cache), "--data-dir", *NAMES):
        assert words in message
    assert message.count("\n") == 0
    assert network.fetched == []  # a mirror that gives no answer is not asked again


def test_the_cause_of_a_wrapped_network_error_is_short(network):
    requests = pytest.importorskip("requests")  # what pooch downloads with
    urllib3 = pytest.importorskip("urllib3")
    connection = urllib3.connection.HTTPSConnection("example.org")
    inner = urllib3.exceptions.NewConnectionError(connection, "[Errno 101] Network is unreachable")
    outer = urllib3.exceptions.MaxRetryError(None, "/a/long/path", inner)
    network.failures = dict.fromkeys(download.MIRRORS, requests.exceptions.ConnectionError(outer))
    with pytest.raises(DataUnavailableError) as error:
        load_mnist()
    assert "(NewConnectionError: [Errno 101] Network is unreachable)" in str(error.value)
    assert "Max retries" not in str(error.value)


def test_a_mirror_that_never_answers_is_given_up(network, monkeypatch):
    released = threading.Event()

    def silent(url, output_file, pooch, check_only=False):
        released.wait()

    monkeypatch.setattr(download, "_http", lambda: silent)
    monkeypatch.setattr(download, "ANSWER_WITHIN", 0.05)
    try:
        with pytest.raises(DataUnavailableError, match=r"no answer within 0\.05 s"):
            load_mnist()
    finally:
        released.set()


def test_over_http(tmp_path, cache, monkeypatch):
    served = fill(tmp_path / "served" / "mirror", zipped=True)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=served.parent)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        try:
            monkeypatch.setattr(download, "MIRRORS", (f"{here}/none/", f"{here}/mirror/"))
            check_halves(load_mnist())
            for file in cache.iterdir():
                file.unlink()
            monkeypatch.setattr(download, "MIRRORS", (f"{here}/none/",))
            with pytest.raises(DataUnavailableError, match="HTTPError: 404 Client Error"):
                load_mnist()
        finally:
            server.shutdown()
    with pytest.raises(DataUnavailableError, match="refused"):
        load_mnist()
    assert files_below(cache.parent) == []


@pytest.mark.parametrize("down", [False, True])
def test_one_line_of_log(network, down):
    if down:
        network.failures = dict.fromkeys(download.MIRRORS, OSError("down"))
    lines = []

    class Collect(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    logger, handler = pooch.get_logger(), Collect()
    logger.addHandler(handler)
    try:
        load_mnist()
    except DataUnavailableError:
        assert down
    finally:
        logger.removeHandler(handler)
    assert len(lines) == 1
    assert "Downloading" in lines[0]
    assert not logger.disabled


def test_a_cache_that_cannot_be_written(tmp_path, cache, network):
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file where the cache's folder should be")
    with pytest.raises(DataUnavailableError, match="Error: "):
        load_mnist()


@pytest.mark.skipif(not REAL_DATA, reason="needs MNIST in $STN_NP_DATA")
def test_the_real_thing(monkeypatch):
    monkeypatch.setattr(mnist, "SHA256", REAL_HASHES)
    train, test = load_mnist(REAL_DATA, download=False)
    assert (train.images.shape, test.images.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert np.bincount(train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert (train.images.min(), train.images.max()) == (0, 1)
    assert abs(train.images.mean() - 0.1307) < 1e-4  # the mean that everyone normalises with
