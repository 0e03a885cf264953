"""A training under way: one step, and the end of an epoch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stn_np.backend import Array
from stn_np.gpu.devices import to_device
from stn_np.training.batches import Batches
from stn_np.training.config import TrainConfig
from stn_np.training.evaluate import Evaluation, evaluate
from stn_np.training.frames import Frames, choose
from stn_np.training.optimizer_base import localisation_factor
from stn_np.training.optimizers import build_optimizer
from stn_np.training.schedule import learning_rate
from stn_np.training.step import NotFiniteError, TrainingStep, quiet

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

#: On a GPU, the most steps between two looks at what it has summed up: each look waits for it.
LOOK_EVERY = 50


class DivergedError(Exception):
    """A loss, a gradient or, where it is looked at, a weight stopped being a finite number."""


class Trainer:
    """A training under way.

    Parameters
    ----------
    config
        The settings.
    train, test
        The undistorted data.
    device
        "cpu" or "gpu": where it is trained. A training may go on elsewhere at any step.

    Attributes
    ----------
    device : str
        As above.
    batches : Batches
        What it is trained on.
    model : Model
        What is trained.
    optimizer : Optimizer
        By what.
    test : Dataset
        The distorted test set, on the device; it is made on the CPU, the same for both.
    frames : Frames or None
        The followed digits; None for a model without a transformer.
    step : int
        How many steps were made.
    rows : list of list of float
        For each epoch that was finished a row of metrics.csv.
    sums : Array
        (3,), float64, NumPy's: loss, wrong images and gradient norm, summed over the epoch under
        way. On a GPU: as of the last `look`.

    Raises
    ------
    ValueError
        If the data are empty or do not fit the model.
    """

    def __init__(
        self, config: TrainConfig, train: Dataset, test: Dataset, device: str = "cpu"
    ) -> None:
        from stn_np import data, models

        if not len(test.images):
            raise ValueError("data: expected at least one test image, got none")
        self.config, self.device = config, device
        self.batches = Batches(train, config.batch_size, config.distortion, config.seed, device)
        test = data.fixed_test_set(test, config.distortion, config.test_seed)
        self.test = replace(
            test, images=to_device(test.images, device), labels=to_device(test.labels, device)
        )
        self.model = models.build(
            config.model,
            input_shape=self.test.images.shape[1:],
            n_classes=len(train.class_names),
            transform=config.transform,
            filters=config.filters,
            distortion=config.distortion,
            seed=config.seed,
        ).to(device)
        self.optimizer = build_optimizer(
            config.optimizer, self.model, localisation_factor(config.loc_lr_factor)
        )
        self._make_step = TrainingStep(self.model, self.optimizer)
        self.step = self._looked = 0
        self.sums: Array = np.zeros(3)
        self.rows: list[list[float]] = []
        self.frames = self._first_frames(test)
        self._tested: Evaluation | None = None

    def _first_frames(self, test: Dataset) -> Frames | None:
        """The followed digits, seen by the untrained model."""
        if self.model.transformer is None:
            return None
        chosen = choose(test.labels)
        frames = Frames(test.images[chosen], test.labels[chosen], self.config.transform)
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

    def _epoch(self, step: int) -> int:
        """The epoch, counted from 1, of a step, counted from 0."""
        return step // self.batches.per_epoch + 1

    @property
    def _advice(self) -> str:
        """What to try after a divergence."""
        return f"Try a new run with a smaller rate: --lr {self.config.lr / 3:.1g}"

    def lr(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return learning_rate(self.config.schedule, step, self.total_steps, self.config.lr)

    def train_step(self) -> None:
        """One step; after the last of an epoch follows `end_epoch`.

        Raises
        ------
        DivergedError
            If the loss or the gradient is not finite. On the CPU nothing is changed by this step
            then; a GPU is asked later, see `look`.
        """
        images, labels = self.batches[self.step]
        try:
            self._make_step(images, labels, self.lr(self.step))
        except NotFiniteError as e:
            lr = self.lr(self.step)
            raise DivergedError(
                f"step {self.step + 1} (epoch {self._epoch(self.step)}): {e} at learning rate "
                f"{lr:.3g}; this step was not made. {self._advice}"
            ) from None
        self._tested = None
        self.step += 1
        if self.device == "cpu":
            self.sums[:], self._looked = self._make_step.sums, self.step
        elif self.step - self._looked == LOOK_EVERY:
            self.look()

    def look(self) -> None:
        """Ask a GPU what it has summed up, and whether all is well; on the CPU it is known.

        Raises
        ------
        DivergedError
            If a loss, gradient or weight since the last look is not finite. The model is spoilt
            then, and must not be saved.
        """
        if self.device == "cpu" or self._looked == self.step:
            return
        self.sums, sound = self._make_step.look()
        if not sound:
            rates = sorted((self.lr(self._looked), self.lr(self.step - 1)))
            raise DivergedError(
                f"one of the steps {self._looked + 1} to {self.step} (epoch "
                f"{self._epoch(self._looked)}): a loss, gradient or weight is no finite number, at "
                f"learning rates from {rates[0]:.3g} to {rates[1]:.3g}. {self._advice}"
            )
        self._looked = self.step

    def go_to(self, step: int, sums: Array, rows: list[list[float]]) -> None:
        """Go on as after this step of another training, whose weights and optimiser are in place.

        Parameters
        ----------
        step, sums, rows
            As the attributes.
        """
        self.step, self.rows = step, rows
        self._begin_sums(sums)
        self.weights_changed()

    def _begin_sums(self, sums: Array) -> None:
        """Let the sums go on from these."""
        self.sums[:] = sums
        self._looked = self.step
        self._make_step.put(sums)

    @property
    def measured(self) -> int:
        """How many steps of the epoch under way `sums` are of; between two looks, not all."""
        if not self.step:
            return 0
        begun = (self.step - 1) // self.batches.per_epoch * self.batches.per_epoch
        return self._looked - begun

    def running(self) -> tuple[float, float]:
        """Mean loss, and error in %, of the steps `measured`; there must be some."""
        done = self.measured
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
            The new row of `rows`.

        Raises
        ------
        DivergedError
            If the test loss is not finite; on a GPU also see `look`. Nothing is recorded then.
        """
        self.look()
        loss, error = self.running()
        epoch = self.step // self.batches.per_epoch
        tested = self.evaluate()
        if not math.isfinite(tested.loss):
            raise DivergedError(
                f"step {self.step} (epoch {self._epoch(self.step - 1)}): the weights that it made "
                f"give the test images loss {tested.loss:g}. {self._advice}"
            )
        norm = self.sums[2] / self.batches.per_epoch
        lr = self.lr(self.step - 1)
        row = [epoch, self.step, lr, loss, error, tested.loss, tested.error, norm]
        self.rows.append([float(value) for value in row])
        self._begin_sums(np.zeros(3))
        if self.frames is not None:
            self.frames.record(self.model)
        return self.rows[-1]
