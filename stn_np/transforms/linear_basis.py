"""The paper's general grid generator: T_theta(G) = M_theta B (section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import (
    Array,
    Backward,
    array_module,
    place_of,
    to_device_of,
    to_numpy,
)
from stn_np.checks import check_array, check_flag, check_size_pair, pullback
from stn_np.gpu.constants import remember
from stn_np.gpu.matmul import matmul
from stn_np.module import Module, Parameter
from stn_np.transforms.target_grid import Described, homogeneous_grid

LinearBasisBackward = Callable[[Array], tuple[Array, Array | None]]


def linear_basis_grid(
    M: Array, B: Array, *, needs_dB: bool = True
) -> tuple[Array, LinearBasisBackward]:
    r"""Source coordinates of every output pixel as weighted sums of K basis images.

    Parameters
    ----------
    M : Array
        (N, 2, K): for each image the weights of x, then those of y.
    B : Array
        (K, H', W'): the basis, a representation of the target grid.
    needs_dB : bool
        False: the gradient of B is not computed.

    Returns
    -------
    grid : Array
        (N, H', W', 2), last axis (x, y), with grid[n, i, j] = sum_k M[n, :, k] B[k, i, j]. The
        dtype is M's, float32 at least; in memory all x of an image come before all y.
    backward : callable
        backward(dgrid) with dgrid (N, H', W', 2) returns (dM, dB), or (dM, None) if dB is not
        needed.

    Raises
    ------
    TypeError
        If M or B is no floating-point array.
    ValueError
        If a shape does not fit, or B is empty.

    Notes
    -----
    .. math:: \mathcal{T}_\theta(G) = M_\theta B, \quad dM = ds\, B^T, \quad dB = M^T ds

    **Convention.** The grid is in normalised coordinates and goes backward, from target to source,
    as in `stn_np.affine_grid`. Which points -1 and +1 are is for B to say.

    Source: Jaderberg et al. 2015, section 3.2. With B = (x_t, y_t, 1) it is eq. (1).
    """
    array_module(M=M, B=B)
    check_array("B", B, ("K", "H'", "W'"))
    K, H, W = B.shape
    if B.size == 0:
        raise ValueError(f"B: expected at least one row and one pixel, got shape {B.shape}")
    check_flag("needs_dB", needs_dB)
    check_array("M", M, ("N", 2, K))
    N = M.shape[0]
    dtype = np.promote_types(M.dtype, np.float32)
    rows = M.reshape(N * 2, K).astype(dtype, copy=False)
    basis = B.reshape(K, H * W).astype(dtype, copy=False)

    with np.errstate(over="ignore", invalid="ignore"):  # the sampler knows NaN and infinity
        s = matmul(rows, basis)
    grid = s.reshape(N, 2, H, W).transpose(0, 2, 3, 1)

    @pullback(dgrid=grid)
    def backward(dgrid: Array) -> tuple[Array, Array | None]:
        ds = dgrid.transpose(0, 3, 1, 2).reshape(N * 2, H * W).astype(dtype, copy=False)
        dM = matmul(ds, basis.T).reshape(N, 2, K).astype(M.dtype, copy=False)
        if not needs_dB:
            return dM, None
        dB = matmul(rows.T, ds)  # all images share B
        return dM, dB.reshape(K, H, W).astype(B.dtype, copy=False)

    return grid, backward


class LinearBasis(Module):
    """Any family that is linear in theta: T_theta = M_theta B, theta = M (2, K) row by row.

    Called as ``grid, backward = LinearBasis(basis)(theta, (H', W'))`` with theta (N, 2 K); see
    `linear_basis_grid`. The affine, attention, thin plate and piecewise affine grids are of this
    form.

    Parameters
    ----------
    basis : Array or Parameter
        B, (K, H', W'): for one output size. An array is copied and stays as it is; a
        `stn_np.layers.Parameter` is learned: it is among the parameters of this object and of every
        `stn_np.SpatialTransformer` that uses it, and backward adds dL/dB to its ``grad``.
    align_corners : bool
        The corner rule for which B was made; calls with the other one are refused.

    Attributes
    ----------
    identity : NDArray
        (2 K,) The M for which M B is the target grid. Where x_t and y_t are themselves among the
        rows of B it picks them, and the grid is exact bit for bit. It belongs to the B that was
        handed in: where B is learned, it is a starting point.

    Raises
    ------
    TypeError
        If basis is no floating-point array, nor a Parameter with one.
    ValueError
        If its shape is not (K, H', W'), if it contains NaN or infinity, or if the target grid is no
        combination of its rows, so that there is no identity.
    """

    name = "linear-basis"

    def __init__(self, basis: Array | Parameter, *, align_corners: bool = True) -> None:
        data = basis.data if isinstance(basis, Parameter) else basis
        check_array("basis", data, ("K", "H'", "W'"))
        B = to_numpy(data)
        if B.size == 0 or not np.isfinite(B).all():
            what = f"shape {B.shape}" if B.size == 0 else "NaN or infinity"
            raise ValueError(f"basis: expected finite numbers for at least one pixel, got {what}")
        self.align_corners = align_corners
        self.out_shape = (B.shape[1], B.shape[2])
        self.identity = _identity(B, align_corners=align_corners)
        self.n_params = self.identity.size
        self.basis: NDArray[Any] | Parameter
        if isinstance(basis, Parameter):
            self.basis = basis
        else:
            self.basis = B.copy()
            self.basis.flags.writeable = False
        self._fixed: dict[Hashable, Array] = {}

    __setstate__ = Described.__setstate__

    def _describe(self) -> str:
        learned = ", learned" if isinstance(self.basis, Parameter) else ""
        return f"{self.out_shape[0]}x{self.out_shape[1]}, {self.n_params} numbers{learned}"

    def __call__(  # type: ignore[override]
        self, theta: Array, out_shape: tuple[int, int], *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, 2 K) to grid (N, H', W', 2); backward(dgrid) returns dtheta (N, 2 K)."""
        check_array("theta", theta, ("N", self.n_params))
        check_flag("align_corners", align_corners)
        if check_size_pair("out_shape", out_shape) != self.out_shape:
            raise ValueError(
                f"out_shape: expected {self.out_shape}, the basis's own, got {tuple(out_shape)}"
            )
        if align_corners != self.align_corners:
            raise ValueError(
                f"align_corners: expected {self.align_corners}, for which the basis was made, "
                f"got {align_corners}"
            )
        N, basis = theta.shape[0], self.basis
        learned = isinstance(basis, Parameter)
        B = basis.data if isinstance(basis, Parameter) else self._constant(theta)
        grid, grid_backward = linear_basis_grid(
            theta.reshape(N, 2, self.n_params // 2), B, needs_dB=learned
        )

        @np.errstate(over="ignore", invalid="ignore")
        def backward(dgrid: Array) -> Array:
            dM, dB = grid_backward(dgrid)
            if isinstance(basis, Parameter):
                basis.grad += dB
            return dM.reshape(N, self.n_params)

        return grid, backward

    def _constant(self, theta: Array) -> Array:
        """The fixed basis where theta lives, in the grid's dtype."""
        wide = np.promote_types(theta.dtype, np.float32)
        B: Array = remember(
            self._fixed,
            (place_of(theta), wide.str),
            lambda: to_device_of(np.asarray(self.basis, dtype=wide), theta),
        )
        return B


#: How far M B may be from the target grid, in units of half the image: 0.0005 px at 1000 px.
IDENTITY_TOLERANCE = 1e-6


def _identity(B: NDArray[Any], *, align_corners: bool) -> NDArray[Any]:
    """M (2, K), row by row, with M B = (x_t, y_t): one row of B each if possible."""
    K, H, W = B.shape
    basis = B.reshape(K, H * W)
    target = homogeneous_grid(np, (H, W), align_corners=align_corners, dtype=np.float64)[:2]
    M = np.zeros((2, K))
    for weights, coordinate in zip(M, target, strict=True):
        same = (basis == coordinate.astype(B.dtype)).all(axis=1)
        if same.any():
            weights[same.argmax()] = 1.0
        else:
            weights[:] = np.linalg.lstsq(basis.T.astype(np.float64), coordinate, rcond=None)[0]
    residual = np.abs(M @ basis - target).max()
    if not residual <= IDENTITY_TOLERANCE:
        raise ValueError(
            "basis: expected the target grid (x_t, y_t) among the combinations of its rows, so "
            f"that there is an identity; the nearest misses it by {residual:.2g}"
        )
    identity = M.ravel()
    identity.flags.writeable = False
    return identity
