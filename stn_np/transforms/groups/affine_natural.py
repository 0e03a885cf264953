"""The affine family by its factors: angle, scales, shear and translation."""

from __future__ import annotations

from typing import Any

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_size_pair
from stn_np.transforms.affine import Affine, MatrixFamily
from stn_np.transforms.groups.group import Group, PairBackward, Size, refuse
from stn_np.transforms.groups.log_scale import scale_of_log
from stn_np.transforms.target_grid import proportion


class AffineNatural(Group, MatrixFamily):
    r"""The affine family as theta = (angle, log s_x, log s_y, shear, t_x, t_y).

    It has all affine maps that do not mirror, each once but for full turns, and its identity is all
    zeros. In pixels, with angle a and shear m, the linear part of the map is

    .. math::

        \begin{pmatrix} \cos a & -\sin a \\ \sin a & \cos a \end{pmatrix}
        \begin{pmatrix} 1 & m \\ 0 & 1 \end{pmatrix}
        \begin{pmatrix} s_x & 0 \\ 0 & s_y \end{pmatrix}

    **Convention.** Target points are first scaled, then sheared, turned and shifted. Angle, shear
    and scales are those that one sees in pixels, the shifts are in normalised units; see
    `Similarity`, also for in_shape.
    """

    name = "affine-natural"
    n_params = 6
    identity = np.zeros(6)
    identity.flags.writeable = False  # all share it

    def __init__(self, in_shape: tuple[int, int] | None = None) -> None:
        self.in_shape = None if in_shape is None else check_size_pair("in_shape", in_shape)

    def make_matrix(self, theta: Array, h_over_w: float) -> tuple[Array, Backward]:
        """Theta (N, 6) to A (N, 2, 3); backward(dA) returns dtheta (N, 6)."""
        xp = array_module(theta=theta)
        dtype = np.promote_types(theta.dtype, np.float32)
        angle, shear = theta[:, 0].astype(dtype), theta[:, 3].astype(dtype)
        sx, sx_slope = scale_of_log(xp, theta[:, 1])
        sy, sy_slope = scale_of_log(xp, theta[:, 2])
        with np.errstate(over="ignore", invalid="ignore"):  # NaN and infinity, as in affine_grid
            cos, sin = xp.cos(angle), xp.sin(angle)
            cos_y, sin_y = shear * cos - sin, shear * sin + cos  # where the y axis points
            a, b = sx * cos, sy * cos_y
            c, d = sx * sin, sy * sin_y
            A = xp.empty((theta.shape[0], 2, 3), dtype)
            A[:, 0, 0], A[:, 0, 1] = a, b * h_over_w
            A[:, 1, 0], A[:, 1, 1] = c / h_over_w, d
        A[:, :, 2] = theta[:, 4:]

        def backward(dA: Array) -> Array:
            da, db, dc, dd = (
                dA[:, 0, 0],
                dA[:, 0, 1] * h_over_w,
                dA[:, 1, 0] / h_over_w,
                dA[:, 1, 1],
            )
            dtheta = xp.empty(theta.shape, theta.dtype)
            dtheta[:, 0] = a * dc - c * da + b * dd - d * db  # (a, c) turns towards (-c, a)
            dtheta[:, 1] = sx_slope * (cos * da + sin * dc)
            dtheta[:, 2] = sy_slope * (cos_y * db + sin_y * dd)
            dtheta[:, 3] = sy * (cos * db + sin * dd)
            dtheta[:, 4:] = dA[:, :, 2]
            return dtheta  # type: ignore[no-any-return]

        return A, backward

    def _compose(
        self, outer: Array, inner: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, PairBackward]:
        rule = {"align_corners": align_corners}
        A_outer, outer_backward = self.matrix(outer, out_shape, **rule)
        A_inner, inner_backward = self.matrix(inner, out_shape, **rule)
        C, compose_backward = Affine().compose(A_outer.reshape(-1, 6), A_inner.reshape(-1, 6))
        theta, factors_backward = self._factors(C, outer.dtype, out_shape, **rule)

        def backward(dtheta: Array) -> tuple[Array, Array]:
            dA_outer, dA_inner = compose_backward(factors_backward(dtheta))
            return (
                outer_backward(dA_outer.reshape(A_outer.shape)),
                inner_backward(dA_inner.reshape(A_inner.shape)),
            )

        return theta, backward

    def _inverse(
        self, theta: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, Backward]:
        rule = {"align_corners": align_corners}
        A, matrix_backward = self.matrix(theta, out_shape, **rule)
        X, inverse_backward = Affine().inverse(A.reshape(-1, 6))
        inverse, factors_backward = self._factors(X, theta.dtype, out_shape, **rule)

        def backward(dinverse: Array) -> Array:
            dA = inverse_backward(factors_backward(dinverse))
            return matrix_backward(dA.reshape(A.shape))

        return inverse, backward

    @np.errstate(over="ignore", invalid="ignore")
    def _factors(
        self,
        A: Array,
        dtype: np.dtype[Any],
        out_shape: tuple[int, int] | None,
        *,
        align_corners: bool,
    ) -> tuple[Array, Backward]:
        """Matrices (N, 6) to theta, the inverse of `matrix`; backward(dtheta) returns dA.

        With the linear map [[a, b], [c, d]] in pixels and D its determinant: the x axis gives the
        angle and s_x^2 = a^2 + c^2, then s_y = D / s_x, and shear = (a b + c d) / D.
        """
        xp = array_module(A=A)
        h_over_w = proportion(self.in_shape, out_shape, align_corners)
        wide = A.astype(np.float64)  # D is of fourth order in e^40
        a, b, c, d = wide[:, 0], wide[:, 1] / h_over_w, wide[:, 3] * h_over_w, wide[:, 4]
        D, sx2 = a * d - b * c, a * a + c * c
        expected = "theta: expected maps with a finite determinant above 0"
        refuse(~((D > 0) & (D < np.inf)), expected, "determinant", D)
        shear = (a * b + c * d) / D
        theta = xp.empty(A.shape, dtype)
        theta[:, 0], theta[:, 1] = xp.arctan2(c, a), xp.log(sx2) / 2
        theta[:, 2], theta[:, 3] = xp.log(D) - xp.log(sx2) / 2, shear
        theta[:, 4], theta[:, 5] = A[:, 2], A[:, 5]

        @np.errstate(over="ignore", invalid="ignore")
        def backward(dtheta: Array) -> Array:
            dangle, dlog_sx, dlog_sy, dshear = dtheta[:, :4].astype(np.float64).T
            dlog_sx = (dlog_sx - dlog_sy) / sx2  # of (log s_x^2) / 2, in whose place 1/s_x^2 stands
            dangle, dshear = dangle / sx2, dshear / D
            dD = dlog_sy / D - dshear * shear
            dA = xp.empty(A.shape, A.dtype)
            dA[:, 0] = dlog_sx * a - dangle * c + dshear * b + dD * d
            dA[:, 1] = (dshear * a - dD * c) / h_over_w
            dA[:, 3] = (dlog_sx * c + dangle * a + dshear * d - dD * b) * h_over_w
            dA[:, 4] = dshear * c + dD * a
            dA[:, 2], dA[:, 5] = dtheta[:, 4], dtheta[:, 5]
            return dA  # type: ignore[no-any-return]

        return theta, backward
