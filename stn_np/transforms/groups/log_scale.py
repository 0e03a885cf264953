"""The logarithm of the scale in the scale's place: no scale is zero, and the identity is zeros."""

from __future__ import annotations

from typing import Any

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array
from stn_np.transforms.affine import MatrixFamily
from stn_np.transforms.attention import Attention
from stn_np.transforms.groups.group import Group, PairBackward, Size
from stn_np.transforms.similarity import Similarity


def scale_of_log(xp: Any, log_s: Array) -> tuple[Array, Array]:
    """The scale s = e^log_s and ds/dlog_s, float32 at least.

    Beyond e^40 and e^-40 s stays, without a slope: so products of two scales are finite.
    """
    dtype = np.promote_types(log_s.dtype, np.float32)
    s = xp.exp(xp.clip(log_s.astype(dtype), -40, 40))
    return s, s * (abs(log_s) <= 40)


class LogScale(Group, MatrixFamily):
    """A family with log s in the place of its scale s; its identity is all zeros.

    ``LogScale(Attention())`` has theta = (log s, t_x, t_y), ``LogScale(Similarity())`` has
    (angle, log s, t_x, t_y). Equal steps of log s zoom by equal factors, in or out. TypeError if
    the family is another one, or a class.
    """

    def __init__(self, family: Attention | Similarity) -> None:
        if not isinstance(family, Attention | Similarity):
            raise TypeError(f"family: expected Attention() or Similarity(), got {family!r}")
        self.family = family
        self.in_shape = family.in_shape
        self.name = f"{family.name}-log"
        self.n_params = family.n_params
        self.identity = np.zeros(family.n_params)
        self.identity.flags.writeable = False  # as the other families'

    def _describe(self) -> str:
        return f"{type(self.family).__name__}, {self.n_params} numbers"

    def make_matrix(self, theta: Array, h_over_w: float) -> tuple[Array, Backward]:
        """Theta (N, n_params) to A (N, 2, 3); backward(dA) returns dtheta."""
        plain, plain_backward = self._plain("theta", theta)
        A, matrix_backward = self.family.make_matrix(plain, h_over_w)

        def backward(dA: Array) -> Array:
            return plain_backward(matrix_backward(dA))

        return A, backward

    def _compose(
        self, outer: Array, inner: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, PairBackward]:
        c = self.family.scale_column
        plain_outer, outer_backward = self._plain("outer", outer)
        plain_inner, inner_backward = self._plain("inner", inner)
        C, compose_backward = self.family.compose(
            plain_outer, plain_inner, out_shape=out_shape, align_corners=align_corners
        )
        theta = C.astype(outer.dtype)
        theta[:, c] = outer[:, c] + inner[:, c]  # log(s_o s_i)

        def backward(dtheta: Array) -> tuple[Array, Array]:
            dC = dtheta.astype(C.dtype)
            dC[:, c] = 0  # that sum is on its own
            dplain_outer, dplain_inner = compose_backward(dC)
            douter, dinner = outer_backward(dplain_outer), inner_backward(dplain_inner)
            douter[:, c] += dtheta[:, c]
            dinner[:, c] += dtheta[:, c]
            return douter, dinner

        return theta, backward

    def _inverse(
        self, theta: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, Backward]:
        c = self.family.scale_column
        plain, plain_backward = self._plain("theta", theta)
        X, inverse_backward = self.family.inverse(
            plain, out_shape=out_shape, align_corners=align_corners
        )
        inverse = X.astype(theta.dtype)
        inverse[:, c] = -theta[:, c]  # log(1/s)

        def backward(dinverse: Array) -> Array:
            dX = dinverse.astype(X.dtype)
            dX[:, c] = 0
            dtheta: Array = plain_backward(inverse_backward(dX))
            dtheta[:, c] -= dinverse[:, c]
            return dtheta

        return inverse, backward

    def _plain(self, name: str, theta: Array) -> tuple[Array, Backward]:
        """Theta with s for log s, float32 at least; backward(dplain) returns dtheta."""
        xp, c = array_module(**{name: theta}), self.family.scale_column
        check_array(name, theta, ("N", self.n_params))
        s, s_slope = scale_of_log(xp, theta[:, c])
        plain = theta.astype(s.dtype)
        plain[:, c] = s

        @np.errstate(over="ignore", invalid="ignore")
        def backward(dplain: Array) -> Array:
            dtheta = dplain.astype(theta.dtype)
            dtheta[:, c] = s_slope * dplain[:, c]
            return dtheta

        return plain, backward
