"""The dense flow: a displacement of its own for every output pixel."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array, check_size_pair, pullback
from stn_np.transforms.target_grid import Described, grid_beside


class Flow(Described):
    """A displacement d_i for each pixel of one output size: s_i = t_i + d_i, 2 H' W' numbers.

    **Convention.** theta holds all dx, row by row, then all dy, in normalised units: with aligned
    corners 2/(W - 1) is one pixel of an input of width W, otherwise 2/W is. d_i leads from the
    output pixel to where it is read, so the picture moves the other way. ValueError if a call's
    out_shape is another one than (H', W') given here, in pixels.
    """

    name = "flow"

    def __init__(self, out_shape: tuple[int, int]) -> None:
        self.out_shape = check_size_pair("out_shape", out_shape)
        self.n_params = 2 * self.out_shape[0] * self.out_shape[1]
        self.identity = np.zeros(self.n_params)
        self.identity.flags.writeable = False

    def _describe(self) -> str:
        return f"{self.out_shape[0]}x{self.out_shape[1]}, {self.n_params} numbers"

    def __call__(
        self, theta: Array, out_shape: tuple[int, int], *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, 2 H' W') to grid (N, H', W', 2); backward(dgrid) returns dtheta."""
        xp = array_module(theta=theta)
        check_array("theta", theta, ("N", self.n_params))
        if check_size_pair("out_shape", out_shape) != self.out_shape:
            raise ValueError(
                f"out_shape: expected {self.out_shape}, the flow's own, got {tuple(out_shape)}"
            )
        N, (H, W) = theta.shape[0], self.out_shape
        dtype = np.promote_types(theta.dtype, np.float32)
        G = grid_beside(theta, (H, W), align_corners=align_corners, dtype=dtype)
        s = theta.reshape(N, 2, H * W) + G[:2].reshape(2, H * W)
        grid = s.reshape(N, 2, H, W).transpose(0, 2, 3, 1)

        @pullback(dgrid=grid)
        def backward(dgrid: Array) -> Array:
            dtheta = xp.empty((N, 2, H, W), theta.dtype)
            dtheta[...] = dgrid.transpose(0, 3, 1, 2)
            return dtheta.reshape(N, self.n_params)  # type: ignore[no-any-return]

        return grid, backward
