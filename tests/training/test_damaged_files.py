"""Files of a run that are not what they should be: one line names the file; nothing is lost."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stn_np.cli import main
from stn_np.training import checkpoint
from stn_np.training.checkpoint import CheckpointError
from stn_np.training.storage import (
    MOST_TEXT,
    npz_bytes,
    read_file,
    read_json,
    read_npz,
    read_table,
    read_timings,
)

SMALL = ["--data", "digits", "--model", "st-cnn", "--filters", "2", "--batch-size", "256"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its pictures."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", *SMALL, "--epochs", "2", "--out", str(run)]) == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The one line with which a command ends."""
    capsys.readouterr()
    assert main(command) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.isprintable()
    return line


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[" * 100_000, "recursion"),
        (f'{{"a": {"9" * 400}}}', "a number of 400 digits"),
        ('{"a": 1e999}', "the number 1e999"),
        ('{"a": NaN}', "the number NaN"),
        ("[1]", "expected a JSON object, got list"),
        ("\x1b[2J", "expected JSON, got a damaged file"),
    ],
)
def test_json(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=match) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path}: ") and len(str(error.value)) < len(str(path)) + 250


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("a,b\n1,word\n", "numbers in line 2, .*word"),
        ("a,b\n1,2\n1\n", "2 numbers of at most 1e.30 in line 3"),
        ("a,b\n1,inf\n", "2 numbers of at most 1e.30 in line 2"),
        ("a,b\n1," + "1" * 200_000 + "\n", "field larger than field limit"),
        ("a,b\n1,\udcff\n", "a table, got a damaged file"),
    ],
)
def test_tables(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=f"x.csv: expected {match}|x.csv: .*{match}"):
        read_table(path)


def test_clocks_that_went_wrong_are_no_reason_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "timings.csv"
    for row in ("1,6,1e308,5", "1,6,nan,5", "1,6,-3,5", "1,6,x,5"):
        path.write_text(f"epoch,steps,seconds,images_per_second\n{row}\n")
        assert read_timings(path) == []
    path.write_text("epoch,steps,seconds,images_per_second\n1,6,2,5\n1,6,")  # cut off by a kill
    assert read_timings(path) == [[1, 6, 2, 5]]


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(ValueError, match=f"{name}: expected a regular file"):
            read_file(tmp_path / name, 10)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="sparse: expected at most 16,777,216 bytes, got 1,099,51"):
        read_file(tmp_path / "sparse", MOST_TEXT)


def header(descr: str, shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        (
            "x.npy",
            header("'<f4'", (2**40,)) + bytes(8),
            "an array float32 .1099511627776,. in 8 by",
        ),
        ("x.npy", header("'|O'", (1,)) + pickle.dumps(print), "an array object"),
        ("x.npy", b"\x93NUMPY\x09\x00" + bytes(99), "an array of version"),
        ("x.npy", bytes(2**20), "magic string"),
        ("../x.txt", b"", "the member ../x.txt"),
    ],
)
def test_arrays(name: str, content: bytes, match: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    with pytest.raises(ValueError, match=f"here: expected an .npz file, got .*{match}"):
        read_npz(file.getvalue(), "here")


def test_an_archive_that_unpacks_to_gigabytes() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(40):
            archive.writestr(f"{i}.npy", bytes(2**24))
    assert len(file.getvalue()) < 2**20
    with pytest.raises(ValueError, match="671,088,640 bytes of arrays, 536,870,912 are allowed"):
        read_npz(file.getvalue(), "here")


def changed(run: Path, **arrays: Any) -> None:
    """Arrays of the newest checkpoint replaced (None: left out), with a digest that fits."""
    path = checkpoint.checkpoints(run / "checkpoints")[0]
    state = {**checkpoint.load(path), **{k.replace("__", "/"): v for k, v in arrays.items()}}
    content = npz_bytes({k: v for k, v in state.items() if v is not None}, comment=b"0" * 64)[:-64]
    path.write_bytes(content + checkpoint._digest(content))


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"step": np.array(-1)}, "step: expected 0 to "),
        ({"step": np.array(10**9)}, "step: expected 0 to "),
        ({"step": np.array(1.5)}, "step: expected 0 to "),
        ({"step": np.array(3)}, "rows: expected one an epoch, got 2 at step 3"),
        ({"optimizer__n_steps": np.array(-1)}, r"state\['n_steps'\]: expected at least 0, got -1"),
        ({"optimizer__n_steps": None}, "optimizer/n_steps: expected it in this run"),
        ({"foreign": np.zeros(3)}, "it holds foreign, which no run has"),
        ({"weights__foreign": np.zeros(3)}, "weights/foreign: expected none in this run"),
        ({"weights__classifier.bias": np.zeros(3)}, r"expected shape \(10,\), got \(3,\)"),
        ({"weights__classifier.bias": np.full(10, np.nan)}, "expected finite numbers, got float64"),
        ({"weights__classifier.bias": np.zeros(10, complex)}, "finite numbers, got complex128"),
        ({"weights__classifier.bias": np.zeros(10, [("a", "f4")])}, "expected finite numbers, got"),
        ({"weights__classifier.bias": np.array(["a"] * 10)}, "expected finite numbers, got <U1"),
        ({"rows": np.zeros((2, 3))}, "rows: expected shape"),
        ({"sums": np.zeros(9)}, "sums: expected shape"),
        ({"config": np.array("[" * 9999)}, "does not fit this run: RecursionError"),
        ({"config": np.array("[]")}, "its settings are no object"),
        ({"frames__thetas": np.zeros((3, 1, 4))}, "frames/thetas: expected shape"),
    ],
)
def test_a_checkpoint_with_a_fitting_digest_and_a_wrong_inside(
    run: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, Any], match: str
) -> None:
    import re

    changed(run, **arrays)
    line = refused(capsys, "eval", str(run))
    assert re.search(match, line), line


