"""Training: optimisers, schedules, the loop, checkpoints and run folders."""

from stn_np.training.optimizers import SGD, Adam, AdamW
from stn_np.training.trained import load_model

__all__ = ["SGD", "Adam", "AdamW", "load_model"]
