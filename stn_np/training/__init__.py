"""Training: optimisers, schedules, the loop, checkpoints and run folders."""

from stn_np.training.batches import Batches
from stn_np.training.config import TrainConfig
from stn_np.training.evaluate import Evaluation, evaluate
from stn_np.training.frames import Frames
from stn_np.training.loop import DivergedError, Trainer
from stn_np.training.optimizer_base import localisation_factor
from stn_np.training.optimizers import SGD, Adam, AdamW
from stn_np.training.schedule import learning_rate
from stn_np.training.step import TrainingStep
from stn_np.training.trained import load_model

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Batches",
    "DivergedError",
    "Evaluation",
    "Frames",
    "TrainConfig",
    "Trainer",
    "TrainingStep",
    "evaluate",
    "learning_rate",
    "load_model",
    "localisation_factor",
]
