"""The seam: what an experiment says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from stn_np.training.settings import TrainingSettings
from stn_np.training.task import Task


class Paper(NamedTuple):
    """The paper's figure for the same cell of its tables.

    Attributes
    ----------
    error : float or None
        Test error in %, or None where it has none.
    why : str
        Why ours may differ, or why there is none.
    """

    error: float | None
    why: str


class Experiment(Task, Protocol):
    """A `Task` that has a name on the command line, and that describes itself.

    What is trained is said in the methods of `Task`: data, batch, model, loss, score, transformers.
    The methods here say how it is begun, and how it is shown.

    Attributes
    ----------
    name : str
        On the command line.
    Settings : type
        A frozen dataclass below `TrainingSettings`: the options of the command line, their help
        and their checks come from its fields.
    """

    name: str
    Settings: ClassVar[type[TrainingSettings]]

    def __init__(self, settings: Any, device: str = "cpu") -> None:
        """With complete settings, as a run folder has them."""
        ...

    @classmethod
    def create(cls, given: Mapping[str, Any], device: str = "cpu") -> Self:
        """With what the user said, and defaults for all else."""
        ...

    def paper(self) -> Paper:
        """The figure to stand beside ours, or why there is none."""
        ...

    def stem(self) -> str:
        """What its run folders are called, before their number."""
        ...

    def headline(self) -> str:
        """One line about the data, before training."""
        ...

    @classmethod
    def summary(cls, results: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Rows about a finished run, from the content of its results.json."""
        ...

    @classmethod
    def title(cls, config: Mapping[str, Any]) -> str:
        """A heading for pictures, from the content of a run's config.json."""
        ...
