"""A characteristic theta for every family of transformations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, log, pi, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stn_np.plots.gallery_page import require_all
from stn_np.transforms import FAMILIES, Transform
from stn_np.transforms.target_grid import homogeneous_grid

Theta = NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """One warp, under all names that can say it.

    Attributes
    ----------
    does : str
        What one sees.
    theta : str
        What the numbers are, and what they are under the other names.
    thetas : dict
        For each family's name a function from the family to theta (n_params,). All give the same
        warp: the first is drawn.
    """

    does: str
    theta: str
    thetas: dict[str, Callable[[Transform], Theta]]


def _constant(*theta: float) -> Callable[[Transform], Theta]:
    return lambda _: np.array(theta)


#: Angle, log s_x, log s_y, shear, t_x, t_y.
SHEARED = (radians(-15), log(0.8), log(0.7), 0.35, 0.0, 0.0)


def _sheared(_: Transform) -> Theta:
    """`SHEARED` as a matrix, row by row; the image is square."""
    angle, log_sx, log_sy, shear, tx, ty = SHEARED
    turn = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
    A = turn @ np.array([[1, shear], [0, 1]]) @ np.diag(np.exp([log_sx, log_sy]))
    return np.column_stack([A, (tx, ty)]).ravel()


def _turned_middle(family: Transform) -> Theta:
    """Control points: the middle four turn, those at the rim stay."""
    points = family.identity.reshape(-1, 2).copy()
    a = radians(50)
    middle = np.abs(points).max(axis=1) < 0.9
    points[middle] = points[middle] @ np.array([[cos(a), sin(a)], [-sin(a), cos(a)]])
    return points.ravel()


def _ripple(family: Any) -> Theta:
    """A displacement to the side that swings with the height."""
    H, W = family.out_shape
    _, y, _ = homogeneous_grid(np, (H, W), align_corners=True, dtype=np.float64)
    return np.concatenate([0.13 * np.sin(3 * pi * y), np.zeros(H * W)])


def _bend(family: Transform) -> Theta:
    """Of the basis 1, x, y, x^2, xy, y^2: y_s = y - 0.4 x^2 + 0.15."""
    M = family.identity.reshape(2, -1).copy()
    M[1, 0], M[1, 3] = 0.15, -0.4
    return M.ravel()


#: Every family, from the simple to the general.
EXAMPLES = (
    Example("moves", "$t_x$, $t_y$", {"translation": _constant(0.2, -0.12)}),
    Example(
        "crops and enlarges",
        "s, $t_x$, $t_y$; attention-log: log s",
        {
            "attention": _constant(0.5, 0.1, -0.3),
            "attention-log": _constant(log(0.5), 0.1, -0.3),
        },
    ),
    Example(
        "turns as well",
        "angle, s, $t_x$, $t_y$; similarity-log: log s",
        {
            "similarity": _constant(radians(30), 0.75, 0.05, 0.0),
            "similarity-log": _constant(radians(30), log(0.75), 0.05, 0.0),
        },
    ),
    Example(
        "shears as well; parallels stay parallel",
        "2 × 3 matrix; affine-natural: factors",
        {"affine": _sheared, "affine-natural": _constant(*SHEARED)},
    ),
    Example(
        "as in perspective: parallels may meet",
        "3 × 3 matrix but for its last entry, 1",
        {"projective": _constant(0.72, 0, 0, 0, 0.98, 0.35, 0, 0.4)},
    ),
    Example(
        "bends smoothly; here turns its middle",
        "where each of 4 × 4 points is read",
        {"tps": _turned_middle},
    ),
    Example(
        "an affine map in each triangle: kinks",
        "as for tps; here the same numbers",
        {"piecewise-affine": _turned_middle},
    ),
    Example(
        "T = M B with any basis B",
        "M; here B = (1, x, y, x², xy, y²)",
        {"linear-basis": _bend},
    ),
    Example(
        "moves every pixel by itself",
        "2 H′W′ displacements; here a ripple",
        {"flow": _ripple},
    ),
)


def examples() -> tuple[Example, ...]:
    """All examples.

    Raises
    ------
    ValueError
        If a family has none, or one has no family.
    """
    require_all("family", [name for e in EXAMPLES for name in e.thetas], FAMILIES)
    return EXAMPLES
