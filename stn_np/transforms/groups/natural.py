"""Composing and inverting maps whose theta holds logarithms of scales."""

from __future__ import annotations

from typing import Any

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import pullback
from stn_np.transforms.groups.matrices import (
    MapFamily,
    MatrixGroup,
    PairBackward,
    check_pair,
    refuse,
)
from stn_np.transforms.target_grid import proportion


class _Affine(MatrixGroup):
    """Plain affine matrices (N, 6)."""

    n_params, n_rows = 6, 3


_AFFINE = _Affine()


class LogScaleGroup(MapFamily):
    """A family with log s in the place of s: logarithms add up."""

    family: Any

    def _plain(self, name: str, theta: Array) -> tuple[Array, Backward]:
        """Theta with s for log s; backward(dplain) returns dtheta."""
        raise NotImplementedError(f"{type(self).__name__} has no plain theta")

    def compose(
        self,
        outer: Array,
        inner: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
    ) -> tuple[Array, PairBackward]:
        """The theta of T_outer(T_inner(t)); see `stn_np.transforms.Group`."""
        check_pair(outer, inner, self.n_params)
        c = self.family.scale_column
        plain_outer, outer_backward = self._plain("outer", outer)
        plain_inner, inner_backward = self._plain("inner", inner)
        C, compose_backward = self.family.compose(
            plain_outer, plain_inner, out_shape=out_shape, align_corners=align_corners
        )
        with np.errstate(over="ignore", invalid="ignore"):
            theta = C.astype(outer.dtype)
            theta[:, c] = outer[:, c] + inner[:, c]  # log(s_o s_i)

        @pullback(dtheta=theta)
        def backward(dtheta: Array) -> tuple[Array, Array]:
            dC = dtheta.astype(C.dtype)
            dC[:, c] = 0  # that sum is on its own
            dplain_outer, dplain_inner = compose_backward(dC)
            douter, dinner = outer_backward(dplain_outer), inner_backward(dplain_inner)
            douter[:, c] += dtheta[:, c]
            dinner[:, c] += dtheta[:, c]
            return douter, dinner

        return theta, backward

    def inverse(
        self,
        theta: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
    ) -> tuple[Array, Backward]:
        """The theta of the inverse map; see `stn_np.transforms.Group`."""
        c = self.family.scale_column
        plain, plain_backward = self._plain("theta", theta)
        X, inverse_backward = self.family.inverse(
            plain, out_shape=out_shape, align_corners=align_corners
        )
        with np.errstate(over="ignore"):
            inverse = X.astype(theta.dtype)
        inverse[:, c] = -theta[:, c]  # log(1/s)

        @pullback(dinverse=inverse)
        def backward(dinverse: Array) -> Array:
            dX = dinverse.astype(X.dtype)
            dX[:, c] = 0
            dtheta: Array = plain_backward(inverse_backward(dX))
            dtheta[:, c] -= dinverse[:, c]
            return dtheta

        return inverse, backward


class AffineNaturalGroup(MapFamily):
    """Affine maps by their factors: through the matrices, and back to the factors."""

    in_shape: tuple[int, int] | None

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
        check_pair(outer, inner, self.n_params)
        rule = {"align_corners": align_corners}
        A_outer, outer_backward = self.matrix(outer, out_shape, **rule)
        A_inner, inner_backward = self.matrix(inner, out_shape, **rule)
        C, compose_backward = _AFFINE.compose(A_outer.reshape(-1, 6), A_inner.reshape(-1, 6))
        theta, factors_backward = self._factors(C, outer.dtype, out_shape, **rule)

        @pullback(dtheta=theta)
        def backward(dtheta: Array) -> tuple[Array, Array]:
            dA_outer, dA_inner = compose_backward(factors_backward(dtheta))
            return (
                outer_backward(dA_outer.reshape(A_outer.shape)),
                inner_backward(dA_inner.reshape(A_inner.shape)),
            )

        return theta, backward

    def inverse(
        self,
        theta: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
    ) -> tuple[Array, Backward]:
        """The theta of the inverse map; see `stn_np.transforms.Group`.

        The proportions of the image are needed: from out_shape, or the family's own in_shape.
        """
        rule = {"align_corners": align_corners}
        A, matrix_backward = self.matrix(theta, out_shape, **rule)
        X, inverse_backward = _AFFINE.inverse(A.reshape(-1, 6))
        inverse, factors_backward = self._factors(X, theta.dtype, out_shape, **rule)

        @pullback(dinverse=inverse)
        def backward(dinverse: Array) -> Array:
            dA = inverse_backward(factors_backward(dinverse))
            return matrix_backward(dA.reshape(A.shape))

        return inverse, backward

    @np.errstate(over="ignore", invalid="ignore")
    def _factors(
        self,
        A: Array,
        dtype: np.dtype[Any],
        out_shape: tuple[int, int] | None,
        *,
        align_corners: bool,
    ) -> tuple[Array, Backward]:
        """Matrices (N, 6) to theta, the inverse of `matrix`; backward(dtheta) returns dA.

        With the linear map [[a, b], [c, d]] in pixels and D its determinant: the x axis gives the
        angle and s_x^2 = a^2 + c^2, then s_y = D / s_x, and shear = (a b + c d) / D.
        """
        xp = array_module(A=A)
        h_over_w = proportion(self.in_shape, out_shape, align_corners)
        wide = A.astype(np.float64)  # D is of fourth order in e^40
        a, b, c, d = wide[:, 0], wide[:, 1] / h_over_w, wide[:, 3] * h_over_w, wide[:, 4]
        D, sx2 = a * d - b * c, a * a + c * c
        expected = "theta: expected maps with a finite determinant above 0"
        refuse(~((D > 0) & (D < np.inf)), expected, "determinant", D)
        shear = (a * b + c * d) / D
        theta = xp.empty(A.shape, dtype)
        theta[:, 0], theta[:, 1] = xp.arctan2(c, a), xp.log(sx2) / 2
        theta[:, 2], theta[:, 3] = xp.log(D) - xp.log(sx2) / 2, shear
        theta[:, 4], theta[:, 5] = A[:, 2], A[:, 5]

        @np.errstate(over="ignore", invalid="ignore")
        def backward(dtheta: Array) -> Array:
            dangle, dlog_sx, dlog_sy, dshear = dtheta[:, :4].astype(np.float64).T
            dlog_sx = (dlog_sx - dlog_sy) / sx2  # of (log s_x^2) / 2, in whose place 1/s_x^2 stands
            dangle, dshear = dangle / sx2, dshear / D
            dD = dlog_sy / D - dshear * shear
            dA = xp.empty(A.shape, A.dtype)
            dA[:, 0] = dlog_sx * a - dangle * c + dshear * b + dD * d
            dA[:, 1] = (dshear * a - dD * c) / h_over_w
            dA[:, 3] = (dlog_sx * c + dangle * a + dshear * d - dD * b) * h_over_w
            dA[:, 4] = dshear * c + dD * a
            dA[:, 2], dA[:, 5] = dtheta[:, 4], dtheta[:, 5]
            return dA  # type: ignore[no-any-return]

        return theta, backward
