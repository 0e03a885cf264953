"""Names of version 0.1 work for one version more, and say what to use instead."""

from __future__ import annotations

import numpy as np
import pytest

import stn_np.training
from stn_np.data import load_digits
from stn_np.experiments.distorted_digits import DistortedDigits
from stn_np.models import build

OLD = ("Batches", "Frames", "TrainConfig", "Trainer", "load_model")


@pytest.mark.parametrize("name", OLD)
def test_they_warn(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"stn_np.training.{name}: use .*stn_np"):
        getattr(stn_np.training, name)


def test_a_name_that_never_was() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Trianer'"):
        stn_np.training.Trianer  # noqa: B018


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_they_do_what_they_did() -> None:
    train, test = load_digits()
    batches = stn_np.training.Batches(train, 64, "RTS", seed=3)
    config = stn_np.training.TrainConfig(
        **{"data": "digits", "data_checksum": "", "data_dir": None, "distortion": "RTS"},
        **{"model": "st-fcn", "transform": "affine", "filters": 32, "epochs": 1, "batch_size": 64},
        **{"optimizer": "adamw", "lr": 1e-3, "loc_lr_factor": 2.0, "schedule": "step", "seed": 3},
    )
    trainer = stn_np.training.Trainer(config, train, test)
    assert isinstance(trainer.task, DistortedDigits)
    for found, expected in zip(batches[5], trainer.task.batch(5), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (batches.size, batches.per_epoch) == (64, 22)
    frames = stn_np.training.Frames(test.images[:4], test.labels[:4], "affine")
    frames.record(build("st-cnn", filters=2))
    assert list(frames.arrays()) == [
        *("images", "labels", "epochs", "transform", "thetas", "warped", "predictions")
    ]
    with pytest.raises(ValueError, match="without"):
        frames.record(build("cnn", filters=2))


def test_the_step_on_a_gpu() -> None:
    from stn_np.training.graph import GpuStep
    from stn_np.training.optimizers import SGD

    model = build("cnn", filters=2)
    with pytest.warns(DeprecationWarning, match="use stn_np.training.TrainingStep"):
        GpuStep(model, SGD(model))
