"""Test loss and figures, in blocks, without any work for gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array, array_module, to_numpy
from stn_np.layers import cross_entropy
from stn_np.module import Module
from stn_np.threads import in_turn, share_out

#: Images at a time: enough for the matrix products, few enough for the memory.
BLOCK = 250

#: (outputs, targets) to the mean loss of the batch and its pullback, which takes dloss = 1.
Loss: TypeAlias = Callable[[Array, Array], tuple[Array, Callable[..., Array]]]

#: (outputs, targets) to named figures, one for each sample, (N,).
Score: TypeAlias = Callable[[Array, Array], Mapping[str, Array]]


def classification_error(outputs: Array, targets: Array) -> dict[str, Array]:
    """Which samples are classified wrongly: ``{"error": (N,) of bool}``."""
    return {"error": outputs.argmax(axis=1) != targets}


def unit_of(figure: Array) -> float:
    """What a mean is multiplied by: 100 for truth values, whose share is reported in %; or 1."""
    return 100.0 if figure.dtype == np.bool_ else 1.0


@dataclass(frozen=True)
class Measured:
    """What a model does with a set of examples; arrays are NumPy's.

    Attributes
    ----------
    loss : float
        The mean loss.
    figures : dict of str to float
        The mean of each figure; of truth values the share in %.
    outputs, targets : Array
        (N, ...), all of them.
    """

    loss: float
    figures: dict[str, float]
    outputs: Array
    targets: Array


def measure(
    model: Module,
    inputs: Array,
    targets: Array,
    loss: Loss = cross_entropy,
    score: Score = classification_error,
    block: int = BLOCK,
) -> Measured:
    """Loss, figures and outputs of a model.

    Parameters
    ----------
    model
        From inputs (N, ...) to outputs.
    inputs, targets
        (N, ...), where the model is.
    loss, score
        As in `stn_np.training.TrainingStep`.
    block
        Examples at a time. Another block size may round the last bits differently.

    Raises
    ------
    ValueError
        If there are no examples.
    """
    if not len(inputs):
        raise ValueError("images: expected at least one image to evaluate, got none")
    xp = array_module(images=inputs, labels=targets)
    units: dict[str, float] = {}

    def measure_part(start: int) -> tuple[Array, Array]:
        """Outputs, and the sums of losses and figures: (1 + figures,) float64, where they are."""
        part = slice(start, start + block)
        y, _ = model(inputs[part], needs_dx=False)
        mean, _ = loss(y, targets[part])
        sums = [mean.astype(xp.float64) * len(y)]
        for name, figure in score(y, targets[part]).items():
            units[name] = unit_of(figure)
            sums.append(figure.sum(dtype=xp.float64))
        return y, xp.stack(sums)

    starts = range(0, len(inputs), block)
    # A model that may not be called by several threads at once is called by one.
    together = share_out if getattr(model, "by_image", False) else in_turn
    outputs, sums = zip(*together(measure_part, starts, xp), strict=True)
    total_loss, *totals = to_numpy(sum(sums[1:], start=sums[0])).tolist()
    figures = {
        name: units[name] * total / len(inputs) for name, total in zip(units, totals, strict=True)
    }
    return Measured(
        total_loss / len(inputs), figures, to_numpy(xp.concatenate(outputs)), to_numpy(targets)
    )


def in_blocks(f: Callable[[Array], Array], inputs: Array, block: int = BLOCK) -> NDArray[Any]:
    """f(inputs) for an f of each example on its own, a block at a time, as NumPy's: (N, ...)."""
    parts = (inputs[k : k + block] for k in range(0, len(inputs), block))
    return np.concatenate([to_numpy(f(part)) for part in parts])


@dataclass(frozen=True)
class Evaluation:
    """What a classifier says about a set of images.

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
    """Cross-entropy and predictions of a classifier.

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
    tested = measure(model, images, labels, block=block)
    return Evaluation(tested.loss, tested.targets, tested.outputs.argmax(axis=1))
