"""The paper's tables: cells, sweeps that lose nothing, and what is found in their folders."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from swept import LONG, SHORT, files, jobs

from stn_np import cli
from stn_np.cli import reproduce as showing
from stn_np.experiments import by_name
from stn_np.reproduce import report
from stn_np.reproduce import sweep as sweeping
from stn_np.reproduce.job import Job, finished, run
from stn_np.reproduce.sweep import State, jobs_of, sweep
from stn_np.reproduce.tables import TABLES
from stn_np.training.checkpoint import checkpoints, load, save
from stn_np.training.folder import RunFolder
from stn_np.training.run import StoppedError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, dict]]:
    """What two cells come to if nothing happens to them."""
    out = tmp_path_factory.mktemp("whole")
    found = {}
    for job in jobs(out, "R/fcn", "RTS/fcn", **LONG):
        run(job)
        found[job.cell] = files(job.folder)
    return found


# ------------------------------------------------------------------------------------ what is asked


def test_the_cells_are_those_of_the_paper() -> None:
    assert {name: len(table.cells) for name, table in TABLES.items()} == {
        "table1": 32,
        "cluttered": 4,
        "addition": 8,
        "volumes": 2,
        "recurrent": 5,
    }
    for table in TABLES.values():
        assert len({cell.name for cell in table.cells}) == len(table.cells)
        for cell in table.cells:
            kind = by_name(cell.experiment)
            for preset in table.presets.values():
                settings = kind.Settings(**{**preset, **cell.settings, "data": "mnist"})
                figure = kind(settings).paper_error()
                assert (figure is None) == (table.name in ("volumes", "recurrent")), cell.name


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("preset", ["quick", "short", "paper"])
def test_parameters_of_a_column_agree_within_a_tenth(name: str, preset: str) -> None:
    table, totals = TABLES[name], {}
    for cell in table.cells:
        kind = by_name(cell.experiment)
        settings = kind.Settings(**{**table.presets[preset], **cell.settings, "data": "mnist"})
        totals.setdefault(cell.column, []).append(kind(settings).model().n_parameters())
    assert all(max(column) <= 1.1 * min(column) for column in totals.values()), totals


def test_the_presets_are_the_experiments_own_settings() -> None:
    for table in TABLES.values():
        assert table.presets.keys() == {"quick", "short", "paper"}
        paper = table.presets["paper"]
        steps = paper["epochs"] * (60_000 // 256)
        assert paper["optimizer"] == "sgd" and steps == pytest.approx(150_000, rel=1e-3)


def test_cells_are_chosen_by_name() -> None:
    table = TABLES["table1"]
    assert len(table.chosen([])) == 32
    assert [c.name for c in table.chosen(["E/*cnn", "R/cnn"])] == ["R/cnn", "E/cnn"]
    assert len(table.chosen(["*/st-cnn/*"])) == 12
    with pytest.raises(ValueError, match=r"only: .*did you mean.*RTS/st-cnn/tps"):
        table.chosen(["RTS/st-cnn/tsp"])
    with pytest.raises(ValueError, match="preset: .*short"):
        jobs_of(table, table.cells, "shrot", [0], Path("out"))
    with pytest.raises(ValueError, match="seeds: .*-1"):
        jobs_of(table, table.cells, "short", [-1], Path("out"))


# ---------------------------------------------------------------------------- nothing is lost


def test_a_sweep_gives_the_bits_of_single_trainings(tmp_path, whole, capsys) -> None:
    wanted = jobs(tmp_path / "sweep", "R/fcn", "RTS/fcn", **LONG)
    state = sweep(wanted, tmp_path / "sweep", workers=2)
    assert state.done.keys() == set(wanted) and not state.failed and not state.notes
    assert {job.cell: files(job.folder) for job in wanted} == whole

    alone = tmp_path / "alone"
    options = "--data digits --distortion R --model fcn --filters 8 --epochs 15 --batch-size 64"
    assert cli.main(["train", *options.split(), "--out", str(alone)]) == 0
    assert files(alone) == whole["R/fcn"]


def test_what_is_finished_is_not_run_again(tmp_path, monkeypatch) -> None:
    wanted = jobs(tmp_path, "R/fcn", "P/fcn", **SHORT)
    run(wanted[0])
    before = {p: p.stat().st_mtime_ns for p in Path(wanted[0].folder).rglob("*")}
    ran = []

    def work(job: Job):
        ran.append(job)
        return run(job)

    monkeypatch.setattr(sweeping, "run", work)
    with ThreadPoolExecutor(1) as executor:  # any executor
        state = sweep(wanted, tmp_path, executor=executor)
        assert ran == [wanted[1]] and state.done.keys() == set(wanted)
        assert {p: p.stat().st_mtime_ns for p in Path(wanted[0].folder).rglob("*")} == before
        executor.submit(int)  # it is ours, and goes on


def test_a_cell_whose_process_is_killed_is_run_again(tmp_path, whole, monkeypatch) -> None:
    monkeypatch.setattr(sweeping, "LOOK", 0.02)
    wanted, killed = jobs(tmp_path, "R/fcn", "RTS/fcn", **LONG), []

    def watch(state: State) -> None:
        if not killed and wanted[1].epochs_done > 1:
            children = multiprocessing.active_children()
            killed.extend(children)
            for child in children:
                child.kill()

    state = sweep(wanted, tmp_path, workers=2, watch=watch)
    assert killed and not state.failed
    assert {job.cell: files(job.folder) for job in wanted} == whole


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A cell of some seconds, as the command line runs it, without a stop."""
    table, out = TABLES["table1"], tmp_path_factory.mktemp("undisturbed")
    [job] = jobs_of(table, table.chosen(["R/fcn"]), "quick", [0], out, data="digits", threads=1)
    run(job)
    return job


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_stopped_goes_on(tmp_path, undisturbed, sign: signal.Signals) -> None:
    # As on a terminal, where a Ctrl-C goes to the workers as well.
    command = [sys.executable, "-m", "stn_np", "reproduce", "table1", "--data", "digits"]
    command += ["--only", "R/fcn", "--threads", "1", "--out", str(tmp_path)]
    job = replace(undisturbed, folder=str(tmp_path / "R/fcn/seed-0"))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:
        while process.poll() is None and job.epochs_done < 2:
            time.sleep(0.02)
        send = os.killpg if sign == signal.SIGINT else os.kill
        send(process.pid, sign)
        out, err = process.communicate(timeout=60)
    if sign != signal.SIGKILL:
        assert process.returncode == 130 and "the same command goes on" in out and not err
    for _ in range(1000):  # a worker that is left without a parent saves, and ends
        try:
            with RunFolder(Path(job.folder)).locked():
                break
        except ValueError:
            time.sleep(0.02)
    assert 2 <= job.epochs_done < job.epochs and finished(job) is None
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert files(job.folder) == files(undisturbed.folder)
    [cell] = json.loads((tmp_path / "table1.json").read_text())["cells"]
    assert (cell["cell"], cell["seed"], cell["paper_error"]) == ("R/fcn", 0, None)
    assert f"{cell['test_error']:.2f}" in again.stdout


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path) -> None:
    first, second = jobs(tmp_path, "R/fcn", "P/fcn", **SHORT)
    first = replace(first, settings={**first.settings, "optimizer": "sgd", "lr": 1e30})
    state = sweep([first, second], tmp_path)
    assert state.failed.keys() == {first} and "DivergedError" in state.failed[first]
    assert state.done.keys() == {second}


