"""A training under way: one step, and the end of an epoch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stn_np.backend import Array
from stn_np.gpu.devices import to_device
from stn_np.layers import cross_entropy
from stn_np.training import divergence
from stn_np.training.batches import Batches
from stn_np.training.config import TrainConfig
from stn_np.training.evaluate import Evaluation, evaluate
from stn_np.training.frames import Frames, choose
from stn_np.training.graph import GpuStep
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

#: On a GPU, the most steps between two looks at what it has summed up: each look waits for it.
LOOK_EVERY = 50


def quiet() -> np.errstate:
    """A context without NumPy's warnings: overflow is looked for, and reported in words."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


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
        self._gpu = None if device == "cpu" else GpuStep(self.model, self.optimizer)
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
        if self._gpu is not None:
            self._gpu(images, labels, self.lr(self.step))
            self._tested = None
            self.step += 1
            if self.step - self._looked == LOOK_EVERY:
                self.look()
            return
        self.model.zero_grad()
        with quiet():
            logits, backward = self.model(images, needs_dx=False)
            loss, backward_loss = cross_entropy(logits, labels)
            backward(backward_loss())
            norm = gradient_norm(self.model)
        if not math.isfinite(loss + norm):
            raise divergence.before_update(self, float(loss), float(norm))
        with quiet():
            self.optimizer.step(self.lr(self.step))
        self._tested = None
        wrong = (logits.argmax(axis=1) != labels).sum()
        self.sums += np.array([loss, wrong, norm], dtype=np.float64)
        self.step += 1

    def look(self) -> None:
        """Ask a GPU what it has summed up, and whether all is well; on the CPU it is known.

        Raises
        ------
        DivergedError
            If a loss, gradient or weight since the last look is not finite. The model is spoilt
            then, and must not be saved.
        """
        if self._gpu is None or self._looked == self.step:
            return
        self.sums, sound = self._gpu.look()
        if not sound:
            raise divergence.between_looks(self, self._looked)
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
        if self._gpu is not None:
            self._gpu.put(sums)

    @property
    def measured(self) -> int:
        """How many steps of the epoch under way `sums` are of; between two looks, not all."""
        if not self.step:
            return 0
        begun = (self.step - 1) // self.batches.per_epoch * self.batches.per_epoch
        return (self.step if self._gpu is None else self._looked) - begun

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
            raise divergence.in_test(self, tested.loss)
        norm = self.sums[2] / self.batches.per_epoch
        lr = self.lr(self.step - 1)
        row = [epoch, self.step, lr, loss, error, tested.loss, tested.error, norm]
        self.rows.append([float(value) for value in row])
        self._begin_sums(np.zeros(3))
        if self.frames is not None:
            self.frames.record(self.model)
        return self.rows[-1]
