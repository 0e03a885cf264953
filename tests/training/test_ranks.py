"""Several processes, one model: as one process with the whole batch, and none is left waiting."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from stn_np import layers
from stn_np.cli import main
from stn_np.experiments.distorted_digits import DistortedDigits
from stn_np.training.checkpoint import checkpoints, load
from stn_np.training.loop import Trainer
from stn_np.training.optimizers import SGD
from stn_np.training.ranks import Ranks, launched
from stn_np.training.step import TrainingStep
from stn_np.training.storage import read_table

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
OPTIONS = "--data digits --filters 4 --optimizer sgd --lr 0.01 --average 0 --threads 1".split()


def command(out: Path, batch: int, epochs: int = 1) -> list[str]:
    batches = ["--batch-size", str(batch), "--epochs", str(epochs)]
    return [sys.executable, "-m", "stn_np", "train", *OPTIONS, *batches, "--out", str(out)]


def together(count: int, words: list[str], **more) -> subprocess.Popen:
    pytest.importorskip("mpi4py")
    assert MPIEXEC, "mpi4py is installed: expected mpiexec, too"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([MPIEXEC, "-n", str(count), *words], **pipes, **more)


def weights(run: Path) -> dict[str, np.ndarray]:
    newest = load(checkpoints(run / "checkpoints")[0])
    return {name: x for name, x in newest.items() if name.startswith("weights/")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, with batches of 60."""
    out = tmp_path_factory.mktemp("one") / "alone"
    subprocess.run(command(out, 60), check=True, capture_output=True)
    return out


@pytest.mark.parametrize(("count", "batch"), [(2, 30), (3, 20)])
def test_as_one_process_with_the_whole_batch(
    tmp_path: Path, alone: Path, count: int, batch: int
) -> None:
    shared = tmp_path / "shared"
    with together(count, command(shared, batch)) as processes:
        out, err = processes.communicate(timeout=120)
    assert processes.returncode == 0, err
    assert f"steps of 60 images shared by {count} processes" in out
    assert out.count("epoch 1/1") == 1  # one of them speaks
    assert json.loads((shared / "config.json").read_text())["batch_size"] == 60
    (head, [one], _), (_, [other], _) = (read_table(r / "metrics.csv") for r in (alone, shared))
    assert len(head) == len(one)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)
    expected, found = weights(alone), weights(shared)
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-5)
    first, last = (x["weights/classifier.weight"] for x in (load_first(alone), expected))
    assert np.abs(last - first).max() > 1e-3  # it has learned


