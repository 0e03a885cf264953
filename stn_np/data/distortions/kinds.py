"""The distortions by name, and how pictures are distorted."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from stn_np.backend import Array
from stn_np.checks import check_array, check_choice, check_size, check_size_pair
from stn_np.data.dataset import Dataset
from stn_np.data.distortions.cluttered import Cluttered
from stn_np.data.distortions.elastic import Elastic
from stn_np.data.distortions.projective import Perspective
from stn_np.data.distortions.rotation import Rotation


class Distortion(Protocol):
    """What every kind of distortion offers."""

    def out_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (H', W') that pictures of size (H, W) have afterwards."""
        ...

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Images (N, C, H, W) to distorted ones (N, C, H', W'), each in its own random way."""
        ...


#: Every kind of distortion by its name on the command line; "none" does nothing.
KINDS: dict[str, Distortion | None] = {
    "none": None,
    "R": Rotation(max_angle=90),
    "RTS": Rotation(max_angle=45, scale=(0.7, 1.2), growth=1.5),
    "P": Perspective(),
    "E": Elastic(),
    "TC": Cluttered(),
}

#: Keeps the random numbers of a test set apart from those of training under the same seed.
_TEST_STREAM = 7


def distorted_size(kind: str, size: tuple[int, int]) -> tuple[int, int]:
    """The (H, W) that pictures of the given (H, W) have after a distortion.

    RTS makes them half as large again, so that 28 x 28 becomes the paper's 42 x 42, and TC makes
    60 x 60 of that; the others keep the size.

    Raises
    ------
    TypeError, ValueError
        If the kind is unknown or the size is none.
    """
    check_choice("kind", kind, KINDS)
    check_size_pair("size", size)
    distortion = KINDS[kind]
    return distortion.out_size(size) if distortion else size


def distort(images: Array, kind: str, rng: np.random.Generator) -> Array:
    """Distort each picture of a batch in its own random way.

    Parameters
    ----------
    images
        (N, C, H, W), background 0, at least 2 pixels along both axes.
    kind
        "none" (the images are returned as they are), "R", "RTS", "P", "E" or "TC".
    rng
        Where the random numbers come from; the same state gives the same bits. They are drawn on
        the CPU for images on a GPU too: the same maps up to the rounding of the warp, and under
        "TC", where nothing is computed, the same bits.

    Returns
    -------
    Array
        (N, C, H', W') with (H', W') from `distorted_size`, of the images' dtype and where they are.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type, rank or size, or the kind is unknown.
    """
    check_array("images", images, ("N", "C", "H", "W"))
    check_choice("kind", kind, KINDS)
    distortion = KINDS[kind]
    if distortion is None:
        return images
    check_drawing(rng, (images.shape[2], images.shape[3]))
    return distortion(images, rng)


def fixed_test_set(test: Dataset, kind: str, seed: int) -> Dataset:
    """Distort a test set once and for all.

    Parameters
    ----------
    test
        The pictures as they are.
    kind
        As for `distort`.
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
    rng = np.random.default_rng((seed, _TEST_STREAM))
    return replace(test, images=distort(test.images, kind, rng))


def fixed_test_theta(n: int, kind: str, seed: int, size: tuple[int, int]) -> Array:
    """The maps by which `fixed_test_set` distorts, where they are affine.

    Parameters
    ----------
    n
        How many pictures the test set has.
    kind, seed
        As for `fixed_test_set`; of the kinds only "none", "R" and "RTS".
    size
        (H, W) of the pictures before the distortion.

    Returns
    -------
    theta : Array
        (n, 2, 3) float32, from the distorted pictures to the original ones: see `random_theta`.
    """
    check_size("seed", seed, minimum=0)
    return random_theta(kind, n, np.random.default_rng((seed, _TEST_STREAM)), size)


def random_theta(kind: str, n: int, rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """Random affine maps from the distorted picture back into the one it was made of.

    Parameters
    ----------
    kind
        "none", "R" or "RTS": the kinds whose maps are affine.
    n
        How many.
    rng
        Where the random numbers come from; the same state gives the same maps.
    size
        (H, W) of the pictures before the distortion, each at least 2.

    Returns
    -------
    theta : Array
        (n, 2, 3) float32, for `stn_np.affine_grid` with ``align_corners=True``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type, too small or unknown.
    """
    affine = {k: d for k, d in KINDS.items() if d is None or isinstance(d, Rotation)}
    check_choice("kind", kind, affine)
    size = check_size_pair("size", size)
    check_size("n", n, minimum=0)
    check_drawing(rng, size)
    distortion = affine[kind]
    if distortion is None:
        return np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1))
    return distortion.random_theta(n, rng, size).reshape(n, 2, 3)


def check_drawing(rng: object, size: tuple[int, int]) -> None:
    """What every random distortion needs: a generator, and pictures that have a width."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator, got {type(rng).__name__}")
    if min(size) < 2:
        raise ValueError(f"size: expected at least 2 pixels along both axes, got {size}")
