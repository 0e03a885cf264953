"""All that training must know about what it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stn_np.backend import Array
from stn_np.module import Module
from stn_np.training.batches import BatchOrder
from stn_np.training.evaluate import Measured
from stn_np.training.settings import TrainingSettings
from stn_np.transformer import SpatialTransformer


@dataclass(frozen=True)
class Data:
    """What is tested on, and shown.

    Attributes
    ----------
    inputs, targets : Array
        (N, ...) of the test set, on the training's device.
    followed : Array
        (M,), NumPy's: indices of the test examples that are shown to the user after each epoch.
    note : str
        What the user should be told about the data, or empty.
    """

    inputs: Array
    targets: Array
    followed: Array
    note: str = ""


class Task(Protocol):
    """Something that can be trained.

    Attributes
    ----------
    name : str
        What it is called in files.
    settings : TrainingSettings
        All that decides about the result.
    device : str
        "cpu" or "gpu": where batches and test set are.
    """

    name: str
    settings: Any
    device: str

    @property
    def order(self) -> BatchOrder:
        """Which training examples come when."""
        ...

    def data(self) -> Data:
        """What it is tested on."""
        ...

    def batch(self, step: int) -> tuple[Array, Array]:
        """Inputs and targets of a step: a pure function of the step, so that runs resume."""
        ...

    def model(self) -> Module:
        """The network with fresh weights, on the CPU."""
        ...

    def loss(self, outputs: Array, targets: Array) -> tuple[Array, Callable[..., Array]]:
        """The mean loss of a batch, and its pullback, which takes dloss = 1."""
        ...

    def score(self, outputs: Array, targets: Array) -> Mapping[str, Array]:
        """Named figures, one for each sample, (N,).

        Truth values are reported as a share in %, numbers as their mean.
        """
        ...

    def answers(self, outputs: Array) -> Array:
        """What the model says, in the form of the targets."""
        ...

    def transformers(self, model: Module) -> Mapping[str, SpatialTransformer]:
        """The spatial transformers that are followed, by name, wherever they sit in the model."""
        ...

    def facts(self) -> dict[str, Any]:
        """What is trained on what, for the file of results."""
        ...

    def results(self, model: Module, tested: Measured) -> dict[str, Any]:
        """All that is to be said of the trained model besides loss and score."""
        ...


__all__ = ["Data", "Task", "TrainingSettings"]
