"""What a sampling kernel is, and how it weighs the pixels round a point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.checks import check_array, check_flag, check_scalar

#: A wider kernel is certainly a mistake: it would read more than 10,000 pixels for each point.
MAX_RADIUS = 64


@dataclass(frozen=True)
class Kernel:
    """A kernel for one axis: k(d; Phi) of eq. (3), with d = x - m in pixels.

    Pass it to `stn_np.grid_sample` as ``mode``, or one for each axis as a tuple (x, y) or
    (x, y, z).

    Attributes
    ----------
    k : callable
        From an array of distances d = x - m, point minus pixel, to the weights; vectorised.
    k_slope : callable
        dk/dd in the same manner; where k has a kink, the right derivative.
    radius : float
        In pixels: k is read at ``-radius <= d < radius`` only, and counts as 0 elsewhere.
    normalise : bool
        Divide the weights of each point by their sum, so that constant images stay constant. For
        kernels that are no partition of unity. The derivative takes it into account.

    Raises
    ------
    TypeError, ValueError
        If k or k_slope is no function from arrays to finite arrays of the same shape, or changes
        the array that it is given; if the radius is not between 0 and 64; if weights are to be
        normalised whose sum is 0 for some point.

    Notes
    -----
    A point x reads the ``ceil(2 radius)`` pixels from ``m = floor(x - radius) + 1`` on. Radius 1/2
    gives one pixel, floor(x + 1/2), as in eq. (4); radius 1 two, as in eq. (5).
    """

    k: Callable[[Array], Array]
    k_slope: Callable[[Array], Array]
    radius: float
    normalise: bool = False

    def __post_init__(self) -> None:
        """Try both functions once, so that mistakes show here and not inside a sampler."""
        check_scalar("radius", self.radius)
        check_flag("normalise", self.normalise)
        object.__setattr__(self, "radius", float(self.radius))
        if not 0 < self.radius <= MAX_RADIUS:
            raise ValueError(
                f"radius: expected above 0 and at most {MAX_RADIUS} pixels, got {self.radius!r}"
            )
        d = np.linspace(-float(self.radius), float(self.radius), 24, endpoint=False).reshape(2, 12)
        for name, function in (("k", self.k), ("k_slope", self.k_slope)):
            if not callable(function):
                raise TypeError(f"{name}: expected a function, got {function!r}")
            given = d.copy()
            try:
                value = function(given)
            except Exception as error:
                raise TypeError(
                    f"{name}: expected a function of an array of distances, got one that fails on "
                    f"it ({type(error).__name__}: {error})"
                ) from error
            if not np.array_equal(given, d):
                raise ValueError(f"{name}: expected a function that leaves d as it is")
            if not isinstance(value, np.ndarray):
                raise TypeError(f"{name}: expected an array for an array, got {value!r:.60}")
            check_array(name, value, d.shape)
            if not np.isfinite(value).all():
                raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")

        if self.normalise:
            self._check_sums()

    def _check_sums(self) -> None:
        """Weights are divided by their sum, so wherever a point lies it must not be 0."""
        x = np.linspace(0, 1, 32, endpoint=False)
        weights = np.array(weigh(replace(self, normalise=False), x, needs_slopes=False).weights)
        sums, least = weights.sum(axis=0), 1e-9 * abs(weights).max()
        if not ((sums > least).all() or (sums < -least).all()):
            raise ValueError(
                "k: expected weights whose sum is never 0, for normalise=True, got sums from "
                f"{sums.min():.3g} to {sums.max():.3g}"
            )

    def __repr__(self) -> str:
        # The function itself, or the one that made it: "gaussian.<locals>.k".
        name = getattr(self.k, "__qualname__", "").split(".")[0].strip("_")
        name = f"{name}, " if name.isidentifier() else ""
        return f"Kernel({name}radius={self.radius:g}{', normalise=True' * bool(self.normalise)})"

    def __call__(self, d: Array) -> Array:
        """The weight k(d) at any d, as one would draw it: 0 where the sampler does not read."""
        xp = array_module(d=d)
        inside = (d >= -self.radius) & (d < self.radius)
        weights: Array = xp.where(inside, self.k(xp.where(inside, d, xp.zeros_like(d))), 0)
        return weights

    @property
    def n_taps(self) -> int:
        """How many pixels a point reads along the axis."""
        return ceil(2 * self.radius)


class Weighed(NamedTuple):
    """What a kernel says about the points of one axis."""

    first: Array  # the first pixel that each point reads: a whole number, as float
    weights: list[Array]  # k(x - m) for m = first, first + 1, ...
    slopes: list[Array]  # their derivatives in x; empty if not asked for


def weigh(kernel: Kernel, x: Array, *, needs_slopes: bool) -> Weighed:
    """Which pixels the points x (any shape, in pixels) read along an axis, and how they weigh."""
    xp = array_module(x=x)
    first = xp.floor(x - kernel.radius) + 1
    distances = [x - first - j for j in range(kernel.n_taps)]
    last = distances[-1]
    if kernel.n_taps > 2 * kernel.radius:  # of some points the last tap lies beyond the radius
        distances[-1] = xp.maximum(last, xp.full_like(last, -kernel.radius))
    weights = [kernel.k(d) for d in distances]
    slopes = [kernel.k_slope(d) for d in distances] if needs_slopes else []
    if kernel.n_taps > 2 * kernel.radius:
        for values in (weights, slopes)[: 1 + needs_slopes]:
            values[-1] = values[-1] * (last >= -kernel.radius)
    if kernel.normalise:
        total = sum(weights[1:], weights[0])
        weights = [w / total for w in weights]
        if slopes:  # (k / sum k)' = (k' - (k / sum k) sum k') / sum k
            change = sum(slopes[1:], slopes[0])
            slopes = [(s - w * change) / total for s, w in zip(slopes, weights, strict=True)]
    return Weighed(first, weights, slopes)
