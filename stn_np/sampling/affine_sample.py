"""Affine warps without a grid: eqs (1) and (5) in one, from theta straight to V and back."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from stn_np.backend import Array, SampleBackward, array_module, coordinate_dtype, place_of
from stn_np.checks import check_array, check_choice, check_flag, check_size_pair, pullback
from stn_np.gpu import sampling as gpu
from stn_np.gpu.graph import keep_for_graph
from stn_np.sampling.bilinear import bilinear, from_affine
from stn_np.sampling.coordinates import pixels_per_unit
from stn_np.sampling.fast import loops_for
from stn_np.sampling.fast import sample as sample_by_loops
from stn_np.sampling.grid_sample import batch_size, sum_shared
from stn_np.sampling.padding import PADDINGS
from stn_np.sampling.rules import Rules

#: All that `bilinear` knows; "wrap" is sampled through a grid.
AFFINE_PADDING_MODES = tuple(name for name, padding in PADDINGS.items() if padding.neighbours)


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
    """Warp images by affine maps: `affine_grid` and bilinear `grid_sample` in one, and faster.

    Results are the same up to rounding, and to where coordinates overflow. Identity, flips and
    shifts by whole pixels are as exact: with x and x_t in pixels from the centres of input and
    output, eq. (1) is :math:`x = A (x_t, y_t, 1)^T`, and the identity has only 0 and 1 in A, and
    whole or half numbers in x_t. **Convention.** Of theta as in `affine_grid`, else as in
    `grid_sample`. Source: Jaderberg et al. 2015, eqs (1), (5), (6), (7).

    Parameters
    ----------
    U : Array
        (N, C, H, W) input, float16, float32 or float64. With N = 1 all maps read the one image.
    theta : Array
        (N, 2, 3), as in `affine_grid`. With N = 1 all images are warped alike.
    out_shape : tuple of int
        (H', W') of the output, in pixels.
    padding_mode : {"zeros", "constant", "border", "reflection"}
        This, all other settings, and errors raised are those of `stn_np.grid_sample`.

    Returns
    -------
    V : Array
        (N, C, H', W'), of U's dtype.
    backward : callable
        backward(dV) returns (dU, dtheta), each None if not needed.
    """
    check_choice("padding_mode", padding_mode, AFFINE_PADDING_MODES)
    rules = Rules("bilinear", padding_mode, padding_value, align_corners, dU_method=dU_method)
    return warp(U, theta, out_shape, rules, needs_dU=needs_dU, needs_dtheta=needs_dtheta)


def warp(
    U: Array,
    theta: Array,
    out_shape: tuple[int, int],
    rules: Rules,
    *,
    needs_dU: bool = True,
    needs_dtheta: bool = True,
) -> tuple[Array, SampleBackward]:
    """`affine_sample` by rules that are made already."""
    xp = array_module(U=U, theta=theta)
    check_array("U", U, ("N", "C", "H", "W"))
    check_array("theta", theta, ("N", 2, 3))
    rules.check_value_fits(U)
    check_flag("needs_dU", needs_dU)
    check_flag("needs_dtheta", needs_dtheta)
    out_size = check_size_pair("out_shape", out_shape)
    N, size = batch_size("theta", "maps", U, theta), U.shape[2:]
    needs = {"needs_dU": needs_dU, "needs_ds": needs_dtheta}
    units = units_of_matrix(xp, place_of(theta), size, out_size, rules.align_corners)
    keep_for_graph(units)
    # Infinite and huge numbers are allowed, so NumPy has nothing to warn of.
    with np.errstate(all="ignore"):
        A = theta * units
        # The one switch between the paths.
        if xp is np and (loops := loops_for(U, A, rules)):
            V, sampler_backward = sample_by_loops(
                loops, U, A, theta.dtype, out_size, N, rules, **needs
            )
        elif xp is np:
            source = from_affine(U, A, theta.dtype, out_size, N, rules)
            V, sampler_backward = bilinear(U, source, N, rules, **needs)
        else:
            A = A.astype(coordinate_dtype(theta.dtype, max(size)))
            V, sampler_backward = gpu.sample_affine(U, A, out_size, N, rules.for_gpu, **needs)

    @pullback(dV=V)
    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        dU, dA = sampler_backward(dV)
        return dU, None if dA is None else sum_shared(dA * units, theta)

    return V, backward


@lru_cache(maxsize=64)
def units_of_matrix(
    xp: Any, place: str, size: tuple[int, int], out_size: tuple[int, int], align_corners: bool
) -> Array:
    """What turns theta into A, entry by entry: source pixels a unit over target pixels a unit.

    Kept once for each place: to bring numbers to a GPU takes longer than to compute with them.
    """
    y, x = (pixels_per_unit(n, align_corners) for n in size)
    y_t, x_t = (pixels_per_unit(n, align_corners) or 1.0 for n in out_size)
    return xp.asarray([[x / x_t, x / y_t, x], [y / x_t, y / y_t, y]])  # type: ignore[no-any-return]
