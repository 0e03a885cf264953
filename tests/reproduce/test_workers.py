"""Processes as an executor: so many at a time, and an end of them in every case."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait
from pathlib import Path

import pytest
from swept import (
    alone_or_together,
    die_first,
    fail,
    save_when_asked,
    stop_first,
    stubborn,
    touch_later,
)

from stn_np.reproduce.workers import TRIES, DiedError, Processes
from stn_np.training.run import StoppedError


@pytest.mark.parametrize("workers", [1, 2])
def test_so_many_at_a_time(tmp_path: Path, workers: int) -> None:
    with Processes(workers) as processes:
        patience = 0.5 if workers == 1 else 30
        futures = [processes.submit(alone_or_together, tmp_path, name, patience) for name in "ab"]
        assert [future.result(60) for future in futures] == [workers, workers]


@pytest.mark.parametrize("disturbed", [die_first, stop_first])
def test_a_job_whose_process_ends_is_begun_again(tmp_path: Path, disturbed) -> None:
    with Processes(1) as processes:
        assert processes.submit(disturbed, tmp_path, TRIES - 1).result(60) == TRIES
        other = tmp_path / "other"
        other.mkdir()
        with pytest.raises(DiedError, match=f"begun {TRIES} times"):
            processes.submit(disturbed, other, TRIES).result(60)
        assert len(list(other.iterdir())) == TRIES


def test_errors_come_back_even_those_that_cannot_be_pickled() -> None:
    with Processes(1) as processes:
        with pytest.raises(ZeroDivisionError):
            processes.submit(divmod, 1, 0).result(60)
        with pytest.raises(RuntimeError, match="AwkwardError: one, two"):
            processes.submit(fail).result(60)


def test_signals_for_a_terminal_or_a_group_do_not_reach_a_worker() -> None:
    # In a fresh interpreter: the first process is begun beside multiprocessing's own helper.
    code = (
        "from stn_np.reproduce.workers import Processes; from swept import signals_for_all\n"
        "with Processes(1) as processes:\n"
        "    print([processes.submit(signals_for_all).result(60) for _ in range(2)])"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout.strip() == str([(False, False)] * 2), done.stderr


def test_a_second_sigterm_does_not_keep_a_worker_from_saving(tmp_path: Path) -> None:
    with Processes(1) as processes:
        future = processes.submit(save_when_asked, tmp_path / "ready")
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        [child] = multiprocessing.active_children()
        for _ in range(3):
            os.kill(child.pid, signal.SIGTERM)
            time.sleep(0.1)
        assert future.result(60) == "saved"


def test_a_stop_ends_what_runs_and_begins_nothing(tmp_path: Path) -> None:
    processes = Processes(1)
    futures = [processes.submit(touch_later, tmp_path / name) for name in "abc"]
    processes.stop()  # perhaps before the first process is there, perhaps after
    assert not wait(futures, 60).not_done
    assert {type(future.exception()) for future in futures} == {StoppedError}
    time.sleep(1.5)
    assert not list(tmp_path.iterdir()) and not multiprocessing.active_children()


def test_a_second_ctrl_c_kills_what_does_not_end(tmp_path: Path) -> None:
    processes = Processes(1)
    future = processes.submit(stubborn, tmp_path / "ready")
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    [child] = multiprocessing.active_children()
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        processes.stop()
    assert time.monotonic() - begun > 0.5  # it was asked, and waited for
    assert isinstance(future.exception(60), StoppedError)
    child.join(10)
    assert not child.is_alive()


def test_what_waits_can_be_cancelled(tmp_path: Path) -> None:
    processes = Processes(1)
    futures = [processes.submit(touch_later, tmp_path / name) for name in "abc"]
    while not futures[0].running():
        time.sleep(0.01)
    processes.shutdown(cancel_futures=True)
    assert [future.cancelled() for future in futures] == [False, True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
