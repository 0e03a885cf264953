"""The real program, stopped by real signals in the middle of an epoch, and then resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import stn_np
import stn_np.plots
from stn_np.cli import main

SETTINGS = ["--data", "digits", "--model", "st-fcn", "--filters", "32", "--epochs", "3"]
SETTINGS += ["--device", "cpu", "--batch-size", "256"]  # five steps an epoch

#: Runs the program, and after step 7 says so and waits for a signal.
WAITING = """
import sys, time
from stn_np.cli import main
from stn_np.training.progress import Progress
from stn_np.training.run import StopSignals

asked, ask = [], StopSignals._ask

def note(self, number, frame):
    ask(self, number, frame)
    asked.append(number)

def wait(self):
    if self._trainer.step == 7:
        print("at step 7", flush=True)
        end = time.monotonic() + 50
        while not asked and time.monotonic() < end:  # until a signal was handled
            time.sleep(0.01)

StopSignals._ask = note
Progress.step = wait
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stn_np.plots, "draw_run", lambda folder: [])


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stn_np.plots, "draw_run", lambda folder: [])
        assert main(["train", *SETTINGS, "--out", str(folder)]) == 0
    return folder


def stopped_by(number: int) -> tuple[int, str, str]:
    """Train in ./run, and send a signal at step 7. Exit code, output and error output."""
    root = str(Path(stn_np.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, "train", *SETTINGS, "--out", "run"],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if line == "at step 7\n":
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, seen + out, err


def assert_same_run(one: Path, other: Path) -> None:
    files = ["config.json", "metrics.csv", "frames.npz", "checkpoints/checkpoint-00000015.npz"]
    for file in files:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop(
    number: int, unstopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = stopped_by(number)
    assert code == 130 and err == ""
    assert "stopped: step 7 is saved in run/checkpoints/checkpoint-00000007.npz" in out
    assert out.endswith("to go on:\n  stn-np train --resume run --device cpu\n")
    assert main(["train", "--resume", "run"]) == 0
    assert "going on from checkpoint-00000007.npz: step 7 of 15" in capsys.readouterr().out
    assert_same_run(tmp_path / "run", unstopped)


def test_killed(unstopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = stopped_by(signal.SIGKILL)
    assert code == -signal.SIGKILL
    (tmp_path / "run" / "checkpoints" / ".checkpoint-00000010.npz.xyz.tmp").write_bytes(b"half")
    assert main(["train", "--resume", "run"]) == 0
    assert "going on from checkpoint-00000005.npz: step 5 of 15" in capsys.readouterr().out
    assert_same_run(tmp_path / "run", unstopped)
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_interrupted_before_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stn_np.data.load", interrupted)
    assert main(["train", *SETTINGS]) == 130
    assert capsys.readouterr().err == "\nstn-np train: interrupted\n"
    assert list(tmp_path.iterdir()) == []
