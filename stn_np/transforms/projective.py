"""The projective grid generator: eight numbers, and a horizon that may not be crossed."""

from __future__ import annotations

from typing import Any

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array, check_size_pair, pullback
from stn_np.gpu.matmul import matmul
from stn_np.transforms.groups.matrices import MatrixGroup
from stn_np.transforms.target_grid import grid_beside

#: A point is in front of the horizon if h_3 p is more than this; it is 1 in the target's middle.
LEAST_DEPTH = 2.0**-10

#: Where the other points are read: to the left of and above every image.
OUTSIDE = -1e6

#: Numerators from here on count as lost too: divided by the least depth, still finite in float32.
LARGEST = 1e30


class Projective(MatrixGroup):
    r"""The projective family: theta is H, row by row, without its last entry, 1; 8 numbers.

    .. math::

        x^s = \frac{h_1 p}{h_3 p}, \quad y^s = \frac{h_2 p}{h_3 p}, \quad
        p = \begin{pmatrix} x^t \\ y^t \\ 1 \end{pmatrix}, \quad H = \begin{pmatrix}
        \theta_1 & \theta_2 & \theta_3 \\ \theta_4 & \theta_5 & \theta_6 \\ \theta_7 & \theta_8 & 1
        \end{pmatrix}

    **Convention.** Towards the horizon, the line h_3 p = 0, coordinates grow beyond all bounds;
    behind it they come back upside down. So points with h_3 p <= 1/1024 get the coordinates
    (-1e6, -1e6), which samplers read as padding, and pass no gradient. So do points whose
    coordinates are NaN or too large for float32. Else as in `stn_np.affine_grid`.
    """

    name = "projective"
    n_params = 8
    n_rows = 3
    identity = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    identity.flags.writeable = False  # all share it

    def __call__(
        self, theta: Array, out_shape: tuple[int, int], *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, 8) to grid (N, H', W', 2); backward(dgrid) returns dtheta (N, 8)."""
        xp = array_module(theta=theta)
        check_array("theta", theta, ("N", self.n_params))
        H, W = check_size_pair("out_shape", out_shape)
        N, P, dtype = theta.shape[0], H * W, np.promote_types(theta.dtype, np.float32)
        G = grid_beside(theta, (H, W), align_corners=align_corners, dtype=dtype)

        with np.errstate(all="ignore"):  # what is no number here is replaced below
            h = self._square(theta)
            n = matmul(h[:, :2].reshape(2 * N, 3), G).reshape(N, 2, P)
            w = matmul(h[:, 2], G)
            # It saves time to see that no point can be lost; but a GPU would have to be waited for.
            lost = _lost(xp, n, w) if xp is not np or _may_lose(xp, theta) else None
            s = n / w[:, None]
            if lost is not None:
                xp.copyto(s, OUTSIDE, where=lost[:, None])
        grid = s.reshape(N, 2, H, W).transpose(0, 2, 3, 1)

        @pullback(dgrid=grid)
        def backward(dgrid: Array) -> Array:
            ds = dgrid.transpose(0, 3, 1, 2).reshape(N, 2, P)
            # Quotient rule: s = n/w has dn = ds/w and dw = -n dn/w. (Not -s dn: s is the caller's.)
            dn = xp.divide(ds, w[:, None], out=xp.empty((N, 2, P), dtype), casting="same_kind")
            dw = (dn * n).sum(axis=1)
            dw /= w
            if lost is not None:
                xp.copyto(dn, 0, where=lost[:, None])
                xp.copyto(dw, 0, where=lost)
            dh = xp.empty((N, 9), dtype)
            dh[:, :6] = matmul(dn.reshape(2 * N, P), G.T).reshape(N, 6)
            dh[:, 6:] = matmul(dw, -G.T)
            return dh[:, :8].astype(theta.dtype)  # type: ignore[no-any-return]

        return grid, backward


def _may_lose(xp: Any, theta: Array) -> bool:
    """Whether some point might be. |x| and |y| are at most 1, so h_3 p >= 1 - |h_31| - |h_32|."""
    size = xp.abs(theta)
    in_front = (size[:, 6] + size[:, 7] < 1 - LEAST_DEPTH).all()
    return not (bool(in_front) and bool((size < LARGEST / 4).all()))


def _lost(xp: Any, n: Array, w: Array) -> Array:
    """Where (N, P) a point is not in front of the horizon, or its numerators n are not usable."""
    usable = w > LEAST_DEPTH  # no comparison with NaN holds
    for k in (0, 1):
        usable &= xp.abs(n[:, k]) < LARGEST
    return ~usable
