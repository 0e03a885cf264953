"""What defines a run. The same settings on the same machine give the same bits.

An experiment's settings are a frozen dataclass below `TrainingSettings`. Each field is made by
`setting`: the options of the command line, their help and all checks come from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, ClassVar

from stn_np.checks import check_choice, check_number, check_size
from stn_np.training.optimizers import OPTIMIZERS
from stn_np.training.schedule import SCHEDULES


def setting(
    default: Any,
    help: str = "",
    *,
    metavar: str = "",
    choices: Iterable[str] = (),
    minimum: float | None = None,
    below: float = float("inf"),
    above: float | None = None,
    group: str = "settings",
    shown: str = "",
    identity: bool = True,
    since_0_1: bool = True,
) -> Any:
    """A field of an experiment's settings.

    Parameters
    ----------
    default
        Its value where the user says nothing; its type is that of the option.
    help
        For the command line; without it the setting is no option.
    metavar
        What stands for the value in the help; by default the choices, or N for whole numbers.
    choices
        The names that are known.
    minimum, above, below
        The least value that is allowed; what it must be above, and, if a fraction, below.
    group
        The heading in the help below which it stands.
    shown
        What the help says the default is; by default, the default.
    identity
        Whether the result depends on it.
    since_0_1
        False: a run of version 0.1 may lack it, and has the default.
    """
    known = tuple(choices)
    metavar = metavar or "|".join(known) or ("N" if type(default) is int else "")
    metadata = {
        "help": help,
        "metavar": metavar,
        "choices": known,
        "minimum": minimum,
        "above": above,
        "below": below,
        "group": group,
        "shown": shown,
        "identity": identity,
        "since_0_1": since_0_1,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The settings that every training has.

    Raises
    ------
    TypeError, ValueError
        If a setting is of the wrong kind, out of range, or an unknown name.
    """

    epochs: int = setting(20, "times through the training set", minimum=1)
    batch_size: int = setting(64, "images in a step", minimum=1)
    optimizer: str = setting("adamw", "how the weights are changed", choices=OPTIMIZERS)
    lr: float = setting(
        3e-3, "learning rate (with one-cycle: the highest)", metavar="RATE", above=0
    )
    weight_decay: float = setting(
        0.01,
        "share of the rate by which AdamW shrinks the weights in a step",
        metavar="SHARE",
        minimum=0,
        since_0_1=False,
    )
    loc_lr_factor: float = setting(
        1.0, "times the learning rate for the localisation net", metavar="FACTOR", minimum=0
    )
    schedule: str = setting(
        "one-cycle",
        "the learning rate's course; step: a tenth after each third",
        metavar="|".join(SCHEDULES),
        choices=SCHEDULES,
    )
    average: float = setting(
        0.0,
        "test, and keep, a running average of the weights with this decay; 0: the weights as they "
        "are",
        metavar="DECAY",
        minimum=0,
        below=1,
        since_0_1=False,
    )
    parts: int = setting(
        2,
        "how many parts a batch is cut into on a CPU, of 64 images of 28 x 28 at least: one thread "
        "each at most",
        minimum=1,
        since_0_1=False,
    )
    seed: int = setting(0, "the same seed gives the same bits on the same machine", minimum=0)

    #: Other defaults for some data, by the name of the data.
    by_data: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        self.check(asdict(self))

    @classmethod
    def check(cls, given: Mapping[str, Any], label: Callable[[str], str] = str) -> None:
        """Check the settings that are there, by name.

        Parameters
        ----------
        given
            Some or all of the settings.
        label
            From a setting's name to what the user knows it by.

        Raises
        ------
        TypeError, ValueError
            If one is of the wrong kind, out of range, or an unknown name.
        """
        for item in fields(cls):
            if item.name in given and item.metadata:
                _check(item, label(item.name), given[item.name])

    @classmethod
    def check_given(cls, given: Mapping[str, Any], label: Callable[[str], str] = str) -> None:
        """Check what a user gave. Subclasses check what has to fit together."""
        cls.check(given, label)
        optimizer = given.get("optimizer", "adamw")
        if "weight_decay" in given and optimizer != "adamw":
            raise ValueError(
                f"{label('weight_decay')}: expected none with {label('optimizer')} {optimizer}, "
                f"which has no such setting, got {given['weight_decay']}"
            )

    @classmethod
    def options(cls) -> list[Field[Any]]:
        """The settings that are options of the command line."""
        return [item for item in fields(cls) if item.metadata.get("help")]

    @classmethod
    def default_text(cls, name: str) -> str:
        """A setting's default in words, for all data where they differ."""
        item = {item.name: item for item in fields(cls)}[name]
        own = item.metadata["shown"] or item.default
        values = {data: str(row.get(name, own)) for data, row in cls.by_data.items()}
        if len(set(values.values())) < 2:
            return str(next(iter(values.values()), own))
        *some, rest = values.values()
        named = [f"{value} for {data.upper()}" for data, value in zip(values, some, strict=False)]
        return ", ".join([*named, f"{rest} for other data"])

    def identity(self) -> dict[str, Any]:
        """All that decides about the result."""
        free = {item.name for item in fields(self) if not item.metadata.get("identity", True)}
        return {name: value for name, value in asdict(self).items() if name not in free}


def _check(item: Field[Any], name: str, value: Any) -> None:
    """One setting, by what its field says."""
    rule = item.metadata
    if rule["choices"]:
        check_choice(name, value, rule["choices"])
    elif isinstance(item.default, float):
        above = rule["above"]
        check_number(
            name,
            value,
            rule["minimum"] if above is None else above,
            rule["below"],
            open=above is not None,
        )
    elif rule["minimum"] is not None:
        check_size(name, value, int(rule["minimum"]))
