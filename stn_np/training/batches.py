"""Which training examples come when: a pure function of the step.

All randomness comes from (seed, purpose, epoch, batch). So a stopped run need only remember how
many steps it made.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from stn_np.backend import Array
from stn_np.gpu.devices import to_device


class Purpose(IntEnum):
    """What random numbers are for: no two uses share a stream."""

    SHUFFLE = 1
    DRAW = 2


class BatchOrder:
    """The order of the examples in a whole training, shuffled anew in every epoch.

    Parameters
    ----------
    count
        How many training examples there are.
    size
        Examples in a batch; all of them make one batch where there are fewer.
    seed
        The same seed gives the same order and the same random numbers.
    device
        "cpu" or "gpu": where the indices are handed out. They are drawn on the CPU, the same ones
        for both.

    Attributes
    ----------
    count, size : int
        As above, the size at most the count.
    per_epoch : int
        Full batches among the examples. Those left over by one epoch's shuffling are left out of
        that epoch, so that all steps are alike.

    Raises
    ------
    ValueError
        If there are no examples.
    """

    def __init__(self, count: int, size: int, seed: int, device: str = "cpu") -> None:
        if not count:
            raise ValueError("data: expected at least one training image, got none")
        self._device = device
        self._seed = seed
        self._shuffled: tuple[int, Array] | None = None
        self.count = count
        self.size = min(size, count)
        self.per_epoch = count // self.size

    def __getitem__(self, step: int) -> tuple[Array, np.random.Generator]:
        """The examples of a step, from 0: their indices (size,), and random numbers for them."""
        epoch, index = divmod(step, self.per_epoch)
        rows = self._epoch_order(epoch)[index * self.size : (index + 1) * self.size]
        return rows, self._rng(Purpose.DRAW, epoch, index)

    def _epoch_order(self, epoch: int) -> Array:
        """The shuffled order of an epoch; the last one asked for is kept."""
        if self._shuffled is None or self._shuffled[0] != epoch:
            order = self._rng(Purpose.SHUFFLE, epoch, 0).permutation(self.count)
            self._shuffled = epoch, to_device(order, self._device)
        return self._shuffled[1]

    def _rng(self, purpose: Purpose, epoch: int, batch: int) -> np.random.Generator:
        """The random stream of one use."""
        return np.random.default_rng([self._seed, purpose, epoch, batch])
