"""The translation grid generator."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.transforms.affine import MatrixFamily
from stn_np.transforms.groups.factors import TranslationGroup


class Translation(TranslationGroup, MatrixFamily):
    r"""The family of shifts: theta = (t_x, t_y), in normalised units (half an image is 1).

    .. math:: x^s = x^t + t_x, \quad y^s = y^t + t_y
    """

    name = "translation"
    n_params = 2
    identity = np.zeros(2)
    identity.flags.writeable = False  # all share it

    def make_matrix(self, theta: Array, h_over_w: float) -> tuple[Array, Backward]:
        """Theta (N, 2) to A (N, 2, 3); backward(dA) returns dtheta (N, 2)."""
        xp = array_module(theta=theta)
        A = xp.zeros((theta.shape[0], 2, 3), np.promote_types(theta.dtype, np.float32))
        A[:, 0, 0] = A[:, 1, 1] = 1
        A[:, :, 2] = theta

        def backward(dA: Array) -> Array:
            return dA[:, :, 2].astype(theta.dtype)

        return A, backward
