"""Text for people: tables, frames and summaries."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stn_np.experiments import Experiment

#: Longest class name in a confusion matrix.
NAME_WIDTH = 12


def printable(text: str) -> str:
    """A text whose control characters are spelled out: in a name they would move the cursor."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def framed(text: str, width: int = 78) -> str:
    """A text in a frame of stars, which nobody can miss."""
    text = printable(text)
    lines = [w for line in text.splitlines() for w in textwrap.wrap(line, width - 4) or [""]]
    edge = "*" * width
    return "\n".join([edge, *(f"* {line:{width - 4}} *" for line in lines), edge, ""])


def aligned(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values in two columns; a value of several lines stays in its column."""
    width = max(len(name) for name, _ in rows)
    lines = []
    for name, value in rows:
        first, *more = printable(value).splitlines() or [""]
        lines += [f"{name:{width}}  {first}", *(" " * (width + 2) + line for line in more)]
    return "\n".join(line.rstrip() for line in lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Columns as wide as they must be.

    Parameters
    ----------
    head, rows
        The cells.
    left
        Which columns are set to the left; the others are set to the right.
    """
    head, rows = ([*map(printable, head)], [[*map(printable, row)] for row in rows])
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            f"{cell:{'<' if i in left else '>'}{widths[i]}}" for i, cell in enumerate(row)
        ).rstrip()
        for row in [head, *rows]
    )


def training_summary(kind: type[Experiment], results: dict[str, Any], folder: Path) -> str:
    """The summary of a finished training: what was trained, how well, how long, and where it lies.

    Parameters
    ----------
    kind
        The experiment's class.
    results
        The content of results.json.
    folder
        The run folder.
    """
    machine = results["machine"]
    rate, peak = machine["images_per_second"], machine["peak_memory_mb"]
    duration = f"{machine['seconds']:,.1f} s"
    if rate is not None:
        duration += f", {rate:,.0f} images/s with the tests in between"
    rows = [*kind.summary(results), ("time", duration)]
    if peak is not None:
        rows.append(("peak memory", f"{peak:,.0f} MB"))
    rows.append(("run folder", str(folder)))
    return aligned(rows)


def evaluation(
    kind: type[Experiment], results: dict[str, Any], title: Sequence[tuple[str, str]]
) -> str:
    """The report of `eval`: the run, its test error, and its confusion matrix."""
    rows = aligned([*title, *kind.summary(results)])
    return f"{rows}\n\n{_confusion(results)}" if "confusion" in results else rows


def _confusion(results: dict[str, Any]) -> str:
    """The confusion matrix with the error of each class; a dot stands for 0."""
    names = [
        n if len(n) <= NAME_WIDTH else n[: NAME_WIDTH - 1] + "…" for n in results["class_names"]
    ]
    rows = [
        [
            name,
            *(str(n) if n else "." for n in counts),
            "" if error is None else f"{error:.2f} %",
        ]
        for name, counts, error in zip(
            names, results["confusion"], results["class_errors"], strict=True
        )
    ]
    head = "confusion matrix: a row for each right class, a column for what the model says"
    return f"{head}\n\n{table(['', *names, 'error'], rows)}"


def without_display() -> None:
    """Let matplotlib draw into files, whatever backend a notebook or a person has asked for."""
    os.environ["MPLBACKEND"] = "agg"


def draw_pictures(folder: Path) -> list[Path]:
    """Draw the pictures of a run; if that fails, say so: the run itself is safe on the disk."""
    without_display()
    try:
        from stn_np import plots

        return list(plots.draw_run(folder))
    except Exception as e:  # Whatever a drawing library may raise must not lose the summary.
        print(
            f"stn-np train: the pictures could not be drawn ({type(e).__name__}: {e}). "
            f"The run is complete; to draw them later: stn-np plot {path_argument(folder)}",
            file=sys.stderr,
        )
        return []


def remarks(folder: Path) -> str:
    """What to say beside a run's pictures; mostly nothing."""
    from stn_np import plots

    return printable("\n".join(plots.remarks(folder)))


def path_argument(path: Path) -> str:
    """A path as it can be typed after a command."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
