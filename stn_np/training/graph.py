"""A training step on a GPU: one CUDA graph, captured in the first step and replayed in all others.

A graph repeats the same launches on the same memory. So images and labels are copied to a fixed
place first, and so are the few numbers that are other ones in each step: the learning rate, and
what Adam makes of it. Nothing in a step waits for the GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stn_np.backend import Array, array_module, to_numpy
from stn_np.checks import format_shape
from stn_np.gpu.graph import CaptureError, capture
from stn_np.layers import cross_entropy
from stn_np.module import Module
from stn_np.training.optimizer_base import Coefficients, Optimizer


class GpuStep:
    """Forward, backward and update, with what is measured summed up on the GPU.

    Parameters
    ----------
    model
        On the GPU.
    optimizer
        Of that model.
    graph
        False: each launch by itself, with the same results bit for bit.

    Attributes
    ----------
    sums : Array
        (3,), float64, on the GPU: loss, wrong images and gradient norm, summed over the steps.
    """

    def __init__(self, model: Module, optimizer: Optimizer, *, graph: bool = True) -> None:
        self._model, self._optimizer, self._graph = model, optimizer, graph
        xp = array_module(parameter=model.parameters()[0].data)
        self.sums: Array = xp.zeros(3)
        self._inputs: _Inputs | None = None
        self._replay: Callable[[], None] | None = None

    def __call__(self, images: Array, labels: Array, lr: float) -> None:
        """Make one step.

        Parameters
        ----------
        images
            (N, C, H, W), on the GPU, the same N in every step.
        labels
            (N,), there too.
        lr
            Learning rate.

        Raises
        ------
        TypeError
            If the arrays are not on the GPU.
        ValueError
            If the arrays are of another shape or dtype than in the step before. The step is
            not made.
        """
        if self._inputs is not None and self._replay is not None:
            self._inputs.check(images, labels)
        numbers = self._optimizer.advance(lr)
        if not self._graph:
            self._work(images, labels, numbers)
            return
        if self._inputs is None or self._replay is None:  # a first step that failed leaves no trace
            self._inputs = _Inputs(images, labels, numbers)
        self._inputs.fill(images, labels, numbers)
        if self._replay is None:
            self._capture(self._inputs)
        else:
            self._replay()

    def put(self, sums: Array) -> None:
        """Go on from sums (3,) of NumPy."""
        self.sums[...] = array_module(sums=self.sums).asarray(sums)

    def look(self) -> tuple[Array, bool]:
        """The sums as NumPy's, and whether they and all weights are finite. Waits for the GPU."""
        xp = array_module(sums=self.sums)
        finite = xp.stack([xp.isfinite(p.data).all() for p in self._model.parameters()])
        read = to_numpy(xp.concatenate([self.sums, finite.astype(xp.float64)]))
        sums = read[:3].copy()
        return sums, bool(np.isfinite(sums).all() and read[3:].all())

    def _capture(self, inputs: _Inputs) -> None:
        """Make this step, and keep it for the others."""

        def step() -> None:
            self._work(inputs.images, inputs.labels, inputs.numbers())

        try:
            self._replay = capture(step)
        except CaptureError as error:
            self._graph = False
            warnings.warn(
                f"the training step is no CUDA graph, and slower without: {error}",
                RuntimeWarning,
                stacklevel=2,
            )

    def _work(self, images: Array, labels: Array, numbers: Mapping[float, Any]) -> None:
        """The step itself: launches only."""
        xp = array_module(images=images)
        self._optimizer.zero_grad()
        logits, backward = self._model(images, needs_dx=False)
        loss, backward_loss = cross_entropy(logits, labels)
        backward(backward_loss())
        wrong = (logits.argmax(axis=1) != labels).sum()
        for i, measured in enumerate((loss, wrong, self._optimizer.gradient_norm())):
            xp.add(self.sums[i], measured, out=self.sums[i])
        self._optimizer.update(numbers)


class _Inputs:
    """The places on the GPU from which a captured step reads what is new in it."""

    def __init__(self, images: Array, labels: Array, numbers: Coefficients) -> None:
        self._xp = array_module(images=images, labels=labels)
        self.images, self.labels = self._xp.empty_like(images), self._xp.empty_like(labels)
        self._factors = list(numbers)
        self._numbers = self._xp.asarray(self._table(numbers))

    def numbers(self) -> dict[float, Array]:
        """For `Optimizer.update`: one array for each rate factor."""
        return {factor: self._numbers[i] for i, factor in enumerate(self._factors)}

    def check(self, images: Array, labels: Array) -> None:
        """Refuse inputs that are not like the first ones."""
        for name, place, x in (("images", self.images, images), ("labels", self.labels, labels)):
            # Assignment would repeat a single label, and cut off what another dtype does not hold.
            array_module(**{f"the first {name}": place, name: x})
            if x.shape != place.shape or x.dtype != place.dtype:
                raise ValueError(
                    f"{name}: expected shape {format_shape(place.shape)} and {place.dtype}, as in "
                    f"the first step, got {format_shape(x.shape)} and {x.dtype}"
                )

    def fill(self, images: Array, labels: Array, numbers: Coefficients) -> None:
        """Copy the inputs of the next step to their places. On the GPU that waits for nothing."""
        self.images[...], self.labels[...] = images, labels
        self._numbers[...] = self._xp.asarray(self._table(numbers))

    def _table(self, numbers: Coefficients) -> Array:
        """The numbers of all rate factors, one row each."""
        return np.array([numbers[factor] for factor in self._factors], dtype=np.float64)
