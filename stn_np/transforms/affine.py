"""The affine grid generator, eq. (1)."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array, check_gradient, check_size_pair
from stn_np.transforms.target_grid import homogeneous_grid


def affine_grid(
    theta: Array, out_shape: tuple[int, int], *, align_corners: bool = True
) -> tuple[Array, Backward]:
    """Source coordinates of every output pixel under an affine map, eq. (1).

    Parameters
    ----------
    theta : Array
        (N, 2, 3): for each image [[t11, t12, t13], [t21, t22, t23]].
    out_shape : tuple of int
        (H', W') of the output, in pixels.
    align_corners : bool
        Which points of the image -1 and +1 are; see Convention.

    Returns
    -------
    grid : Array
        (N, H', W', 2), last axis (x, y). The dtype is theta's, float32 at least. In *memory* all x
        of an image come before all y, which is the order in which they are made and read.
    backward : callable
        backward(dgrid) with dgrid (N, H', W', 2) returns dtheta (N, 2, 3).

    Raises
    ------
    TypeError
        If theta is no floating-point array, or out_shape no pair.
    ValueError
        If a shape does not fit.

    Notes
    -----
    **Convention.** The map goes *backward*, from target to source: theta says where in the input
    each output pixel is read. A scale below 1 therefore zooms in. Coordinates run over [-1, 1],
    x to the right and y downwards; a positive angle in [[cos, -sin], [sin, cos]] turns what one
    sees counter-clockwise. On an image that is not square that matrix also shears, because both
    axes run over [-1, 1]: turn by [[cos, -sin H/W], [sin W/H, cos]] (with aligned corners H - 1 and
    W - 1) to turn in pixels. ``align_corners=True``, the default of the whole library: -1 and
    +1 are the centres of the outermost pixels; ``False``: their outer edges.

    Source: Jaderberg et al. 2015, eq. (1).
    """
    xp = array_module(theta=theta)
    check_array("theta", theta, ("N", 2, 3))
    N, (H, W) = theta.shape[0], check_size_pair("out_shape", out_shape)
    dtype = np.promote_types(theta.dtype, np.float32)
    G = homogeneous_grid(xp, (H, W), align_corners=align_corners, dtype=dtype)

    # s_i = theta (x_t, y_t, 1)^T for all pixels and all images in one product.    eq. (1)
    with np.errstate(over="ignore", invalid="ignore"):  # the sampler knows NaN and infinity
        s = theta.reshape(N * 2, 3).astype(dtype, copy=False) @ G
    grid = s.reshape(N, 2, H, W).transpose(0, 2, 3, 1)

    def backward(dgrid: Array) -> Array:
        check_gradient("dgrid", dgrid, grid)
        ds = dgrid.transpose(0, 3, 1, 2).reshape(N * 2, H * W)
        dtheta = ds.astype(dtype, copy=False) @ G.T
        return dtheta.reshape(N, 2, 3).astype(theta.dtype, copy=False)

    return grid, backward


class Affine:
    """The affine family: theta = (t11, t12, t13, t21, t22, t23), eq. (1).

    Called as ``grid, backward = Affine()(theta, (H, W))`` with theta (N, 6); see `affine_grid`.
    """

    name = "affine"
    n_params = 6
    identity = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    identity.flags.writeable = False  # all share it

    def __call__(
        self, theta: Array, out_shape: tuple[int, int], *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, 6) to grid (N, H', W', 2); backward(dgrid) returns dtheta (N, 6)."""
        array_module(theta=theta)
        check_array("theta", theta, ("N", self.n_params))
        N = theta.shape[0]
        grid, grid_backward = affine_grid(
            theta.reshape(N, 2, 3), out_shape, align_corners=align_corners
        )

        def backward(dgrid: Array) -> Array:
            return grid_backward(dgrid).reshape(N, self.n_params)

        return grid, backward
