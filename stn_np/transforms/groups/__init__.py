"""Composing and inverting maps within a family, where the family is a group.

**Convention.** ``compose(outer, inner)`` is T_outer(T_inner(t)): the inner map is applied to the
target points first. Since maps go from target to source, an image warped by `outer` and then by
`inner` is the image warped by ``compose(outer, inner)``.
"""

from __future__ import annotations

from typing import Protocol

from stn_np.backend import Array, Backward
from stn_np.transforms.groups.matrices import PairBackward


class Group(Protocol):
    """What families of maps offer besides that can be composed and inverted within the family.

    They are `Translation`, `Attention`, `Similarity` (both also with `LogScale`), `Affine`,
    `AffineNatural`, `Projective` and `Affine3d`.

    Where a map may have no inverse, or a composition no theta, they look at the numbers: on a GPU
    these calls wait for the result. Nothing in a training step makes them.
    """

    def compose(
        self,
        outer: Array,
        inner: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
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
        ...

    def inverse(
        self,
        theta: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
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
        TypeError
            If theta is no floating-point array.
        ValueError
            If its shape does not fit, or a map has no inverse: the message names its place in the
            batch, and its scale, determinant or condition number. `Projective`: as for `compose`.
        """
        ...


__all__ = ["Group", "PairBackward"]
