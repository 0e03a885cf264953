"""The distortions R and RTS: turned, or turned, scaled and put somewhere in a larger field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stn_np.backend import Array
from stn_np.data.distortions.warping import Warp
from stn_np.transforms import Affine


@dataclass(frozen=True)
class Rotation(Warp):
    """Random affine maps.

    Attributes
    ----------
    max_angle : float
        Degrees either way.
    scale : tuple of float
        The range (low, high).
    growth : float
        How many times as wide and as high the field is afterwards.

    Notes
    -----
    R: angle U(-90, 90) degrees. RTS: angle U(-45, 45), scale U(0.7, 1.2), and a uniformly random
    place. Turned and scaled about the picture's centre, alike along both axes in *pixels*, also on
    pictures that are not square. Where the paper is silent, our decision is that the place of RTS
    is such that the scaled field (28 x 28 times the scale) lies inside the larger one *before* it
    is turned; the largest circle in that field, and with it nearly every digit, then stays inside
    at every angle.

    **Convention.** theta maps target to source, eq. (1). A positive angle turns the picture
    counter-clockwise as one sees it, y pointing downwards.
    """

    max_angle: float
    scale: tuple[float, float] = (1.0, 1.0)
    growth: float = 1.0

    transform = Affine()

    def out_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (H', W') that pictures of size (H, W) have afterwards; RTS: 42 x 42 from 28 x 28."""
        return round(size[0] * self.growth), round(size[1] * self.growth)

    def random_theta(self, n: int, rng: np.random.Generator, size: tuple[int, int]) -> Array:
        """Random maps for n pictures of size (H, W): theta (n, 6), float32."""
        out_size = self.out_size(size)
        angle = np.deg2rad(rng.uniform(-self.max_angle, self.max_angle, n))
        scale = rng.uniform(*self.scale, n)
        # Half of the room that the scaled field leaves, as (x, y): how far its centre may go.
        room = (np.array(out_size[::-1]) - scale[:, None] * np.array(size[::-1])) / 2
        place = room * rng.uniform(-1, 1, (n, 2)) if self.growth > 1 else np.zeros((n, 2))
        return _inverse_map(angle, scale, place, size, out_size).reshape(n, 6)


def _inverse_map(
    angle: Array, scale: Array, place: Array, size: tuple[int, int], out_size: tuple[int, int]
) -> Array:
    """The theta (n, 2, 3) that turns by angle, scales, and then moves by place = (x, y) pixels.

    With p in pixels from the centre: p_source = R(angle)/scale (p_target - place). Normalised
    coordinates are p divided by half the distance of the outermost pixels' centres.
    """
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    R = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)  # (n, 2, 2)
    half_source = (np.array(size[::-1]) - 1) / 2
    half_target = (np.array(out_size[::-1]) - 1) / 2
    theta = np.empty((len(angle), 2, 3), np.float32)
    theta[:, :, :2] = R * half_target / half_source[:, None]
    theta[:, :, 2] = -(R @ place[:, :, None])[:, :, 0] / half_source
    return theta
