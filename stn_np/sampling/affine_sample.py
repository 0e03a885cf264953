"""Affine warps without a grid: eqs (1) and (5) in one, from theta straight to V and back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np

from stn_np.backend import Array, SampleBackward, array_module, place_of
from stn_np.checks import check_array, check_choice, check_flag, check_gradient, check_size_pair
from stn_np.gpu.graph import keep_for_graph
from stn_np.gpu.on_gpu import DU_METHODS, affine_on_gpu
from stn_np.sampling.bilinear import sample
from stn_np.sampling.blocks import point_blocks
from stn_np.sampling.coordinates import units_to_pixels
from stn_np.sampling.grid_sample import check_padding_value, check_rules
from stn_np.sampling.points import Frame, Points

#: All that `bilinear` knows; "wrap" is sampled through a grid.
AFFINE_PADDING_MODES = ("zeros", "constant", "border", "reflection")


def affine_sample(
    U: Array,
    theta: Array,
    out_shape: tuple[int, int],
    *,
    padding_mode: str = "zeros",
    padding_value: float = 0.0,
    align_corners: bool = True,
    dU_method: str = "deterministic",
    needs_dU: bool = True,
    needs_dtheta: bool = True,
) -> tuple[Array, SampleBackward]:
    """Warp images by affine maps: `affine_grid` and bilinear `grid_sample` in one.

    The same up to rounding, and up to where coordinates overflow, but faster and with less memory:
    coordinates exist only for a block of points at a time.

    Parameters
    ----------
    U : Array
        (N, C, H, W) input, float16, float32 or float64. With N = 1 all maps read the one image.
    theta : Array
        (N, 2, 3): for each image [[t11, t12, t13], [t21, t22, t23]]. With N = 1 all images are
        warped alike. Where coordinates become NaN the image is read as outside.
    out_shape : tuple of int
        (H', W') of the output, in pixels.
    padding_mode : {"zeros", "constant", "border", "reflection"}
        As in `stn_np.grid_sample`, without "wrap".
    padding_value, align_corners, dU_method
        As in `stn_np.grid_sample`.
    needs_dU, needs_dtheta : bool
        False: that gradient is not computed, and backward returns None in its place.

    Returns
    -------
    V : Array
        (N, C, H', W'), of U's dtype.
    backward : callable
        backward(dV) with dV (N, C, H', W') returns (dU, dtheta), in the shapes and dtypes of U and
        theta.

    Raises
    ------
    TypeError
        If U or theta is no floating-point array, one is NumPy's and the other CuPy's, or out_shape
        is no pair.
    ValueError
        If a shape does not fit, the batch sizes differ (and neither is 1), the image has no pixels,
        or a mode is unknown.

    Notes
    -----
    **Convention.** Of theta as in `stn_np.affine_grid`, of the rest as in `stn_np.grid_sample`.
    Identity, flips, quarter turns and shifts by whole pixels are as exact as there.

    With x and x_t counted in pixels from the centres of the input and of the output, eq. (1) is
    :math:`x = A (x_t, y_t, 1)^T`, where A is theta times the two grids' numbers of pixels a unit,
    entry by entry. For the identity A holds only 0 and 1, and x_t only whole or half numbers: no
    rounding. The third column of A also takes what `stn_np.sampling.points` adds to each
    coordinate, so a small matrix product is all that it takes to locate the points.

    Source: Jaderberg et al. 2015, eqs (1), (5), (6), (7).
    """
    xp = array_module(U=U, theta=theta)
    check_array("U", U, ("N", "C", "H", "W"))
    check_array("theta", theta, ("N", 2, 3))
    check_choice("padding_mode", padding_mode, AFFINE_PADDING_MODES)
    check_rules("bilinear", padding_mode, padding_value, align_corners, "exact")
    check_padding_value(padding_value, U)
    check_choice("dU_method", dU_method, DU_METHODS)
    check_flag("needs_dU", needs_dU)
    check_flag("needs_dtheta", needs_dtheta)
    out_size = check_size_pair("out_shape", out_shape)
    N_theta, (N_U, _, H, W) = theta.shape[0], U.shape
    if 0 in (H, W):
        raise ValueError(f"U: expected at least one pixel, got shape {U.shape}")
    if N_U != N_theta and 1 not in (N_U, N_theta):
        raise ValueError(f"theta: expected as many maps as images ({N_U}), or one, got {N_theta}")
    N = max(N_U, N_theta) if N_U and N_theta else 0
    units = units_of_matrix(xp, place_of(theta), (H, W), out_size, align_corners)
    keep_for_graph(units)
    rules: dict[str, Any] = {
        "padding_mode": padding_mode,
        "padding_value": float(padding_value),
        "align_corners": align_corners,
        "needs_dU": needs_dU,
        "needs_dA": needs_dtheta,
    }
    sample_affine = in_blocks if xp is np else partial(affine_on_gpu, dU_method=dU_method)
    # Infinite and huge numbers are allowed, so NumPy has nothing to warn of.
    with np.errstate(over="ignore", invalid="ignore"):
        V, pullback = sample_affine(U, theta * units, theta.dtype, out_size, **rules)

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        check_gradient("dV", dV, V)
        with np.errstate(over="ignore", invalid="ignore"):
            dU, dA = pullback(dV)
            if dA is None:
                return dU, None
            dtheta = dA * units
            if N_theta == 1 and N != 1:
                dtheta = dtheta.sum(axis=0, keepdims=True)
            return dU, dtheta.astype(theta.dtype)

    return V, backward


def in_blocks(
    U: Array,
    A: Array,
    dtype: np.dtype[Any],
    out_size: tuple[int, int],
    *,
    padding_mode: str,
    padding_value: float,
    align_corners: bool,
    needs_dU: bool,
    needs_dA: bool,
) -> tuple[Array, SampleBackward]:
    """V through A (N or 1, 2, 3), which counts in pixels, a block of points at a time.

    `dtype` is theta's; backward(dV) returns (dU, dA), dA (N, 2, 3) in float64.
    """
    (N_U, _, H, W), N_A, xp = U.shape, A.shape[0], array_module(U=U, A=A)
    N = max(N_U, N_A) if N_U and N_A else 0
    frame = Frame(xp, U.shape, N, dtype, padding_mode, align_corners)
    target = lru_cache(maxsize=1)(partial(target_rows, xp, out_size, frame.dtype))

    def locate() -> Iterator[Points]:
        shifted = A.copy()
        shifted[:, :, 2] += xp.asarray([(W - 1) / 2 + frame.x.shift, (H - 1) / 2 + frame.y.shift])
        shifted = shifted.transpose(1, 0, 2).astype(frame.dtype)
        for images, columns in point_blocks(
            N, out_size[0] * out_size[1], step=out_size[1]
        ):  # whole rows
            here = images if N_A == N else slice(0, 1)
            x, y = shifted[:, here] @ target(columns.start, columns.stop)  # eq. (1)
            yield frame.points((images, columns), x, y)

    V, sample_backward = sample(
        xp, U, locate(), (N, *out_size), padding_value, needs_dU=needs_dU, needs_ds=needs_dA
    )

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        if not needs_dA:
            return sample_backward(dV, None), None
        dA = xp.zeros((N, 2, 3))

        def receive(points: Points, dx: Array, dy: Array) -> None:
            G_T = target(points.columns.start, points.columns.stop).T
            dA[points.images, 0] += dx @ G_T
            dA[points.images, 1] += dy @ G_T

        return sample_backward(dV, receive), dA

    return V, backward


@lru_cache(maxsize=64)
def units_of_matrix(
    xp: Any, place: str, size: tuple[int, int], out_size: tuple[int, int], align_corners: bool
) -> Array:
    """What turns theta into A, entry by entry: source pixels a unit over target pixels a unit.

    On a target axis of one pixel any unit will do, for there x_t = 0. Kept once for each place: to
    bring numbers to a GPU takes longer than to compute with them.
    """
    y, x = (units_to_pixels(n, align_corners) for n in size)
    y_t, x_t = (units_to_pixels(n, align_corners) or 1.0 for n in out_size)
    return xp.asarray([[x / x_t, x / y_t, x], [y / x_t, y / y_t, y]])  # type: ignore[no-any-return]


def target_rows(
    xp: Any, out_size: tuple[int, int], dtype: np.dtype[Any], start: int, stop: int
) -> Array:
    """x_t, y_t and 1 of whole rows of the output, pixels start to stop: (3, points)."""
    H, W = out_size
    rows = xp.arange(start // W, stop // W)
    G = xp.ones((3, rows.size, W), dtype)
    G[0] = xp.arange(W) - (W - 1) / 2
    G[1] = rows[:, None] - (H - 1) / 2
    return G.reshape(3, -1)  # type: ignore[no-any-return]
