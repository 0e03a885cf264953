"""The tables and figures of the timings: from rows to Markdown, one column for each processor.

Rows are dicts as JSON has them. The benchmarks print their own rows by these tables, and
`scripts/pages.py` writes the page and the README from the rows in `results/speed/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

Row = dict[str, Any]
#: Rows of one kind by the processor they were measured on.
Results = dict[str, list[Row]]

FOLDER = Path(__file__).parent / "results" / "speed"


def matching(rows: list[Row], where: dict[str, Any]) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


@dataclass(frozen=True)
class Column:
    """A column of numbers: its heading, and the cell for those rows of a line that match."""

    heading: str
    cell: Callable[[list[Row]], str]
    where: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of the rows of one benchmark.

    Rows with the same keys make one line. With `blocks` each processor has a table of its own,
    otherwise a column, or several.
    """

    of: str
    keys: dict[str, str]  # heading: which entry of the row
    columns: list[Column]
    where: dict[str, Any] = field(default_factory=dict)
    blocks: bool = False

    def markdown(self, results: Results) -> str:
        """The whole table, or the blocks."""
        results = {name: matching(rows, self.where) for name, rows in results.items()}
        if not any(results.values()):
            return "Not measured yet."
        if not self.blocks:
            return self._markdown(results)
        pieces = [f"On {name}:\n\n{self._markdown({name: rows})}" for name, rows in results.items()]
        return "\n\n".join(pieces)

    def _markdown(self, results: Results) -> str:
        lines: dict[tuple[str, ...], dict[str, list[Row]]] = {}
        for name, rows in results.items():
            for row in rows:
                keys = tuple(str(row[key]) for key in self.keys.values())
                lines.setdefault(keys, {}).setdefault(name, []).append(row)
        cells = [list(self.keys)]
        for column in self.columns:
            names = [""] if self.blocks else list(results)
            cells[0] += [", ".join(filter(None, (column.heading, name))) for name in names]
        for keys, groups in lines.items():
            cells.append(list(keys))
            for column in self.columns:
                for name in results:
                    found = matching(groups.get(name, []), column.where)
                    cells[-1].append(column.cell(found) if found else "–")
        return markdown(cells)


def markdown(cells: list[list[str]]) -> str:
    """Lines of cells, the first of them the head, as Markdown."""
    lines = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]])


