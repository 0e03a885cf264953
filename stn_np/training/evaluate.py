"""Test error, in blocks, without any work for gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array, array_module, to_numpy
from stn_np.layers import cross_entropy
from stn_np.module import Module

#: Images at a time: enough for the matrix products, few enough for the memory.
BLOCK = 500


@dataclass(frozen=True)
class Evaluation:
    """What a model says about a set of images.

    Attributes
    ----------
    loss : float
        Mean cross-entropy.
    labels : Array
        (N,), int64: the right classes.
    predictions : Array
        (N,), int64: those that the model says.
    """

    loss: float
    labels: Array
    predictions: Array

    @property
    def wrong(self) -> int:
        """How many images are classified wrongly."""
        return int((self.predictions != self.labels).sum())

    @property
    def error(self) -> float:
        """The same in % of all images."""
        return 100 * self.wrong / len(self.labels)

    def confusion(self, n_classes: int) -> NDArray[np.int64]:
        """How often each class (row) is taken for each class (column)."""
        pairs = self.labels * n_classes + self.predictions
        counts: NDArray[np.int64] = np.bincount(pairs, minlength=n_classes**2)
        return counts.reshape(n_classes, n_classes)


def evaluate(model: Module, images: Array, labels: Array, block: int = BLOCK) -> Evaluation:
    """Loss and predictions of a model.

    Parameters
    ----------
    model
        From images (N, C, H, W) to logits (N, K).
    images
        (N, C, H, W), where the model is.
    labels
        (N,), whole numbers in [0, K), there too.
    block
        Images at a time. Another block size may round the last bits differently.

    Raises
    ------
    ValueError
        If there are no images.
    """
    if not len(images):
        raise ValueError("images: expected at least one image to evaluate, got none")
    xp = array_module(images=images, labels=labels)
    loss: Array = xp.zeros(())  # float64, and read back at the end: nothing waits in between
    predictions = []
    for start in range(0, len(images), block):
        part = slice(start, start + block)
        logits, _ = model(images[part], needs_dx=False)
        mean, _ = cross_entropy(logits, labels[part])
        loss = loss + mean.astype(xp.float64) * len(logits)
        predictions.append(logits.argmax(axis=1))
    predicted = to_numpy(xp.concatenate(predictions).astype(xp.int64))
    return Evaluation(float(loss) / len(images), to_numpy(labels), predicted)
