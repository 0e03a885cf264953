"""The affine grid generator for volumes, eq. (10)."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array
from stn_np.transforms.affine import affine_grid
from stn_np.transforms.groups import MatrixGroup


class Affine3d(MatrixGroup):
    r"""The affine family of volumes: theta is the matrix (3, 4) of eq. (10), row by row.

    Called as ``grid, backward = Affine3d()(theta, (D, H, W))`` with theta (N, 12) and the grid
    (N, D, H, W, 3), last axis (x, y, z); see `stn_np.affine_grid`.

    Notes
    -----
    .. math:: (x^s, y^s, z^s)^T = \Theta\, (x^t, y^t, z^t, 1)^T \tag{10}
    """

    name = "affine3d"
    n_params = 12
    n_rows = 4
    n_dims = 3
    identity = np.eye(3, 4).ravel()
    identity.flags.writeable = False  # all share it

    def __call__(
        self, theta: Array, out_shape: tuple[int, int, int], *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, 12) to grid (N, D, H, W, 3); backward(dgrid) returns dtheta (N, 12)."""
        array_module(theta=theta)
        check_array("theta", theta, ("N", self.n_params))
        N = theta.shape[0]
        grid, grid_backward = affine_grid(
            theta.reshape(N, 3, 4), out_shape, align_corners=align_corners
        )

        def backward(dgrid: Array) -> Array:
            return grid_backward(dgrid).reshape(N, self.n_params)

        return grid, backward