def test_an_executor_that_stops_stops_the_sweep(tmp_path, monkeypatch) -> None:
    def stop(job: Job):
        raise StoppedError("a signal")

    monkeypatch.setattr(sweeping, "run", stop)
    with ThreadPoolExecutor(1) as executor, pytest.raises(StoppedError):
        sweep(jobs(tmp_path, "R/fcn"), tmp_path, executor=executor)


# --------------------------------------------------------------------- what is found in a folder


def test_two_sweeps_in_one_folder_are_refused(tmp_path) -> None:
    with (
        RunFolder(tmp_path).locked(),
        pytest.raises(ValueError, match="another sweep"),
    ):
        sweep([], tmp_path)


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_an_error_of_the_watcher_stops_the_sweep(tmp_path, monkeypatch, calls: int) -> None:
    monkeypatch.setattr(sweeping, "LOOK", 0.02)
    wanted, seen = jobs(tmp_path, "R/fcn", "P/fcn", "E/fcn", **LONG), []

    def watch(state: State) -> None:
        if len(seen) == calls:
            raise BrokenPipeError("nobody reads this")
        seen.append(state)

    with pytest.raises(BrokenPipeError):
        sweep(wanted, tmp_path, watch=watch)
    assert not multiprocessing.active_children()
    assert not any(finished(job) for job in wanted)
    assert not Path(wanted[1].folder).exists()


