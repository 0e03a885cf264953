"""A run that was stopped, killed or damaged ends with the same bits as one that never was."""

from __future__ import annotations

import errno
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stn_np.cli import main
from stn_np.data import Dataset, load_digits
from stn_np.experiments import open_run
from stn_np.experiments.distorted_digits import DistortedDigits, DistortedDigitsSettings
from stn_np.training import checkpoint, run, storage
from stn_np.training.checkpoint import CheckpointError
from stn_np.training.folder import RunFolder
from stn_np.training.loop import Trainer
from stn_np.training.progress import Progress
from stn_np.training.run import StoppedError, StopSignals

TOTAL = 15  # three epochs of five steps


def small_data() -> tuple[Dataset, Dataset]:
    return tuple(
        replace(half, images=half.images[:n], labels=half.labels[:n])
        for half, n in zip(load_digits(), (62, 30), strict=True)
    )


def begin(path: Path, **settings: object) -> RunFolder:
    small = {"model": "st-fcn", "filters": 32, "epochs": 3, "batch_size": 12}
    folder = RunFolder(path)
    settings = {"data": "digits", **DistortedDigitsSettings.defaults("digits"), **small, **settings}
    folder.create("distorted-digits", DistortedDigitsSettings(**settings))
    return folder


class StopAt(Progress):
    """Shows nothing, and sends this process a signal after one step."""

    def __init__(self, trainer: Trainer, step: int | None, number: int) -> None:
        super().__init__(trainer, bar=False)
        self._stop, self._number = step, number

    def step(self) -> None:
        if self._trainer.step == self._stop:
            signal.raise_signal(self._number)

    def say(self, line: str) -> None:
        pass


def sit(folder: RunFolder, stop: int | None = None, number: int = signal.SIGINT) -> list[str]:
    """One sitting: from where the run is to its end, or to a signal."""
    _, kind, settings = open_run(folder.path)
    assert kind is DistortedDigits
    trainer = Trainer(kind(settings, halves=small_data()))
    notes = run.go_on(trainer, folder)
    run.train(trainer, folder, StopAt(trainer, stop, number))
    run.finish(trainer, folder)
    return notes


def outcome(folder: RunFolder) -> dict[str, bytes]:
    """The bytes of all that must not depend on stops."""
    results = json.loads(folder.results.read_text())
    del results["machine"]
    files = [folder.metrics, folder.config, checkpoint.checkpoints(folder.checkpoints)[0]]
    files += [folder.frames] if folder.frames.exists() else []
    return {p.name: p.read_bytes() for p in files} | {"results": json.dumps(results).encode()}


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = begin(tmp_path_factory.mktemp("unstopped"))
    sit(folder)
    return outcome(folder)


@pytest.mark.parametrize("stops", [[1], [4], [5], [8], [14], [2, 3, 10, 12]])
def test_stopped_anywhere(tmp_path: Path, unstopped: dict[str, bytes], stops: list[int]) -> None:
    folder = begin(tmp_path / "run")
    for stop in stops:
        with pytest.raises(StoppedError, match=f"step {stop} is saved in .*{stop:08d}.npz"):
            sit(folder, stop)
        assert not folder.results.exists()
    sit(folder)
    assert outcome(folder) == unstopped


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "fcn"},
        {"model": "st-cnn", "filters": 4, "distortion": "RTS"},
        {"optimizer": "sgd"},
        {"optimizer": "adam", "transform": "attention"},
    ],
)
def test_other_models_and_optimisers(tmp_path: Path, settings: dict[str, str]) -> None:
    one, other = begin(tmp_path / "one", **settings), begin(tmp_path / "other", **settings)
    sit(one)
    with pytest.raises(StoppedError):
        sit(other, 7)
    sit(other)
    assert outcome(other) == outcome(one)
    assert one.frames.exists() == (settings.get("model") != "fcn")


def test_asked_to_terminate(tmp_path: Path, unstopped: dict[str, bytes]) -> None:
    folder = begin(tmp_path / "run")
    with pytest.raises(StoppedError):
        sit(folder, 6, signal.SIGTERM)
    sit(folder)
    assert outcome(folder) == unstopped


def test_stopped_after_the_last_step_is_finished(
    tmp_path: Path, unstopped: dict[str, bytes]
) -> None:
    folder = begin(tmp_path / "run")
    sit(folder, TOTAL)
    assert outcome(folder) == unstopped


def test_killed_between_the_last_checkpoint_and_the_results(
    tmp_path: Path, unstopped: dict[str, bytes]
) -> None:
    folder = begin(tmp_path / "run")
    sit(folder)
    for path in (folder.results, folder.metrics, folder.frames):
        path.unlink()
    sit(folder)
    assert outcome(folder) == unstopped


def test_killed_before_the_first_checkpoint(tmp_path: Path, unstopped: dict[str, bytes]) -> None:
    folder = begin(tmp_path / "run")
    assert "begins at step 0" in sit(folder)[0]
    assert outcome(folder) == unstopped


def test_damaged_newest_checkpoint(tmp_path: Path, unstopped: dict[str, bytes]) -> None:
    folder = begin(tmp_path / "run")
    with pytest.raises(StoppedError):
        sit(folder, 8)
    newest = folder.checkpoints / "checkpoint-00000008.npz"
    newest.write_bytes(newest.read_bytes()[:-1])
    damaged, used = sit(folder)
    assert "checkpoint-00000008.npz is damaged" in damaged
    assert used == "going on from checkpoint-00000005.npz: step 5 of 15"
    assert outcome(folder) == unstopped


