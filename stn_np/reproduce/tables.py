"""The paper's tables as data: each cell is one number, and says what is trained for it.

Sections 4.1 and A.4 (distorted MNIST), A.1 (addition), A.3 (volumes); and later work's question,
whether several looks are better than one. A cell's name is its column, its model and the family of
its transformer: RTS/st-cnn/tps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from stn_np.checks import check_choice
from stn_np.experiments import DEFAULT

#: The families that the paper compares.
FAMILIES = ("affine", "projective", "tps")


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes
    ----------
    column : str
        Its column.
    row : str
        Its row: the model, and the family where it has a transformer.
    experiment : str
        By name, as ``stn-np train`` knows it.
    settings : dict
        What the experiment is told, beside the preset's.
    """

    column: str
    row: str
    experiment: str
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """COLUMN/MODEL or COLUMN/MODEL/FAMILY."""
        return f"{self.column}/{self.row}"


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes
    ----------
    name, title : str
        On the command line, and above the table.
    cells : tuple of Cell
        In the order in which they are run.
    presets : dict of dict
        Settings of all cells, by the name of a preset.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    presets: Mapping[str, Mapping[str, Any]]

    def chosen(self, patterns: Iterable[str]) -> list[Cell]:
        """The cells of these names; ``*`` and ``?`` stand for any text, as in a shell. None: all.

        Raises
        ------
        ValueError
            For a pattern that no cell matches; the nearest name is suggested.
        """
        patterns = list(patterns)
        names = [cell.name for cell in self.cells]
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                check_choice("only", pattern, names)
        wanted = patterns or ["*"]
        return [c for c in self.cells if any(fnmatchcase(c.name, pattern) for pattern in wanted)]


def rows(models: Iterable[str], families: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """The rows of a table, with their settings: a model without a transformer stands once."""
    found: list[tuple[str, dict[str, str]]] = []
    for model in models:
        if "st-" not in model:
            found.append((model, {"model": model}))
            continue
        found += [(f"{model}/{f}", {"model": model, "transform": f}) for f in families]
    return found


def distorted(columns: Iterable[str], families: Iterable[str]) -> tuple[Cell, ...]:
    """Distorted digits: all four models in each column."""
    return tuple(
        Cell(column, row, DEFAULT, {**settings, "distortion": column})
        for column in columns
        for row, settings in rows(("fcn", "cnn", "st-fcn", "st-cnn"), families)
    )


def several_looks(columns: Iterable[str], steps: Iterable[int]) -> tuple[Cell, ...]:
    """The ST-CNN whose localisation net is asked once, and several times in both ways."""
    looks: list[tuple[str, dict[str, Any]]] = [("1-step", {"steps": 1})]
    looks += [
        (f"{n}-steps/{warps}", {"steps": n, "warps": warps})
        for warps in ("composed", "resampled")
        for n in steps
    ]
    return tuple(
        Cell(column, row, "recurrent", {**settings, "distortion": column})
        for column in columns
        for row, settings in looks
    )


#: The paper's recipe: SGD, 150,000 iterations of 256 digits (641 times through the training set),
#: rate 0.01 with a tenth of it after each third; nothing else. Its momentum is not stated.
PAPER: dict[str, Any] = {
    "optimizer": "sgd",
    "lr": 0.01,
    "schedule": "step",
    "loc_lr_factor": 1.0,
    "batch_size": 256,
    "epochs": 641,
}

#: For distorted digits. All but the paper's are by our recipe, docs/explanation/performance.md.
DISTORTED: dict[str, dict[str, Any]] = {
    "quick": {"filters": 32, "epochs": 15},
    # As for the longer runs there: half of the rate, more weight decay.
    "short": {"filters": 64, "epochs": 60, "lr": 3e-3, "weight_decay": 0.1},
    "paper": {**PAPER, "filters": 64, "label_smoothing": 0.0, "average": 0.0},
}

TABLES = {
    table.name: table
    for table in (
        Table(
            "table1",
            "Table 1: distorted MNIST",
            distorted(("R", "RTS", "P", "E"), FAMILIES),
            DISTORTED,
        ),
        Table(
            "cluttered",
            "Translated cluttered MNIST (A.4)",
            distorted(("TC",), ("affine",)),
            # With 32 filters the ST-FCN's localisation net alone is larger than the ST-CNN.
            {**DISTORTED, "quick": {**DISTORTED["quick"], "filters": 48}},
        ),
        Table(
            "addition",
            "MNIST addition (A.1)",
            tuple(
                Cell("sum", row, "addition", settings)
                for row, settings in rows(("fcn", "cnn", "st-fcn", "2xst-fcn"), FAMILIES)
            ),
            {"quick": {"epochs": 20}, "short": {"epochs": 60}, "paper": PAPER},
        ),
        Table(
            "volumes",
            "Digits in volumes (A.3)",
            tuple(Cell("3-D", model, "volumes", {"model": model}) for model in ("cnn", "st-cnn")),
            {
                "quick": {"epochs": 8},
                "short": {"epochs": 20},
                "paper": {**PAPER, "size": 60, "average": 0.0},
            },
        ),
        Table(
            "recurrent",
            "One localisation net, asked several times",
            several_looks(("RTS",), (2, 4)),
            DISTORTED,
        ),
    )
}
