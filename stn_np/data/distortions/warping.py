"""Distortions that are warps: a random map from the distorted picture back into the one it shows.

The library warps its own data: a family of `stn_np.transforms` makes the grid, its sampler reads.
"""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, array_module, to_device_of
from stn_np.sampling.grid_sample import grid_sample
from stn_np.transforms import Transform, affine_grid

#: Pictures that are warped at a time, to bound the memory that a whole test set takes.
BLOCK = 1000

#: The side in pixels for which the paper states lengths; on other sides they grow in proportion.
PAPER_SIDE = 28


class Warp:
    """A kind of distortion that draws a map for each picture.

    Attributes
    ----------
    transform : Transform
        The family of its maps.
    """

    transform: Transform

    def out_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (H', W') that pictures of size (H, W) have afterwards: the same by default."""
        return size

    def random_theta(self, n: int, rng: np.random.Generator, size: tuple[int, int]) -> Array:
        """Random maps for n pictures of size (H, W): theta (n, n_params), float32."""
        raise NotImplementedError

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Images (N, C, H, W) to distorted ones (N, C, H', W'), each in its own way."""
        xp, (N, C, H, W) = array_module(images=images), images.shape
        out_size = self.out_size((H, W))
        theta = self.random_theta(N, rng, (H, W))
        theta = to_device_of(theta.astype(np.promote_types(theta.dtype, images.dtype)), images)
        V: Array = xp.empty((N, C, *out_size), images.dtype)
        for start in range(0, N, BLOCK):
            block = slice(start, start + BLOCK)
            grid, _ = self.transform(theta[block], out_size)
            V[block], _ = grid_sample(images[block], grid, needs_dU=False, needs_dgrid=False)
        return V


def warp(images: Array, theta: Array, out_size: tuple[int, int]) -> Array:
    """Sample images through affine maps; what lies outside is 0.

    Parameters
    ----------
    images
        (N, C, H, W).
    theta
        (N, 2, 3), in the images' library, target to source, corners aligned.
    out_size
        (H', W') of the result, in pixels.

    Returns
    -------
    Array
        (N, C, H', W'), of the images' dtype.
    """
    grid, _ = affine_grid(theta, out_size)
    V, _ = grid_sample(images, grid, needs_dU=False, needs_dgrid=False)
    return V


def normalised_lengths(pixels: float, size: tuple[int, int]) -> Array:
    """A length that is stated for a side of 28 pixels, as lengths (along x, along y) in [-1, 1].

    Parameters
    ----------
    pixels
        The length, on a picture of 28 x 28.
    size
        (H, W) of the picture. On other sides than 28 the length grows in proportion, so that
        a distorted picture looks the same at every resolution; this is our decision.

    Returns
    -------
    Array
        (2,) float64. With aligned corners W - 1 pixels are 2 units.
    """
    sides = np.array(size[::-1])
    lengths: Array = pixels * sides / PAPER_SIDE * 2 / (sides - 1)
    return lengths
