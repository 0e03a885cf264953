"""A training under way: one step, and the end of an epoch."""

from __future__ import annotations

import math

import numpy as np

from stn_np.backend import Array, to_numpy
from stn_np.threads import one_blas_thread
from stn_np.training.evaluate import Measured, measure, unit_of
from stn_np.training.frames import Frames
from stn_np.training.optimizers import build_optimizer, localisation_factor
from stn_np.training.ranks import ALONE, Ranks
from stn_np.training.schedule import learning_rate
from stn_np.training.step import NotFiniteError, TrainingStep, quiet
from stn_np.training.task import Task

#: On a GPU, the most steps between two looks at what it has summed up: each look waits for it.
LOOK_EVERY = 50


class DivergedError(Exception):
    """A loss, a gradient or, where it is looked at, a weight stopped being a finite number."""


class Trainer:
    """A training under way.

    Parameters
    ----------
    task
        What is trained, on what, and by which settings; `stn_np.experiments` are such.
    ranks
        Processes that train it together.

    Attributes
    ----------
    task : Task
        As above. A training may go on with its task on another device at any step.
    data : Data
        The task's.
    model : Module
        What is trained.
    optimizer : Optimizer
        By what.
    frames : Frames or None
        The followed examples; None for a model without a transformer.
    units : dict of str to float
        The figures by name, with what their means are multiplied by: 100 for a share in %.
    step : int
        How many steps were made.
    rows : list of list of float
        For each epoch that was finished a row of metrics.csv.
    sums : Array
        float64, NumPy's: loss, figures and gradient norm, summed over the epoch under way. On a
        GPU: as of the last `synchronise`.

    Raises
    ------
    ValueError
        If the data are empty or do not fit the model, or there are more processes than images in a
        batch.
    """

    def __init__(self, task: Task, ranks: Ranks = ALONE) -> None:
        self.task, self.settings, self.ranks = task, task.settings, ranks
        self.data, self._order = task.data(), task.order
        if self._order.size < ranks.size:
            raise ValueError(
                f"mpiexec: expected at most {self._order.size} processes for batches of "
                f"{self._order.size}, got {ranks.size}"
            )
        if not len(self.data.inputs):
            raise ValueError("data: expected at least one test image, got none")
        self.model = task.model().to(task.device)
        settings = self.settings
        self.optimizer = build_optimizer(
            settings.optimizer,
            self.model,
            localisation_factor(settings.loc_lr_factor),
            settings.average,
            settings.weight_decay,
        )
        self.units = self._named_figures()
        self._make_step = TrainingStep(
            self.model,
            self.optimizer,
            task.loss,
            task.score,
            n_scores=len(self.units),
            seed=self.settings.seed,
            parts=self.settings.parts,
            ranks=ranks,
        )
        self.step = self._looked = 0
        self.sums: Array = np.zeros(2 + len(self.units))
        self.rows: list[list[float]] = []
        self.frames = self._first_frames()
        self._tested: Measured | None = None

    def _named_figures(self) -> dict[str, float]:
        """The score's figures and their units, from one example."""
        outputs, _ = self.model(self.data.inputs[:1], needs_dx=False)
        figures = self.task.score(outputs, self.data.targets[:1])
        return {name: unit_of(figure) for name, figure in figures.items()}

    def _first_frames(self) -> Frames | None:
        """The followed examples, seen by the untrained model."""
        if not self.task.transformers(self.model):
            return None
        inputs, targets = (
            to_numpy(x)[self.data.followed] for x in (self.data.inputs, self.data.targets)
        )
        frames = Frames(inputs, targets, self.task.transformers, self.task.answers)
        frames.record(self.model)
        return frames

    @property
    def columns(self) -> tuple[str, ...]:
        """Of metrics.csv. Shares are in %, the gradient norm is the epoch's mean."""
        figures = ("loss", *self.units)
        train, test = ([f"{part}_{name}" for name in figures] for part in ("train", "test"))
        return ("epoch", "step", "lr", *train, *test, "grad_norm")

    @property
    def batch_size(self) -> int:
        """Examples in a step."""
        return self._order.size

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return self._order.per_epoch

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * int(self.settings.epochs)

    @property
    def finished(self) -> bool:
        """Whether all steps are made."""
        return self.step == self.total_steps

    @property
    def at_end_of_epoch(self) -> bool:
        """Whether the last step made was the last of its epoch."""
        return self.step % self.steps_per_epoch == 0

    def lr(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return learning_rate(self.settings.schedule, step, self.total_steps, self.settings.lr)

    def train_step(self) -> None:
        """One step; after the last of an epoch follows `end_epoch`.

        Raises
        ------
        DivergedError
            If the loss or the gradient is not finite. On the CPU nothing is changed by this step
            then; a GPU is asked later, see `synchronise`.
        """
        with one_blas_thread():  # those that wait for work would take time from the step
            inputs, targets = self.task.batch(self.step)
        lr = self.lr(self.step)
        try:
            self._make_step(inputs, targets, lr)
        except NotFiniteError as e:
            raise DivergedError(
                f"step {self.step + 1} (epoch {self._epoch(self.step)}): {e} at learning rate "
                f"{lr:.3g}; this step was not made. {self._advice}"
            ) from None
        self._tested = None
        self.step += 1
        if self.task.device == "cpu":
            self.sums[:], self._looked = self._make_step.sums, self.step
        elif self.step - self._looked == LOOK_EVERY:
            self.synchronise()

    def synchronise(self) -> None:
        """Ask a GPU what it has summed up, and whether all is well; on the CPU it is known.

        Raises
        ------
        DivergedError
            If a loss, gradient or weight since the last look is not finite. The model is spoilt
            then, and must not be saved.
        """
        if self.task.device == "cpu" or self._looked == self.step:
            return
        self.sums, sound = self._make_step.synchronise()
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
        begun = (self.step - 1) // self.steps_per_epoch * self.steps_per_epoch
        return self._looked - begun

    def running(self) -> tuple[float, ...]:
        """Mean loss and mean figures of the steps `measured`; there must be some."""
        done, (loss, *sums, _) = self.measured, self.sums
        units = zip(self.units.values(), sums, strict=True)
        return loss / done, *(unit * total / (done * self.batch_size) for unit, total in units)

    def evaluate(self) -> Measured:
        """What the model, with averaged weights, does with the test set; once a step at most."""
        if self._tested is None:
            task, data = self.task, self.data
            with quiet(), self.optimizer.averaged():
                self._tested = measure(self.model, data.inputs, data.targets, task.loss, task.score)
        return self._tested

    def weights_changed(self) -> None:
        """To be called by whoever changes the model other than by `train_step`."""
        self._tested = None

    def end_epoch(self) -> list[float]:
        """Evaluate on the test set, record the followed examples, and begin new sums.

        Returns
        -------
        list of float
            The new row of `rows`.

        Raises
        ------
        DivergedError
            If the test loss is not finite; on a GPU also see `synchronise`. Nothing is recorded.
        """
        self.synchronise()
        train = self.running()
        tested = self.evaluate()
        # Averaged weights may be finite where those that are averaged no longer are.
        # (Those on a GPU were looked at just now.)
        sound = self.task.device != "cpu" or all(
            np.isfinite(p.data).all() for p in self.model.parameters()
        )
        if not (sound and math.isfinite(tested.loss)):
            found = f"give the test images loss {tested.loss:g}" if sound else "are not finite"
            raise DivergedError(
                f"step {self.step} (epoch {self._epoch(self.step - 1)}): the weights that it made "
                f"{found}. {self._advice}"
            )
        epoch, lr = self.step // self.steps_per_epoch, self.lr(self.step - 1)
        norm = self.sums[-1] / self.steps_per_epoch
        row = [epoch, self.step, lr, *train, tested.loss, *tested.figures.values(), norm]
        self.rows.append([float(value) for value in row])
        self._begin_sums(np.zeros_like(self.sums))
        if self.frames is not None:
            with self.optimizer.averaged():
                self.frames.record(self.model)
        return self.rows[-1]

    def _epoch(self, step: int) -> int:
        """The epoch, counted from 1, of a step, counted from 0."""
        return step // self.steps_per_epoch + 1

    @property
    def _advice(self) -> str:
        """What to try after a divergence."""
        return f"Try a new run with a smaller rate: --lr {self.settings.lr / 3:.1g}"
