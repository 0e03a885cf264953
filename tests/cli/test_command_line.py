"""Every command as a user types it: output, exit codes, and one clear line for what is wrong."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import stn_np
import stn_np.data
import stn_np.plots
from stn_np.cli import COMMANDS, main
from stn_np.cli.report import aligned, framed, table, training_summary
from stn_np.data import DataUnavailableError, load_digits, load_mnist
from stn_np.data.distortions import KINDS
from stn_np.experiments import load_model
from stn_np.experiments.distorted_digits import DistortedDigits
from stn_np.plots.run_files import read_run
from stn_np.training import storage
from stn_np.transforms import FAMILIES

#: One epoch of the smallest useful model: about a tenth of a second.
TINY = ["--data", "digits", "--model", "fcn", "--filters", "8", "--epochs", "1"]
TINY += ["--batch-size", "256"]


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go to ./runs; and no data of this machine is found by chance."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STN_NP_DATA", raising=False)


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for matplotlib, which takes longer than everything else here."""

    def draw(folder: Path) -> list[Path]:
        (folder / "curves.png").write_bytes(b"picture")
        return [folder / "curves.png"]

    monkeypatch.setattr(stn_np.plots, "draw_run", draw)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stn_np.plots, "draw_run", lambda folder: [])
        assert main(["train", *TINY, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished_run: Path, drawing: None) -> Path:
    """A finished run as ./run, to be looked at and spoilt."""
    return shutil.copytree(finished_run, Path("run"))


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Run a command that must fail with one line on standard error; return that line."""
    try:
        found = main(list(arguments))
    except SystemExit as e:
        found = e.code
    error = capsys.readouterr().err
    assert found == code
    assert error.count("\n") == 1 and "Traceback" not in error, error
    assert error.startswith(f"stn-np {arguments[0]}: error: ") or error.startswith("stn-np: error")
    return error


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"] if command else ["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert text.startswith(f"usage: stn-np {command}" if command else "usage: stn-np [-h] COMMAND")
    assert max(map(len, text.splitlines())) <= 80


def test_help_names_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    defaults = {
        "--data": "auto",
        "--data-dir": "$STN_NP_DATA, the user's cache, else downloaded",
        "--distortion": "R",
        "--model": "st-cnn",
        "--transform": "affine for MNIST, similarity for other data",
        "--optimizer": "adamw",
        "--loc-lr-factor": "2.0",
        "--seed": "0",
        "--out": "a numbered one below runs/, named after the data and what is trained",
    }
    for option, default in defaults.items():
        pattern = rf" {option} \S+ [^()]*\(default: {re.escape(default)}\)"
        assert re.search(pattern, text), option
    for option in ("--filters", "--epochs", "--batch-size"):
        pattern = rf" {option} N [^()]*\(default: \d+ for MNIST, \d+ for other data\)"
        assert re.search(pattern, text), option
    for option in ("--lr", "--schedule", "--resume"):
        assert f" {option} " in text


def test_help_names_every_transform_and_distortion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    transforms = text[
        text.index("--transform NAME what") : text.index("(default: affine for MNIST")
    ]
    words = set(re.findall(r"[a-z-]+", transforms))
    assert words >= set(FAMILIES)
    assert "one sub-folder a class" in text  # nor is any other word broken at its hyphen
    assert f"--distortion {'|'.join(KINDS)} R turns" in text


def test_a_whole_training_as_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--filters", "2", "--epochs", "2", "--batch-size", "700"]
    assert main(["train", "--data", "digits", *small]) == 0
    out, err = capsys.readouterr()
    assert "\r" not in out + err and "\x1b" not in out + err  # no bar where there is no terminal
    for epoch in ("1/2", "2/2"):
        line = (
            rf"epoch {epoch}  loss \d+\.\d+  training error +\d+\.\d+ %  test error +\d+\.\d+ %  "
        )
        assert re.search(line + r"[\d,]+ images/s  \d+:\d\d left\n", out), out
    folder = Path("runs/digits-R-st-cnn-001")
    results = json.loads((folder / "results.json").read_text())
    summary = out[out.index("\ndata set ") :]
    for name, value in {
        "data set": "digits, 1,442 training images",
        "distortion": "R",
        "model": "st-cnn",
        "transform": "similarity",
        "parameters": f"{results['parameters']:,}",
        "test error": f"{results['test_error']:.2f} %",
        "paper's error": "none",
        "run folder": str(folder),
    }.items():
        assert re.search(rf"^{re.escape(name)} +{re.escape(value)}", summary, re.M), summary
    assert re.search(r"^time +[\d.,]+ s", summary, re.M)
    # The real pictures, drawn from the real files, are there and named.
    for picture in ("curves.png", "transformer.png", "transformer.gif"):
        assert (folder / picture).stat().st_size > 1000
        assert str(folder / picture) in summary


@pytest.mark.parametrize(
    ("distortion", "transform"),
    [*(("R", name) for name in FAMILIES), *((kind, "tps") for kind in KINDS if kind != "R")],
)
def test_each_transform_and_each_distortion_is_trained(
    distortion: str, transform: str, drawing: None, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--epochs", "1", "--filters", "2", "--batch-size", "700", "--out", "x"]
    settings = ["--data", "digits", "--distortion", distortion, "--transform", transform]
    assert main(["train", *settings, *few]) == 0
    summary = capsys.readouterr().out
    assert re.search(rf"^distortion +{distortion}$", summary, re.M)
    assert re.search(rf"^transform +{transform}$", summary, re.M)
    frames = read_run(Path("x")).frames  # what the pictures are drawn from
    assert frames is not None and frames.transformers[""].transform.name == transform
    side = {"RTS": 42, "TC": 60}.get(distortion, 28)
    warps = frames.transformers[""]
    assert frames.images.shape == warps.warped.shape[1:] == (20, 1, side, side)
    assert np.ptp(warps.thetas[1] - warps.transform.identity, axis=0).any()  # it was trained


def test_the_run_folder(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["data"] == "digits" and config["filters"] == 8
    assert config["optimizer"] == "adamw"  # settings not given are written out, too
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch",
        "step",
        "lr",
        "train_loss",
        "train_error",
        "test_loss",
        "test_error",
        "grad_norm",
    ]
    results = json.loads((run / "results.json").read_text())
    assert float(rows[-1]["test_error"]) == results["test_error"]
    assert results["test_error"] == pytest.approx(100 * results["test_wrong"] / 355)
    confusion = results["confusion"]
    assert sum(map(sum, confusion)) == 355
    assert 355 - sum(confusion[k][k] for k in range(10)) == results["test_wrong"]
    assert results["machine"]["peak_memory_mb"] > 20
    checkpoints = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert checkpoints == ["checkpoint-00000000.npz", "checkpoint-00000005.npz"]
    assert not (run / "frames.npz").exists()


def test_same_seed_same_bits_in_every_file(drawing: None) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main(["train", *TINY, "--out", name, "--seed", seed]) == 0
    for file in ("metrics.csv", "config.json", "checkpoints/checkpoint-00000005.npz"):
        assert Path("a", file).read_bytes() == Path("b", file).read_bytes(), file
        assert Path("a", file).read_bytes() != Path("c", file).read_bytes(), file


def test_runs_are_numbered(drawing: None) -> None:
    for number in ("001", "002"):
        assert main(["train", *TINY]) == 0
        assert Path(f"runs/digits-R-fcn-{number}/results.json").is_file()


def test_eval_says_the_same_and_writes_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(run)
    assert main(["eval", str(run)]) == 0
    out = capsys.readouterr().out
    assert snapshot(run) == before
    results = json.loads((run / "results.json").read_text())
    assert f"{results['test_error']:.2f} %  ({results['test_wrong']} of 355 wrong)" in out
    assert "checkpoint-00000005.npz, step 5 of 5\n" in out
    head, *rows = out.rstrip("\n").splitlines()[-11:]
    assert head.split() == [*"0123456789", "error"]
    for k, row in enumerate(rows):
        name, *counts, error, _ = row.split()
        assert name == str(k)
        assert [0 if c == "." else int(c) for c in counts] == results["confusion"][k]
        assert error == f"{results['class_errors'][k]:.2f}"
    assert len({len(row) for row in [head + "  ", *rows]}) <= 2  # aligned


def test_eval_of_a_damaged_newest_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoints" / "checkpoint-00000005.npz").write_bytes(b"damaged")
    assert main(["eval", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "checkpoint-00000005.npz is damaged" in err
    assert "checkpoint-00000000.npz, step 0 of 5: training is not finished" in out


def test_all_checkpoints_damaged(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"damaged")
    assert "no sound checkpoint is left" in fails(capsys, "eval", str(run))
    (run / "results.json").unlink()
    assert "no sound checkpoint is left" in fails(capsys, "train", "--resume", str(run))


def test_plot_lists_the_pictures(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}/curves.png\n"
    assert (run / "curves.png").is_file()


def test_a_failure_to_draw_does_not_lose_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(folder: Path) -> list[Path]:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(stn_np.plots, "draw_run", broken)
    assert main(["train", *TINY, "--out", "my run"]) == 0
    out, err = capsys.readouterr()
    assert "could not be drawn (RuntimeError: no fonts)" in err
    assert "stn-np plot 'my run'" in err
    assert "test error" in out and Path("my run/results.json").is_file()


def test_resuming_a_finished_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(run)
    assert main(["train", "--resume", str(run)]) == 0
    out = capsys.readouterr().out
    assert "is finished" in out and "test error" in out
    assert f"pictures       {run / 'curves.png'}" in out  # it had none, as if killed before
    after = snapshot(run)
    del after[str(run / "curves.png")]
    assert after == before
    assert main(["train", "--resume", str(run)]) == 0
    assert "pictures" not in capsys.readouterr().out


def test_resuming_with_the_same_options_is_no_contradiction(run: Path) -> None:
    assert main(["train", "--resume", str(run), *TINY]) == 0


@pytest.mark.parametrize(
    ("option", "value", "has"),
    [
        ("--lr", "0.5", "0.003"),
        ("--model", "cnn", "'fcn'"),
        ("--batch-size", "12", "256"),
        ("--data", "mnist", "'digits'"),
        ("--seed", "9", "0"),
        ("--loc-lr-factor", "0.5", "2.0"),
    ],
)
def test_resuming_with_other_settings(
    run: Path, option: str, value: str, has: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "results.json").unlink()
    before = snapshot(run)
    line = fails(capsys, "train", "--resume", str(run), option, value)
    assert f"error: {option}: this run has {has}, got " in line and value in line
    assert snapshot(run) == before


def test_resuming_into_another_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "train", "--resume", str(run), "--out", "other")
    assert "--out: a resumed run goes on in its own folder" in line


def test_resuming_on_other_data(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "results.json").unlink()
    config = (run / "config.json").read_text()
    checksum = json.loads(config)["data_checksum"]
    (run / "config.json").write_text(config.replace(checksum, "00000000"))
    line = fails(capsys, "train", "--resume", str(run))
    assert (
        f"made with data_checksum '{checksum}', but the run's config.json says '00000000'" in line
    )


def pictures(folder: Path, turned: bool = False) -> Path:
    """Five bars each of two colours and lengths, on black."""
    for name, colour in (("blue", (40, 90, 250)), ("red", (250, 60, 20))):
        (folder / name).mkdir(parents=True)
        for i in range(5):
            pixels = np.zeros((32, 32, 3), np.uint8)
            pixels[6 : 9 + i, 5:27] = colour
            Image.fromarray(np.rot90(pixels) if turned else pixels).save(folder / name / f"{i}.png")
    return folder


def test_a_run_in_colour_whose_pictures_were_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Train on 36 x 36 pixels, red, green and blue; then move folder and run, evaluate, go on."""
    mine, run, moved = pictures(tmp_path / "mine"), tmp_path / "run", tmp_path / "new" / "run"
    small = ["--epochs", "1", "--batch-size", "4", "--filters", "2", "--model", "st-cnn"]
    sized = ["--image-size", "36", "--channels", "3", "--data", str(mine)]
    assert main(["train", *sized, *small, "--out", str(run)]) == 0
    config = json.loads((run / "config.json").read_text())
    assert (config["image_size"], config["channels"]) == (36, 3)
    with np.load(run / "frames.npz") as frames:
        assert frames["images"].shape[1:] == (3, 36, 36) == frames["warped"].shape[2:]
    assert {p.suffix for p in run.iterdir()} >= {".png", ".gif"}
    (tmp_path / "new").mkdir()
    run.rename(moved)
    mine.rename(tmp_path / "new" / "mine")
    there = str(tmp_path / "new" / "mine")
    capsys.readouterr()
    line = fails(capsys, "eval", str(moved))
    assert f"pictures were in {mine}, where there is no folder now; if they are elsewhere" in line
    assert main(["eval", str(moved), "--data", there]) == 0
    assert "test error" in capsys.readouterr().out
    assert load_model(moved).input_shape == (3, 36, 36)  # needs no data
    (moved / "results.json").unlink()
    assert main(["train", "--resume", str(moved), "--data", there]) == 0
    assert main(["eval", str(moved)]) == 0  # it has been noted
    other = pictures(tmp_path / "other", turned=True)
    line = fails(capsys, "eval", str(moved), "--data", str(other))
    assert "images were changed, added or removed" in line
    line = fails(capsys, "eval", str(moved), "--data", "digits")
    assert f"--data: this run has {str(mine)!r}, got 'digits'" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--channels", "2"], "--channels: expected 1 (grey) or 3 (colour), got 2"),
        (["--channels", "3"], "channels: expected a folder of pictures, or 28 and 1"),
        (["--image-size", "1"], "--image-size: expected at least 2, got 1"),
        (["--image-size", "40"], "image_size, channels: expected a folder of pictures"),
        (["--data", "idx:nowhere"], "expected a folder with four IDX files, got nowhere"),
    ],
)
def test_pictures_that_are_not_there_in_that_form(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in fails(capsys, "train", "--data", "digits", "--epochs", "1", *options)


@pytest.mark.parametrize("command", ["eval", "plot"])
def test_no_run(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "RUN: expected the folder of a run, but x is no folder" in fails(capsys, command, "x")


def test_existing_folder_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("")
    monkeypatch.setattr(stn_np.data, "load", None)  # loading would fail
    assert "--out: expected a new or empty" in fails(capsys, "train", *TINY, "--out", "full")
    assert os.listdir("full") == ["thesis.txt"]


@pytest.mark.parametrize("where", [[], ["--out", "elsewhere"]])
def test_unwritable_folder_is_refused_before_any_work(
    where: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("stn_np.training.folder.tempfile.mkdtemp", refuse)
    monkeypatch.setattr(stn_np.data, "load", None)
    line = fails(capsys, "train", *TINY, *where)
    assert "--out: cannot write to" in line and "Permission denied" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--model", "cnnn"], "--model: expected one of .* did you mean 'cnn'"),
        (["train", "--distortion", "RST"], "--distortion: .* did you mean 'RTS'"),
        (["train", "--transform", "tsp"], "--transform: expected one of .* did you mean 'tps'"),
        (
            ["train", "--model", "cnn", "--transform", "tps"],
            "--transform: expected a model with a spatial transformer, got --model cnn; st-cnn has",
        ),
        (["train", "--epochs", "0"], "--epochs: expected at least 1, got 0"),
        (["train", "--epochs", "ten"], "--epochs: invalid int value: 'ten'"),
        (["train", "--lr", "nan"], "--lr: expected a finite number above 0, got nan"),
        (["train", "--seed", "-1"], "--seed: expected at least 0, got -1"),
        (["train", "--data", "mnits"], "data: .* did you mean 'mnist'"),
        (["train", "--data", "mnist", "--data-dir", "x"], "data_dir: .*no such folder"),
        (["train", "--epoch", "3"], "unknown option --epoch; did you mean --epochs"),
        (["train", "--modle=cnn"], "unknown option --modle; did you mean --model"),
        (["train", "digits"], "unknown experiment 'digits'; did you mean distorted-digits"),
        (["trian"], "unknown command 'trian'; did you mean train"),
        (["eval"], "the following arguments are required: RUN"),
        (["train", "--resume", "nowhere"], "RUN: .*nowhere is no folder"),
    ],
)
def test_one_line_for_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(message, fails(capsys, *arguments))
    assert os.listdir() == []


def test_divergence(drawing: None, capsys: pytest.CaptureFixture[str]) -> None:
    diverging = ["--lr", "1e30", "--optimizer", "sgd", "--schedule", "constant", "--out", "d"]
    assert main(["train", *TINY, *diverging]) == 1
    err = capsys.readouterr().err
    pattern = r"error: training diverged at step [2-5] \(epoch 1\): loss \S+, .* rate 1e\+30"
    assert re.search(pattern, err), err
    assert [p.name for p in Path("d/checkpoints").iterdir()] == ["checkpoint-00000000.npz"]
    assert not Path("d/results.json").exists()


def test_full_disk(
    drawing: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def full(source: str, target: Path) -> None:
        if Path(target).name == "checkpoint-00000005.npz":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(storage.os, "replace", full)
    line = fails(capsys, "train", *TINY, "--out", "d")
    assert "no space is left on the disk" in line
    assert line.endswith("go on: stn-np train --resume d\n")
    monkeypatch.setattr(storage.os, "replace", real)
    assert main(["train", "--resume", "d"]) == 0
    assert "going on from checkpoint-00000000.npz" in capsys.readouterr().out


def test_auto_falls_back_to_digits_and_says_so(
    drawing: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*arguments: object) -> None:
        raise DataUnavailableError("MNIST is nowhere")

    monkeypatch.setattr(stn_np.data, "load_mnist", nowhere)
    assert main(["train", *TINY[2:]]) == 0
    out = capsys.readouterr().out
    assert out.startswith("*" * 78) and "NOT MNIST" in out and "MNIST is nowhere" in out
    config = json.loads(Path("runs/digits-R-fcn-001/config.json").read_text())
    assert config["data"] == "digits"


def test_a_folder_of_images(drawing: None, tmp_path: Path) -> None:
    from matplotlib.image import imsave

    train, _ = load_digits()
    for i in range(60):
        folder = tmp_path / "pictures" / f"digit {train.labels[i] % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        imsave(folder / f"{i}.png", train.images[i, 0], cmap="gray", vmin=0, vmax=1)
    tiny = ["--model", "fcn", "--epochs", "1", "--filters", "4", "--batch-size", "16"]
    assert main(["train", "--data", "pictures", *tiny]) == 0
    run = Path("runs/pictures-R-fcn-001")
    assert json.loads((run / "config.json").read_text())["data"] == str(tmp_path / "pictures")
    assert main(["eval", str(run)]) == 0
    assert main(["train", "--resume", str(run), "--data", "pictures"]) == 0


def test_the_papers_figure_is_shown_for_its_own_cells() -> None:
    results = {
        "data": "mnist",
        "train_images": 60_000,
        "test_images": 10_000,
        "distortion": "R",
        "model": "st-cnn",
        "transform": "affine",
        "parameters": 400_000,
        "optimizer": "adamw",
        "steps": 2340,
        "test_error": 1.16,
        "test_wrong": 116,
        "paper_error": 0.7,
        "machine": {"seconds": 663.0, "images_per_second": 900.0, "peak_memory_mb": None},
    }
    text = " ".join(training_summary(DistortedDigits, results, Path("runs/x")).split())
    assert "paper's error 0.7 % the paper's is the mean of three runs of 150,000" in text
    assert "test error 1.16 % (116 of 10,000 wrong)" in text
    assert "peak memory" not in text and "pictures" not in text


def test_gradcheck_prints_a_table_and_fails_if_one_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    rows = [("linear", 1e-12, True, ""), ("conv2d", 0.5, False, "Expected 1, got 2")]
    module = importlib.import_module("stn_np.gradcheck")
    monkeypatch.setattr(module, "table", lambda device: rows)
    assert main(["gradcheck"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^linear +1.0e-12  ok$", out, re.M)
    assert re.search(r"^conv2d +5.0e-01  FAILED$", out, re.M)
    assert "conv2d: Expected 1, got 2" in out and "1 of 2 are right" in out
    monkeypatch.setattr(module, "table", lambda device: rows[:1])
    assert main(["gradcheck"]) == 0


def test_info(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(
        stn_np.data, "load_mnist", lambda download: load_mnist("nowhere", download=download)
    )
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for name in (
        "stn_np",
        "python",
        "numpy",
        "BLAS",
        "cores",
        "sampler",
        "CuPy",
        "MNIST",
        "digits",
    ):
        assert re.search(rf"^{name} +\S", out, re.M), name
    assert np.__version__ in out and "OMP_NUM_THREADS=1" in out
    assert "none: data_dir: expected a folder" in out  # MNIST
    assert re.search("^digits +embedded", out, re.M)


def test_errors_of_one_line() -> None:
    from stn_np.cli import _message

    assert _message(ValueError("a\n  b")) == "a b"
    assert _message(FileNotFoundError(2, "No such file", "x")) == "x: No such file"
    assert _message(MemoryError()) == "MemoryError"


def test_text_layout() -> None:
    assert aligned([("a", "1\n2"), ("long", "3")]) == "a     1\n      2\nlong  3"
    assert table(["", "x"], [["a", "10"], ["bcd", "5"]]) == "      x\na    10\nbcd   5"
    lines = framed("note " * 40 + "\nsecond").splitlines()
    assert {len(line) for line in lines} == {78}
    assert lines[0] == lines[-1] == "*" * 78 and "* second" in lines[-2]


def test_help_is_light_and_module_runs() -> None:
    code = (
        "import sys, runpy; sys.argv[1:] = ['--help']\n"
        "try: runpy.run_module('stn_np', run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'matplotlib', 'tqdm', 'pooch', 'PIL', 'scipy', 'torch', 'numba'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    root = str(Path(stn_np.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("usage: stn-np")


def test_a_reader_that_goes_away_is_no_traceback(run: Path) -> None:
    root = str(Path(stn_np.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-m", "stn_np", "eval", str(run)],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 2


@pytest.mark.parametrize("backend", ["nonsense", "module://not_there", "TkAgg"])
def test_pictures_need_no_display(finished_run: Path, tmp_path: Path, backend: str) -> None:
    """Jupyter sets MPLBACKEND for everything that is started from it."""
    run = shutil.copytree(finished_run, tmp_path / "copy")
    command = [sys.executable, "-m", "stn_np", "plot", str(run)]
    environment = {**os.environ, "MPLBACKEND": backend}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (run / "curves.png").is_file() and str(run / "curves.png") in done.stdout


def test_pictures_that_fail_do_not_lose_a_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "stn_np.plots", None)  # as if matplotlib could not be imported
    monkeypatch.delattr(stn_np, "plots")
    assert main(["train", *TINY, "--out", "run"]) == 0
    assert "The run is complete; to draw them later: stn-np plot run" in capsys.readouterr().err
    assert Path("run/results.json").is_file()


NAMES_OF_CLASSES = ("圆", "Żółw", "a$b$", "bell\x07", "b\udcff")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names of folders")
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_class_names_that_a_terminal_or_a_font_lacks(tmp_path: Path, encoding: str) -> None:
    """Spelled out on the terminal; in pictures, whose fonts lack them, numbers with a legend."""
    for name in NAMES_OF_CLASSES:
        folder = tmp_path / "mine" / name
        folder.mkdir(parents=True)
        for i in range(5):
            Image.fromarray(np.eye(28, k=i, dtype=np.uint8) * 255).save(folder / f"{i}.png")
    small = ["--model", "st-cnn", "--filters", "2", "--epochs", "1", "--distortion", "R"]
    command = [sys.executable, "-X", "utf8=0", "-W", "error", "-m", "stn_np", "train"]
    command += ["--data", str(tmp_path / "mine"), *small, "--out", str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=environment, capture_output=True)
    told = done.stdout.decode(encoding)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in (errors := done.stderr.decode(encoding)) and "Warning" not in errors
    circle = NAMES_OF_CLASSES[0] if encoding == "utf-8" else r"\u5706"
    assert {"curves.png", "transformer.png"} <= set(os.listdir(tmp_path / "run"))
    assert f"class 4 is {circle}" in told or circle in told  # this machine may have a font for it
    assert r"class 1 is bell\x07" in told and "\x07" not in told and r"b\udcff" in told
    assert main(["eval", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("how", ["imported", "run"])
def test_ctrl_c_before_anything_has_begun(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    from stn_np.__main__ import main as started

    if how == "imported":

        class Interrupted:
            def find_spec(self, name: str, *_: object) -> None:
                if name == "stn_np.cli":
                    raise KeyboardInterrupt

        monkeypatch.delitem(sys.modules, "stn_np.cli")
        monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    else:
        monkeypatch.setattr("stn_np.cli.parse", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert started() == 130
    assert capsys.readouterr().err == "\nstn-np: interrupted\n"


def test_no_home(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    for command in (["eval", "~/run"], ["train", "--data", "~/mine"]):
        with pytest.raises(SystemExit) if command[0] == "eval" else nullcontext():
            assert main(command) == 2
        line = capsys.readouterr().err
        assert f"{command[-1]}: ~ stands for the home folder, but there is none" in line


def test_what_cannot_be_read_is_not_called_empty(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("stn_np.training.checkpoint.os.listdir", refuse)
    monkeypatch.setattr("stn_np.training.checkpoint.checkpoints", lambda folder: [])
    assert f"{run / 'checkpoints'}: Permission denied" in fails(capsys, "eval", str(run))


def test_a_disk_that_turns_read_only_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "results.json").unlink()

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(run / "checkpoints"))

    monkeypatch.setattr("stn_np.training.run.remove_temporaries", refuse)
    line = fails(capsys, "train", "--resume", str(run))
    assert f"{run / 'checkpoints'}: Read-only file system. When that is mended, go on: " in line


def test_long_names_can_be_told_apart(finished_run: Path) -> None:
    results = json.loads((finished_run / "results.json").read_text())
    results["class_names"][:2] = ["Grasshopper_green", "Grass hopper brown"]
    kind = DistortedDigits
    told = stn_np.cli.report.evaluation(kind, results, [])
    assert "Grasshopper…" in told and "Grass hoppe…" in told


def test_the_power_of_ten_over_the_curves(finished_run: Path) -> None:
    """Names may have a $; our own titles have formulas."""
    import matplotlib

    from stn_np.plots.curves import draw_curves

    with matplotlib.rc_context({"text.parse_math": False}):
        figure = draw_curves(read_run(finished_run))
    titles = [a._right_title for a in figure.axes if "Learning rate" in a.get_title("right")]
    assert titles and all(title.get_parse_math() for title in titles)


def test_a_printed_path_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stn_np.cli.report import path_argument

    for name in ("-dash", "a b", "plain"):
        (tmp_path / name).mkdir()
        (typed,) = shlex.split(path_argument(Path(name)))
        assert not typed.startswith("-") and Path(typed).is_dir()
