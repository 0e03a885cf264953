"""The distortion E: scaled, then bent by a thin plate spline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stn_np.backend import Array
from stn_np.data.distortions.warping import Warp, normalised_lengths
from stn_np.transforms import ThinPlateSpline


@dataclass(frozen=True)
class Elastic(Warp):
    """Scale U(0.75, 1), then 16 control points are each moved by N(0, 1.5 pixels) in x and in y.

    Attributes
    ----------
    scale : tuple of float
        The range (low, high).
    sigma : float
        Standard deviation in pixels, stated for 28 x 28; on pictures of another size it grows in
        proportion to each side.

    Notes
    -----
    The control points lie on a regular 4 x 4 grid over the whole distorted picture, from corner to
    corner. What is seen at a control point is what the scaled picture has at the moved point (the
    warp goes backward); between them a thin plate spline is drawn through, over [-1, 1] along both
    axes. Paper: numbers and kind of warp; the direction and where the grid lies are our decisions.
    """

    scale: tuple[float, float] = (0.75, 1.0)
    sigma: float = 1.5

    transform = ThinPlateSpline()

    def random_theta(self, n: int, rng: np.random.Generator, size: tuple[int, int]) -> Array:
        """Random maps for n pictures of size (H, W): theta (n, 32), float32."""
        scale = rng.uniform(*self.scale, (n, 1, 1))
        points = self.transform.identity.reshape(-1, 2)  # 16 of (x, y)
        moved = normalised_lengths(self.sigma, size) * rng.normal(size=(n, *points.shape))
        # The scaled picture has at p what the picture itself has at p / scale.
        theta = (points + moved) / scale
        return theta.reshape(n, self.transform.n_params).astype(np.float32)