def test_a_changed_number_in_the_settings_asks_for_no_memory(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "filters": 3000}))
    (run / "results.json").unlink()
    monkeypatch.setattr("stn_np.models.build", None)  # it is refused before that
    for command in (["eval", str(run)], ["train", "--resume", str(run)]):
        line = refused(capsys, *command)
        assert "was made with filters 2, but the run's config.json says 3000" in line


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        '{"test_error": []}',
        '{"epochs": 2, "test_error": "\\u001b[2J", "machine": 3}',
        '{"epochs": 2, "machine": {}}',
        '{"epochs": "two"}',
        "{",
    ],
)
def test_damaged_results_are_made_again(
    run: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    expected = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(content)
    assert main(["train", "--resume", str(run)]) == 0
    line = capsys.readouterr().err.splitlines()[0]
    assert "results.json: expected the figures of a finished run, got a damaged file" in line
    assert line.endswith("; they are made again") and line.isprintable()
    found = json.loads((run / "results.json").read_text())
    assert {**found, "machine": 0} == {**expected, "machine": 0}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": np.array(["a"] * 20)}, "labels: expected whole numbers, got <U1"),
        (
            {"epochs": np.zeros(3, "datetime64[D]")},
            "epochs: expected whole numbers, got datetime64",
        ),
        ({"images": np.zeros((20, 1, 28, 28), complex)}, "images: expected numbers, got complex"),
        ({"images": np.full((20, 1, 28, 28), np.inf)}, "images: expected numbers, got float64"),
        ({"transform": np.array(3)}, "transform: expected a name, got int64"),
        ({"thetas": np.zeros((3, 20, 99))}, "thetas: expected 4 numbers for 'similarity', got 99"),
    ],
)
def test_frames_of_other_kinds(
    run: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], match: str
) -> None:
    with np.load(run / "frames.npz") as file:
        arrays = {**file, **changes}
    np.savez(run / "frames.npz", **arrays)
    line = refused(capsys, "plot", str(run))
    assert f"frames.npz: {match}" in line


# Who writes, and where


@pytest.mark.parametrize("name", ["curves.png", "transformer.png", "transformer.gif", ".lock"])
def test_no_link_is_followed_when_something_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    (run / name).unlink()
    (run / name).symlink_to(thesis)
    if name == ".lock":
        (run / "results.json").unlink()
        line = refused(capsys, "train", "--resume", str(run))
        assert f"cannot lock {run / '.lock'}: it is a link" in line
    else:
        assert main(["plot", str(run)]) == 0
        assert not (run / name).is_symlink() and (run / name).stat().st_size > 1000
    assert thesis.read_text() == "years of work"


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run / "curves.png").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stn_np.training.storage.os.replace", full)
    line = refused(capsys, "plot", str(run))
    assert f"cannot write {run / 'curves.png'}: no space is left on the disk" in line
    assert (run / "curves.png").read_bytes() == before
    assert not list(run.glob(".*.tmp"))


def test_a_run_that_was_killed_while_it_drew_is_drawn(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = {p.name: p.read_bytes() for p in run.glob("transformer.*")}
    for name in expected:
        (run / name).unlink()
    assert main(["train", "--resume", str(run)]) == 0
    assert "transformer.gif" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in run.glob("transformer.*")} == expected


def test_the_lock_comes_before_the_first_look(run: Path, tmp_path: Path) -> None:
    """Who waits while another finishes the run must not go on from what it saw before."""
    (run / "results.json").unlink()
    ready, go_on = tmp_path / "ready", tmp_path / "go"
    holder = (
        "import sys, time; from pathlib import Path\n"
        "from stn_np.training.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked():\n"
        "    Path(sys.argv[2]).touch()\n"
        "    while not Path(sys.argv[3]).exists(): time.sleep(0.01)\n"
    )
    arguments = [sys.executable, "-c", holder, str(run), str(ready), str(go_on)]
    with subprocess.Popen(arguments) as other:
        while not ready.exists():
            assert other.poll() is None
        looked = _looks(run)
        go_on.touch()
    assert looked == ["locked"]


def _looks(run: Path) -> list[str]:
    """In which order a resumed run looks at what, while another process has the lock."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load_newest", "checkpoints"):
            patch.setattr(checkpoint, name, _note(seen, name))
        patch.setattr("stn_np.cli.train.read_json", _note(seen, "results"))
        try:
            code = main(["train", "--resume", str(run)])
        finally:
            seen.append("locked" if code == 2 else "trained")
    return seen


def _note(seen: list[str], name: str) -> Callable[..., Any]:
    def noted(*_: object) -> None:
        seen.append(name)

    return noted


def test_a_sound_checkpoint_of_a_later_step_is_never_removed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 20, {"x": np.arange(3)})
    with pytest.raises(CheckpointError, match=r"00000020.npz: expected none beyond step 10"):
        checkpoint.save(tmp_path, 10, {"x": np.arange(3)})
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-00000020.npz"]
    (tmp_path / "checkpoint-00000020.npz").write_bytes(b"damaged")
    checkpoint.save(tmp_path, 10, {"x": np.arange(3)})
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-00000010.npz"]
