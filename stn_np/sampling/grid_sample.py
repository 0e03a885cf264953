"""The public sampler: V from U and a grid."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, SampleBackward, array_module
from stn_np.checks import check_array, check_flag, pullback
from stn_np.gpu import sampling as gpu
from stn_np.sampling.bilinear import bilinear, from_grid
from stn_np.sampling.fast import loops_for
from stn_np.sampling.fast import sample as sample_by_loops
from stn_np.sampling.linearised import Linearised, linearised_dgrid
from stn_np.sampling.nearest import nearest
from stn_np.sampling.rules import Mode, Rules
from stn_np.sampling.separable import separable

#: What images are sampled with in two dimensions, if the padding mode allows it.
IN_FEWER_PASSES = {"bilinear": bilinear, "nearest": nearest}


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

    With the point :math:`(x_i^s, y_i^s)` in pixels, and k' the slope of k,

    .. math:: V_i^c = \sum_n \sum_m U_{nm}^c\, k(x_i^s - m)\, k(y_i^s - n) \tag{3}

    .. math:: dU_{nm}^c = \sum_i dV_i^c\, k(x_i^s - m)\, k(y_i^s - n) \tag{6}

    .. math:: dx_i^s = \sum_c dV_i^c \sum_n \sum_m U_{nm}^c\, k'(x_i^s - m)\, k(y_i^s - n) \tag{7}

    TypeError or ValueError if types or shapes do not fit, the batch sizes differ (and neither is
    1), the image has no pixels, a mode is unknown, or two settings exclude each other.

    Parameters
    ----------
    U : Array
        (N, C, H, W) images or (N, C, D, H, W) volumes, float16, float32 or float64. With N = 1 all
        grids read the one image.
    grid : Array
        (N, H', W', 2) source points, last axis (x, y), or (N, D', H', W', 3) with (x, y, z). With
        N = 1 all images are read alike. NaN, infinite and huge coordinates are outside.
    mode : {"bilinear", "nearest", "bicubic"}, Kernel, or tuple of Kernel
        The kernel k: eq. (5), trilinear in volumes; eq. (4); the cubic with a = -0.75; or a
        `stn_np.sampling.Kernel`, one for all axes or one each for (x, y[, z]).
    padding_mode : {"zeros", "constant", "border", "reflection", "wrap"}
        What lies outside: nothing (the paper), `padding_value`, the nearest border pixel, the
        mirror image, the image repeated.
    align_corners : bool
        Which points of the image -1 and +1 are; see Convention.
    grid_gradient : {"exact", "linearised"} or Linearised
        Eq. (7); or, with mode "bilinear" only, the slope of a plane fitted to samples around each
        point (see `stn_np.sampling.Linearised`), which is not V's derivative but sees further.
    dU_method : {"deterministic", "atomic"}
        How a GPU sums up what several points give to one pixel, for the modes with a name: in a
        fixed order, the same bits in every run; or as it comes, as always for a `Kernel`.
    needs_dU, needs_dgrid : bool
        False: that gradient is not computed, and backward returns None in its place.

    Returns
    -------
    V : Array
        (N, C, H', W') or (N, C, D', H', W'), of U's dtype.
    backward : callable
        backward(dV) returns (dU, dgrid), in the shapes and dtypes of U and grid. On a GPU it reads
        U and grid again: they must not change before.

    Notes
    -----
    **Convention.** (x, y) in [-1, 1]; x runs along W to the right, y along H downwards, z along D.
    ``align_corners=True``, the default of the whole library: -1 and +1 are the centres of the
    outermost pixels, x_pixel = (x + 1)(W - 1)/2. ``False``: they are the outer edges,
    x_pixel = ((x + 1) W - 1)/2. "reflection" mirrors at these very points; "wrap" repeats after W
    pixels under both rules. At a pixel's centre the derivative is the right one. The rest (the
    border, far outside, labels, exact identity) is in the documentation: the numerical contract.

    Source: Jaderberg et al. 2015, eqs (3) to (7) and (9).
    """
    rules = Rules(mode, padding_mode, padding_value, align_corners, grid_gradient, dU_method)
    return sample(U, grid, rules, needs_dU=needs_dU, needs_dgrid=needs_dgrid)


