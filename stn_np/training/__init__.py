"""Training: optimisers, schedules, the loop, checkpoints and run folders."""

from stn_np.training.optimizers import SGD, Adam, AdamW

__all__ = ["SGD", "Adam", "AdamW"]
