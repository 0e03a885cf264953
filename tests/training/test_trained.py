"""The network of a run, loaded to be used."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stn_np
from stn_np.cli import main
from stn_np.data import fixed_test_set, load_digits
from stn_np.experiments import load_model
from stn_np.experiments.distorted_digits import DistortedDigits, DistortedDigitsSettings
from stn_np.training.checkpoint import CheckpointError
from stn_np.training.evaluate import evaluate
from stn_np.training.folder import RunFolder
from stn_np.training.loop import Trainer
from stn_np.training.progress import Progress
from stn_np.training.run import train as sit


def a_run(path: Path, **settings: object) -> tuple[RunFolder, Trainer]:
    small = {"model": "st-cnn", "filters": 4, "epochs": 1, "batch_size": 20, **settings}
    settings = {**DistortedDigitsSettings.defaults("digits"), **small}
    config = DistortedDigitsSettings(data="digits", **settings)
    folder = RunFolder(path)
    folder.create("distorted-digits", config)
    few = [replace(d, images=d.images[:40], labels=d.labels[:40]) for d in load_digits()]
    trainer = Trainer(DistortedDigits(config, halves=tuple(few)))
    sit(trainer, folder, Progress(trainer))
    return folder, trainer


@pytest.mark.parametrize(
    "settings",
    [{}, {"model": "fcn", "filters": 16}, {"distortion": "RTS", "transform": "tps"}],
    ids=["st-cnn", "fcn", "rts-tps"],
)
def test_it_says_what_the_trained_one_says(tmp_path, settings):
    folder, trainer = a_run(tmp_path / "run", **settings)
    model = load_model(folder.path)
    assert type(model) is stn_np.models.Model and model.name == trainer.settings.model
    _, test = load_digits()
    test = fixed_test_set(test, trainer.settings.distortion, trainer.settings.test_seed)
    images = test.images[:30]
    with trainer.optimizer.averaged():
        np.testing.assert_array_equal(model(images)[0], trainer.model(images)[0])


def test_a_run_of_the_command_line(tmp_path):
    run = tmp_path / "run"
    options = ["--data", "digits", "--model", "st-fcn", "--epochs", "1", "--out", str(run)]
    assert main(["train", *options]) == 0
    _, test = load_digits()
    test = fixed_test_set(test, "R", 0)
    evaluation = evaluate(load_model(str(run)), test.images, test.labels)
    assert json.loads((run / "results.json").read_text())["test_wrong"] == evaluation.wrong


def test_no_run(tmp_path):
    with pytest.raises(ValueError, match="expected the folder of a run"):
        load_model(tmp_path / "nowhere")


def test_weights_of_another_size(tmp_path):
    folder, _ = a_run(tmp_path / "run", model="fcn", filters=16)
    folder.config.write_text(folder.config.read_text().replace('"filters": 16', '"filters": 17'))
    with pytest.raises(CheckpointError, match=r"checkpoint-00000002\.npz: the checkpoint does not"):
        load_model(folder.path)
