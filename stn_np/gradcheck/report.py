"""What a gradient check found, to read and to print."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class InputResult:
    """What was found for one input.

    Attributes
    ----------
    name
        The input, as messages call it.
    status
        "ok"; "wrong": the gradient differs from finite differences; "kink": f is not smooth here,
        so that nothing can be said; "unclear": f is too steep or too noisy for this eps;
        "skipped": backward returned None.
    error
        Relative error, in the worst direction. NaN where none could be computed.
    expected
        <g, J v> by finite differences.
    actual
        <backward(g), v>.
    message
        What is the matter and where, for people; empty if nothing is.
    """

    name: str
    status: str
    error: float = math.nan
    expected: float = math.nan
    actual: float = math.nan
    message: str = ""

    def __str__(self) -> str:
        line = f"{self.name}: {self.status}"
        if not math.isnan(self.error):
            line += f", relative error {self.error:.1e}"
        return line + "".join("\n    " + text for text in self.message.splitlines())


#: From harmless to grave.
SEVERITY = ("skipped", "ok", "unclear", "kink", "wrong")


@dataclass(frozen=True)
class Report:
    """The result of `stn_np.gradcheck`. True in a condition only if every gradient is right.

    Attributes
    ----------
    inputs
        One result an input.
    problems
        Rules that f or backward break whatever the numbers are: results that change from call to
        call, arguments changed in place.
    rtol
        The relative error that was allowed.
    """

    inputs: tuple[InputResult, ...]
    problems: tuple[str, ...]
    rtol: float

    @property
    def status(self) -> str:
        """The gravest status of all inputs; "wrong" if there are problems."""
        worst = max((r.status for r in self.inputs), key=SEVERITY.index)
        return "wrong" if self.problems else worst

    @property
    def ok(self) -> bool | None:
        """True if right, False if wrong, None if that cannot be told ("kink", "unclear")."""
        return {"ok": True, "wrong": False}.get(self.status)

    @property
    def max_error(self) -> float:
        """The largest relative error of all inputs; NaN if none could be computed."""
        errors = [r.error for r in self.inputs if not math.isnan(r.error)]
        return max(errors, default=math.nan)

    def __bool__(self) -> bool:
        return self.ok is True

    def __str__(self) -> str:
        head = f"gradcheck: {self.status}, largest relative error {self.max_error:.1e}"
        lines = [f"{head} ({self.rtol:.0e} allowed)", *self.problems, *map(str, self.inputs)]
        return "\n  ".join("\n  ".join(line.splitlines()) for line in lines)


class GradcheckError(AssertionError):
    """A gradient was not shown to be right.

    Attributes
    ----------
    report : Report
        All that was found. The text of the exception is ``str(report)``.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report