def test_all_checkpoints_damaged(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run")
    with pytest.raises(StoppedError):
        sit(folder, 8)
    for path in checkpoint.checkpoints(folder.checkpoints):
        path.write_bytes(path.read_bytes() + b"!")
    before = sorted(p.name for p in folder.checkpoints.iterdir())
    with pytest.raises(CheckpointError, match="no sound checkpoint is left"):
        sit(folder)
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == before


def test_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unstopped: dict[str, bytes]
) -> None:
    folder = begin(tmp_path / "run")
    real = storage.os.replace

    def full(source: str, target: Path) -> None:
        if Path(target).name == "checkpoint-00000010.npz":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(storage.os, "replace", full)
    with pytest.raises(OSError, match="00000010.npz: no space is left on the disk"):
        sit(folder)
    monkeypatch.undo()
    left = sorted(p.name for p in folder.checkpoints.iterdir())
    assert left == ["checkpoint-00000000.npz", "checkpoint-00000005.npz"]
    sit(folder)
    assert outcome(folder) == unstopped


def test_checkpoint_of_other_settings(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run")
    with pytest.raises(StoppedError):
        sit(folder, 3)
    text = folder.config.read_text()
    folder.config.write_text(text.replace('"epochs": 3', '"epochs": 2'))
    with pytest.raises(CheckpointError, match=r"made with epochs 3, .* config.json says 2"):
        sit(folder)


def test_where_the_data_are_is_no_other_setting(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run")
    with pytest.raises(StoppedError):
        sit(folder, 3)
    text = folder.config.read_text()
    folder.config.write_text(text.replace('"data_dir": null', '"data_dir": "/elsewhere"'))
    sit(folder)


def test_checkpoint_without_what_is_needed(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run")
    checkpoint.save(folder.checkpoints, 3, {"step": np.array(3)})
    with pytest.raises(CheckpointError, match=r"does not fit this run: KeyError\('config'\)"):
        sit(folder)


def test_timings_are_kept_over_stops(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run")
    with pytest.raises(StoppedError):
        sit(folder, 8)
    sit(folder)
    rows = [line.split(",")[:2] for line in folder.timings.read_text().splitlines()]
    assert rows == [["epoch", "steps"], ["1", "5"], ["2", "3"], ["2", "2"], ["3", "5"]]


@pytest.fixture
def python_handles_interrupts() -> Iterator[None]:
    """In the background of a shell they are ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_acts_as_usual(python_handles_interrupts: None) -> None:
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
            time.sleep(1)  # ends at once, with the interrupt


def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not stop.asked


def test_a_finished_run_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The epochs made stay as they are; the rest has the rates of the longer run."""
    small = ["--data", "digits", "--model", "fcn", "--filters", "8", "--batch-size", "256"]
    short, long = tmp_path / "short", tmp_path / "long"
    assert main(["train", *small, "--epochs", "2", "--out", str(short)]) == 0
    assert main(["train", *small, "--epochs", "5", "--out", str(long)]) == 0
    before = (short / "metrics.csv").read_text().splitlines()
    assert main(["train", "--resume", str(short), "--epochs", "5"]) == 0
    rows, whole = ((f / "metrics.csv").read_text().splitlines() for f in (short, long))
    assert rows[:3] == before and len(rows) == len(whole) == 6
    rates = [[row.split(",")[2] for row in table[3:]] for table in (rows, whole)]
    assert rates[0] == rates[1]
    assert json.loads((short / "results.json").read_text())["epochs"] == 5
    capsys.readouterr()
    assert main(["train", "--resume", str(short), "--epochs", "5"]) == 0
    assert "is finished" in capsys.readouterr().out
    assert main(["eval", str(short)]) == 0
    assert main(["train", "--resume", str(short), "--epochs", "4"]) == 2
    assert "--epochs: this run has 5, got 4" in capsys.readouterr().err


def test_what_cannot_be_made_longer_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--data", "digits", "--model", "fcn", "--filters", "8", "--batch-size", "256"]
    run = tmp_path / "run"
    assert main(["train", *small, "--epochs", "1", "--out", str(run)]) == 0
    before = {p: p.read_bytes() for p in run.iterdir() if p.is_file()}

    def gone(*_: object) -> None:
        raise ValueError("the data are gone")

    with monkeypatch.context() as patch:
        patch.setattr("stn_np.data.load", gone)
        assert main(["train", "--resume", str(run), "--epochs", "900"]) == 2
    assert "the data are gone" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in before} == before


def test_checkpoints_have_no_size_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of large pictures grow with every epoch."""
    monkeypatch.setattr("stn_np.training.storage.MOST_ARRAYS", 1000)
    x = {"x": np.arange(10_000.0)}
    np.testing.assert_array_equal(checkpoint.load(checkpoint.save(tmp_path, 1, x))["x"], x["x"])


def test_killed_while_it_was_made_longer(tmp_path: Path) -> None:
    """config.json has the new number, and results.json is still there: it is not finished."""
    small = ["--data", "digits", "--model", "fcn", "--filters", "8", "--batch-size", "256"]
    run = tmp_path / "run"
    assert main(["train", *small, "--epochs", "1", "--out", str(run)]) == 0
    config = (run / "config.json").read_text()
    (run / "config.json").write_text(config.replace('"epochs": 1', '"epochs": 2'))
    assert main(["train", "--resume", str(run)]) == 0
    assert len((run / "metrics.csv").read_text().splitlines()) == 3
