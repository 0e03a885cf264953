"""The comparison for one input, along one direction, and what to tell about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stn_np.gradcheck.finite_differences import Break, Slope, Vector, slope_along
from stn_np.gradcheck.probe import Probe, Values
from stn_np.gradcheck.report import InputResult

Indices: TypeAlias = NDArray[np.intp]

#: A wrong gradient is traced to single elements by halving, only faster: this many parts at a time.
N_PARTS = 16

#: A gradient of which rounding hides more than this share cannot be checked.
VISIBLE_SHARE = 0.01

#: How many of the worst elements are shown.
N_SHOWN = 3


@dataclass(frozen=True)
class Line:
    """The line x + t v through input number k.

    Attributes
    ----------
    probe, k, v
        The function, the input, the direction.
    g, dx
        Upstream gradient, and what backward made of it for this input.
    label
        Says which direction it is.
    """

    probe: Probe
    k: int
    v: Values
    g: Values
    dx: Values
    label: str

    def compare(self, eps: float, rtol: float) -> InputResult:
        """Slope by finite differences against slope by backward."""
        name, y, x = self.probe.names[self.k], self.probe.y.ravel(), self.probe.inputs[self.k]
        x_max = float(np.abs(x).max())
        slope = slope_along(self.curve, y, self.g.ravel(), eps=eps, x_max=x_max, tol=rtol)
        actual = float(np.vdot(self.dx, self.v))
        if slope.broken:
            text = self._explain_break(slope.broken, eps)
            return InputResult(name, "kink", math.nan, slope.value, actual, text)
        claimed = max(abs(actual), float(np.linalg.norm(self.dx * self.v)))
        if slope.visible > VISIBLE_SHARE * max(claimed, abs(slope.value)) and claimed > 0:
            text = self._explain_rounding(slope, claimed, eps)
            return InputResult(name, "unclear", math.nan, slope.value, actual, text)
        scale = max(slope.scale, claimed)
        difference = abs(actual - slope.value)
        error = difference / scale if scale > 0 else 0.0
        if error <= rtol:
            return InputResult(name, "ok", error, slope.value, actual)
        if difference <= 2 * slope.uncertainty:
            text = self._explain_uncertainty(slope, eps)
            return InputResult(name, "unclear", error, slope.value, actual, text)
        text = self._explain_difference(slope, actual, eps)
        return InputResult(name, "wrong", error, slope.value, actual, text)

    def curve(self, t: float) -> Vector:
        """f(x + t v), on one axis."""
        return self.probe.forward(self.k, t * self.v)[0].ravel()

    def _explain_break(self, broken: Break, eps: float) -> str:
        """Where f is not smooth, and what to do about it."""
        where = [int(i) for i in np.unravel_index(broken.output, self.probe.y.shape)]
        place = f"x + t v with t = {broken.t:.1e} (eps = {eps:.0e}, {self.label})"
        if broken.kind == "undefined":
            return f"y{where} is NaN or infinite near {place}.\nMove the input away from there."
        lines = [f"{broken.kind} in y{where} at {place}."]
        lines.append(f"Its slope along v is {broken.left:.6g} before and {broken.right:.6g} after.")
        if broken.kind == "jump":
            lines.append("Numbers rounded inside f, to float32 for instance, look like this too.")
        advice = "Finite differences can say nothing about a gradient here: move the input away"
        beside = abs(broken.t) > eps / 16
        lines.append(advice + (", or take a smaller eps." if beside else "."))
        return "\n".join(lines)

    def _explain_rounding(self, slope: Slope, claimed: float, eps: float) -> str:
        """Why a step too small for the numbers at hand shows nothing."""
        return (
            f"With eps = {eps:.0e} rounding hides slopes below {slope.visible:.1e}, and the "
            f"gradient to check is {claimed:.1e} ({self.label}).\n"
            "Scale the inputs or the outputs towards 1, or take a larger eps."
        )

    def _explain_uncertainty(self, slope: Slope, eps: float) -> str:
        """Why nothing can be said although there is no kink."""
        return (
            f"Finite differences with steps up to eps = {eps:.0e} differ among themselves by "
            f"{slope.uncertainty:.1e} ({self.label}).\n"
            "f is too steep for this eps, its curvature jumps here, or it is rounded more than\n"
            "double precision rounds: try another eps, or move the input."
        )

    def _explain_difference(self, slope: Slope, actual: float, eps: float) -> str:
        """Both numbers, and the elements that are to blame."""
        lines = [
            f"Slope of <g, f> along v ({self.label}):",
            f"  expected, from finite differences {slope.value: .12g}",
            f"  actual, from backward             {actual: .12g}",
            "Worst single elements of the gradient:",
        ]
        for index, expected, got in self._worst_elements(eps):
            lines.append(f"  {index}: expected {expected: .9g}, actual {got: .9g}")
        return "\n".join(lines)

    def _worst_elements(self, eps: float) -> list[tuple[list[int], float, float]]:
        """The elements of dx that are furthest off: index, expected, actual.

        The part of the input that contributes most to the difference is split again and again, so
        that a large input costs a few evaluations more, not one an element.
        """
        part = np.arange(self.v.size)
        while part.size > N_PARTS:
            pieces = np.array_split(part, N_PARTS)
            part = max(pieces, key=lambda p: abs(np.subtract(*self._along(p, self.v.flat[p], eps))))
        found = []
        for p in part:
            index = [int(i) for i in np.unravel_index(p, self.v.shape)]
            found.append((index, *self._along(np.array([p]), np.ones(1), eps)))
        return sorted(found, key=lambda e: -abs(e[1] - e[2]))[:N_SHOWN]

    def _along(self, part: Indices, direction: Values, eps: float) -> tuple[float, float]:
        """Slope by finite differences and by backward, where only a part of the input moves."""
        step = np.zeros(self.v.shape)
        step.ravel()[part] = direction
        ahead, behind = (self.probe.forward(self.k, t * step)[0] for t in (eps, -eps))
        return float(np.vdot(self.g, ahead - behind)) / (2 * eps), float(np.vdot(self.dx, step))