def test_a_file_in_the_place_of_the_table_is_said_before_any_training(tmp_path, capsys) -> None:
    (tmp_path / "table1.json").mkdir(parents=True)
    (tmp_path / "R").mkdir()
    command = ["reproduce", "table1", "--data", "digits", "--only", "R/fcn", "--out", str(tmp_path)]
    assert cli.main(command) == 2
    assert "table1.json" in capsys.readouterr().err
    assert not any((tmp_path / "R").iterdir())


def test_a_job_that_another_process_works_on_is_waited_for(tmp_path) -> None:
    [job] = jobs(tmp_path / "sweep", "R/fcn", **SHORT)
    [same] = jobs(tmp_path / "alone", "R/fcn", **SHORT)
    run(same)
    Path(job.folder).mkdir(parents=True)
    with ThreadPoolExecutor(2) as executor:
        with RunFolder(Path(job.folder)).locked():
            swept = executor.submit(sweep, [job], tmp_path / "sweep", executor=executor)
            time.sleep(0.5)
            assert not swept.done() and job.epochs_done == 0
        state = swept.result()
    assert state.done.keys() == {job} and "is waited for" in state.notes[0]
    assert files(job.folder) == files(same.folder)


def test_what_another_process_has_made_meanwhile_is_looked_at(tmp_path) -> None:
    [job] = jobs(tmp_path, "R/fcn", **SHORT)
    [other] = jobs(tmp_path, "R/fcn", **{**SHORT, "filters": 9})
    run(other)
    with pytest.raises(ValueError, match="holds a run with filters 9 instead of 8"):
        run(job)  # as if the other one had ended while we waited for the lock
    results = Path(job.folder, "results.json")
    results.write_text(results.read_text().replace('"stn_np": "', '"stn_np": "9'))
    with pytest.raises(ValueError, match="not what this version makes"):
        run(other)


def test_equal_seeds_are_one(tmp_path) -> None:
    table = TABLES["table1"]
    found = jobs_of(table, table.chosen(["R/fcn"]), "quick", [1, 0, 1], tmp_path, data="digits")
    assert [job.seed for job in found] == [1, 0]
    assert all(job.folder == str(tmp_path / f"R/fcn/seed-{job.seed}") for job in found)


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job]:
    """A finished cell."""
    out = tmp_path_factory.mktemp("run")
    [job] = jobs(out, "R/fcn", **SHORT)
    run(job)
    return out, job


def damage(path: Path, what: str) -> None:
    """Something that may have happened to a run."""
    results, config = path / "results.json", path / "config.json"
    if what == "results cut off":
        results.write_bytes(results.read_bytes()[:50])
    elif what == "results are a list":
        results.write_text("[1, 2]")
    elif what == "no error in the results":
        results.write_text(json.dumps({"test_error": None, "machine": {"seconds": 1}}))
    elif what == "another version":
        found = json.loads(results.read_text())
        found["machine"]["stn_np"] = "0.0.9"
        results.write_text(json.dumps(found))
    elif what == "half of another version":
        results.unlink()
        newest = load(checkpoints(path / "checkpoints")[0])
        other = {**newest, "version": np.array("0.0.9")}
        save(path / "checkpoints", int(newest["step"]), other)
    elif what == "no paper's figure":
        found = json.loads(results.read_text())
        del found["paper_error"]
        results.write_text(json.dumps(found))
    elif what == "config damaged":
        config.write_text("{")
    elif what == "no config":
        config.unlink()
    elif what == "metrics are a folder":
        results.unlink()
        (path / "metrics.csv").unlink()
        (path / "metrics.csv").mkdir()
        (path / "metrics.csv" / "mine.txt").write_text("keep me")
    elif what == "a checkpoint is a folder":
        results.unlink()
        (path / "checkpoints/checkpoint-00000999.npz").mkdir()
    elif what == "metrics are a pipe":
        results.unlink()
        (path / "metrics.csv").unlink()
        os.mkfifo(path / "metrics.csv")
    elif what == "results of something else":
        found = json.loads(results.read_text())
        results.write_text(json.dumps({**found, "epochs": 3, "test_error": 1234.5}))
    elif what == "the lock is a folder":
        results.unlink()
        (path / ".lock").unlink()
        (path / ".lock").mkdir()
    elif what == "a file in its place":
        shutil.rmtree(path)
        path.write_text("mine")
    elif what == "no sound checkpoint":
        results.unlink()
        for checkpoint in (path / "checkpoints").iterdir():
            checkpoint.write_bytes(b"PK")
    elif what == "checkpoints removed":
        results.unlink()
        shutil.rmtree(path / "checkpoints")


