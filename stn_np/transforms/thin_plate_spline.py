"""The thin plate spline: the smoothest warp that takes control points where theta says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array, to_numpy
from stn_np.checks import check_array, check_scalar, check_size
from stn_np.transforms.control_points import ControlPointTransform, regular_grid

#: Rounding grows by this factor at most, in the 1-norm: to 1e-6 in float64.
MAX_CONDITION = 1e10


class ThinPlateSpline(ControlPointTransform):
    r"""Thin plate splines: theta is where each control point is read from, 2 K numbers.

    Each coordinate of the source point is the height of a thin metal plate held at the points. With
    :math:`\varphi(r) = r^2 \log r^2` and :math:`\varphi(0) = 0`,

    .. math:: s(t) = a_0 + a_1 x + a_2 y + \sum_k w_k\, \varphi(\lVert t - c_k \rVert)

    .. math:: s(c_k) + \lambda w_k = \theta_k, \quad \sum_k w_k = 0, \quad \sum_k w_k c_k = 0

    These K + 3 equations are solved once, for a unit displacement of each control point. The result
    at the pixels are the weights Phi in s = t + Phi(t) (theta - c). TypeError or ValueError if the
    points do not determine the spline: fewer than 3, all on one line, two in one place, in pixels.

    **Convention.** The control points lie in the *target*; theta is the *source* position, as
    (x, y), point after point, those of a regular grid row after row.

    Source: F. L. Bookstein, Principal warps, IEEE PAMI 11(6), 1989. SciPy's `RBFInterpolator` has
    half of our phi, so that its smoothing is half of our lambda.

    Parameters
    ----------
    control_points : int or Array
        k, for the regular grid of k x k points over [-1, 1] (the paper has 4); or target positions
        (K, 2), each (x, y), in normalised coordinates.
    regularisation : float
        lambda >= 0. At 0 the warp takes each point exactly to its theta. Above, it bends less, and
        tends to the affine map of least squares. Affine maps stay exact.
    """

    name = "tps"

    def __init__(self, control_points: int | Array = 4, *, regularisation: float = 0.0) -> None:
        super().__init__(_as_points(control_points))
        check_scalar("regularisation", regularisation)
        if not 0 <= regularisation < np.inf:
            raise ValueError(f"regularisation: expected at least 0, got {regularisation!r}")
        self.regularisation = regularisation
        c, K = self.control_points, len(self.control_points)
        # a_0, a_1, a_2 in units that keep the system well scaled where lambda is large.
        self._scale = 1.0 + regularisation
        P = self._scale * np.column_stack([np.ones(K), c])
        with np.errstate(over="ignore", invalid="ignore"):  # then L is not finite
            bending = _radial(c, c) + regularisation * np.eye(K)
        L = np.block([[bending, P], [P.T, np.zeros((3, 3))]])
        inverse, condition = _inverse(L)
        if not condition <= MAX_CONDITION:
            raise ValueError(
                "control_points: expected at least 3 distinct points that are not all on one line, "
                "in normalised coordinates (-1 to 1 is the image), got coordinates of size up to "
                f"{np.abs(c).max(initial=0):.1e} and a system with condition number {condition:.1e}"
            )
        # w and a for a unit displacement of each control point: (K + 3, K)
        self._responses = inverse[:, :K]

    def weights(self, points: NDArray[Any]) -> NDArray[Any]:
        """Phi (K, P) at target points (P, 2): the spline of each unit displacement there."""
        affine = self._scale * np.column_stack([np.ones(len(points)), points])
        features = np.concatenate([_radial(self.control_points, points), affine.T])
        return self._responses.T @ features  # type: ignore[no-any-return]


def _inverse(L: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """The inverse and the condition number in the 1-norm; infinite if there is no inverse."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            inverse = np.linalg.inv(L)
            condition = float(np.linalg.norm(L, 1) * np.linalg.norm(inverse, 1))
    except np.linalg.LinAlgError:
        return L, np.inf
    return inverse, condition if np.isfinite(condition) else np.inf


def _radial(c: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
    """phi(|t_j - c_k|) = r^2 log r^2, for all pairs: (K, P)."""
    r2 = ((c[:, None] - t) ** 2).sum(axis=-1)
    return r2 * np.log(np.where(r2 > 0, r2, 1.0))  # type: ignore[no-any-return]


def _as_points(control_points: int | Array) -> NDArray[Any]:
    """The control points as an array (K, 2), checked."""
    if isinstance(control_points, int | np.integer):
        check_size("control_points", control_points, minimum=2)
        return regular_grid(int(control_points))
    check_array("control_points", control_points, ("K", 2))
    points = to_numpy(control_points)
    if not np.isfinite(points).all():
        raise ValueError("control_points: expected finite numbers, got NaN or infinity")
    return points
