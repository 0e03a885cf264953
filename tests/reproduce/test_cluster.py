"""The same sweep on a Dask cluster: here two workers on this machine, one of which is killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from swept import LONG, files, jobs

from stn_np import cli
from stn_np.cli.reproduce import cluster
from stn_np.reproduce import sweep as sweeping
from stn_np.reproduce.job import run
from stn_np.reproduce.sweep import State, sweep

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def scheduler():
    """The address of one with two workers."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as local:
        yield local


def test_a_worker_that_dies_has_its_cell_run_elsewhere(tmp_path, monkeypatch, scheduler) -> None:
    monkeypatch.setattr(sweeping, "LOOK", 0.02)
    undisturbed = jobs(tmp_path / "undisturbed", "R/fcn", "RTS/fcn", **LONG)
    for job in undisturbed:
        run(job)
    wanted, killed = jobs(tmp_path / "sweep", "R/fcn", "RTS/fcn", **LONG), []

    def watch(state: State) -> None:
        if not killed and wanted[0].epochs_done > 1:
            worker = next(iter(scheduler.workers.values()))
            killed.append(worker.pid)
            worker.process.process._process.kill()

    with cluster(scheduler.scheduler_address) as executor:
        state = sweep(wanted, tmp_path / "sweep", executor=executor, watch=watch)
    assert killed and not state.failed
    for job, same in zip(wanted, undisturbed, strict=True):
        assert files(job.folder) == files(same.folder)


def test_the_command_line(tmp_path, capsys, scheduler) -> None:
    command = ["reproduce", "table1", "--data", "digits", "--only", "R/fcn", "--out", str(tmp_path)]
    assert cli.main([*command, "--scheduler", scheduler.scheduler_address]) == 0
    [cell] = json.loads((tmp_path / "table1.json").read_text())["cells"]
    assert ["fcn", f"{cell['test_error']:.2f}"] in map(
        str.split, capsys.readouterr().out.splitlines()
    )


def test_a_scheduler_that_is_not_there(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["reproduce", "table1", "--data", "digits", "--scheduler"]
    assert cli.main([*command, "nowhere"]) == 2
    assert "--scheduler: no Dask scheduler answers at 'nowhere'" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    assert cli.main([*command, "tcp://127.0.0.1:1"]) == 2
    assert "pip install 'stn-np[cluster]'" in capsys.readouterr().err
    assert not list(Path().iterdir())
