"""The piecewise affine warp: a net of triangles, each with an affine map of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stn_np.checks import check_size
from stn_np.transforms.control_points import ControlPointTransform, regular_grid


class PiecewiseAffine(ControlPointTransform):
    r"""Piecewise affine maps: theta is where each control point is read from, 2 k^2 numbers.

    With the barycentric coordinates b_1, b_2, b_3 of t in its triangle,

    .. math:: s(t) = b_1 \theta_1 + b_2 \theta_2 + b_3 \theta_3, \quad b_1 + b_2 + b_3 = 1.

    Each cell of a regular grid of k x k control points over [-1, 1] is cut in two from its top left
    to its bottom right corner. s(t) is continuous, and its slope jumps at the edges. A point moves
    the triangles round it and nothing else, in contrast to `ThinPlateSpline`. TypeError or
    ValueError if k is no whole number of at least 2.

    **Convention.** As of `ThinPlateSpline`. Source: named in section 3.2 of Jaderberg et al. 2015,
    without a formula; the triangles are ours.
    """

    name = "piecewise-affine"

    def __init__(self, k: int = 4) -> None:
        check_size("k", k, minimum=2)
        self.k = int(k)
        super().__init__(regular_grid(self.k))

    def weights(self, points: NDArray[Any]) -> NDArray[Any]:
        """Phi (k^2, P) at target points (P, 2): barycentric coordinates, three a point."""
        position = (points + 1) / 2 * (self.k - 1)  # in cells
        cell = np.clip(np.floor(position), 0, self.k - 2)  # +1 belongs to the last cell
        u, v = (position - cell).T
        top_left = (cell @ [1, self.k]).astype(np.int64)
        Phi, i = np.zeros((self.k**2, len(points))), np.arange(len(points))
        Phi[top_left, i] = 1 - np.maximum(u, v)
        Phi[top_left + 1, i] = np.maximum(u - v, 0)  # top right, of the upper triangle (u >= v)
        Phi[top_left + self.k, i] = np.maximum(v - u, 0)  # bottom left, of the lower triangle
        Phi[top_left + self.k + 1, i] = np.minimum(u, v)
        return Phi
