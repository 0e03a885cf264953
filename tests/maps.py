"""The maps of the families as their definitions say, for one point: what the grids must follow."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, exp, sin
from typing import Any

import numpy as np

#: theta, a target point, and how far it is from -1 to +1 in pixels along x and y: a source point.
Map = Callable[[Any, Any, tuple[float, float]], tuple[float, ...]]


def extent(shape: tuple[int, int], corners: bool) -> tuple[float, float]:
    """(width, height) from -1 to +1, in pixels; at least 1."""
    H, W = shape
    return (max(W - 1, 1), max(H - 1, 1)) if corners else (W, H)


def translation(theta: Any, p: Any, size: tuple[float, float]) -> tuple[float, ...]:
    return p[0] + theta[0], p[1] + theta[1]


def attention(theta: Any, p: Any, size: tuple[float, float]) -> tuple[float, ...]:
    s, tx, ty = theta
    return s * p[0] + tx, s * p[1] + ty


def similarity(theta: Any, p: Any, size: tuple[float, float]) -> tuple[float, ...]:
    """In pixels from the middle: scale, turn; then shift in normalised units."""
    angle, s, tx, ty = theta
    w, h = size
    x, y = s * p[0] * w / 2, s * p[1] * h / 2
    x, y = cos(angle) * x - sin(angle) * y, sin(angle) * x + cos(angle) * y
    return 2 * x / w + tx, 2 * y / h + ty


def affine_natural(theta: Any, p: Any, size: tuple[float, float]) -> tuple[float, ...]:
    """In pixels from the middle: scale, shear, turn; then shift in normalised units."""
    angle, log_sx, log_sy, shear, tx, ty = theta
    w, h = size
    x, y = exp(log_sx) * p[0] * w / 2, exp(log_sy) * p[1] * h / 2
    x = x + shear * y
    return similarity((angle, 1, tx, ty), (2 * x / w, 2 * y / h), size)


def affine(theta: Any, p: Any, size: tuple[float, float]) -> tuple[float, ...]:
    a, b, tx, c, d, ty = theta
    return a * p[0] + b * p[1] + tx, c * p[0] + d * p[1] + ty


def projective(theta: Any, p: Any, size: tuple[float, float]) -> tuple[float, ...]:
    a, b, c, d, e, f, g, h = theta
    x, y = p
    w = g * x + h * y + 1
    return (a * x + b * y + c) / w, (d * x + e * y + f) / w


def affine3d(theta: Any, p: Any, size: tuple[float, float]) -> tuple[float, ...]:
    return tuple(
        row[0] * p[0] + row[1] * p[1] + row[2] * p[2] + row[3]
        for row in np.asarray(theta).reshape(3, 4)
    )


#: Every family of the plane that is given by a formula.
MAPS: dict[str, Map] = {
    "translation": translation,
    "attention": attention,
    "attention-log": lambda t, p, size: attention((exp(t[0]), *t[1:]), p, size),
    "similarity": similarity,
    "similarity-log": lambda t, p, size: similarity((t[0], exp(t[1]), *t[2:]), p, size),
    "affine": affine,
    "affine-natural": affine_natural,
    "projective": projective,
}
