"""How upright pictures come out of a spatial transformer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array
from stn_np.transforms import Transform

#: Pictures at a time: their grids are large.
BLOCK = 1000


def remaining_angles(
    transform: Transform,
    theta: Array,
    maps: Array,
    out_size: tuple[int, int],
    in_size: tuple[int, int],
) -> NDArray[np.float64]:
    """The angles by which the original pictures are turned in the transformer's output.

    The output reads the distorted picture through T_theta, eq. (1), and that picture read the
    original one through a known affine map. So the output shows the original through
    ``map(T_theta(.))``. Of that map the linear part L is taken, in pixels. The angle is that of the
    rotation which comes nearest to L: the rotation in the polar decomposition of L.

    Parameters
    ----------
    transform
        The transformer's family.
    theta
        (N, n_params), what its localisation net says about the distorted pictures. With
        ``transform.identity`` for all of them the result is the angles before the transformer.
    maps
        (N, 2, 3), from the distorted pictures to the original ones, target to source, corners
        aligned: `stn_np.data.random_theta`.
    out_size
        (H', W') of the output, in pixels.
    in_size
        (H, W) of the original pictures, in pixels.

    Returns
    -------
    NDArray of float64
        (N,), radians in [-pi, pi]. Positive: the picture is turned counter-clockwise.

    Notes
    -----
    T_theta need not be affine. It is replaced by the affine map that is nearest to its grid, in the
    sum of squares, on the middle half of the output along both axes, where the digit is. For the
    affine families that is the map itself.
    """
    if len(theta) > BLOCK:
        parts = (slice(k, k + BLOCK) for k in range(0, len(theta), BLOCK))
        return np.concatenate(
            [remaining_angles(transform, theta[k], maps[k], out_size, in_size) for k in parts]
        )
    grid, _ = transform(theta.astype(np.float64), out_size)
    y, x = (np.linspace(-1, 1, n) for n in out_size)
    rows, columns = np.abs(y) <= 0.5, np.abs(x) <= 0.5
    x, y = x[columns], y[rows]
    middle = grid[:, rows][:, :, columns]  # (N, h, w, 2)
    # x and y have mean 0 and are independent on this grid: two regressions, each on its own.
    along_x = middle.mean(axis=1).swapaxes(1, 2) @ x / (x @ x)  # (N, 2)
    along_y = middle.mean(axis=2).swapaxes(1, 2) @ y / (y @ y)
    L = maps[:, :, :2] @ np.stack([along_x, along_y], axis=2)
    per_source, per_target = ((np.array(size[::-1]) - 1) / 2 for size in (in_size, out_size))
    L = per_source[:, None] * L / per_target
    angles: NDArray[np.float64] = np.arctan2(L[:, 1, 0] - L[:, 0, 1], L[:, 0, 0] + L[:, 1, 1])
    return angles


def middle_half(angles: Array) -> float:
    """How wide the middle half of some angles is, from the first quartile to the third.

    Parameters
    ----------
    angles
        (N,), in radians. Whole turns do not matter: they are measured from the circular mean,
        the direction of the mean of the unit vectors, and lie within half a turn of it.

    Returns
    -------
    float
        In degrees, from 0 to 360.
    """
    centre = np.angle(np.exp(1j * angles).mean())
    first, third = np.percentile(np.angle(np.exp(1j * (angles - centre))), [25, 75])
    return float(np.rad2deg(third - first))
