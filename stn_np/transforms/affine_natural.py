"""The affine family by its factors: angle, scales, shear and translation."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array, check_size_pair, pullback
from stn_np.transforms.affine import MatrixFamily
from stn_np.transforms.groups.natural import AffineNaturalGroup
from stn_np.transforms.log_scale import scale_of_log
from stn_np.transforms.target_grid import proportion


class AffineNatural(AffineNaturalGroup, MatrixFamily):
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

    def matrix(
        self, theta: Array, out_shape: tuple[int, int] | None, *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, 6) to A (N, 2, 3); backward(dA) returns dtheta (N, 6)."""
        xp = array_module(theta=theta)
        check_array("theta", theta, ("N", self.n_params))
        h_over_w = proportion(self.in_shape, out_shape, align_corners)
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

        @pullback(dA=A)
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