def ms(value: float) -> str:
    """Milliseconds with three digits or so."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def ratio(*names: str) -> Callable[[list[Row]], str]:
    """The ratio, and in brackets the times that it is of."""
    return lambda rows: (
        f"**{rows[0]['ratio']:.2f}** ({', '.join(ms(rows[0][name]) for name in names)})"
    )


def change(name: str, number: Callable[[float], str] = ms) -> Callable[[list[Row]], str]:
    """A number of both versions, where both were measured."""
    return lambda rows: " → ".join(
        "–" if row[name] is None else number(row[name])
        for version in ("before", "after")
        for row in matching(rows, {"version": version})
    ).replace("– → –", "–")


def spread(rows: list[Row]) -> str:
    """Least and largest ratio, and how often the quicker way is not the one that is taken."""
    ratios = [row["ratio"] for row in rows]
    spectral = sum(row["taken"] == "spectral" for row in rows)
    wrong = sum(row["wrong"] for row in rows)
    text = f"{min(ratios):.2f} to {max(ratios):.2f}, {spectral} of {len(rows)}"
    return f"{text} ({wrong} wrong)" if wrong else text


def _passes(names: tuple[str, ...], *times: str, **where: Any) -> list[Column]:
    """A column with ratios for each of these passes."""
    return [Column(name, ratio(*times), {"pass": name, **where}) for name in names]


_STEP = [Column("", ratio("ours_ms", "nchw_ms", "nhwc_ms"))]
_SAMPLER = _passes(("forward, no gradients", "forward", "backward"), "ours_ms", "torch_ms")
_WAYS = ("forward", "backward", "both")
_PROFILE = [Column(way, change(f"{way}_ms")) for way in _WAYS]
_PROFILE.append(Column("share of the step", change("share", "{:.0%}".format)))
_STEP_KEYS = {"images": "images", "filters": "filters", "batch": "batch"}

#: By the name that stands in the page's markers.
TABLES = {
    "training step": Table("training-step", _STEP_KEYS, _STEP),
    "busy": Table("busy", _STEP_KEYS, _STEP),
    "grids": Table(
        "grids",
        {"grid": "side", "BLAS threads": "threads"},
        _passes(("forward", "backward"), "ms"),
        {"what": "grid"},
    ),
    "warps": Table(
        "grids",
        {"": "what", "BLAS threads": "threads"},
        _passes(_WAYS, "ms"),
        {"side": "affine_sample"},
    ),
    "convolution": Table(
        "convolution",
        {"kernel": "kernel", "channels": "channels"},
        [Column(f"batch {batch}", spread, {"batch": batch}) for batch in (64, 256)],
    ),
    "each convolution": Table(
        "each-convolution",
        {name: name for name in ("kernel", "channels", "maps", "batch", "taken", "wrong")},
        [Column("", ratio("spectral_ms", "direct_ms"))],
    ),
    "import time": Table(
        "import-time", {}, [Column("seconds beyond numpy", lambda rows: _beyond(rows))]
    ),
}
for _of, _path in (("sampler", ""), ("sampler-compiled", ", compiled")):
    TABLES |= {
        f"sampler, bilinear{_path}": Table(_of, {"size": "size"}, _SAMPLER, {"group": "bilinear"}),
        f"sampler, others{_path}": Table(
            _of, {"mode": "mode", "size": "size"}, _SAMPLER, {"group": "others"}
        ),
        f"sampler, OpenCV{_path}": Table(
            _of,
            {"size": "size"},
            _passes(("forward, no gradients",), "ours_ms", "remap_ms"),
            {"group": "opencv"},
        ),
    }
TABLES |= {
    f"profile, {filters} filters": Table(
        "profile", {"layer": "layer"}, _PROFILE, {"filters": filters}, blocks=True
    )
    for filters in (32, 64)
}


def each(results: Results, say: Callable[[list[Row]], str]) -> str:
    """What is to be said of each processor, with its name."""
    return "; ".join(f"{say(rows)} (on {name})" for name, rows in results.items())


def _step_ratios(**where: Any) -> Callable[[list[Row]], str]:
    """The ratios of the steps that match, with their filters."""
    return lambda rows: " and ".join(
        f"{row['ratio']:.2f} with {row['filters']} filters" for row in matching(rows, where)
    )


def _range(rows: list[Row], **where: Any) -> str:
    """Least and largest ratio of those that match."""
    ratios = [row["ratio"] for row in matching(rows, where)]
    return f"{min(ratios):.1f} to {max(ratios):.1f}"


def _of_passes(rows: list[Row]) -> str:
    """The ranges of the passes of bilinear sampling."""
    rows = matching(rows, {"group": "bilinear"})
    names = dict.fromkeys(row["pass"] for row in rows)
    return ", ".join(f"{name} {_range(rows, **{'pass': name})}" for name in names)


def _of_modes(rows: list[Row]) -> str:
    """The ranges of the modes besides bilinear sampling of images."""
    rows = matching(rows, {"group": "others"})
    names = {row["mode"]: _range(rows, mode=row["mode"]) for row in rows}
    names["trilinear"] = names.pop("bilinear")
    return ", ".join(f"{name} {found}" for name, found in names.items())


def _rule(rows: list[Row]) -> str:
    """How often the rule for convolutions is wrong, and how it is where it is right."""
    wrong = sum(row["wrong"] for row in rows)
    spectral = [row["ratio"] for row in rows if row["taken"] == "spectral"]
    return (
        f"{wrong} of {len(rows)} shapes are given the slower way; where the rule takes the "
        f"convolution theorem, that needs {median(spectral):.2f} of the direct way's time in the "
        "median"
    )


def _beyond(rows: list[Row]) -> str:
    """The seconds of an import, and what it should not have imported."""
    heavy = "".join(f", and imports {name}" for name in rows[0]["heavy"])
    return f"{rows[0]['beyond_s']:.2f} s{heavy}"


_BATCH = {"batch": 256}

#: Which benchmark's rows a figure within a sentence is made of, and how.
FIGURES: dict[str, tuple[str, Callable[[list[Row]], str]]] = {
    "training step": ("training-step", _step_ratios(images="R, 28×28", **_BATCH)),
    "training step, RTS": ("training-step", _step_ratios(images="RTS, 42×42", **_BATCH)),
    "training step, TC": ("training-step", _step_ratios(images="TC, 60×60", **_BATCH)),
    "busy": ("busy", _step_ratios()),
    "sampler, bilinear": ("sampler", _of_passes),
    "sampler, others": ("sampler", _of_modes),
    "sampler, bilinear, compiled": ("sampler-compiled", _of_passes),
    "sampler, others, compiled": ("sampler-compiled", _of_modes),
    "convolution": ("convolution", _rule),
    "import time": ("import-time", _beyond),
}


def load(folder: Path = FOLDER) -> list[Row]:
    """The result files, one for each processor."""
    files = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]
    assert files, f"no result files in {folder}: run benchmarks/all.py"
    return files


def rows_of(files: list[Row], benchmark: str) -> Results:
    """The rows of a benchmark by processor, of those files that have it."""
    return {
        file["name"]: file["tables"][benchmark]["rows"]
        for file in files
        if benchmark in file["tables"]
    }


def machines(files: list[Row]) -> str:
    """On what each file was measured; the dates are those of its first and its last table."""
    facts = ("processor", "cores", "threads", "blas", "python", "numpy", "torch")
    cells = [["", *(file["name"] for file in files)]]
    cells += [[fact, *(str(file["machine"][fact]) for file in files)] for fact in facts]
    dates = [sorted({table["date"] for table in file["tables"].values()}) for file in files]
    cells.append(["measured", *(" to ".join(dict.fromkeys((d[0], d[-1]))) for d in dates)])
    busiest = [max(table["other_work"] for table in file["tables"].values()) for file in files]
    cells.append(["cores busy with other work, at most", *(f"{cores:.2f}" for cores in busiest)])
    return markdown(cells)


def text(name: str, files: list[Row]) -> str:
    """What stands in the markers ``<!-- table: name -->`` or ``<!-- figure: name -->``."""
    kind, _, name = name.partition(": ")
    if (kind, name) == ("table", "machines"):
        return f"\n{machines(files)}\n"
    if kind == "figure":
        benchmark, say = FIGURES[name]
        return each(rows_of(files, benchmark), say)
    table = TABLES[name]
    return f"\n{table.markdown(rows_of(files, table.of))}\n"
