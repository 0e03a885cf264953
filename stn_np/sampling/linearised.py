"""Linearised multi-sampling: a grid gradient that sees further than the neighbouring pixels.

Eq. (7) is the slope between two pixels. When a grid steps over many, that says little about where
the image gets brighter. Jiang et al. 2019 ("Linearized multi-sampling for differentiable image
transformation") sample around each point as well, fit a plane, and take its slope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.checks import check_scalar, check_size
from stn_np.sampling.kernels import reduction


@dataclass(frozen=True)
class Linearised:
    """Settings of the linearised grid gradient: ``grid_gradient`` of `stn_np.grid_sample`.

    Attributes
    ----------
    n_samples : int
        Auxiliary samples around each point; the point itself is one more. At least 4.
    noise : float
        Standard deviation of their distance along each axis, in pixels of the image or, where the
        grid steps over several of these, in steps of the grid. From 0.01 to 100.
    seed : int or numpy.random.Generator
        A number: the same places at each call. A generator: others at each
        call, of one and the same backward as well.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong kind or out of range.

    Notes
    -----
    With many samples this is the slope of the image smoothed by a Gaussian of that width (Stein's
    identity): `noise` decides how far it sees.
    """

    n_samples: int = 8
    noise: float = 0.5
    seed: int | np.random.Generator = 0

    def __post_init__(self) -> None:
        """Refuse what no plane can be fitted to."""
        object.__setattr__(self, "n_samples", check_size("n_samples", self.n_samples, 4))
        check_scalar("noise", self.noise)
        if not 0.01 <= self.noise <= 100:
            raise ValueError(f"noise: expected from 0.01 to 100 pixels, got {self.noise!r}")
        if not isinstance(self.seed, np.random.Generator):
            check_size("seed", self.seed, 0)


def linearised_dgrid(
    sample: Callable[[Array], Array],
    grid: Array,
    V: Array,
    dV: Array,
    size: tuple[int, ...],
    settings: Linearised,
    *,
    align_corners: bool,
) -> Array:
    r"""The gradient to the grid by planes fitted to samples around its points.

    Parameters
    ----------
    sample
        From a grid to V, with the image and all rules given.
    grid
        (N or 1, H', W', 2), or (N or 1, D', H', W', 3).
    V, dV
        What the grid's own points gave, and the upstream gradient: (N, C, H', W') or
        (N, C, D', H', W').
    size
        (H, W) or (D, H, W) of the image, in pixels.
    settings
        How many samples, and how far away.
    align_corners
        As in `stn_np.grid_sample`.

    Returns
    -------
    Array
        In the shape and dtype of the grid.

    Notes
    -----
    The plane V + a . d with free height fits samples V_k at displacements d_k best for

    .. math:: a = S^{-1} \sum_k (d_k - \bar d) V_k, \quad S = \sum_k (d_k - \bar d)(d_k - \bar d)^T.

    That is linear
    in V_k, so the channels are summed up with dV first, and one plane is fitted a point.
    """
    xp = array_module(grid=grid, dV=dV)
    N, n = dV.shape[0], grid.shape[-1]
    shape = (N, *grid.shape[1:])
    rng = np.random.default_rng(settings.seed)
    # Half precision is too coarse for steps of half a pixel, and for sums over the channels.
    wide = np.promote_types(grid.dtype, np.float32)
    dV = dV.astype(np.promote_types(dV.dtype, np.float32), copy=False)
    steps = reduction(grid, size, align_corners=align_corners)
    pixel = [2 / (max(s - 1, 1) if align_corners else s) for s in reversed(size)]
    width = xp.asarray(settings.noise * np.array(steps) * np.array(pixel))

    d = xp.asarray(rng.standard_normal((settings.n_samples + 1, *shape)))
    d[0] = 0  # the point itself
    p = xp.empty(d.shape[:-1])
    p[0] = (V * dV).sum(axis=1)
    for k in range(1, len(d)):
        p[k] = (sample((grid + d[k] * width).astype(wide, copy=False)) * dV).sum(axis=1)

    d -= d.mean(axis=0)
    S = xp.einsum("k...i,k...j->...ij", d, d)
    a = xp.linalg.solve(S, xp.einsum("k...i,k...->...i", d, p)[..., None])[..., 0] / width
    if grid.shape[0] == 1 and N != 1:
        a = a.sum(axis=0, keepdims=True)
    return a.astype(grid.dtype).reshape((*grid.shape[:-1], n))  # type: ignore[no-any-return]
