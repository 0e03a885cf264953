"""Kernels that are compiled ahead: which, and what is said of those that cannot be."""

from __future__ import annotations

from types import ModuleType

import pytest

from stn_np.cli import main
from stn_np.gpu import launcher, variants, warm_up
from stn_np.gpu.warm_up import compile_ahead, usual
from stn_np.sampling.padding import PADDINGS

EVERYTHING = sorted(
    {*variants.layers(), *variants.sampling({p.cuda: p.neighbours for p in PADDINGS.values()})},
    key=repr,
)
GOOD = ("cuda/pooling.cu", "average_forward", ("float32",))
BAD = ("cuda/pooling.cu", "no_such_kernel", ("float32",))


def test_training_launches_none_but_the_usual_ones(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stn_np.experiments.distorted_digits import DistortedDigits
    from stn_np.training.loop import Trainer

    launched, launch = set(), launcher.compiled

    def noted(cupy: object, device: int, file: str, name: str) -> object:
        launched.add((file, name))
        return launch(cupy, device, file, name)

    monkeypatch.setattr(launcher, "compiled", noted)
    few = {"data": "digits", "filters": 2, "batch_size": 8, "distortion": "RTS"}
    Trainer(DistortedDigits.create({**few, "transform": "affine"}, "gpu")).train_step()
    Trainer(DistortedDigits.create({**few, "transform": "tps"}, "gpu")).train_step()
    assert len(launched) > 10
    assert launched <= {(v[0], launcher.expression(*v[1:])) for v in usual(EVERYTHING)}


def test_all_are_tried_and_each_failure_is_told(gpu: ModuleType) -> None:
    found = list(compile_ahead([GOOD, BAD, GOOD], 1))
    assert sum(count for count, _ in found) == 3
    (complaint,) = [line for _, complaints in found for line in complaints]
    assert complaint.startswith("no_such_kernel<float32>: ") and "\n" not in complaint


def test_the_command(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warm_up, "usual", lambda everything: [GOOD])
    assert main(["warm-up", "--jobs", "1"]) == 0
    assert "1 of 1 kernels are compiled, by CuPy" in capsys.readouterr().out
    monkeypatch.setattr(warm_up, "usual", lambda everything: [GOOD, BAD])
    assert main(["warm-up", "--jobs", "1"]) == 1
    out = capsys.readouterr().out
    assert "no_such_kernel" in out and "1 of 2 kernels" in out


@pytest.mark.parametrize("jobs", ["0", "-1", "62"])
def test_so_many_processes_are_refused(
    gpu: ModuleType, capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    assert main(["warm-up", "--jobs", jobs]) == 2
    assert f"--jobs: expected 1 to 61, got {jobs}" in capsys.readouterr().err


def test_without_a_gpu_it_is_one_line(
    stand_in: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with stand_in.pretend(devices=0):
        assert main(["warm-up"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("stn-np warm-up: error: no NVIDIA driver") and error.count("\n") == 1
