"""One training step: forward, backward, update. A CPU calls it; a GPU captures it as a CUDA graph.

On a CPU the batch is cut into parts, which threads work on side by side. How it is cut depends on
the batch alone, and the parts' gradients are added in their order: the bits are the same with any
number of threads.

A graph repeats the same launches on the same memory. So inputs and targets are first copied to a
fixed place. So are the few numbers that change: the step, the learning rate, and Adam's
corrections. Nothing in a step waits for the GPU.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from stn_np.backend import Array, array_module, to_numpy
from stn_np.checks import check_size, format_shape
from stn_np.gpu.graph import CaptureError, capture
from stn_np.layers import cross_entropy
from stn_np.module import Module, Training, apply
from stn_np.threads import one_blas_thread, share_out
from stn_np.training.evaluate import Loss, Score, classification_error
from stn_np.training.optimizers import Coefficients, Optimizer
from stn_np.training.ranks import ALONE, Ranks


def quiet() -> np.errstate:
    """A context without NumPy's warnings: overflow is looked for, and reported in words."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


#: Into how many parts a batch is cut, if nothing is said, and how many images of 28 x 28 a part has
#: at least (fewer of larger ones): with fewer, the matrix products are slower than a second thread
#: makes up for.
PARTS, LEAST = 2, 64


