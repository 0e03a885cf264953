"""benchmarks/gpu.py on the stand-in: everything of it but the GPU's clock."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARKS / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_benchmark", module)
    spec.loader.exec_module(module)
    return module


class Host:
    """The stand-in as a machine, with PyTorch on the CPU; its times mean nothing."""

    device, l2 = "cpu", 1000

    def __init__(self, xp):
        self.xp = xp
        self.calls = []

    def describe(self):
        return {"device": "none"}

    def tensor(self, x):
        return torch.from_numpy(self.xp.asnumpy(x))

    def copy(self, target, source):
        target[...] = source

    def kernel_seconds(self, sides, repeat):
        self.calls.append(tuple(sides))
        seconds = {}
        for name, call in sides.items():
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            seconds[name] = time.perf_counter() - start
        return seconds

    step_seconds = kernel_seconds


@pytest.fixture
def host(stand_in):
    with stand_in.installed():
        yield Host(stand_in.cupy)


def test_every_row(gpu, host, tmp_path, capsys):
    out = tmp_path / "gpu.json"
    gpu.main(["--smoke", "--repeat", "2", "--out", str(out)], host)
    result = json.loads(out.read_text())
    assert set(result["about"]) == {"date", "device"}
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(result["rows"])
    assert len({line.count("|") for line in table}) == 1
    rows = {(row["what"], row["figure"]): row for row in result["rows"]}
    assert len(rows) == len(result["rows"])
    # The figures, each with its goal.
    goals = [row["goal"] for row in result["rows"] if row["goal"] is not None]
    assert sorted(set(goals)) == [0, 1e-10, 0.5, 0.7, 0.8, 1]
    bits = [row for row in rows.values() if row["figure"] == "numbers that differ"]
    assert [row["verdict"] for row in bits] == ["met", "met"]
    curves = [row for row in rows.values() if "training curve" in row["what"]]
    assert [row["verdict"] for row in curves] == ["met", "met"]
    assert all(row["error"] < 1e-3 for row in rows.values() if row["error"] is not None)


def test_only_a_part(gpu, host, tmp_path, capsys):
    gpu.main(["--smoke", "--only", "curve", "--out", str(tmp_path / "x.json")], host)
    assert host.calls == [("copy",)]
    assert "training curve" in capsys.readouterr().out


def test_without_a_gpu(gpu, monkeypatch, tmp_path, capsys):
    def find_cupy():
        raise gpu.DeviceError("there is none")

    monkeypatch.setattr(gpu, "find_cupy", find_cupy)
    with pytest.raises(SystemExit) as stop:
        gpu.main(["--out", str(tmp_path / "gpu.json")])
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == "benchmarks/gpu.py: nothing was measured, since there is none"
    assert not list(tmp_path.iterdir())


def test_a_wrong_result_is_not_timed(gpu, host, monkeypatch, tmp_path):
    import stn_np

    right = stn_np.grid_sample

    def wrong(U, grid, **options):
        V, backward = right(U, grid, **options)
        return V * np.float32(1.01), backward

    monkeypatch.setattr(stn_np, "grid_sample", wrong)
    with pytest.raises(SystemExit, match=r"^V: relative error 1\.0e-02"):
        gpu.main(["--smoke", "--only", "sampler", "--out", str(tmp_path / "x.json")], host)


def test_verdicts_and_rotation(gpu, host):
    row = gpu.Row("a", "b", 0.8, 0.8)
    assert row.verdict == "met"
    assert gpu.Row("a", "b", 0.81, 0.8).verdict == "missed"
    assert gpu.Row("a", "b", 0.79, 0.8, at_least=True).verdict == "missed"
    assert gpu.Row("a", "b", 0.79).verdict == ""
    machine = sys.modules["gpu_machine"]
    assert [machine.copies(host, size) for size in (1, 1000, 1001, 5000)] == [64, 4, 4, 1]
    calls = []
    turn = machine.in_turn([lambda: calls.append(0), lambda: calls.append(1)])
    for _ in range(3):
        turn()
    assert calls == [0, 1, 0]
