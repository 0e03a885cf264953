"""Settings, the run folder, its text files, and the paper's figures."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

from stn_np.data import load_digits
from stn_np.experiments import open_run
from stn_np.experiments.classification import data_checksum
from stn_np.experiments.distorted_digits import (
    DistortedDigits,
    DistortedDigitsSettings,
    paper_error,
)
from stn_np.training.folder import RunFolder, check_new_folder, check_writable, free_folder
from stn_np.training.run import peak_memory_mb
from stn_np.training.storage import read_csv, read_json, write_csv, write_json


def config(**settings: object) -> DistortedDigitsSettings:
    defaults = DistortedDigitsSettings.defaults("digits")
    return DistortedDigitsSettings(**{"data": "digits", **defaults, **settings})


def stem(**settings: object) -> str:
    return DistortedDigits(config(**settings)).stem()


def test_settings_survive_the_file(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "run")
    wanted = config(lr=1e-3 / 3, seed=12)
    folder.create("distorted-digits", wanted)
    assert open_run(folder.path) == (folder, DistortedDigits, wanted)
    with pytest.raises(FrozenInstanceError):
        wanted.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "st-cmn"}, "model: expected one of .* got 'st-cmn'; did you mean"),
        ({"distortion": "RT"}, "distortion: .*did you mean 'RTS'"),
        ({"transform": "afine"}, "transform: .*did you mean 'affine'"),
        ({"optimizer": "sdg"}, "optimizer: .*did you mean 'sgd'"),
        ({"schedule": "onecycle"}, "schedule: .*did you mean 'one-cycle'"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size: expected a whole number, got 2.5"),
        ({"filters": -1}, "filters: expected at least 1"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"lr": 0.0}, "lr: expected a finite number above 0, got 0.0"),
        ({"lr": float("inf")}, "lr: expected a finite number above 0, got inf"),
        ({"lr": "fast"}, "lr: expected one number, got 'fast'"),
        ({"loc_lr_factor": -0.1}, "loc_lr_factor: expected a finite number of at least 0"),
        ({"loc_lr_factor": float("nan")}, "loc_lr_factor: .* got nan"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        config(**settings)


def test_settings_are_named_as_the_user_knows_them() -> None:
    with pytest.raises(ValueError, match="^--batch-size: "):
        DistortedDigitsSettings.check(
            {"batch_size": 0}, label=lambda name: "--" + name.replace("_", "-")
        )


def test_defaults() -> None:
    defaults = DistortedDigitsSettings.defaults
    assert defaults("/some/folder") == defaults("digits")
    assert defaults("mnist") != defaults("digits")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected a JSON object, got list"),
        ('{"lr": 1}', "expected the settings .*; got lr"),
    ],
)
def test_damaged_config(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"config.json: {message}"):
        open_run(tmp_path)


def test_config_with_a_bad_value(tmp_path: Path) -> None:
    RunFolder(tmp_path).create("distorted-digits", config())
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "lr": "high"}))
    with pytest.raises(TypeError, match="config.json: lr: expected one number, got 'high'"):
        open_run(tmp_path)


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="RUN: .*nowhere is no folder"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="RUN: .* holds no config.json"):
        open_run(tmp_path)


def test_new_folder_must_be_new_or_empty(tmp_path: Path) -> None:
    check_new_folder(tmp_path)
    check_new_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []  # looking leaves nothing behind
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--out: expected a new or empty folder, .*holds files"):
        check_new_folder(tmp_path)
    with pytest.raises(ValueError, match="--out: .*file is a file"):
        check_new_folder(tmp_path / "file")
    with pytest.raises(OSError, match="--out: cannot write to .*file/deeper"):
        check_new_folder(tmp_path / "file" / "deeper")


def test_a_place_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("stn_np.training.folder.tempfile.mkdtemp", refuse)
    with pytest.raises(OSError, match="--out: cannot write to .*Permission denied"):
        check_writable(tmp_path / "new")


def test_default_folders_are_numbered(tmp_path: Path) -> None:
    assert free_folder(tmp_path, stem()).name == "digits-R-st-cnn-001"
    (tmp_path / "digits-R-st-cnn-001").mkdir()
    assert free_folder(tmp_path, stem()).name == "digits-R-st-cnn-002"
    mine = stem(data="/home/me/my pictures", distortion="RTS", model="fcn")
    assert free_folder(tmp_path, mine).name == "my_pictures-RTS-fcn-001"


def test_default_folders_name_the_transform_unless_it_is_the_default(tmp_path: Path) -> None:
    named = {
        ("st-fcn", "tps"): "digits-R-st-fcn-tps-001",
        ("st-cnn", "affine-natural"): "digits-R-st-cnn-affine-natural-001",
        ("st-fcn", "affine"): "digits-R-st-fcn-affine-001",
        ("st-fcn", "similarity"): "digits-R-st-fcn-001",
        ("cnn", "tps"): "digits-R-cnn-001",  # it has none
    }
    for (model, transform), name in named.items():
        assert free_folder(tmp_path, stem(model=model, transform=transform)).name == name


def test_data_checksum_sees_every_change() -> None:
    train, test = load_digits()
    first = data_checksum(train, test)
    assert first == data_checksum(train, test)
    images = test.images.copy()
    images[-1, 0, 3, 4] += np.float32(0.01)
    labels = train.labels.copy()
    labels[0] += 1
    others = [
        data_checksum(train, replace(test, images=images)),
        data_checksum(replace(train, labels=labels), test),
        data_checksum(test, train),
    ]
    assert len({first, *others}) == 4


def test_csv_keeps_every_digit(tmp_path: Path) -> None:
    rows = [[1, 0.1 + 0.2], [2, 1e-300], [3, float("nan")]]
    write_csv(tmp_path / "x.csv", ("a", "b"), rows)
    found = read_csv(tmp_path / "x.csv", ("a", "b"))
    np.testing.assert_array_equal(found, rows)
    assert (tmp_path / "x.csv").read_text().splitlines()[:2] == ["a,b", "1,0.30000000000000004"]
    assert read_csv(tmp_path / "none.csv", ("a",)) == []
    with pytest.raises(ValueError, match="expected the columns a,c; got a,b"):
        read_csv(tmp_path / "x.csv", ("a", "c"))
    for damaged, message in (("", "x.csv: expected the columns"), ("a\nb\n", "x.csv: .* numbers")):
        (tmp_path / "x.csv").write_text(damaged)
        with pytest.raises(ValueError, match=message):
            read_csv(tmp_path / "x.csv", ("a",))


def test_json_has_flat_lists_on_one_line(tmp_path: Path) -> None:
    content = {"a": [1, 2, 3], "b": [[1, 2], [3, 4]], "c": {"d": "[ x,  y ]"}, "e": []}
    write_json(tmp_path / "x.json", content)
    assert '"a": [1, 2, 3],' in (tmp_path / "x.json").read_text()
    found = read_json(tmp_path / "x.json")
    assert {k: found[k] for k in "abe"} == {k: content[k] for k in "abe"}


def test_json_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text, message in (("", "expected JSON"), ("[1]", "expected a JSON object, got list")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_json(path)


@pytest.mark.parametrize(
    ("model", "transform", "R", "RTS", "P", "E", "TC"),
    [
        ("fcn", None, 2.1, 5.2, 3.1, 3.2, 13.2),
        ("cnn", None, 1.2, 0.8, 1.5, 1.4, 3.5),
        ("st-fcn", "affine", 1.2, 0.8, 1.5, 2.7, 2.0),
        ("st-fcn", "projective", 1.3, 0.9, 1.4, 2.6, None),
        ("st-fcn", "tps", 1.1, 0.8, 1.4, 2.4, None),
        ("st-cnn", "affine", 0.7, 0.5, 0.8, 1.2, 1.7),
        ("st-cnn", "projective", 0.8, 0.6, 0.8, 1.3, None),
        ("st-cnn", "tps", 0.7, 0.5, 0.8, 1.1, None),
    ],
)
def test_the_papers_table(
    model: str,
    transform: str | None,
    R: float,
    RTS: float,
    P: float,
    E: float,
    TC: float | None,
) -> None:
    for distortion, error in {"R": R, "RTS": RTS, "P": P, "E": E, "TC": TC}.items():
        assert paper_error("mnist", distortion, model, transform) == error
        assert paper_error("digits", distortion, model, transform) is None
    assert paper_error("mnist", "none", model, transform) is None


def test_the_paper_has_no_attention_on_distorted_mnist() -> None:
    for distortion in ("R", "RTS", "P", "E", "TC"):
        assert paper_error("mnist", distortion, "st-cnn", "attention") is None


def test_why_the_figures_may_differ() -> None:
    text = DistortedDigits.why_different(2340, "adamw")
    for part in ("three", "150,000", "SGD", "400,000", "2,340", "adamw"):
        assert part in text


def test_peak_memory_grows() -> None:
    before = peak_memory_mb()
    held = np.ones(60_000_000, np.uint8)
    after = peak_memory_mb()
    assert held.sum() == 60_000_000
    assert before is not None and after is not None
    assert 20 < before <= after < 100_000
