"""IDX files: what is right comes back exactly, and what is wrong is named, not believed."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from stn_np.data.dataset import DataError
from stn_np.data.idx import read_idx


def idx_bytes(values: np.ndarray) -> bytes:
    """The IDX file of an array of unsigned bytes."""
    return (
        struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    )


VALUES = np.random.default_rng(0).integers(0, 256, (5, 3, 4), np.uint8)
GOOD = idx_bytes(VALUES)


def write(folder: Path, content: bytes, *, zipped: bool = False) -> Path:
    """Put a file into the folder."""
    path = folder / "some-images"
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("shape", [(7,), (0,), (3, 5), (2, 3, 4), (2, 3, 4, 5)])
def test_values_shape_and_order_come_back(tmp_path, shape, zipped):
    values = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    read = read_idx(write(tmp_path, idx_bytes(values), zipped=zipped), ndim=len(shape))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values)
    read[...] = 0  # not a read-only view of something


@pytest.mark.parametrize("zipped", [False, True])
def test_larger_than_one_block(tmp_path, zipped):
    values = np.random.default_rng(1).integers(0, 256, (3, 1000, 1001), np.uint8)
    np.testing.assert_array_equal(
        read_idx(write(tmp_path, idx_bytes(values), zipped=zipped)), values
    )


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_cut_short_anywhere(tmp_path, length):
    path = write(tmp_path, GOOD[:length])
    with pytest.raises(DataError, match="some-images: expected"):
        read_idx(path)


def test_cut_short_says_how_much_is_there(tmp_path):
    with pytest.raises(
        DataError, match=r"expected 60 bytes .* \(5, 3, 4\), got only 59: cut short"
    ):
        read_idx(write(tmp_path, GOOD[:-1]))


@pytest.mark.parametrize("length", range(2, len(gzip.compress(GOOD)), 7))
def test_gzip_cut_short_anywhere(tmp_path, length):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(GOOD)[:length])
    with pytest.raises(DataError, match=r"x\.gz: expected a whole gzip file, got a damaged one"):
        read_idx(path)


def test_gzip_with_a_wrong_checksum(tmp_path):
    content = bytearray(gzip.compress(GOOD))
    content[-8] ^= 1  # the CRC
    path = tmp_path / "x.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_idx(path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("shape", [(5, 3, 4), (1024, 1024)])  # the latter is exactly one block
def test_a_byte_too_many(tmp_path, shape, zipped):
    content = idx_bytes(np.ones(shape, np.uint8))
    assert read_idx(write(tmp_path, content, zipped=zipped)).shape == shape
    with pytest.raises(DataError, match=f"expected {np.prod(shape):,} bytes .* got more than that"):
        read_idx(write(tmp_path, content + b"\0", zipped=zipped))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"<!DOCTYPE html>", "expected an IDX file"),
        (b"\x89PNG\r\n", "expected an IDX file"),
        (b"\0\1\x08\x01", "expected an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\1\0\0\0\0", r"expected IDX type 8 .* got type 13"),
        (b"\0\0\x08\x00", "expected 1 to 4 axes, got 0"),
        (b"\0\0\x08\xff" + bytes(2000), "expected 1 to 4 axes, got 255"),
        (b"\0\0\x08\x02\0\0\0\1\0", "expected a header of 12 bytes, got 9"),
    ],
)
def test_wrong_kind_of_file(tmp_path, start, message):
    with pytest.raises(DataError, match=f"some-images: {message}"):
        read_idx(write(tmp_path, start))


def test_labels_where_images_are_expected(tmp_path):
    path = write(tmp_path, idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match="some-images: expected 3 axes, got 1"):
        read_idx(path, ndim=3)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_boastful_header_takes_no_memory(tmp_path, zipped):
    huge = write(tmp_path, b"\0\0\x08\x03" + b"\xff" * 12 + b"few", zipped=zipped)
    with pytest.raises(DataError, match=r"at most 268,435,456 bytes of values, got shape \(42949"):
        read_idx(huge)
    path = write(tmp_path, b"\0\0\x08\x01" + struct.pack(">I", 2**28) + b"few", zipped=zipped)
    tracemalloc.start()
    with pytest.raises(DataError, match="got only 3: cut short"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("zipped", [False, True])
def test_hash_is_that_of_the_uncompressed_content(tmp_path, zipped):
    path = write(tmp_path, GOOD, zipped=zipped)
    right = hashlib.sha256(GOOD).hexdigest()
    np.testing.assert_array_equal(read_idx(path, sha256=right), VALUES)
    with pytest.raises(DataError, match=f"some-images: .*SHA-256 {'0' * 64}, got {right}"):
        read_idx(path, sha256="0" * 64)


def test_hash_covers_the_header(tmp_path):
    turned = idx_bytes(VALUES.reshape(3, 5, 4))  # the same bytes under another shape
    with pytest.raises(DataError, match="SHA-256"):
        read_idx(write(tmp_path, turned), sha256=hashlib.sha256(GOOD).hexdigest())


def test_error_uses_the_given_name(tmp_path):
    with pytest.raises(DataError, match=r"^https://here: "):
        read_idx(write(tmp_path, b"x"), name="https://here")


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")