def cut(shape: tuple[int, ...], parts: int) -> list[slice]:
    """How a batch (N, ...) or (N, C, H, W) is cut."""
    N, pixels = shape[0], prod(shape[2:]) if len(shape) > 2 else 28 * 28
    least = -(-LEAST * 28 * 28 // max(28 * 28, pixels))
    count = max(1, min(parts, N // least))
    ends = [N * i // count for i in range(count + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


class NotFiniteError(ArithmeticError):
    """A step on the CPU has no finite loss or gradient. It was not made."""

    def __init__(self, loss: float, norm: float) -> None:
        super().__init__(f"loss {loss:g}, gradient norm {norm:g}")


class TrainingStep:
    """Forward, backward and update, with what is measured summed up.

    Parameters
    ----------
    model
        Where it is trained.
    optimizer
        Of that model, made after it was moved there.
    loss
        (outputs, targets) to the mean loss of a batch or a part of it, and its pullback.
    score
        (outputs, targets) to named figures of each sample.
    n_scores
        How many figures these are.
    seed
        Of the random numbers that layers draw in training.
    parts
        On a CPU, how many parts a batch is cut into, of 64 images at least (fewer if they are
        larger than 28 x 28), if the model is `Module.by_image`.
    graph
        False: on a GPU each launch by itself, with the same results bit for bit.
    ranks
        Processes on CPUs that train this model together. Each is handed the same batch, and works
        on its share.

    Raises
    ------
    ValueError
        If several processes shall train a model on a GPU, or one that is not `Module.by_image`.

    Attributes
    ----------
    sums : Array
        (2 + n_scores,), float64, where the model is: loss, figures and gradient norm. The loss and
        the norm are summed over the steps, the figures over the samples.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Loss = cross_entropy,
        score: Score = classification_error,
        *,
        n_scores: int = 1,
        seed: int = 0,
        parts: int = PARTS,
        graph: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        self._model, self._optimizer, self._loss, self._score = model, optimizer, loss, score
        xp = array_module(parameter=model.parameters()[0].data)
        self._on_gpu = xp is not np
        self._graph = self._on_gpu and graph
        self._seed, self._parts, self._ranks = seed, check_size("parts", parts), ranks
        if ranks.size > 1 and (self._on_gpu or not model.by_image):
            what = "on a GPU" if self._on_gpu else "in which images depend on each other"
            raise ValueError(f"mpiexec: expected a network on CPUs, image by image, got one {what}")
        self.sums: Array = xp.zeros(2 + n_scores)
        self._inputs: _Inputs | None = None
        self._replay: Callable[[], None] | None = None

    def __call__(self, inputs: Array, targets: Array, lr: float) -> None:
        """Make one step.

        Parameters
        ----------
        inputs
            (N, ...), where the model is; in a graph, the same N in every step.
        targets
            (N, ...), there too.
        lr
            Learning rate.

        Raises
        ------
        NotFiniteError
            On the CPU, if the loss or the gradient is not finite. The step is not made.
        TypeError
            If the arrays are not where the model is.
        ValueError
            If, in a graph, the arrays are of another shape or dtype than in the step before. The
            step is not made.
        """
        if not self._graph:
            # What may not be cut into parts is left to the threads of BLAS.
            one_each = one_blas_thread() if self._model.by_image else nullcontext()
            with quiet(), one_each:
                step = self._optimizer.n_steps
                self._work(inputs, targets, step, lambda: self._optimizer.advance(lr))
            return
        if self._inputs is not None and self._replay is not None:
            self._inputs.check(inputs, targets)
        step, numbers = self._optimizer.n_steps, self._optimizer.advance(lr)
        if self._inputs is None or self._replay is None:  # a first step that failed leaves no trace
            self._inputs = _Inputs(inputs, targets, numbers)
        self._inputs.fill(inputs, targets, step, numbers)
        if self._replay is None:
            self._capture(self._inputs)
        else:
            self._replay()

    def _work(
        self, inputs: Array, targets: Array, step: Any, numbers: Callable[[], Mapping[float, Any]]
    ) -> None:
        """The step itself; on a GPU, launches only.

        Parameters
        ----------
        inputs, targets
            The batch.
        step
            Which step it is, counted from 0: a whole number, or in a graph a 0-d array with it.
        numbers
            Gives what the optimiser's update needs, once it is certain that there will be one.
        """
        self._optimizer.zero_grad()
        if not self._on_gpu and self._model.by_image:
            loss, *figures = self._in_parts(inputs, targets, step)
        else:
            loss, *figures = self._forward_backward(self._model, inputs, targets, step)
        norm = self._optimizer.gradient_norm()
        if not self._on_gpu and not math.isfinite(loss + norm):
            raise NotFiniteError(float(loss), float(norm))
        coefficients = numbers()
        xp = array_module(sums=self.sums)
        for i, measured in enumerate((loss, *figures, norm)):
            xp.add(self.sums[i, ...], measured, out=self.sums[i, ...])
        self._optimizer.update(coefficients)

    def _forward_backward(
        self,
        model: Module,
        inputs: Array,
        targets: Array,
        step: Any,
        first: int = 0,
        share: Any = 1,
    ) -> list[Array]:
        """Gradients of a part of the batch, by its share; its loss by its share, and its figures.

        Parameters
        ----------
        model
            The model, or a twin of it.
        inputs, targets, step
            As in `_work`.
        first
            Where in the batch the part begins.
        share
            How much of the batch it is.
        """
        mode = Training(self._seed, step, first)
        outputs, backward = apply(model, inputs, needs_dx=False, mode=mode)
        loss, loss_backward = self._loss(outputs, targets)
        backward(loss_backward(share))
        figures = [figure.sum() for figure in self._score(outputs, targets).values()]
        return [loss * share, *figures]

    def _in_parts(self, inputs: Array, targets: Array, step: Any) -> list[Array]:
        """The same for the whole batch, a part a time; the gradients add up in the model."""
        if len(targets) != len(inputs):
            raise ValueError(
                f"targets: expected {len(inputs)}, one for each input, got {len(targets)}"
            )
        own = self._ranks.share(len(inputs))
        shape = (own.stop - own.start, *inputs.shape[1:])
        parts = [slice(own.start + p.start, own.start + p.stop) for p in cut(shape, self._parts)]
        # New ones each time: they are like the model whatever was changed in it since.
        models = [self._model, *(self._model.twin() for _ in parts[1:])]

        def work(i: int) -> list[Array]:
            part = parts[i]
            share = (part.stop - part.start) / max(len(inputs), 1)
            return self._forward_backward(
                models[i], inputs[part], targets[part], step, part.start, share
            )

        found = share_out(work, range(len(parts)))
        for model in models[1:]:
            for p, q in zip(self._model.parameters(), model.parameters(), strict=True):
                p.grad += q.grad
        measured = [sum(terms[1:], terms[0]) for terms in zip(*found, strict=True)]
        if self._ranks.size > 1:
            totals = np.array(measured, np.float64)
            self._ranks.add_up([totals, *(p.grad for p in self._model.parameters())])
            measured = list(totals)
        return measured

    def _capture(self, inputs: _Inputs) -> None:
        """Make this step, and keep it for the others."""

        def step() -> None:
            self._work(inputs.inputs, inputs.targets, inputs.step, inputs.numbers)

        try:
            self._replay = capture(step)
        except CaptureError as error:
            self._graph = False
            warnings.warn(
                f"the training step is no CUDA graph, and slower without: {error}",
                RuntimeWarning,
                stacklevel=2,
            )

    def put(self, sums: Array) -> None:
        """Go on from sums of NumPy."""
        self.sums[...] = array_module(sums=self.sums).asarray(sums)

    def synchronise(self) -> tuple[Array, bool]:
        """The sums as NumPy's, and whether they and all weights are finite. Waits for the GPU."""
        xp = array_module(sums=self.sums)
        finite = xp.stack([xp.isfinite(p.data).all() for p in self._model.parameters()])
        read = to_numpy(xp.concatenate([self.sums, finite.astype(xp.float64)]))
        sums = read[: len(self.sums)].copy()
        return sums, bool(np.isfinite(sums).all() and read[len(sums) :].all())


class _Inputs:
    """The places on the GPU from which a captured step reads what is new in it."""

    def __init__(self, inputs: Array, targets: Array, numbers: Coefficients) -> None:
        self._xp = array_module(inputs=inputs, targets=targets)
        self.inputs, self.targets = self._xp.empty_like(inputs), self._xp.empty_like(targets)
        self.step: Array = self._xp.zeros((), np.int64)
        self._factors = list(numbers)
        self._numbers = self._xp.asarray(self._table(numbers))

    def numbers(self) -> dict[float, Array]:
        """For `Optimizer.update`: one array for each rate factor."""
        return {factor: self._numbers[i] for i, factor in enumerate(self._factors)}

    def check(self, inputs: Array, targets: Array) -> None:
        """Refuse inputs that are not like the first ones."""
        for name, place, x in (
            ("inputs", self.inputs, inputs),
            ("targets", self.targets, targets),
        ):
            # Assignment would repeat a single label, and cut off what another dtype does not hold.
            array_module(**{f"the first {name}": place, name: x})
            if x.shape != place.shape or x.dtype != place.dtype:
                raise ValueError(
                    f"{name}: expected shape {format_shape(place.shape)} and {place.dtype}, as in "
                    f"the first step, got {format_shape(x.shape)} and {x.dtype}"
                )

    def fill(self, inputs: Array, targets: Array, step: int, numbers: Coefficients) -> None:
        """Copy the inputs of the next step to their places. On the GPU that waits for nothing."""
        self.inputs[...], self.targets[...] = inputs, targets
        self.step[...] = step
        self._numbers[...] = self._xp.asarray(self._table(numbers))

    def _table(self, numbers: Coefficients) -> Array:
        """The numbers of all rate factors, one row each."""
        return np.array([numbers[factor] for factor in self._factors], dtype=np.float64)
