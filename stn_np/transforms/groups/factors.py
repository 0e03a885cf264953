"""Composing and inverting maps that are given by their factors: shifts, scales and angles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.transforms.groups.group import Group, PairBackward, Size, refuse


class TranslationGroup(Group):
    """Shifts add up."""

    def _compose(
        self, outer: Array, inner: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, PairBackward]:
        theta = outer + inner

        def backward(dtheta: Array) -> tuple[Array, Array]:
            return dtheta.astype(outer.dtype), dtheta.astype(inner.dtype)

        return theta, backward

    def _inverse(
        self, theta: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, Backward]:
        inverse = -theta

        def backward(dinverse: Array) -> Array:
            return -dinverse.astype(theta.dtype)

        return inverse, backward


class AttentionGroup(Group):
    """Scales multiply, eq. (2)."""

    def _compose(
        self, outer: Array, inner: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, PairBackward]:
        s = outer[:, :1]
        theta = s * inner  # s_o (s_i t + t_i) + t_o
        theta[:, 1:] += outer[:, 1:]

        def backward(dtheta: Array) -> tuple[Array, Array]:
            douter = dtheta.astype(outer.dtype)
            douter[:, 0] = (dtheta * inner).sum(axis=1)
            return douter, (s * dtheta).astype(inner.dtype)

        return theta, backward

    def _inverse(
        self, theta: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, Backward]:
        check_scales(theta[:, 0])
        s = 1 / theta[:, :1]
        inverse = -s * theta  # (t - t_x) / s_theta
        inverse[:, :1] = s

        def backward(dinverse: Array) -> Array:
            ds = dinverse[:, 0] - (dinverse[:, 1:] * theta[:, 1:]).sum(axis=1)
            dtheta = (-s * dinverse).astype(theta.dtype)
            dtheta[:, 0] = -ds * s[:, 0] * s[:, 0]  # their square alone may overflow
            return dtheta

        return inverse, backward


class SimilarityGroup(Group):
    """Angles add up, scales multiply."""

    matrix: Callable[..., tuple[Array, Backward]]

    def _compose(
        self, outer: Array, inner: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, PairBackward]:
        xp = array_module(outer=outer)
        A, matrix_backward = self.matrix(outer, out_shape, align_corners=align_corners)
        L, t = A[:, :, :2], inner[:, 2:, None]
        theta = xp.empty(outer.shape, outer.dtype)
        theta[:, 0] = outer[:, 0] + inner[:, 0]
        theta[:, 1] = outer[:, 1] * inner[:, 1]
        theta[:, 2:] = (L @ t)[:, :, 0] + A[:, :, 2]

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

    def _inverse(
        self, theta: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, Backward]:
        xp = array_module(theta=theta)
        check_scales(theta[:, 1])
        inverse = xp.zeros(theta.shape, theta.dtype)
        inverse[:, 0], inverse[:, 1] = -theta[:, 0], 1 / theta[:, 1]
        A, matrix_backward = self.matrix(inverse, out_shape, align_corners=align_corners)
        L, t = A[:, :, :2], theta[:, 2:, None]
        inverse[:, 2:] = -(L @ t)[:, :, 0]

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


def check_scales(s: Array) -> None:
    """Scales (N,) that can be inverted are expected: neither 0 nor infinite nor NaN."""
    invertible = (abs(s) >= np.finfo(s.dtype).tiny) & (abs(s) < np.inf)
    refuse(~invertible, "theta: expected maps that can be inverted", "scale", s)