def sample(
    U: Array,
    grid: Array,
    rules: Rules,
    *,
    needs_dU: bool = True,
    needs_dgrid: bool = True,
    by_loops: bool = True,
) -> tuple[Array, SampleBackward]:
    """`grid_sample` by rules that are made already.

    by_loops False: never by compiled loops, so that the bits do not depend on what is installed.
    """
    array_module(U=U, grid=grid)
    _check_shapes(U, grid)
    N = batch_size("grid", "grids", U, grid)
    rules.check_value_fits(U)
    rules.kernels(grid.shape[-1])
    check_flag("needs_dU", needs_dU)
    check_flag("needs_dgrid", needs_dgrid)
    settings = rules.linearised if needs_dgrid else None
    # Infinite and huge numbers are allowed (see Parameters), so NumPy has nothing to warn of.
    with np.errstate(all="ignore"):
        V, sampler_backward = _sample(
            U, grid, N, rules, needs_dU, needs_dgrid and not settings, by_loops
        )
    if settings:  # the fit comes later, and reads them again
        U, grid, V_then = U.copy(), grid.copy(), V.copy()

    def values(points: Array) -> Array:
        return _sample(U, points, N, rules, False, False, by_loops)[0]

    @pullback(dV=V)
    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        dU, dgrid = sampler_backward(dV)
        if settings:
            dgrid = linearised_dgrid(
                values, grid, V_then, dV, U.shape[2:], settings, align_corners=rules.align_corners
            )
        return dU, None if dgrid is None else sum_shared(dgrid, grid)

    return V, backward


def _sample(
    U: Array, grid: Array, N: int, rules: Rules, needs_dU: bool, needs_dgrid: bool, by_loops: bool
) -> tuple[Array, SampleBackward]:
    """The one switch between the paths: GPU, compiled loops, NumPy. dgrid is for N grids."""
    needs = {"needs_dU": needs_dU, "needs_ds": needs_dgrid}
    name = rules.mode if isinstance(rules.mode, str) else ""
    if name and not isinstance(U, np.ndarray):
        return gpu.sample_grid(U, grid, N, rules.for_gpu, **needs)
    loops = loops_for(U, grid, rules) if by_loops and isinstance(U, np.ndarray) else None
    if loops:
        return sample_by_loops(loops, U, grid, grid.dtype, grid.shape[1:-1], N, rules, **needs)
    if name in IN_FEWER_PASSES and grid.shape[-1] == 2 and rules.padding.neighbours:
        return IN_FEWER_PASSES[name](U, from_grid(U, grid, N, rules), N, rules, **needs)
    return separable(U, grid, N, rules, **needs)


def _check_shapes(U: Array, grid: Array) -> None:
    """Images with a grid of pairs, or volumes with a grid of triples."""
    theta = grid.ndim in (2, 3) and grid.shape[-2:] in ((2, 3), (3, 4))
    hint = "; this looks like theta: affine_grid makes a grid of it" if theta else ""
    if U.ndim == 5:
        check_array("U", U, ("N", "C", "D", "H", "W"))
        check_array("grid", grid, ("N", "D'", "H'", "W'", 3), hint)
    else:
        check_array("U", U, ("N", "C", "H", "W"))
        check_array("grid", grid, ("N", "H'", "W'", 2), hint)


def batch_size(name: str, plural: str, U: Array, x: Array) -> int:
    """N of images U and of x, the grids or maps to warp them by: of either one may do for all."""
    N_U, N_x = U.shape[0], x.shape[0]
    if 0 in U.shape[2:]:
        raise ValueError(f"U: expected at least one pixel, got shape {U.shape}")
    if N_U != N_x and 1 not in (N_U, N_x):
        raise ValueError(f"{name}: expected as many {plural} as images ({N_U}), or one, got {N_x}")
    return int(N_x if N_U == 1 else N_U)


def sum_shared(dx: Array, x: Array) -> Array:
    """The gradient (N, ...) of x in x's shape and dtype: one x for all gets the sum."""
    if x.shape[0] == 1 and dx.shape[0] != 1:
        dx = dx.sum(axis=0, keepdims=True)
    return dx.astype(x.dtype, copy=False)
