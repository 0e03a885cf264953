"""What families with control points share: a grid that moves with points of the image."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array, Backward, array_module, place_of, to_device_of
from stn_np.checks import check_array, check_flag, check_size_pair, pullback
from stn_np.gpu.constants import remember
from stn_np.gpu.matmul import matmul
from stn_np.transforms.target_grid import Described, homogeneous_grid


class ControlPointTransform(Described):
    r"""A family whose theta (N, 2 K) says where each of K control points c_k is read from.

    .. math:: s(t) = t + \sum_k \Phi_k(t) (\theta_k - c_k)

    control_points (K, 2) are target positions (x, y) in normalised coordinates; theta and the
    identity list them point after point. A family gives the weights Phi, which spread the points'
    displacements over the image. Theta = c is the identity exactly, bit for bit.
    """

    name: str

    def __init__(self, control_points: NDArray[Any]) -> None:
        self.identity = control_points.astype(np.float64).ravel()  # a copy
        self.identity.flags.writeable = False
        self.control_points = self.identity.reshape(-1, 2)
        self.n_params = self.identity.size
        self._constants: dict[Hashable, tuple[Array, Array]] = {}

    def weights(self, points: NDArray[Any]) -> NDArray[Any]:
        """Phi (K, P) at target points (P, 2): how far each control point carries each along."""
        raise NotImplementedError(f"{type(self).__name__} defines no weights")

    def basis(self, out_shape: tuple[int, int], *, align_corners: bool = True) -> NDArray[Any]:
        """Phi (K, H', W') of all output pixels, float64: the B of the paper's T_theta = M_theta B.

        ``LinearBasis(family.basis(out_shape))`` makes the same grids, with theta as M (2, K).
        """
        H, W = check_size_pair("out_shape", out_shape)
        G = homogeneous_grid(np, (H, W), align_corners=align_corners, dtype=np.float64)
        return self.weights(G[:2].T).reshape(-1, H, W)

    def __call__(
        self, theta: Array, out_shape: tuple[int, int], *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, 2 K) to grid (N, H', W', 2); backward(dgrid) returns dtheta (N, 2 K)."""
        xp = array_module(theta=theta)
        check_array("theta", theta, ("N", self.n_params))
        check_flag("align_corners", align_corners)
        N, K, (H, W) = theta.shape[0], self.n_params // 2, check_size_pair("out_shape", out_shape)
        c, B = remember(
            self._constants,
            (place_of(theta), theta.dtype.str, H, W, bool(align_corners)),
            lambda: self._make_constants(theta, (H, W), align_corners),
        )

        # One product, M = [theta - c | 1 0 over 0 1] with B = [Phi; x_t; y_t]: zeros add nothing.
        M = xp.zeros((N, 2, K + 2), B.dtype)
        M[:, :, :K] = (theta - c).reshape(N, K, 2).transpose(0, 2, 1)
        M[:, 0, K] = M[:, 1, K + 1] = 1
        with np.errstate(over="ignore", invalid="ignore"):  # the sampler knows NaN and infinity
            s = matmul(M.reshape(N * 2, K + 2), B)
        grid = s.reshape(N, 2, H, W).transpose(0, 2, 3, 1)

        @pullback(dgrid=grid)
        def backward(dgrid: Array) -> Array:
            ds = dgrid.transpose(0, 3, 1, 2).reshape(N * 2, H * W).astype(B.dtype, copy=False)
            dM = matmul(ds, B[:K].T).reshape(N, 2, K)
            dtheta = xp.empty((N, K, 2), theta.dtype)
            dtheta[:, :, 0], dtheta[:, :, 1] = dM[:, 0], dM[:, 1]
            return dtheta.reshape(N, 2 * K)  # type: ignore[no-any-return]

        return grid, backward

    def _make_constants(
        self, theta: Array, shape: tuple[int, int], align_corners: bool
    ) -> tuple[Array, Array]:
        """The points (2 K,) and [Phi; x_t; y_t] (K + 2, H'W') where theta lives, in grid dtype.

        The points are first rounded to theta's dtype, as an identity theta is: so they cancel.
        """
        wide = np.promote_types(theta.dtype, np.float32)
        c = self.identity.astype(theta.dtype).astype(wide)
        G = homogeneous_grid(np, shape, align_corners=align_corners, dtype=wide)
        Phi = self.basis(shape, align_corners=align_corners).reshape(len(c) // 2, -1)
        B = np.concatenate([Phi.astype(wide), G[:2]])
        return to_device_of(c, theta), to_device_of(B, theta)


def regular_grid(k: int) -> NDArray[Any]:
    """Regular points over [-1, 1] x [-1, 1], row after row: (k^2, 2)."""
    G = homogeneous_grid(np, (k, k), align_corners=True, dtype=np.float64)
    return G[:2].T
