"""The paper's distortions R and RTS (section 4.1, A.4), by the library's own generator and sampler.

What the paper leaves open, and what is decided here, is listed in `random_theta`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stn_np.backend import Array
from stn_np.checks import check_array, check_choice, check_size, check_size_pair
from stn_np.data.dataset import Dataset
from stn_np.sampling import grid_sample
from stn_np.transforms import affine_grid


@dataclass(frozen=True)
class Distortion:
    """The ranges of one kind: degrees either way, (low, high) scale, growth of the field."""

    max_angle: float
    scale: tuple[float, float] = (1.0, 1.0)
    growth: float = 1.0


#: Every kind of distortion by its name on the command line; "none" has no ranges.
KINDS: dict[str, Distortion | None] = {
    "none": None,
    "R": Distortion(max_angle=90),
    "RTS": Distortion(max_angle=45, scale=(0.7, 1.2), growth=1.5),
}

#: Pictures that are warped at a time, to bound the memory that a whole test set takes.
BLOCK = 1000

#: Keeps the random numbers of a test set apart from those of training under the same seed.
_TEST_STREAM = 7


def distorted_size(kind: str, size: tuple[int, int]) -> tuple[int, int]:
    """The (H, W) that pictures of the given (H, W) have after a distortion.

    R keeps the size; RTS makes it half as large again, so that 28 x 28 becomes the paper's
    42 x 42.

    Raises
    ------
    TypeError, ValueError
        If the kind is unknown or the size is none.
    """
    check_choice("kind", kind, KINDS)
    check_size_pair("size", size)
    distortion = KINDS[kind]
    growth = distortion.growth if distortion else 1.0
    return round(size[0] * growth), round(size[1] * growth)


def random_theta(kind: str, n: int, rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """Random affine maps from the distorted picture back into the one it was made of.

    Parameters
    ----------
    kind
        "none", "R" or "RTS".
    n
        How many.
    rng
        Where the random numbers come from; the same state gives the same maps.
    size
        (H, W) of the pictures before the distortion, each at least 2.

    Returns
    -------
    theta : Array
        (n, 2, 3) float32, for `affine_grid` with ``align_corners=True``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type, too small or unknown.

    Notes
    -----
    R: angle U(-90, 90) degrees. RTS: angle U(-45, 45), scale U(0.7, 1.2), and a uniformly random
    place. Turned and scaled about the picture's centre, alike along both axes in *pixels*, also on
    pictures that are not square. Where the paper is silent, our decision is that the place of RTS
    is such that the scaled field (28 x 28 times the scale) lies inside the larger one *before* it
    is turned; the largest circle in that field, and with it the digit, then stays inside at every
    angle.

    **Convention.** theta maps target to source, eq. (1). A positive angle turns the picture
    counter-clockwise as one sees it, y pointing downwards.
    """
    out_size = distorted_size(kind, size)
    check_size("n", n, minimum=0)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator, got {type(rng).__name__}")
    if min(size) < 2:
        raise ValueError(f"size: expected at least 2 pixels along both axes, got {size}")
    distortion = KINDS[kind]
    if distortion is None:
        return np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1))

    angle = np.deg2rad(rng.uniform(-distortion.max_angle, distortion.max_angle, n))
    scale = rng.uniform(*distortion.scale, n)
    # Half of the room that the scaled field leaves, as (x, y): how far its centre may go.
    room = (np.array(out_size[::-1]) - scale[:, None] * np.array(size[::-1])) / 2
    place = room * rng.uniform(-1, 1, (n, 2)) if distortion.growth > 1 else np.zeros((n, 2))
    return _inverse_map(angle, scale, place, size, out_size)


def _inverse_map(
    angle: Array, scale: Array, place: Array, size: tuple[int, int], out_size: tuple[int, int]
) -> Array:
    """The theta that turns by angle, scales, and then moves by place = (x, y) pixels.

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


def warp(images: Array, theta: Array, out_size: tuple[int, int]) -> Array:
    """Sample images through affine maps; what lies outside is 0.

    Parameters
    ----------
    images
        (N, C, H, W).
    theta
        (N, 2, 3), target to source, corners aligned.
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


def distort(images: Array, kind: str, rng: np.random.Generator) -> Array:
    """Distort each picture of a batch in its own random way.

    Parameters
    ----------
    images
        (N, C, H, W), background 0.
    kind
        "none" (the images are returned as they are), "R" or "RTS"; see `random_theta`.
    rng
        Where the random numbers come from; the same state gives the same bits.

    Returns
    -------
    Array
        (N, C, H', W') with (H', W') from `distorted_size`, of the images' dtype.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type, rank or size, or the kind is unknown.
    """
    check_array("images", images, ("N", "C", "H", "W"))
    check_choice("kind", kind, KINDS)
    if KINDS[kind] is None:
        return images
    size = images.shape[2], images.shape[3]
    return warp(images, random_theta(kind, len(images), rng, size), distorted_size(kind, size))


def fixed_test_set(test: Dataset, kind: str, seed: int) -> Dataset:
    """Distort a test set once and for all.

    Parameters
    ----------
    test
        The pictures as they are.
    kind
        "none", "R" or "RTS"; see `random_theta`.
    seed
        The same seed gives the same bits, in random numbers that no training run draws.

    Returns
    -------
    Dataset
        The same labels under distorted images.

    Raises
    ------
    TypeError, ValueError
        If the kind is unknown or the seed is no whole number of at least 0.
    """
    check_size("seed", seed, minimum=0)
    check_choice("kind", kind, KINDS)
    if KINDS[kind] is None:
        return test
    n, _, *size = test.images.shape
    out_size = distorted_size(kind, tuple(size))
    theta = random_theta(kind, n, np.random.default_rng((seed, _TEST_STREAM)), tuple(size))
    images = np.empty((n, 1, *out_size), np.float32)
    for start in range(0, n, BLOCK):
        block = slice(start, start + BLOCK)
        images[block] = warp(test.images[block], theta[block], out_size)
    return replace(test, images=images)
