"""What may happen to a run from outside: a second process, removed files, ruined weights."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from test_resuming import begin, sit

from stn_np.experiments import open_run
from stn_np.training import checkpoint
from stn_np.training.checkpoint import CheckpointError
from stn_np.training.folder import RunFolder
from stn_np.training.loop import DivergedError, Trainer
from stn_np.training.run import StoppedError


def test_of_two_that_create_a_run_one_is_refused(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    with pytest.raises(FileExistsError):
        begin(tmp_path / "run", seed=1)
    assert open_run(tmp_path / "run")[2].seed == 0


def test_a_run_belongs_to_one_process(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from stn_np.training.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('mine')"
    )
    command = [sys.executable, "-c", code, str(folder.path)]
    with folder.locked():
        second = subprocess.run(command, capture_output=True, text=True)
        assert second.returncode != 0
        assert "is being trained by another process" in second.stderr
    assert subprocess.run(command, capture_output=True, text=True).stdout == "mine\n"


def test_removed_checkpoints_do_not_begin_the_run_again(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run")
    with pytest.raises(StoppedError):
        sit(folder, stop=7)
    before = folder.metrics.read_bytes()
    shutil.rmtree(folder.checkpoints)
    folder.checkpoints.mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint, but metrics.csv has 1 epochs"):
        sit(folder)
    assert folder.metrics.read_bytes() == before


@pytest.mark.parametrize("average", [0.0, 0.99])
@pytest.mark.parametrize("ruin", [np.inf, 1e38])
def test_weights_ruined_by_the_last_step_of_an_epoch_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: float, ruin: float
) -> None:
    folder = begin(tmp_path / "run", average=average)
    end_epoch = Trainer.end_epoch

    def ruined(trainer: Trainer) -> list[float]:
        if trainer.step == 10:
            with trainer.optimizer.averaged() if ruin < np.inf else nullcontext():
                trainer.model.parameters()[-1].data[:2] = ruin, -ruin
            trainer.weights_changed()
        return end_epoch(trainer)

    monkeypatch.setattr(Trainer, "end_epoch", ruined)
    with pytest.raises(
        DivergedError, match=r"^step 10 \(epoch 2\): .*(loss nan|loss inf|not finite)"
    ):
        sit(folder)
    newest = checkpoint.load_newest(folder.checkpoints)
    assert newest.arrays["step"] == 5
    weights = [x for name, x in newest.arrays.items() if name.startswith("weights/")]
    assert all(np.isfinite(x).all() for x in weights)


def test_default_names_are_claimed_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stn_np.cli import train as command

    monkeypatch.setattr(command, "RUNS", tmp_path)
    _, kind, settings = open_run(begin(tmp_path / "other").path)
    experiment = kind(settings)
    first = command._create_folder(None, experiment)
    # Somebody takes the next name between our looking and our making.
    wanted = [tmp_path / "digits-R-st-fcn-002", tmp_path / "digits-R-st-fcn-003"]
    RunFolder(wanted[0]).create(kind.name, settings)
    names = iter(wanted)
    monkeypatch.setattr(command, "free_folder", lambda *_: next(names))
    assert first.path.name == "digits-R-st-fcn-001"
    assert command._create_folder(None, experiment).path == wanted[1]


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_run_is_claimed_with_and_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not hard_links:
        monkeypatch.setattr("os.link", refuse)
    folder = begin(tmp_path / "run")
    assert open_run(folder.path)[2].seed == 0
    with pytest.raises(FileExistsError):
        begin(tmp_path / "run", seed=1)
    assert open_run(folder.path)[2].seed == 0
    assert [p.name for p in folder.path.iterdir() if p.name.endswith(".tmp")] == []
