"""A training under way: one step, and the end of an epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stn_np.layers import cross_entropy
from stn_np.training.batches import Batches
from stn_np.training.config import TrainConfig
from stn_np.training.evaluate import Evaluation, evaluate
from stn_np.training.frames import Frames, choose
from stn_np.training.optimizer_base import gradient_norm, localisation_factor
from stn_np.training.optimizers import build_optimizer
from stn_np.training.schedule import learning_rate

if TYPE_CHECKING:
    from stn_np.data import Dataset

#: The columns of metrics.csv. Errors in %, the gradient norm is the epoch's mean.
METRICS = (
    "epoch",
    "step",
    "lr",
    "train_loss",
    "train_error",
    "test_loss",
    "test_error",
    "grad_norm",
)


def quiet() -> np.errstate:
    """A context without NumPy's warnings: overflow is looked for, and reported in words."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


class DivergedError(Exception):
    """The loss or the gradient stopped being a finite number; the step was not made."""


class Trainer:
    """A training under way.

    Parameters
    ----------
    config
        The settings.
    train, test
        The undistorted data.

    Attributes
    ----------
    batches : Batches
        What it is trained on.
    model, optimizer
        What is trained, and by what.
    test : Dataset
        The distorted test set.
    frames : Frames or None
        The followed digits; None for a model without a transformer.
    step : int
        How many steps were made.
    rows : list of list of float
        One row of `METRICS` for each epoch that was finished.
    sums : Array
        (3,), float64: loss, wrong images and gradient norm, summed over the epoch under way.

    Raises
    ------
    ValueError
        If the data are empty or do not fit the model.
    """

    def __init__(self, config: TrainConfig, train: Dataset, test: Dataset) -> None:
        from stn_np import data, models

        if not len(test.images):
            raise ValueError("data: expected at least one test image, got none")
        self.config = config
        self.batches = Batches(train, config.batch_size, config.distortion, config.seed)
        self.test = data.fixed_test_set(test, config.distortion, config.test_seed)
        self.model = models.build(
            config.model,
            input_shape=self.test.images.shape[1:],
            n_classes=len(train.class_names),
            transform=config.transform,
            filters=config.filters,
            distortion=config.distortion,
            seed=config.seed,
        )
        self.optimizer = build_optimizer(
            config.optimizer, self.model, localisation_factor(config.loc_lr_factor)
        )
        self.step = 0
        self.sums = np.zeros(3)
        self.rows: list[list[float]] = []
        self.frames = self._first_frames()
        self._tested: Evaluation | None = None

    def _first_frames(self) -> Frames | None:
        """The followed digits, seen by the untrained model."""
        if self.model.transformer is None:
            return None
        chosen = choose(self.test.labels)
        images, labels = self.test.images[chosen], self.test.labels[chosen]
        frames = Frames(images, labels, self.config.transform)
        frames.record(self.model)
        return frames

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.batches.per_epoch * self.config.epochs

    @property
    def finished(self) -> bool:
        """Whether all steps are made."""
        return self.step == self.total_steps

    @property
    def at_end_of_epoch(self) -> bool:
        """Whether the last step made was the last of its epoch."""
        return self.step % self.batches.per_epoch == 0

    def lr(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return learning_rate(self.config.schedule, step, self.total_steps, self.config.lr)

    def train_step(self) -> None:
        """One step; after the last of an epoch follows `end_epoch`.

        Raises
        ------
        DivergedError
            If the loss or the gradient is not finite. Nothing is changed by this step then.
        """
        images, labels = self.batches[self.step]
        self.model.zero_grad()
        with quiet():
            logits, backward = self.model(images, needs_dx=False)
            loss, backward_loss = cross_entropy(logits, labels)
            backward(backward_loss())
            norm = gradient_norm(self.model)
        lr = self.lr(self.step)
        if not math.isfinite(loss + norm):
            raise DivergedError(self._divergence(float(loss), float(norm), lr))
        with quiet():
            self.optimizer.step(lr)
        self._tested = None
        wrong = (logits.argmax(axis=1) != labels).sum()
        self.sums += np.array([loss, wrong, norm], dtype=np.float64)
        self.step += 1

    def _divergence(self, loss: float, norm: float, lr: float) -> str:
        """What happened, where, and what to try."""
        epoch = self.step // self.batches.per_epoch + 1
        return (
            f"step {self.step + 1} (epoch {epoch}): loss {loss:g}, gradient norm {norm:g} at "
            f"learning rate {lr:.3g}; this step was not made. {self._advice()}"
        )

    def _advice(self) -> str:
        """What to try after a divergence."""
        return f"Try a new run with a smaller rate: --lr {self.config.lr / 3:.1g}"

    def running(self) -> tuple[float, float]:
        """Mean loss, and error in %, of the epoch under way."""
        done = (self.step - 1) % self.batches.per_epoch + 1
        return self.sums[0] / done, 100 * self.sums[1] / (done * self.batches.size)

    def evaluate(self) -> Evaluation:
        """What the model says now about the distorted test set; worked out once a step at most."""
        if self._tested is None:
            with quiet():
                self._tested = evaluate(self.model, self.test.images, self.test.labels)
        return self._tested

    def weights_changed(self) -> None:
        """To be called by whoever changes the model other than by `train_step`."""
        self._tested = None

    def end_epoch(self) -> list[float]:
        """Evaluate on the test set, record the followed digits, and begin new sums.

        Returns
        -------
        list of float
            The new row of `METRICS`.

        Raises
        ------
        DivergedError
            If the test loss is not finite. Nothing is recorded then.
        """
        loss, error = self.running()
        epoch = self.step // self.batches.per_epoch
        tested = self.evaluate()
        if not math.isfinite(tested.loss):
            raise DivergedError(
                f"step {self.step} (epoch {epoch}): the weights that it made give the test images "
                f"loss {tested.loss:g}. {self._advice()}"
            )
        norm = self.sums[2] / self.batches.per_epoch
        lr = self.lr(self.step - 1)
        row = [epoch, self.step, lr, loss, error, tested.loss, tested.error, norm]
        self.rows.append([float(value) for value in row])
        self.sums[:] = 0
        if self.frames is not None:
            self.frames.record(self.model)
        return self.rows[-1]
