"""The attention grid generator: isotropic scale and translation, eq. (2)."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.transforms.affine import MatrixFamily
from stn_np.transforms.groups.factors import AttentionGroup


class Attention(AttentionGroup, MatrixFamily):
    r"""The attention family: theta = (s, t_x, t_y) crops a box, eq. (2).

    .. math:: A_\theta = \begin{pmatrix} s & 0 & t_x \\ 0 & s & t_y \end{pmatrix} \tag{2}

    The box lies round (t_x, t_y), and its sides are s times the image's.
    """

    name = "attention"
    n_params = 3
    scale_column = 0
    identity = np.array([1.0, 0.0, 0.0])
    identity.flags.writeable = False  # all share it

    def make_matrix(self, theta: Array, h_over_w: float) -> tuple[Array, Backward]:
        """Theta (N, 3) to A (N, 2, 3); backward(dA) returns dtheta (N, 3)."""
        xp = array_module(theta=theta)
        A = xp.zeros((theta.shape[0], 2, 3), np.promote_types(theta.dtype, np.float32))
        A[:, 0, 0] = A[:, 1, 1] = theta[:, 0]
        A[:, :, 2] = theta[:, 1:]

        def backward(dA: Array) -> Array:
            dtheta = xp.empty(theta.shape, theta.dtype)
            dtheta[:, 0] = dA[:, 0, 0] + dA[:, 1, 1]  # s stands in two places
            dtheta[:, 1:] = dA[:, :, 2]
            return dtheta  # type: ignore[no-any-return]

        return A, backward
