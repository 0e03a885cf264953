"""Composing and inverting maps within a family: what its user calls, and what it checks.

**Convention.** ``compose(outer, inner)`` is T_outer(T_inner(t)): the inner map is applied to the
target points first. Since maps go from target to source, an image warped by `outer` and then by
`inner` is the image warped by ``compose(outer, inner)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.checks import check_array, check_flag, check_same_dtype, pullback
from stn_np.transforms.target_grid import Described

#: The pullback of a composition: takes dtheta, returns (douter, dinner).
PairBackward: TypeAlias = Callable[[Array], tuple[Array, Array]]

#: (H, W) in pixels, where it is known.
Size: TypeAlias = tuple[int, int] | None


class Group(Described, ABC):
    """A family whose maps can be composed and inverted within the family.

    They are `Translation`, `Attention`, `Similarity` (both also with `LogScale`), `Affine`,
    `AffineNatural`, `Projective` and `Affine3d`.

    Where a map may have no inverse, or a composition no theta, they look at the numbers: on a GPU
    these calls wait for the result. A `stn_np.experiments.recurrent.RecurrentTransformer` composes
    in training steps; it takes no family that looks.
    """

    n_params: int

    def compose(
        self, outer: Array, inner: Array, *, out_shape: Size = None, align_corners: bool = True
    ) -> tuple[Array, PairBackward]:
        """The theta of the map T_outer(T_inner(t)).

        Parameters
        ----------
        outer, inner : Array
            (N, n_params), of one dtype.
        out_shape, align_corners
            As in the call. Only `Similarity` and `AffineNatural` look at them, whose maps depend on
            the image's proportions; they need out_shape unless they were built with in_shape.

        Returns
        -------
        theta : Array
            (N, n_params), in the same dtype.
        backward : callable
            backward(dtheta) returns (douter, dinner).

        Raises
        ------
        TypeError, ValueError
            If outer and inner are no such arrays. `Projective`: if the middle of the target does
            not lie in front of the horizon of the product, whose last entry then cannot be 1.
        """
        array_module(outer=outer, inner=inner)
        check_flag("align_corners", align_corners)
        check_array("outer", outer, ("N", self.n_params))
        check_array("inner", inner, outer.shape)
        check_same_dtype(outer=outer, inner=inner)
        with np.errstate(over="ignore", invalid="ignore"):  # the sampler knows NaN and infinity
            theta, backward = self._compose(outer, inner, out_shape, align_corners)
        return theta, pullback(dtheta=theta)(backward)

    def inverse(
        self, theta: Array, *, out_shape: Size = None, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """The theta of the inverse map: where T_theta reads t, it leads back from there to t.

        Parameters
        ----------
        theta : Array
            (N, n_params).
        out_shape, align_corners
            As in `compose`.

        Returns
        -------
        inverse : Array
            (N, n_params), in the same dtype.
        backward : callable
            backward(dinverse) returns dtheta.

        Raises
        ------
        TypeError, ValueError
            If theta is no such array, or a map has no inverse: the message names its place in the
            batch, and its scale, determinant or condition number. `Projective`: as for `compose`.
        """
        check_array("theta", theta, ("N", self.n_params))
        check_flag("align_corners", align_corners)
        if theta.dtype.itemsize > 8:
            raise TypeError(f"theta: expected float64 at most, got {theta.dtype}")
        with np.errstate(over="ignore", invalid="ignore"):
            inverse, backward = self._inverse(theta, out_shape, align_corners)
        return inverse, pullback(dinverse=inverse)(backward)

    @abstractmethod
    def _compose(
        self, outer: Array, inner: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, PairBackward]:
        """What `compose` does, of arrays that fit."""

    @abstractmethod
    def _inverse(
        self, theta: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, Backward]:
        """What `inverse` does, of an array that fits."""


def refuse(bad: Array, expected: str, what: str, values: Array) -> None:
    """Raise a ValueError that names the first image of the batch for which `bad` (N,) holds.

    This has to look, and so on a GPU waits for all that was asked of it before.
    """
    if bool(bad.any()):
        n = int(bad.argmax())
        raise ValueError(
            f"{expected}, got {what} {float(values[n]):.3g} for image {n} of the batch"
        )
