"""Pictures brought to another size, aspect ratio and centre kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil, floor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array, array_module, to_device_of
from stn_np.checks import check_array, check_size_pair
from stn_np.sampling.grid_sample import sample
from stn_np.sampling.rules import Rules
from stn_np.transforms import affine_grid


def resample(images: Array, out_size: tuple[int, int], step: float) -> Array:
    """Show images at another scale in the middle of a field of zeros.

    Parameters
    ----------
    images
        (N, C, h, w), background 0.
    out_size
        (H, W) of the result, in pixels.
    step
        How many source pixels one target pixel advances; below 1 enlarges. The same along both
        axes, so that nothing is stretched.

    Returns
    -------
    Array
        (N, C, H, W), of the images' dtype.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, rank or size.

    Notes
    -----
    Enlarged pictures are sampled bilinearly. Where pictures shrink, a target pixel is the mean of
    the area that it covers, with pixels at its edge counted in part. So no pixel is skipped, none
    counts twice, and the sum of all is kept. At a step of 1 both are the same.

    **Convention.** Centre-aligned (``align_corners=False``): sizes are areas here, edge to edge.
    """
    check_array("images", images, ("N", "C", "h", "w"))
    H, W = check_size_pair("out_size", out_size)
    if not step > 0:
        raise ValueError(f"step: expected a number above 0, got {step!r}")
    if step > 1:
        by_rows = area_means(lambda a, b: images[:, :, a:b], images.shape[2], H, step)
        return area_means(
            lambda a, b: by_rows[..., a:b].swapaxes(2, 3), images.shape[3], W, step
        ).swapaxes(2, 3)
    theta = np.zeros((1, 2, 3), images.dtype)
    for axis, row in ((3, 0), (2, 1)):  # x is the last axis of the image and the first of theta
        theta[0, row, row] = step * (H, W)[axis - 2] / images.shape[axis]
    grid, _ = affine_grid(to_device_of(theta, images), (H, W), align_corners=False)
    # A run knows its data by a checksum, so they are the same bits whatever is installed.
    rules = Rules(align_corners=False)
    V, _ = sample(images, grid, rules, needs_dU=False, needs_dgrid=False, by_loops=False)
    return V


class Band(NamedTuple):
    """What one target pixel covers of an axis: source pixels begin to end - 1, in which shares."""

    begin: int
    end: int
    shares: NDArray[np.float64]


def bands(n: int, out: int, step: float) -> Iterator[Band]:
    """For each of `out` target pixels, `step` source pixels wide, what it covers of n, centred."""
    for t in range(out):
        low = (t - out / 2) * step + n / 2
        high = low + step
        begin, end = max(floor(low), 0), min(ceil(high), n)
        edges = np.clip(np.arange(begin, max(begin, end) + 1), low, high)
        yield Band(begin, max(begin, end), np.diff(edges) / step)


def area_means(rows: Callable[[int, int], Array], n: int, out: int, step: float) -> Array:
    """Means along the last axis but one.

    Parameters
    ----------
    rows
        From (begin, end) to an array (..., end - begin, w): some rows of a picture of n. So a large
        picture need not be there as a whole in the dtype that is computed in.
    n, out
        Rows before and after.
    step
        Rows that one row covers, above 1.

    Returns
    -------
    Array
        (..., out, w).
    """
    found = []
    for begin, end, shares in bands(n, out, step):
        strip = rows(begin, end)
        weights = to_device_of(shares.astype(strip.dtype), strip)
        found.append((weights @ strip)[..., None, :])
    xp = array_module(rows=found[0])
    together: Array = xp.concatenate(found, axis=-2)
    return together
