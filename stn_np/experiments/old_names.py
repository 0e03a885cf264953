"""What `stn_np.training` had under these names in version 0.1; here for one version more."""

from __future__ import annotations

from typing import Any

from stn_np.backend import Array
from stn_np.data import Dataset
from stn_np.experiments import load_model
from stn_np.experiments.distorted_digits import DistortedDigits
from stn_np.experiments.distorted_digits import DistortedDigitsSettings as TrainConfig
from stn_np.training import frames, loop


class Batches:
    """Distorted images and labels of a step: `DistortedDigits.batch`."""

    def __init__(
        self, train: Dataset, size: int, distortion: str, seed: int, device: str = "cpu"
    ) -> None:
        settings = TrainConfig(batch_size=size, distortion=distortion, seed=seed)
        self._experiment = DistortedDigits(settings, device, (train, train))
        self.size, self.per_epoch = self._experiment.order.size, self._experiment.order.per_epoch

    def __getitem__(self, step: int) -> tuple[Array, Array]:
        """Images (N, 1, H', W') and labels (N,)."""
        return self._experiment.batch(step)


class Frames(frames.Frames):
    """The record of one transformer, the attribute ``transformer`` of the model."""

    def __init__(self, images: Array, labels: Array, transform: str) -> None:
        super().__init__(
            images,
            labels,
            lambda model: {"it": model.transformer} if model.transformer is not None else {},
        )


class Trainer(loop.Trainer):
    """The training of distorted digits."""

    def __init__(self, config: Any, train: Dataset, test: Dataset, device: str = "cpu") -> None:
        super().__init__(DistortedDigits(config, device, (train, test)))


__all__ = ["Batches", "Frames", "TrainConfig", "Trainer", "load_model"]
