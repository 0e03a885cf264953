"""Which training images come when, and how each is distorted: a pure function of the step.

All randomness comes from (seed, purpose, epoch, batch), so that a stopped run needs to remember
nothing of it but the number of steps that it made.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from stn_np.backend import Array
from stn_np.gpu.devices import to_device

if TYPE_CHECKING:
    from stn_np.data import Dataset


class Purpose(IntEnum):
    """What random numbers are for: no two uses share a stream."""

    SHUFFLE = 1
    DISTORT = 2


class Batches:
    """The batches of a whole training.

    Parameters
    ----------
    train
        The undistorted training set.
    size
        Images in a batch; all images make one batch where there are fewer.
    distortion
        One of `stn_np.data.distortions.KINDS`.
    seed
        The same seed gives the same batches.
    device
        "cpu" or "gpu": where the images are kept, distorted and handed out. All random numbers
        are drawn on the CPU, the same ones for both.

    Attributes
    ----------
    size : int
        Images in a batch.
    per_epoch : int
        Full batches in the training set. The images left over by one epoch's shuffling are
        left out of that epoch, so that all steps are alike.

    Raises
    ------
    ValueError
        If there are no images.
    """

    def __init__(
        self, train: Dataset, size: int, distortion: str, seed: int, device: str = "cpu"
    ) -> None:
        if not len(train.images):
            raise ValueError("data: expected at least one training image, got none")
        self._images = to_device(train.images, device)
        self._labels = to_device(train.labels, device)
        self._device = device
        self._distortion = distortion
        self._seed = seed
        self._order: tuple[int, Array] | None = None
        self.size = min(size, len(train.images))
        self.per_epoch = len(train.images) // self.size

    def __getitem__(self, step: int) -> tuple[Array, Array]:
        """The freshly distorted images (N, 1, H', W') and the labels (N,) of a step, from 0."""
        from stn_np.data import distort

        epoch, index = divmod(step, self.per_epoch)
        rows = self._epoch_order(epoch)[index * self.size : (index + 1) * self.size]
        rng = self._rng(Purpose.DISTORT, epoch, index)
        return distort(self._images[rows], self._distortion, rng), self._labels[rows]

    def _epoch_order(self, epoch: int) -> Array:
        """The shuffled order of an epoch; the last one asked for is kept."""
        if self._order is None or self._order[0] != epoch:
            rng = self._rng(Purpose.SHUFFLE, epoch, 0)
            self._order = epoch, to_device(rng.permutation(len(self._images)), self._device)
        return self._order[1]

    def _rng(self, purpose: Purpose, epoch: int, batch: int) -> np.random.Generator:
        """The random stream of one use."""
        return np.random.default_rng([self._seed, purpose, epoch, batch])
