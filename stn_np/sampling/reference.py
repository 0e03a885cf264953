"""The sampler as the paper prints it: the specification that every fast one is tested against."""

from __future__ import annotations

from math import floor

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array


def k(d: float) -> float:
    """The bilinear kernel, eq. (5)."""
    return max(0.0, 1.0 - abs(d))


def k_slope(d: float) -> float:
    """dk/dx of k(x - m) at d = x - m, eq. (7), but at integers the right derivative.

    Read literally eq. (7) has +1 at d = 0: with that, integers get neither of the two slopes.
    """
    return 1.0 if -1 <= d < 0 else -1.0 if 0 <= d < 1 else 0.0


def source_pixel(g: float, size: int, padding: str, align_corners: bool) -> tuple[float, float]:
    """Pixel coordinate x(g) under a padding rule, and dx/dg."""
    slope = (size - 1) / 2 if align_corners else size / 2
    x = g * slope + (size - 1) / 2
    if padding == "zeros":
        return x, slope
    if padding == "reflection":
        low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
        while low < high and not low <= x <= high:
            x, slope = (2 * low - x if x < low else 2 * high - x), -slope
    on_or_beyond = not 0 < x < size - 1
    return min(max(x, 0.0), size - 1.0), 0.0 if on_or_beyond else slope


def sample_reference(
    U: Array, grid: Array, dV: Array, *, padding_mode: str = "zeros", align_corners: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Bilinear sampling and both its gradients as literal loops over eqs (5), (6) and (7).

    Slow on purpose. U (N, C, H, W), grid (N, H', W', 2), finite, and dV (N, C, H', W') give V, dU
    and dgrid, float64. padding_mode is "zeros", "border" or "reflection"; all else as in
    `stn_np.grid_sample`. For comparisons of dgrid no point may lie at a pixel's centre:
    coordinates are not rounded to it here, as they are there.
    """
    C, H, W = U.shape[1:]
    V, dU, dgrid = np.zeros(dV.shape), np.zeros(U.shape), np.zeros(grid.shape)
    for b, i, j in np.ndindex(grid.shape[:3]):
        x, x_slope = source_pixel(grid[b, i, j, 0], W, padding_mode, align_corners)
        y, y_slope = source_pixel(grid[b, i, j, 1], H, padding_mode, align_corners)
        # Every other pixel has weight 0 in eq. (5).
        for n in range(max(0, floor(y)), min(H, floor(y) + 2)):
            for m in range(max(0, floor(x)), min(W, floor(x) + 2)):
                for c in range(C):
                    V[b, c, i, j] += U[b, c, n, m] * k(x - m) * k(y - n)  # eq. (5)
                    dU[b, c, n, m] += dV[b, c, i, j] * k(x - m) * k(y - n)  # eq. (6)
                    dVU = dV[b, c, i, j] * U[b, c, n, m]
                    dgrid[b, i, j, 0] += dVU * k_slope(x - m) * k(y - n) * x_slope  # eq. (7)
                    dgrid[b, i, j, 1] += dVU * k(x - m) * k_slope(y - n) * y_slope
    return V, dU, dgrid
