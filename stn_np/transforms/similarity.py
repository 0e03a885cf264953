"""The similarity grid generator: rotation, isotropic scale and translation."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_size_pair
from stn_np.transforms.affine import MatrixFamily
from stn_np.transforms.groups.factors import SimilarityGroup


class Similarity(SimilarityGroup, MatrixFamily):
    r"""The similarity family: theta = (angle, s, t_x, t_y), a rotation and a scale in pixels.

    With angle a, and h/w the image's proportions,

    .. math::

        A_\theta = \begin{pmatrix}
        s \cos a & -s \sin a \cdot h/w & t_x \\ s \sin a \cdot w/h & s \cos a & t_y
        \end{pmatrix}

    **Convention.** The angle is in radians; a positive one turns what one sees counter-clockwise. A
    scale below 1 zooms in. The shifts are in normalised units: half an image is 1. h and w are
    H - 1 and W - 1 with aligned corners, else H and W, of the images that are read: in_shape, in
    pixels, or else the output's.
    """

    name = "similarity"
    n_params = 4
    scale_column = 1
    identity = np.array([0.0, 1.0, 0.0, 0.0])
    identity.flags.writeable = False  # all share it

    def __init__(self, in_shape: tuple[int, int] | None = None) -> None:
        self.in_shape = None if in_shape is None else check_size_pair("in_shape", in_shape)

    def make_matrix(self, theta: Array, h_over_w: float) -> tuple[Array, Backward]:
        """Theta (N, 4) to A (N, 2, 3); backward(dA) returns dtheta (N, 4)."""
        xp = array_module(theta=theta)
        dtype = np.promote_types(theta.dtype, np.float32)
        A = xp.empty((theta.shape[0], 2, 3), dtype)
        angle, s = theta[:, 0].astype(dtype), theta[:, 1].astype(dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # NaN and infinity, as in affine_grid
            cos, sin = xp.cos(angle), xp.sin(angle)
            A[:, 0, 0] = A[:, 1, 1] = s * cos
            A[:, 0, 1], A[:, 1, 0] = -s * sin * h_over_w, s * sin / h_over_w
        A[:, :, 2] = theta[:, 2:]

        def backward(dA: Array) -> Array:
            dtheta = xp.empty(theta.shape, theta.dtype)
            da = dA[:, 0, 0] + dA[:, 1, 1]  # a = s cos stands in two places,
            db = dA[:, 1, 0] / h_over_w - dA[:, 0, 1] * h_over_w  # and so does b = s sin
            dtheta[:, 0] = s * (cos * db - sin * da)
            dtheta[:, 1] = cos * da + sin * db
            dtheta[:, 2:] = dA[:, :, 2]
            return dtheta  # type: ignore[no-any-return]

        return A, backward
