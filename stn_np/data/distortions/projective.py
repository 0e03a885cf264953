"""The distortion P: scaled, then seen in perspective, by moving its four corners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stn_np.backend import Array
from stn_np.data.distortions.warping import Warp, normalised_lengths
from stn_np.transforms import Projective

#: The corners of a picture in normalised coordinates (x, y), once round from the upper left.
CORNERS = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


@dataclass(frozen=True)
class Perspective(Warp):
    """Scale U(0.75, 1), then each corner is moved by N(0, 5 pixels) in x and in y.

    Attributes
    ----------
    scale : tuple of float
        The range (low, high).
    sigma : float
        Standard deviation in pixels of the corners' places in the distorted picture, stated for
        28 x 28; on pictures of another size it grows in proportion to each side.
    least_area : float
        See Notes.

    Notes
    -----
    The corners are the centres of the outermost pixels. Corners that make no fair picture are drawn
    again, all four: where three that follow each other enclose less than `least_area` of what they
    enclose in the upright square, or turn the other way (the quadrangle is not convex, crosses
    itself or is nearly a triangle), and where the middle of the picture lies outside. That happens
    to 4 % of the pictures. The paper does not say what it does; this is our decision.
    """

    scale: tuple[float, float] = (0.75, 1.0)
    sigma: float = 5.0
    least_area: float = 0.1

    transform = Projective()

    def random_theta(self, n: int, rng: np.random.Generator, size: tuple[int, int]) -> Array:
        """Random maps for n pictures of size (H, W): theta (n, 8), float32."""
        corners = self.random_corners(n, rng, size)
        return homography(corners, CORNERS).astype(np.float32)

    def random_corners(self, n: int, rng: np.random.Generator, size: tuple[int, int]) -> Array:
        """Where the corners of n pictures of size (H, W) go: (n, 4, 2), normalised (x, y)."""
        square = rng.uniform(*self.scale, (n, 1, 1)) * CORNERS
        sigma = normalised_lengths(self.sigma, size)
        corners = np.empty_like(square)
        again = np.arange(n)
        while again.size:
            corners[again] = square[again] + sigma * rng.normal(size=(again.size, 4, 2))
            again = again[~self._fair(corners[again], square[again])]
        return corners  # type: ignore[no-any-return]

    def _fair(self, corners: Array, square: Array) -> Array:
        """Which quadrangles (n, 4, 2) show a picture (see Notes): (n,), bool."""
        area, whole_area = _areas_at_corners(corners), _areas_at_corners(square)
        middle_inside = _cross(corners, np.roll(corners, -1, axis=1)) > 0
        fair = middle_inside & (area >= self.least_area * whole_area)
        return np.all(fair, axis=1)  # type: ignore[no-any-return]


def _areas_at_corners(quadrangles: Array) -> Array:
    """Twice the area (n, 4) between the sides that meet; positive where they turn to the right."""
    sides = np.roll(quadrangles, -1, axis=1) - quadrangles
    return _cross(sides, np.roll(sides, -1, axis=1))


def _cross(a: Array, b: Array) -> Array:
    """Cross product of vectors (..., 2): positive where b lies to the right of a, as seen."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]  # type: ignore[no-any-return]


def homography(target: Array, source: Array) -> Array:
    """The projective maps that take four points to four others.

    Parameters
    ----------
    target
        (n, 4, 2) points (x, y), no three on a line, and the origin in the quadrangle that they
        span, so that the last entry of the matrix can be 1.
    source
        (4, 2) or (n, 4, 2): the points (u, v) that they go to.

    Returns
    -------
    theta : Array
        (n, 8) float64, the first eight entries h of the matrix row by row, as `Projective` takes
        them.

    Notes
    -----
    u (h7 x + h8 y + 1) = h1 x + h2 y + h3, and likewise v with h4, h5, h6: two equations a point
    that are linear in h.
    """
    (x, y), (u, v) = np.moveaxis(target, -1, 0), np.moveaxis(source, -1, 0)
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows_u = np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], -1)
    rows_v = np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], -1)
    A = np.concatenate([rows_u, rows_v], 1)
    b = np.broadcast_to(np.concatenate([u, v], -1), A.shape[:2])
    theta: Array = np.linalg.solve(A, b[..., None])[..., 0]
    return theta