def contents(path: Path) -> dict[str, bytes]:
    """Of a file, or of all files of a folder but the lock."""
    below = [path] if path.is_file() else path.rglob("*")
    return {
        str(p.relative_to(path)): p.read_bytes() for p in below if p.is_file() and p.name != ".lock"
    }


@pytest.mark.parametrize(
    ("what", "aside"),
    [
        ("results cut off", "results.json"),
        ("results are a list", "results.json"),
        ("no error in the results", "results.json"),
        ("no paper's figure", "results.json"),
        ("another version", "seed-0"),
        ("half of another version", "seed-0"),
        ("config damaged", "seed-0"),
        ("no config", "seed-0"),
        ("metrics are a folder", "seed-0"),
        ("results of something else", "results.json"),
        ("a checkpoint is a folder", "seed-0"),
        ("metrics are a pipe", "seed-0"),
        ("the lock is a folder", "seed-0"),
        ("a file in its place", "seed-0"),
        ("no sound checkpoint", "seed-0"),
        ("checkpoints removed", "seed-0"),
    ],
)
def test_what_is_damaged_is_set_aside_and_made_again(tmp_path, a_run, what, aside) -> None:
    out, job = a_run
    shutil.copytree(out, tmp_path / "copy")
    job = replace(job, folder=job.folder.replace(str(out), str(tmp_path / "copy")))
    damage(Path(job.folder), what)
    damaged = contents(Path(job.folder) if aside == "seed-0" else Path(job.folder) / aside)
    assert finished(job) is None
    state = sweep([job], tmp_path / "copy")
    assert not state.failed and files(job.folder) == files(a_run[1].folder)
    [note] = state.notes
    assert job.name in note and f"kept as {aside}.aside-1" in note
    [kept] = Path(job.folder).parent.rglob(f"{aside}.aside-1")
    assert contents(kept) == damaged


def test_a_folder_with_other_settings_is_refused(tmp_path) -> None:
    [job] = jobs(tmp_path, "R/fcn", **SHORT)
    run(job)
    state = sweep(jobs(tmp_path, "R/fcn", **{**SHORT, "epochs": 3}), tmp_path)
    [why] = state.failed.values()
    assert "holds a run with epochs 2 instead of 3" in why and "--out" in why
    assert finished(job) is not None
    other = replace(job, settings={**job.settings, "label_smoothing": 0.25})
    assert finished(other) is None
    [why] = sweep([other], tmp_path).failed.values()
    assert "label_smoothing 0.1 instead of 0.25" in why


def test_a_run_of_another_experiment_is_refused(tmp_path, a_run) -> None:
    table = TABLES["addition"]
    [sums] = jobs_of(table, table.chosen(["sum/fcn"]), "quick", [0], tmp_path, data="digits")
    sums = replace(sums, folder=a_run[1].folder)
    assert finished(sums) is None
    [why] = sweep([sums], tmp_path).failed.values()
    assert "instead of 'addition'" in why


def test_notes_of_a_damaged_checkpoint_are_said(tmp_path, a_run) -> None:
    out, job = a_run
    shutil.copytree(out, tmp_path / "copy")
    job = replace(job, folder=job.folder.replace(str(out), str(tmp_path / "copy")))
    damage(Path(job.folder), "results cut off")
    Path(job.folder, "results.json").unlink()
    checkpoints(Path(job.folder, "checkpoints"))[0].write_bytes(b"PK")
    state = sweep([job], tmp_path / "copy")
    [note] = state.notes
    assert "is damaged" in note and files(job.folder) == files(a_run[1].folder)


# -------------------------------------------------------------------------------- what is shown


