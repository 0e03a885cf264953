"""Training: one step, the loop, optimisers, schedules, checkpoints and run folders."""

import importlib
import warnings
from typing import Any

from stn_np.training.batches import BatchOrder
from stn_np.training.evaluate import Evaluation, evaluate
from stn_np.training.loop import DivergedError
from stn_np.training.optimizers import SGD, Adam, AdamW, localisation_factor
from stn_np.training.schedule import learning_rate
from stn_np.training.step import TrainingStep

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "BatchOrder",
    "DivergedError",
    "Evaluation",
    "TrainingStep",
    "evaluate",
    "learning_rate",
    "localisation_factor",
]

#: Names of version 0.1, which knew one experiment only, and what to use instead.
_OLD = {
    "Batches": "the batch method of stn_np.experiments.distorted_digits.DistortedDigits",
    "Frames": "stn_np.training.frames.Frames",
    "TrainConfig": "stn_np.experiments.distorted_digits.DistortedDigitsSettings",
    "Trainer": "stn_np.training.loop.Trainer, of an experiment",
    "load_model": "stn_np.experiments.load_model",
}


def __getattr__(name: str) -> Any:
    """An old name, for one version more."""
    if name not in _OLD:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"stn_np.training.{name}: use {_OLD[name]}", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module("stn_np.experiments.old_names"), name)
