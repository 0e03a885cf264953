"""The public sampler: checks its arguments and picks the implementation."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.checks import check_array, check_choice, check_gradient
from stn_np.sampling.bilinear import GridSampleBackward, bilinear
from stn_np.sampling.coordinates import PADDING_MODES

MODES = ("bilinear",)


def grid_sample(
    U: Array,
    grid: Array,
    *,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = True,
    needs_dU: bool = True,
    needs_dgrid: bool = True,
) -> tuple[Array, GridSampleBackward]:
    """Read the image U at the points of a grid, eqs (3) and (5).

    Parameters
    ----------
    U : Array
        (N, C, H, W) input, float16, float32 or float64. With N = 1 all grids read the one image.
    grid : Array
        (N, H', W', 2) source points, last axis (x, y). With N = 1 all images are read alike.
        NaN counts as a point far to the left or above; infinite and huge coordinates are outside.
    mode : {"bilinear"}
        Sampling kernel k of eq. (3).
    padding_mode : {"zeros", "border", "reflection"}
        What lies outside: nothing (the paper), the nearest border pixel, the mirror image.
    align_corners : bool
        Which points of the image -1 and +1 are; see Convention.
    needs_dU, needs_dgrid : bool
        False: that gradient is not computed, and backward returns None in its place.

    Returns
    -------
    V : Array
        (N, C, H', W'), of U's dtype.
    backward : callable
        backward(dV) with dV (N, C, H', W') returns (dU, dgrid), in the shapes and dtypes of U and
        grid.

    Raises
    ------
    TypeError
        If U or grid is no floating-point array, or one is NumPy's and the other CuPy's.
    ValueError
        If a shape does not fit, the batch sizes differ (and neither is 1), the image has no pixels,
        or a mode is unknown.

    Notes
    -----
    **Convention.** (x, y) in [-1, 1]; x runs along W to the right, y along H downwards.
    ``align_corners=True``, the default of the whole library: -1 and +1 are the centres of the
    outermost pixels, x_pixel = (x + 1)(W - 1)/2; an axis of one pixel is read at that pixel
    wherever a finite x is. ``False``: they are the outer edges, x_pixel = ((x + 1) W - 1)/2.

    The derivative at a pixel's centre, where eq. (5) has a kink, is the right one. For border and
    reflection, points exactly on the border count as outside: no gradient.

    Under the identity V equals U bit for bit, for pixels that are finite and whose differences from
    their neighbours are (an infinite pixel spoils its left and upper neighbours: 0 times infinity).

    Source: Jaderberg et al. 2015, eqs (3), (5), (6), (7).
    """
    array_module(U=U, grid=grid)
    check_array("U", U, ("N", "C", "H", "W"))
    check_array("grid", grid, ("N", "H'", "W'", 2))
    check_choice("mode", mode, MODES)
    check_choice("padding_mode", padding_mode, PADDING_MODES)
    if 0 in U.shape[2:]:
        raise ValueError(f"U: expected at least one pixel, got shape {U.shape}")
    if U.shape[0] != grid.shape[0] and 1 not in (U.shape[0], grid.shape[0]):
        raise ValueError(
            f"grid: expected as many grids as images ({U.shape[0]}), or one, got {grid.shape[0]}"
        )
    # Infinite and huge numbers are allowed (see Parameters), so NumPy has nothing to warn of.
    with np.errstate(over="ignore", invalid="ignore"):
        V, pullback = bilinear(
            U,
            grid,
            padding_mode=padding_mode,
            align_corners=align_corners,
            needs_dU=needs_dU,
            needs_dgrid=needs_dgrid,
        )

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        check_gradient("dV", dV, V)
        with np.errstate(over="ignore", invalid="ignore"):
            return pullback(dV)

    return V, backward