def test_the_command_line(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = TABLES["table1"]
    presets = {**table.presets, "quick": SHORT}
    monkeypatch.setitem(TABLES, "table1", replace(table, presets=presets))
    command = ["reproduce", "table1", "--data", "digits", "--seeds", "0", "1"]
    assert cli.main([*command, "--only", "[RE]/fcn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = json.loads(Path("reproduced/table1-quick-digits/table1.json").read_text())
    errors = {(cell["cell"], cell["seed"]): cell["test_error"] for cell in shown["cells"]}
    assert len(errors) == 4 and shown["preset"] == "quick"
    for (cell, seed), error in errors.items():
        [line] = [line for line in lines if line.startswith(f"{cell}, seed {seed}: ")]
        assert f"{error:.2f} %" in line
    [row] = [line for line in lines if line.startswith("fcn ")]
    for column, said in zip("RE", row.split()[1::2], strict=True):
        mean = (errors[f"{column}/fcn", 0] + errors[f"{column}/fcn", 1]) / 2
        assert said == f"{mean:.2f}"

    # The file keeps what was finished before, whatever is wanted now.
    again = ["reproduce", "table1", "--data", "digits", "--only", "P/fcn", "--seeds", "0"]
    assert cli.main(again) == 0
    capsys.readouterr()
    cells = json.loads(Path("reproduced/table1-quick-digits/table1.json").read_text())["cells"]
    found = {(cell["cell"], cell["seed"]): cell["test_error"] for cell in cells}
    assert found.items() > errors.items() and found.keys() - errors.keys() == {("P/fcn", 0)}

    # What the file says of another preset is not overwritten.
    before = Path("reproduced/table1-quick-digits/table1.json").read_bytes()
    into = ["--out", "reproduced/table1-quick-digits", "--preset", "short"]
    assert cli.main([*again, *into]) == 2
    assert "expected a sweep with preset 'short', got 'quick'" in capsys.readouterr().err
    assert Path("reproduced/table1-quick-digits/table1.json").read_bytes() == before

    assert cli.main([*command, "--only", "R/st-cnn/*", "--list"]) == 0
    listed = capsys.readouterr().out.split()
    assert listed == [f"R/st-cnn/{family}" for family in ("affine", "projective", "tps")]


def test_the_time_left_is_that_of_the_epochs_to_come(tmp_path, monkeypatch) -> None:
    now = iter([100.0, 130.0])
    monkeypatch.setattr(showing.time, "perf_counter", lambda: next(now))
    wanted = jobs(tmp_path, "R/fcn", "P/fcn", "E/fcn", "RTS/fcn", epochs=10)
    state, lines = State(wanted), showing.Lines([])
    assert lines(state) and not lines(state)  # told at first
    state.failed[wanted[0]] = "why"
    metrics = Path(wanted[1].folder, "metrics.csv")
    metrics.parent.mkdir(parents=True)
    metrics.write_text("epoch\n" + "1\n" * 5)
    # 15 of 40 epochs took 30 seconds.
    assert lines.left(state) == "1 of 4 finished, about 0:50 left"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "R/cnnn"], "did you mean 'R/cnn'"),
        (["--preset", "shrot"], "did you mean 'short'"),
        (["--workers", "0"], "--workers: expected"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "--workers: expected none"),
        (["--seeds", "-1"], "seeds: expected"),
        (["--out", "a-file"], "a-file"),
    ],
)
def test_bad_options_are_named_before_any_work(tmp_path, capsys, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    assert cli.main(["reproduce", "table1", "--data", "digits", *options]) == 2
    assert said in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a-file"]


def test_the_paper_stands_beside_a_cell_that_has_a_figure(tmp_path, monkeypatch) -> None:
    [job] = jobs(tmp_path, "R/fcn")
    other = replace(job, settings={**job.settings, "seed": 1})
    results = {"test_error": 2.0, "paper_error": 2.1, "parameters": 65_432}
    state = State([job, other], {job: results})
    table = TABLES["table1"]
    head, rows = report.figures(table.chosen(["R/*cnn", "R/fcn"]), state)
    assert head == ["", "R"]
    assert rows[0] == ["fcn", "2.00 (2.1)"] and rows[-1] == ["parameters", "65.4k"]
    assert rows[1] == ["cnn", "–"]
    state.done[other] = {**results, "test_error": 2.5, "parameters": 66_000}
    _, rows = report.figures(table.chosen(["R/fcn"]), state)
    assert rows == [["fcn", "2.25 ±0.25 (2.1)"], ["parameters", "65.4–66.0k"]]
