"""Checkpoints: all or nothing, damage found, the newest sound one used, a full disk survived."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from stn_np.training import checkpoint, storage
from stn_np.training.checkpoint import CheckpointError

ARRAYS = {
    "weights/conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "step": np.array(7, dtype=np.int64),
    "config": np.array('{"lr": 0.1}'),
    "empty": np.zeros((0, 8)),
}


def assert_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name, x in wanted.items():
        assert found[name].dtype == x.dtype and found[name].shape == x.shape
        np.testing.assert_array_equal(found[name], x)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 7, ARRAYS)
    assert_same(checkpoint.load(path), ARRAYS)
    with np.load(path, allow_pickle=False) as archive:  # and it is an ordinary .npz file
        assert_same({name: archive[name] for name in archive.files}, ARRAYS)
    assert names(tmp_path) == ["checkpoint-00000007.npz"]


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    first = checkpoint.save(tmp_path, 1, ARRAYS).read_bytes()
    assert checkpoint.save(tmp_path, 2, ARRAYS).read_bytes() == first


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not ours")
    for step in (5, 10, 99_999_999, 100_000_000):
        checkpoint.save(tmp_path, step, ARRAYS)
    kept = ["checkpoint-100000000.npz", "checkpoint-99999999.npz", "notes.txt"]
    assert names(tmp_path) == kept
    assert checkpoint.load_newest(tmp_path).path.name == "checkpoint-100000000.npz"


def test_files_from_a_damaged_future_go(tmp_path: Path) -> None:
    for step in (10, 20):
        checkpoint.save(tmp_path, step, ARRAYS)
    (tmp_path / "checkpoint-00000020.npz").write_bytes(b"damaged")
    checkpoint.save(tmp_path, 15, ARRAYS)  # training went on from step 10
    assert names(tmp_path) == ["checkpoint-00000010.npz", "checkpoint-00000015.npz"]


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, {"x": np.arange(3)})
    sound = path.read_bytes()
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 0x20
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="checkpoint-00000001.npz is damaged"):
            checkpoint.load(path)


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 65, 0.5, -1])
def test_every_truncation_is_found(tmp_path: Path, kept: float) -> None:
    path = checkpoint.save(tmp_path, 1, ARRAYS)
    sound = path.read_bytes()
    path.write_bytes(sound[: int(kept * len(sound)) if kept == 0.5 else int(kept)])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


def test_another_kind_of_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-00000001.npz"
    np.savez(path, **ARRAYS)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


def test_the_one_before_a_damaged_one_is_used_and_said(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 10, {"x": np.array(10)})
    newest = checkpoint.save(tmp_path, 20, {"x": np.array(20)})
    newest.write_bytes(newest.read_bytes()[:-100])
    loaded = checkpoint.load_newest(tmp_path)
    assert loaded.arrays["x"] == 10
    assert loaded.path.name == "checkpoint-00000010.npz"
    assert len(loaded.notes) == 1 and "checkpoint-00000020.npz is damaged" in loaded.notes[0]


def test_none_sound(tmp_path: Path) -> None:
    for step in (10, 20):
        checkpoint.save(tmp_path, step, ARRAYS).write_bytes(b"")
    with pytest.raises(CheckpointError, match="no sound checkpoint.*00000020.*00000010"):
        checkpoint.load_newest(tmp_path)


def test_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        checkpoint.load_newest(tmp_path)


def test_objects_are_never_pickled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        checkpoint.save(tmp_path, 1, {"x": np.array([{}], dtype=object)})
    assert names(tmp_path) == []


def test_objects_are_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = np.lib.format.write_array
    monkeypatch.setattr(
        storage.np.lib.format, "write_array", lambda f, x, allow_pickle: write(f, x)
    )
    path = checkpoint.save(tmp_path, 1, {"x": np.array([{}], dtype=object)})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"a damaged file \(an array object \(1,\)"):
        checkpoint.load(path)


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    checkpoint.save(tmp_path, 10, ARRAYS)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, function, full)
    with pytest.raises(OSError, match="checkpoint-00000020.npz: no space is left") as caught:
        checkpoint.save(tmp_path, 20, ARRAYS)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == ["checkpoint-00000010.npz"]
    assert_same(checkpoint.load_newest(tmp_path).arrays, ARRAYS)


def test_the_file_reaches_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def spy(*arguments: object, name: str = name, real: object = real) -> None:
            order.append(name)
            real(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(storage.os, name, spy)
    storage.write_atomic(tmp_path / "x", b"content")
    assert order == ["fsync", "replace", "fsync"]  # the content, the name, the folder
    assert (tmp_path / "x").read_bytes() == b"content"


def test_readable_by_whom_the_umask_allows(tmp_path: Path) -> None:
    storage.write_atomic(tmp_path / "x", b"")
    (tmp_path / "y").write_bytes(b"")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-00000020.npz.abc.tmp").write_bytes(b"half")
    (tmp_path / "mine.tmp").write_bytes(b"")
    storage.remove_temporaries(tmp_path)
    assert names(tmp_path) == ["mine.tmp"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot write .*nowhere"):
        checkpoint.save(tmp_path / "nowhere", 1, ARRAYS)
