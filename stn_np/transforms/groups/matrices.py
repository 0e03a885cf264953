"""Composing and inverting maps that are given by matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from stn_np.backend import Array, Backward, array_module
from stn_np.transforms.groups.group import Group, PairBackward, Size, refuse


def product(A: Array, B: Array) -> tuple[Array, PairBackward]:
    """Matrix products AB of (N, k, k) each; backward(dC) returns (dA, dB)."""

    def backward(dC: Array) -> tuple[Array, Array]:
        return times(dC, B.swapaxes(1, 2)), times(A.swapaxes(1, 2), dC)

    return times(A, B), backward


def times(A: Array, B: Array) -> Array:
    """AB of small matrices (N, k, k). Not by ``@``: CuPy's would not go into a CUDA graph."""
    C: Array = (A[:, :, :, None] * B[:, None]).sum(axis=2)
    return C


def inverse_matrix(A: Array, *, affine: bool) -> tuple[Array, Backward]:
    """Inverses X of the matrices A (N, k, k); backward(dX) returns dA.

    If `affine`, their last rows are 0 ... 0 1: then only the linear parts have to be invertible,
    and shifts may be as far as they like.

    Raises
    ------
    ValueError
        For a matrix that is singular, or cannot be told from a singular one in its precision.
    """
    xp, expected = array_module(A=A), "theta: expected maps that can be inverted"
    k, X = A.shape[1] - affine, A.copy()
    L = A[:, :k, :k]
    with np.errstate(all="ignore"):
        sign, _ = xp.linalg.slogdet(L)  # the determinant itself may underflow
        refuse(sign == 0, expected, "determinant", sign)
        X[:, :k, :k] = xp.linalg.inv(L)
        # Skeel's condition number: it does not mind rows of different size.
        condition = (abs(X[:, :k, :k]) @ abs(L)).sum(axis=2).max(axis=1)
        X[:, :k, k:] = X[:, :k, :k] @ -A[:, :k, k:]  # the shifts; there are none unless affine
    lost = ~(condition < 1 / np.finfo(A.dtype).eps)  # NaN as well
    refuse(lost, f"{expected} in {A.dtype}", "condition number", condition)

    def backward(dX: Array) -> Array:
        Xt = X.swapaxes(1, 2)
        dA: Array = -Xt @ dX @ Xt  # from AX = 1: dA X + A dX = 0
        return dA

    return X, backward


def unit_last_entry(H: Array) -> tuple[Array, Backward]:
    """Matrices T = H / h by their last entries h, refused unless positive; backward returns dH."""
    last = H[:, -1, -1]
    # The last row is 1 for the middle of the target if that lies in front of the horizon.
    least = np.finfo(H.dtype).eps * abs(H[:, -1]).max(axis=1)
    expected = "theta: expected the middle of the target in front of the horizon"
    refuse(~(last > least), expected, "last entry", last)
    T = H / last[:, None, None]

    def backward(dT: Array) -> Array:
        dH = dT / last[:, None, None]
        dH[:, -1, -1] = -(dH * T).sum(axis=(1, 2))  # every entry was divided by the last
        return dH

    return T, backward


class MatrixGroup(Group):
    """Families whose theta is the head of a square matrix, row by row; the rest is the identity's.

    The matrix has n_rows rows. It acts on homogeneous coordinates, and is meant up to a factor.
    """

    n_rows: int

    def _compose(
        self, outer: Array, inner: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, PairBackward]:
        C, product_backward = product(self._square(outer), self._square(inner))
        theta, head_backward = self._head(C, outer.dtype)

        def backward(dtheta: Array) -> tuple[Array, Array]:
            douter, dinner = product_backward(head_backward(dtheta))
            return self._flat_head(douter, outer.dtype), self._flat_head(dinner, inner.dtype)

        return theta, backward

    def _inverse(
        self, theta: Array, out_shape: Size, align_corners: bool
    ) -> tuple[Array, Backward]:
        X, inverse_backward = inverse_matrix(self._square(theta), affine=self._affine)
        inverse, head_backward = self._head(X, theta.dtype)

        def backward(dinverse: Array) -> Array:
            return self._flat_head(inverse_backward(head_backward(dinverse)), theta.dtype)

        return inverse, backward

    @property
    def _affine(self) -> bool:
        """Whether the last row is 0 ... 0 1 as it is, and not part of theta."""
        return self.n_params <= self.n_rows * (self.n_rows - 1)

    def _square(self, theta: Array) -> Array:
        """Theta (N, n_params) to matrices (N, n_rows, n_rows)."""
        xp, k = array_module(theta=theta), self.n_rows
        H = xp.empty((theta.shape[0], k * k), np.promote_types(theta.dtype, np.float32))
        H[:, : self.n_params] = theta
        H[:, self.n_params :] = 0
        H[:, -1] = 1
        return H.reshape(-1, k, k)  # type: ignore[no-any-return]

    def _flat_head(self, H: Array, dtype: Any) -> Array:
        """The first n_params entries of each matrix."""
        return H.reshape(H.shape[0], self.n_rows**2)[:, : self.n_params].astype(dtype)

    def _head(self, H: Array, dtype: Any) -> tuple[Array, Backward]:
        """Matrices to theta, if need be with the factor that makes the last entry 1; and dH."""
        xp, k = array_module(H=H), self.n_rows
        scale_backward = None
        if not self._affine:
            H, scale_backward = unit_last_entry(H)

        def backward(dtheta: Array) -> Array:
            dH = xp.zeros((H.shape[0], k * k), H.dtype)
            dH[:, : self.n_params] = dtheta
            dH = dH.reshape(H.shape)
            return dH if scale_backward is None else scale_backward(dH)

        return self._flat_head(H, dtype), backward
