"""The affine grid generator, eqs (1) and (10)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array, check_flag, check_size_pair, check_sizes, pullback
from stn_np.gpu.matmul import matmul
from stn_np.transforms.groups.matrices import MatrixGroup
from stn_np.transforms.target_grid import Described, grid_beside, proportion


def affine_grid(
    theta: Array, out_shape: tuple[int, ...], *, align_corners: bool = True
) -> tuple[Array, Backward]:
    r"""Source coordinates of every output pixel under an affine map, eq. (1); eq. (10) for volumes.

    .. math::

        \begin{pmatrix} x_i^s \\ y_i^s \end{pmatrix} = \begin{pmatrix}
        \theta_{11} & \theta_{12} & \theta_{13} \\ \theta_{21} & \theta_{22} & \theta_{23}
        \end{pmatrix} \begin{pmatrix} x_i^t \\ y_i^t \\ 1 \end{pmatrix} \tag{1}

    **Convention.** The map goes *backward*: theta says where in the input each output pixel is
    read. A scale below 1 therefore zooms in. x runs to the right, y downwards, both over [-1, 1];
    a positive angle in [[cos, -sin], [sin, cos]] turns what one sees counter-clockwise. On an
    image that is not square that matrix also shears; `stn_np.transforms.Similarity` turns in
    pixels. ``align_corners=True``, the default of the whole library: -1 and +1 are the centres of
    the outermost pixels; ``False``: their outer edges.

    TypeError or ValueError if theta or out_shape is of another type or shape.

    Parameters
    ----------
    theta : Array
        (N, 2, 3): for each image [[t11, t12, t13], [t21, t22, t23]]; (N, 3, 4) for volumes.
    out_shape : tuple of int
        (H', W') of the output, in pixels; (D', H', W') for volumes.

    Returns
    -------
    grid : Array
        (N, H', W', 2), last axis (x, y), or (N, D', H', W', 3), last axis (x, y, z). Theta's
        dtype, float32 at least.
    backward : callable
        backward(dgrid) returns dtheta, shaped as theta.
    """
    xp = array_module(theta=theta)
    n = 3 if theta.shape[1:] in ((3, 4), (12,)) else 2  # (12,): the message names (3, 4)
    check_array("theta", theta, ("N", n, n + 1))
    N, shape = theta.shape[0], check_sizes("out_shape", out_shape, n)
    dtype = np.promote_types(theta.dtype, np.float32)
    G = grid_beside(theta, shape, align_corners=align_corners, dtype=dtype)

    # s_i = theta (x_t, y_t, 1)^T for all pixels and all images in one product.    eq. (1)
    with np.errstate(over="ignore", invalid="ignore"):  # the sampler knows NaN and infinity
        s = matmul(theta.reshape(N * n, n + 1).astype(dtype, copy=False), G)
    grid = xp.moveaxis(s.reshape(N, n, *shape), 1, -1)

    @pullback(dgrid=grid)
    def backward(dgrid: Array) -> Array:
        ds = xp.moveaxis(dgrid, -1, 1).reshape(N * n, G.shape[1])
        dtheta = matmul(ds.astype(dtype, copy=False), G.T)
        return dtheta.reshape(N, n, n + 1).astype(theta.dtype, copy=False)

    return grid, backward


class MatrixFamily(Described):
    """Families whose map is a 2x3 matrix: they make the matrix, eq. (1) does the rest."""

    name: str
    n_params: int
    identity: NDArray[Any]
    in_shape: tuple[int, int] | None = None

    def matrix(
        self, theta: Array, out_shape: tuple[int, int] | None, *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """The matrix A (N, 2, 3) of eq. (1) that theta (N, n_params) stands for; float32 at least.

        backward(dA) returns dtheta, in theta's dtype. A rotation depends on the image's
        proportions, and so on out_shape (H', W'), in pixels, and on align_corners. TypeError or
        ValueError if theta or out_shape is of another type or shape.
        """
        check_array("theta", theta, ("N", self.n_params))
        check_flag("align_corners", align_corners)
        if "in_shape" not in vars(self):  # a family without rotations
            check_size_pair("out_shape", out_shape)
        A, backward = self.make_matrix(theta, proportion(self.in_shape, out_shape, align_corners))
        return A, pullback(dA=A)(backward)

    def make_matrix(self, theta: Array, h_over_w: float) -> tuple[Array, Backward]:
        """`matrix` without its checks, for an image with these proportions."""
        raise NotImplementedError(f"{type(self).__name__} defines no matrix")

    def __call__(
        self, theta: Array, out_shape: tuple[int, int], *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, n_params) to grid (N, H', W', 2); backward(dgrid) returns dtheta."""
        A, matrix_backward = self.matrix(theta, out_shape, align_corners=align_corners)
        grid, grid_backward = affine_grid(A, out_shape, align_corners=align_corners)

        def backward(dgrid: Array) -> Array:
            return matrix_backward(grid_backward(dgrid))

        return grid, backward


class Affine(MatrixGroup, MatrixFamily):
    """The affine family: theta = (t11, t12, t13, t21, t22, t23), eq. (1); see `affine_grid`."""

    name = "affine"
    n_params = 6
    n_rows = 3  # of the square matrix
    identity = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    identity.flags.writeable = False  # all share it

    def make_matrix(self, theta: Array, h_over_w: float) -> tuple[Array, Backward]:
        """Theta (N, 6) to A (N, 2, 3): the same numbers; backward(dA) returns dtheta."""
        A = theta.astype(np.promote_types(theta.dtype, np.float32)).reshape(-1, 2, 3)

        def backward(dA: Array) -> Array:
            return dA.reshape(theta.shape).astype(theta.dtype)

        return A, backward


class Affine3d(MatrixGroup):
    r"""The affine family of volumes: theta is the matrix (3, 4) of eq. (10), row by row.

    .. math:: (x^s, y^s, z^s)^T = \Theta\, (x^t, y^t, z^t, 1)^T \tag{10}
    """

    name = "affine3d"
    n_params = 12
    n_rows = 4  # of the square matrix
    n_dims = 3
    identity = np.eye(3, 4).ravel()
    identity.flags.writeable = False  # all share it

    def __call__(
        self, theta: Array, out_shape: tuple[int, int, int], *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, 12) to grid (N, D, H, W, 3); backward(dgrid) returns dtheta (N, 12)."""
        check_array("theta", theta, ("N", self.n_params))
        matrices = theta.reshape(theta.shape[0], 3, 4)
        grid, backward = affine_grid(matrices, out_shape, align_corners=align_corners)
        return grid, lambda dgrid: backward(dgrid).reshape(theta.shape)
