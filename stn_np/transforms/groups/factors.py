"""Composing and inverting maps that are given by their factors: shifts, scales and angles."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array, pullback
from stn_np.transforms.groups.matrices import (
    MapFamily,
    PairBackward,
    check_pair,
    check_scales,
)


class TranslationGroup(MapFamily):
    """Shifts add up."""

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
        with np.errstate(over="ignore", invalid="ignore"):  # the sampler knows NaN and infinity
            theta = outer + inner

        @pullback(dtheta=theta)
        def backward(dtheta: Array) -> tuple[Array, Array]:
            return dtheta.astype(outer.dtype), dtheta.astype(inner.dtype)

        return theta, backward

    def inverse(
        self,
        theta: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
    ) -> tuple[Array, Backward]:
        """The theta of the inverse map; see `stn_np.transforms.Group`."""
        check_array("theta", theta, ("N", self.n_params))
        inverse = -theta

        @pullback(dinverse=inverse)
        def backward(dinverse: Array) -> Array:
            return -dinverse.astype(theta.dtype)

        return inverse, backward


class AttentionGroup(MapFamily):
    """Scales multiply, eq. (2)."""

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
        s = outer[:, :1]
        with np.errstate(over="ignore", invalid="ignore"):
            theta = s * inner  # s_o (s_i t + t_i) + t_o
            theta[:, 1:] += outer[:, 1:]

        @pullback(dtheta=theta)
        def backward(dtheta: Array) -> tuple[Array, Array]:
            douter = dtheta.astype(outer.dtype)
            douter[:, 0] = (dtheta * inner).sum(axis=1)
            return douter, (s * dtheta).astype(inner.dtype)

        return theta, backward

    def inverse(
        self,
        theta: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
    ) -> tuple[Array, Backward]:
        """The theta of the inverse map; see `stn_np.transforms.Group`. A scale of 0 is refused."""
        check_array("theta", theta, ("N", self.n_params))
        check_scales(theta[:, 0])
        s = 1 / theta[:, :1]
        with np.errstate(over="ignore", invalid="ignore"):
            inverse = -s * theta  # (t - t_x) / s_theta
        inverse[:, :1] = s

        @pullback(dinverse=inverse)
        def backward(dinverse: Array) -> Array:
            ds = dinverse[:, 0] - (dinverse[:, 1:] * theta[:, 1:]).sum(axis=1)
            dtheta = (-s * dinverse).astype(theta.dtype)
            dtheta[:, 0] = -ds * s[:, 0] * s[:, 0]  # their square alone may overflow
            return dtheta

        return inverse, backward


class SimilarityGroup(MapFamily):
    """Angles add up, scales multiply."""

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

        @pullback(dtheta=theta)
        def backward(dtheta: Array) -> tuple[Array, Array]:
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

        @pullback(dinverse=inverse)
        def backward(dinverse: Array) -> Array:
            dt, dA = dinverse[:, 2:, None], xp.zeros_like(A)
            dA[:, :, :2] = -dt * t.swapaxes(1, 2)
            through_L, dtheta = matrix_backward(dA), xp.empty_like(theta)
            dtheta[:, 0] = -(dinverse[:, 0] + through_L[:, 0])
            # Divided twice: the square of a small scale may be 0.
            dtheta[:, 1] = -(dinverse[:, 1] + through_L[:, 1]) / theta[:, 1] / theta[:, 1]
            dtheta[:, 2:] = -(L.swapaxes(1, 2) @ dt)[:, :, 0]
            return dtheta  # type: ignore[no-any-return]

        return inverse, backward
