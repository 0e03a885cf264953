"""The similarity grid generator: rotation, isotropic scale and translation."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array, check_gradient, check_size_pair
from stn_np.transforms.affine import MatrixFamily
from stn_np.transforms.groups import PairBackward, check_pair, check_scales


def proportion(
    in_shape: tuple[int, int] | None, out_shape: tuple[int, int] | None, align_corners: bool
) -> float:
    """How many pixels high an image is for one pixel of width, between its points -1 and +1.

    Parameters
    ----------
    in_shape, out_shape
        (height, width) of the input if it is known, else the output stands for it.
    align_corners
        True: the points -1 and +1 are the centres of the outermost pixels, False: their outer
        edges. An axis of one pixel counts as one wide either way.

    Raises
    ------
    TypeError, ValueError
        If neither shape is given, or out_shape is no pair of positive whole numbers.
    """
    if out_shape is not None:
        check_size_pair("out_shape", out_shape)
    shape = out_shape if in_shape is None else in_shape
    if shape is None:
        raise ValueError(
            "out_shape: expected (height, width), since a rotation depends on the image's "
            "proportions, got None; give it here, or in_shape to the transform"
        )
    H, W = shape
    return max(H - 1, 1) / max(W - 1, 1) if align_corners else H / W


class Similarity(MatrixFamily):
    r"""The similarity family: theta = (angle, s, t_x, t_y), a rotation and a scale in pixels.

    Called as ``grid, backward = Similarity()(theta, (H, W))`` with theta (N, 4); see
    `stn_np.affine_grid`.

    Parameters
    ----------
    in_shape : tuple of int, optional
        (H, W) of the images that are read, in pixels. By default the output's, which is right
        wherever the output has the input's size or, without aligned corners, its proportions.

    Raises
    ------
    TypeError, ValueError
        If in_shape is no pair of positive whole numbers.

    Notes
    -----
    With angle a, and h/w the image's proportions,

    .. math::

        A_\theta = \begin{pmatrix}
        s \cos a & -s \sin a \cdot h/w & t_x \\ s \sin a \cdot w/h & s \cos a & t_y
        \end{pmatrix}

    **Convention.** The angle is in radians; a positive one turns what one sees counter-clockwise. A
    scale below 1 zooms in. The shifts are in normalised units: half an image is 1. As the
    coordinates of both axes run over [-1, 1], a turn in pixels is the matrix above: h and w are
    H - 1 and W - 1 with aligned corners, else H and W.
    """

    name = "similarity"
    n_params = 4
    scale_column = 1
    identity = np.array([0.0, 1.0, 0.0, 0.0])
    identity.flags.writeable = False  # all share it

    def __init__(self, in_shape: tuple[int, int] | None = None) -> None:
        self.in_shape = None if in_shape is None else check_size_pair("in_shape", in_shape)

    def matrix(
        self, theta: Array, out_shape: tuple[int, int] | None, *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, 4) to A (N, 2, 3); backward(dA) returns dtheta (N, 4)."""
        xp = array_module(theta=theta)
        check_array("theta", theta, ("N", self.n_params))
        h_over_w = proportion(self.in_shape, out_shape, align_corners)
        dtype = np.promote_types(theta.dtype, np.float32)
        A = xp.empty((theta.shape[0], 2, 3), dtype)
        angle, s = theta[:, 0].astype(dtype), theta[:, 1].astype(dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # NaN and infinity, as in affine_grid
            cos, sin = xp.cos(angle), xp.sin(angle)
            A[:, 0, 0] = A[:, 1, 1] = s * cos
            A[:, 0, 1], A[:, 1, 0] = -s * sin * h_over_w, s * sin / h_over_w
        A[:, :, 2] = theta[:, 2:]

        @np.errstate(over="ignore", invalid="ignore")
        def backward(dA: Array) -> Array:
            check_gradient("dA", dA, A)
            dtheta = xp.empty(theta.shape, theta.dtype)
            da = dA[:, 0, 0] + dA[:, 1, 1]  # a = s cos stands in two places,
            db = dA[:, 1, 0] / h_over_w - dA[:, 0, 1] * h_over_w  # and so does b = s sin
            dtheta[:, 0] = s * (cos * db - sin * da)
            dtheta[:, 1] = cos * da + sin * db
            dtheta[:, 2:] = dA[:, :, 2]
            return dtheta  # type: ignore[no-any-return]

        return A, backward

    def compose(
        self,
        outer: Array,
        inner: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
    ) -> tuple[Array, PairBackward]:
        """The theta of T_outer(T_inner(t)); see `stn_np.transforms.Group`.

        The proportions of the image are needed: from out_shape, or the family's own in_shape.
        """
        xp = check_pair(outer, inner, self.n_params)
        A, matrix_backward = self.matrix(outer, out_shape, align_corners=align_corners)
        L, t = A[:, :, :2], inner[:, 2:, None]
        theta = xp.empty(outer.shape, outer.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            theta[:, 0] = outer[:, 0] + inner[:, 0]
            theta[:, 1] = outer[:, 1] * inner[:, 1]
            theta[:, 2:] = (L @ t)[:, :, 0] + A[:, :, 2]

        @np.errstate(over="ignore", invalid="ignore")
        def backward(dtheta: Array) -> tuple[Array, Array]:
            check_gradient("dtheta", dtheta, theta)
            dt, dA = dtheta[:, 2:, None], xp.empty_like(A)
            dA[:, :, :2], dA[:, :, 2:] = dt * t.swapaxes(1, 2), dt
            douter, dinner = matrix_backward(dA), xp.empty_like(inner)
            douter[:, 0] += dtheta[:, 0]
            douter[:, 1] += dtheta[:, 1] * inner[:, 1]
            dinner[:, 0] = dtheta[:, 0]
            dinner[:, 1] = dtheta[:, 1] * outer[:, 1]
            dinner[:, 2:] = (L.swapaxes(1, 2) @ dt)[:, :, 0]
            return douter, dinner

        return theta, backward

    def inverse(
        self,
        theta: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
    ) -> tuple[Array, Backward]:
        """The theta of the inverse map; see `stn_np.transforms.Group`. A scale of 0 is refused.

        The proportions of the image are needed: from out_shape, or the family's own in_shape.
        """
        xp = array_module(theta=theta)
        check_array("theta", theta, ("N", self.n_params))
        check_scales(theta[:, 1])
        inverse = xp.zeros(theta.shape, theta.dtype)
        inverse[:, 0], inverse[:, 1] = -theta[:, 0], 1 / theta[:, 1]
        A, matrix_backward = self.matrix(inverse, out_shape, align_corners=align_corners)
        L, t = A[:, :, :2], theta[:, 2:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            inverse[:, 2:] = -(L @ t)[:, :, 0]

        @np.errstate(over="ignore", invalid="ignore")
        def backward(dinverse: Array) -> Array:
            check_gradient("dinverse", dinverse, inverse)
            dt, dA = dinverse[:, 2:, None], xp.zeros_like(A)
            dA[:, :, :2] = -dt * t.swapaxes(1, 2)
            through_L, dtheta = matrix_backward(dA), xp.empty_like(theta)
            dtheta[:, 0] = -(dinverse[:, 0] + through_L[:, 0])
            # Divided twice: the square of a small scale may be 0.
            dtheta[:, 1] = -(dinverse[:, 1] + through_L[:, 1]) / theta[:, 1] / theta[:, 1]
            dtheta[:, 2:] = -(L.swapaxes(1, 2) @ dt)[:, :, 0]
            return dtheta  # type: ignore[no-any-return]

        return inverse, backward
