"""The attention grid generator: isotropic scale and translation, eq. (2)."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array
from stn_np.transforms.affine import affine_grid


class Attention:
    """The attention family: theta = (s, t_x, t_y) stands for [[s, 0, t_x], [0, s, t_y]], eq. (2).

    It crops a box round (t_x, t_y) whose sides are s times the image's. Called as
    ``grid, backward = Attention()(theta, (H, W))`` with theta (N, 3); see `affine_grid`.
    """

    name = "attention"
    n_params = 3
    identity = np.array([1.0, 0.0, 0.0])
    identity.flags.writeable = False  # all share it

    def __call__(
        self, theta: Array, out_shape: tuple[int, int], *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, 3) to grid (N, H', W', 2); backward(dgrid) returns dtheta (N, 3)."""
        xp = array_module(theta=theta)
        check_array("theta", theta, ("N", self.n_params))
        A = xp.zeros((theta.shape[0], 2, 3), theta.dtype)
        A[:, 0, 0] = A[:, 1, 1] = theta[:, 0]
        A[:, :, 2] = theta[:, 1:]
        grid, grid_backward = affine_grid(A, out_shape, align_corners=align_corners)

        def backward(dgrid: Array) -> Array:
            dA = grid_backward(dgrid)
            dtheta = xp.empty_like(theta)
            dtheta[:, 0] = dA[:, 0, 0] + dA[:, 1, 1]  # s stands in two places
            dtheta[:, 1:] = dA[:, :, 2]
            return dtheta  # type: ignore[no-any-return]

        return grid, backward
