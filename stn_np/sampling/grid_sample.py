"""The public sampler: checks its arguments and picks the implementation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import TypeAlias

import numpy as np

from stn_np.backend import Array, SampleBackward, array_module
from stn_np.checks import check_array, check_choice, check_flag, check_gradient, check_scalar
from stn_np.gpu.on_gpu import DU_METHODS, sample_on_gpu
from stn_np.sampling.bilinear import bilinear
from stn_np.sampling.coordinates import PADDING_MODES
from stn_np.sampling.kernel import Kernel
from stn_np.sampling.kernels import BY_NAME
from stn_np.sampling.linearised import Linearised, linearised_dgrid
from stn_np.sampling.nearest import nearest
from stn_np.sampling.separable import separable

#: The modes with a name.
MODES = tuple(BY_NAME)

#: What images are sampled with in two dimensions, where a frame of padding will do.
IN_FEWER_PASSES = {"bilinear": bilinear, "nearest": nearest}

#: What ``mode`` may be. A name, one kernel for all axes, or one an axis as (x, y[, z]).
Mode: TypeAlias = str | Kernel | tuple[Kernel, ...]


def grid_sample(
    U: Array,
    grid: Array,
    *,
    mode: Mode = "bilinear",
    padding_mode: str = "zeros",
    padding_value: float = 0.0,
    align_corners: bool = True,
    grid_gradient: str | Linearised = "exact",
    dU_method: str = "deterministic",
    needs_dU: bool = True,
    needs_dgrid: bool = True,
) -> tuple[Array, SampleBackward]:
    r"""Read the image U at the points of a grid, eq. (3).

    Parameters
    ----------
    U : Array
        (N, C, H, W) images or (N, C, D, H, W) volumes, float16, float32 or float64. With N = 1 all
        grids read the one image.
    grid : Array
        (N, H', W', 2) source points, last axis (x, y), or (N, D', H', W', 3) with (x, y, z). With
        N = 1 all images are read alike. NaN counts as a point far to the left or above; infinite
        and huge coordinates are outside.
    mode : {"bilinear", "nearest", "bicubic"}, Kernel, or tuple of Kernel
        Sampling kernel k of eq. (3): eq. (5), which in three dimensions is trilinear; eq. (4); the
        cubic with a = -0.75; or a `stn_np.sampling.Kernel`, one for all axes or one each for
        (x, y[, z]). `stn_np.sampling.kernels` has some.
    padding_mode : {"zeros", "constant", "border", "reflection", "wrap"}
        What lies outside: nothing (the paper), `padding_value`, the nearest border pixel, the
        mirror image, the image repeated.
    padding_value : float
        For "constant".
    align_corners : bool
        Which points of the image -1 and +1 are; see Convention.
    grid_gradient : {"exact", "linearised"} or Linearised
        "exact": eq. (7). "linearised": the slope of a plane fitted to samples around each point
        (see `stn_np.sampling.Linearised`), which is not the derivative of V but sees further; with
        mode "bilinear" only.
    dU_method : {"deterministic", "atomic"}
        How a GPU sums up what several points give to one pixel, for the modes with a name: in a
        fixed order, the same bits in every run; or as it comes, which is what it does for a
        `stn_np.sampling.Kernel` anyway. NumPy has a fixed order only.
    needs_dU, needs_dgrid : bool
        False: that gradient is not computed, and backward returns None in its place.

    Returns
    -------
    V : Array
        (N, C, H', W') or (N, C, D', H', W'), of U's dtype.
    backward : callable
        backward(dV), with dV in the shape of V, returns (dU, dgrid), in the shapes and dtypes of U
        and grid.

    Raises
    ------
    TypeError
        If U or grid is no floating-point array, or one is NumPy's and the other CuPy's; if mode is
        none of the above.
    ValueError
        If a shape does not fit, the batch sizes differ (and neither is 1), the image has no pixels,
        a mode is unknown, or two settings exclude each other.

    Notes
    -----
    With the point :math:`(x_i^s, y_i^s)` in pixels,

    .. math:: V_i^c = \sum_n \sum_m U_{nm}^c\, k(x_i^s - m)\, k(y_i^s - n) \tag{3}

    .. math:: k(d) = \max(0, 1 - |d|) \quad \text{for mode "bilinear"} \tag{5}

    and the pullback, with k' the slope of k, is

    .. math:: dU_{nm}^c = \sum_i dV_i^c\, k(x_i^s - m)\, k(y_i^s - n) \tag{6}

    .. math:: dx_i^s = \sum_c dV_i^c \sum_n \sum_m U_{nm}^c\, k'(x_i^s - m)\, k(y_i^s - n) \tag{7}

    times the pixels that a unit of the grid is: (W - 1)/2, or W/2 without aligned corners.

    **Convention.** (x, y) in [-1, 1]; x runs along W to the right, y along H downwards, z along D.
    ``align_corners=True``, the default of the whole library: -1 and +1 are the centres of the
    outermost pixels, x_pixel = (x + 1)(W - 1)/2; an axis of one pixel is read at that pixel
    wherever a finite x is. ``False``: they are the outer edges, x_pixel = ((x + 1) W - 1)/2.
    "reflection" mirrors at these very points; "wrap" repeats after W pixels under both rules. Both
    do so up to 100,000 pixels away: whatever is further out is read in one place, and gets no
    gradient.

    *Nearest* has no gradient to the grid: dgrid is exactly zero, and only the image learns. A point
    half-way between two pixels reads the right one, floor(x + 1/2) (PyTorch: the even one). Labels
    are whole numbers: convert them to a float dtype before, and back afterwards.

    The derivative at a pixel's centre, where eq. (5) has a kink, is the right one. For border and
    reflection, points exactly on the border count as outside in modes "nearest" and "bilinear": no
    gradient. Kernels that reach further read the image continued by the padding rule.

    The pullback knows what it needs of U and grid: either may be changed afterwards. On a GPU it
    reads them again, and they must stay as they are until then: a copy would take as long as the
    sampling.

    Under the identity V equals U bit for bit in the three modes with a name (float32 grids: on axes
    of up to 4 million pixels), for pixels that are finite and whose differences from their
    neighbours are (an infinite pixel spoils those that read it with weight 0: 0 times infinity).

    Source: Jaderberg et al. 2015, eqs (3) to (7) and (9).
    """
    xp = array_module(U=U, grid=grid)
    _check_shapes(U, grid)
    check_rules(mode, padding_mode, padding_value, align_corners, grid_gradient)
    check_padding_value(padding_value, U)
    kernels = kernels_of(mode, grid.shape[-1])
    settings = Linearised() if grid_gradient == "linearised" else grid_gradient
    exact = settings == "exact"
    check_flag("needs_dU", needs_dU)
    check_flag("needs_dgrid", needs_dgrid)
    check_choice("dU_method", dU_method, DU_METHODS)
    sampler: Callable[..., tuple[Array, SampleBackward]] = partial(separable, kernels=kernels)
    if isinstance(mode, str) and xp is not np:
        sampler = partial(sample_on_gpu, mode=mode, dU_method=dU_method)
    elif isinstance(mode, str) and grid.shape[-1] == 2 and padding_mode != "wrap":
        sampler = IN_FEWER_PASSES.get(mode, sampler)
    sample = partial(
        sampler,
        padding_mode=padding_mode,
        padding_value=float(padding_value),
        align_corners=align_corners,
    )
    # Infinite and huge numbers are allowed (see Parameters), so NumPy has nothing to warn of.
    with np.errstate(over="ignore", invalid="ignore"):
        V, pullback = sample(U, grid, needs_dU=needs_dU, needs_dgrid=needs_dgrid and exact)

    if needs_dgrid and not exact:  # the fit comes later, and reads them again
        U, grid, V_then = U.copy(), grid.copy(), V.copy()

    def values(points: Array) -> Array:
        return sample(U, points, needs_dU=False, needs_dgrid=False)[0]

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        check_gradient("dV", dV, V)
        with np.errstate(over="ignore", invalid="ignore"):
            dU, dgrid = pullback(dV)
            if needs_dgrid and isinstance(settings, Linearised):
                size = U.shape[2:]
                dgrid = linearised_dgrid(
                    values, grid, V_then, dV, size, settings, align_corners=align_corners
                )
        return dU, dgrid

    return V, backward


def _check_shapes(U: Array, grid: Array) -> None:
    """Images with a grid of pairs, or volumes with a grid of triples; batches that fit."""
    theta = grid.ndim in (2, 3) and grid.shape[-2:] in ((2, 3), (3, 4))
    hint = "; this looks like theta: affine_grid makes a grid of it" if theta else ""
    if U.ndim == 5:
        check_array("U", U, ("N", "C", "D", "H", "W"))
        check_array("grid", grid, ("N", "D'", "H'", "W'", 3), hint)
    else:
        check_array("U", U, ("N", "C", "H", "W"))
        check_array("grid", grid, ("N", "H'", "W'", 2), hint)
    if 0 in U.shape[2:]:
        raise ValueError(f"U: expected at least one pixel, got shape {U.shape}")
    if U.shape[0] != grid.shape[0] and 1 not in (U.shape[0], grid.shape[0]):
        raise ValueError(
            f"grid: expected as many grids as images ({U.shape[0]}), or one, got {grid.shape[0]}"
        )


def check_padding_value(padding_value: float, U: Array) -> None:
    """The value must be one that the image's dtype knows, or it would become infinite."""
    if abs(float(padding_value)) > float(np.finfo(U.dtype).max):
        raise ValueError(f"padding_value: expected a number for {U.dtype}, got {padding_value!r}")


def check_rules(
    mode: Mode,
    padding_mode: str,
    padding_value: float,
    align_corners: bool,
    grid_gradient: str | Linearised,
) -> None:
    """Refuse settings of `grid_sample` that are unknown or exclude each other."""
    if isinstance(mode, str) and mode in ("gaussian", "lanczos", "area"):
        call = {"gaussian": "gaussian()", "lanczos": "lanczos()", "area": "area(reduction)"}[mode]
        raise ValueError(
            f"mode: expected one of {', '.join(map(repr, MODES))}, or a Kernel, got {mode!r}; "
            f"use stn_np.sampling.kernels.{call}"
        )
    if isinstance(mode, str):
        check_choice("mode", mode, MODES)
    elif not isinstance(mode, Kernel | tuple):
        raise TypeError(
            "mode: expected a name, a Kernel such as stn_np.sampling.kernels.lanczos(), or a tuple "
            f"of kernels, got {mode!r}"
        )
    check_choice("padding_mode", padding_mode, PADDING_MODES)
    check_flag("align_corners", align_corners)
    check_scalar("padding_value", padding_value)
    if not isfinite(padding_value):
        raise ValueError(f"padding_value: expected a finite number, got {padding_value!r}")
    if padding_value != 0 and padding_mode != "constant":
        raise ValueError(
            f"padding_value: expected 0 unless padding_mode is 'constant', got {padding_value!r} "
            f"with {padding_mode!r}"
        )
    if not isinstance(grid_gradient, Linearised):
        check_choice("grid_gradient", grid_gradient, ("exact", "linearised"))
    if grid_gradient != "exact" and mode != "bilinear":
        raise ValueError(f"grid_gradient: expected 'exact' with mode {mode!r}, got 'linearised'")


def kernels_of(mode: Mode, n: int) -> tuple[Kernel, ...]:
    """One kernel an axis, (x, y[, z])."""
    if isinstance(mode, tuple):
        if len(mode) != n or not all(isinstance(kernel, Kernel) for kernel in mode):
            axes = ", ".join(("x", "y", "z")[:n])
            raise TypeError(f"mode: expected {n} kernels ({axes}), got {mode!r}")
        return mode
    return (mode if isinstance(mode, Kernel) else BY_NAME[mode],) * n
