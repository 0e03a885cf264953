"""Pictures of one's own through a trained model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stn_np.cli import main
from stn_np.data import load_digits, load_folder
from stn_np.experiments import load_model
from stn_np.experiments.prediction import predict
from stn_np.plots import sheet

SMALL = ["--data", "digits", "--filters", "4", "--batch-size", "32", "--epochs", "4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    options = ["--model", "st-cnn", "--distortion", "RTS", "--out", str(folder)]
    assert main(["train", *SMALL, *options]) == 0
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Test digits as people have them: on paper or on black, in several formats and sizes."""
    _, test = load_digits()
    paths = []
    for i, suffix in enumerate(("png", "jpg", "tif", "webp")):
        pixels = np.rint(255 * test.images[i, 0]).astype(np.uint8)
        if i % 2 == 0:
            pixels = 255 - pixels
        if i == 2:
            pixels = pixels.repeat(3, 0).repeat(3, 1)
        paths.append(tmp_path / f"{i}.{suffix}")
        Image.fromarray(pixels).save(paths[-1], **({"quality": 100} if suffix != "tif" else {}))
    return paths


def test_it_is_what_the_model_says_of_these_pixels(run: Path, pictures: list[Path]) -> None:
    _, test = load_digits()
    found, model = predict(run, pictures), load_model(run)
    assert found.inputs.shape == (4, 1, 42, 42)
    np.testing.assert_allclose(found.inputs[:, :, 7:35, 7:35], test.images[:4], atol=0.03)
    assert (found.inputs[:, :, :7] == 0).all() and (found.inputs[..., 35:] == 0).all()
    logits, _ = model(found.inputs)
    np.testing.assert_array_equal(found.classes, logits.argmax(axis=1))
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)
    np.testing.assert_array_equal(found.theta, model.transformer.theta(found.inputs))
    assert found.class_names == [*"0123456789"]


def test_the_command(run: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = predict(run, pictures)
    capsys.readouterr()
    assert main(["predict", str(run), *map(str, pictures)]) == 0
    head, *rows, blank, sheet = capsys.readouterr().out.splitlines()
    assert head.split() == ["picture", "class", "probability", "theta"] and not blank
    for i, row in enumerate(rows):
        name, label, share, sign, *theta = row.split()
        assert name == str(pictures[i]) and label == str(found.classes[i]) and sign == "%"
        assert float(share) == pytest.approx(100 * found.probabilities[i].max(), abs=0.051)
        np.testing.assert_allclose([*map(float, theta)], found.theta[i], atol=6e-4)
    assert sheet == str(run / "prediction.png")
    with Image.open(sheet) as picture:
        assert picture.width > 500 and picture.height > 300


def test_many_pictures_by_a_run_that_has_no_epoch_yet(
    run: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = shutil.copytree(run, tmp_path / "early")
    for name in ("metrics.csv", "results.json", "frames.npz"):
        (early / name).unlink()
    counted, lay_out = [], sheet.lay_out
    monkeypatch.setattr(sheet, "lay_out", lambda n, *more: counted.append(n) or lay_out(n, *more))
    assert main(["predict", str(early), *map(str, pictures * 6)]) == 0
    assert counted == [24] and (early / "prediction.png").is_file()


def test_where_the_sheet_goes_and_a_model_without_a_transformer(
    run: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sheet.pdf"
    assert main(["predict", str(run), str(pictures[0]), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"%PDF")
    plain = tmp_path / "plain"
    assert main(["train", *SMALL, "--model", "fcn", "--out", str(plain)]) == 0
    capsys.readouterr()
    assert main(["predict", str(plain), str(pictures[0])]) == 0
    told = capsys.readouterr().out
    assert "theta" not in told and told.endswith(
        "no sheet is drawn: this model has no transformer\n"
    )
    assert not (plain / "prediction.png").exists()


def test_what_cannot_be_predicted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for path, match in (
        (tmp_path / "text.png", "cannot be read as one"),
        (tmp_path, "no regular file"),
    ):
        assert main(["predict", str(run), str(path)]) == 2
        line = capsys.readouterr().err
        assert str(path) in line and match in line
    assert main(["predict", str(tmp_path), str(tmp_path)]) == 2
    capsys.readouterr()
    assert main(["predict", str(run), str(tmp_path / "text.png"), "--out", "sheet.txt"]) == 2
    assert "--out: expected a picture such as sheet.png, got sheet.txt" in capsys.readouterr().err
    with pytest.raises(ValueError, match="pictures: expected at least one, got none"):
        predict(run, [])


def test_pictures_are_shown_as_the_run_was_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most are on white, so all were inverted: also those on black, and a cut-out bright one."""
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in range(10):
            paper = 0 if i == 4 else 255
            pixels = np.full((30, 40, 4), 255, np.uint8)
            pixels[..., :3] = paper
            pixels[8:20, 5:30, :3] = rng.integers(90, 160, 3)
            if i == 9:
                pixels[pixels[..., 0] == paper] = 0
                pixels[8:20, 5:30, :3] = 250
            Image.fromarray(pixels).save(tmp_path / "mine" / name / f"{i}.png")
    run, data_of = tmp_path / "run", str(tmp_path / "mine")
    options = ["--model", "fcn", "--filters", "4", "--epochs", "1", "--distortion", "none"]
    colour = ["--channels", "3", "--image-size", "32"]
    assert main(["train", "--data", data_of, *options, *colour, "--out", str(run)]) == 0
    train, test = load_folder(data_of, (32, 32), 3)
    assert train.inverted and train.white
    files = [tmp_path / "mine" / name / f"{i}.png" for name in "ab" for i in (4, 9)]
    np.testing.assert_array_equal(predict(run, files).inputs, test.images)
    assert predict(run, files).inputs[0, :, 8, 0].min() == 1  # black paper, inverted