def load_first(run: Path) -> dict[str, np.ndarray]:
    return load(checkpoints(run / "checkpoints")[-1])


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_a_signal_for_one_process_stops_all_and_saves(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with together(2, command(run, 16, epochs=200), start_new_session=True) as processes:
        while processes.poll() is None and epochs_of(run) < 2:
            time.sleep(0.05)
        pids = of_the_command(run)
        assert len(pids) == 2
        os.kill(pids[-1], signal.SIGTERM)
        out, err = processes.communicate(timeout=60)
    assert "stopped: step" in out, err
    assert 2 <= epochs_of(run) < 200
    # One process takes it up, with the whole batch of 32.
    resume = [sys.executable, "-m", "stn_np", "train", "--resume", str(run)]
    with subprocess.Popen(resume, stdout=subprocess.PIPE, text=True) as alone:
        line = next(line for line in alone.stdout if "going on from" in line)
        alone.send_signal(signal.SIGTERM)
        alone.communicate(timeout=60)
    assert f"of {200 * (1442 // 32):,}" in line


def epochs_of(run: Path) -> int:
    metrics = run / "metrics.csv"
    return len(metrics.read_text().splitlines()) - 1 if metrics.exists() else 0


def of_the_command(run: Path) -> list[int]:
    """The processes that train into this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            words = path.read_bytes().decode().split("\0")
            if words[0] == sys.executable and str(run) in words:
                found.append(int(path.parent.name))
    return sorted(found)


def test_an_error_in_one_ends_all(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a file, where the first process wants a folder")
    with together(2, command(tmp_path / "there", 16)) as processes:
        _, err = processes.communicate(timeout=60)
    assert processes.returncode != 0
    assert "process 0" in err and "--out: expected a new or empty folder" in err


def test_without_mpi4py(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert main(["train", *OPTIONS, "--out", str(tmp_path / "run")]) == 2
    assert "pip install 'stn-np[mpi]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("PMI_SIZE", "1")  # srun of one process
    assert launched().size == 1
    monkeypatch.delenv("PMI_SIZE")
    assert launched().size == 1


def test_a_launcher_of_another_mpi_is_noticed(tmp_path: Path) -> None:
    """Else each of its processes would train by itself."""
    pytest.importorskip("mpi4py")
    env = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2"}
    done = subprocess.run(command(tmp_path / "r", 16), capture_output=True, text=True, env=env)
    assert done.returncode == 2
    assert "expected 2 processes, and mpi4py sees one" in done.stderr


#: Trains, and has two Ctrl-C in the first process's fourth step.
INTERRUPTED = """
import signal, sys
from stn_np.cli import main
from stn_np.training.loop import Trainer

make_step = Trainer.train_step

def train_step(self):
    if self.ranks.rank == 0 and self.step == 3:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    make_step(self)

signal.signal(signal.SIGINT, signal.default_int_handler)
Trainer.train_step = train_step
sys.exit(main(sys.argv[1:]))
"""


def test_a_second_ctrl_c_in_one_process_ends_all(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [sys.executable, "-c", INTERRUPTED, *command(run, 16, epochs=2)[3:]]
    with together(2, words) as processes:
        out, _ = processes.communicate(timeout=60)
    assert "stopped at once" in out
    for _ in range(500):  # the other one is killed, which takes a moment
        if not of_the_command(run):
            break
        time.sleep(0.02)
    assert not of_the_command(run)


def test_more_processes_than_images_are_refused() -> None:
    task = DistortedDigits.create({"data": "digits", "batch_size": 2, "filters": 4})
    with pytest.raises(ValueError, match="at most 2 processes for batches of 2, got 3"):
        Trainer(task, OneOf())


def test_random_numbers_of_a_share_are_those_of_the_whole_batch() -> None:
    """Dropout draws for an image by its place in the batch."""
    x, found = np.ones((9, 40), np.float32), []

    def loss(outputs, targets):
        found.append(outputs.copy())
        return np.zeros(()), lambda dloss: 0 * outputs

    for rank in (None, 0, 1, 2):
        one = OneOf()
        one.rank, one.size = (0, 1) if rank is None else (rank, 3)
        net = layers.Sequential(
            out=layers.Linear(40, 30, rng=np.random.default_rng(0)),
            drop=layers.Dropout(0.5, rng=np.random.default_rng(1)),
        )
        TrainingStep(net, SGD(net), loss, lambda *_: {"x": np.zeros(1)}, ranks=one)(
            x, np.zeros(9, np.int64), 0.1
        )
    np.testing.assert_allclose(np.concatenate(found[1:]), found[0], rtol=1e-5)


class OneOf(Ranks):
    """One of three processes, the others of which are not there."""

    rank, size = 1, 3


def test_shares_are_all_of_a_batch() -> None:
    for n in (0, 1, 7, 60):
        rows = []
        for rank in range(3):
            one = OneOf()
            one.rank = rank
            rows += range(n)[one.share(n)]
        assert rows == list(range(n))


def test_what_cannot_be_shared_is_refused() -> None:
    rng = np.random.default_rng(0)
    net = layers.Sequential(
        flatten=layers.Flatten(),
        out=layers.Linear(4, 3, rng=rng),
        norm=layers.BatchNorm1d(3),
    )
    with pytest.raises(ValueError, match="images depend on each other"):
        TrainingStep(net, SGD(net), ranks=OneOf())
