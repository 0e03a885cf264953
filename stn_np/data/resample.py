"""Pictures brought to another size by the library's own sampler, aspect ratio and centre kept."""

from __future__ import annotations

import numpy as np

from stn_np.backend import Array, array_module, to_device_of
from stn_np.checks import check_array, check_size_pair
from stn_np.sampling import grid_sample
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
    Bilinear sampling looks at 2 x 2 pixels only and would skip pixels where it shrinks. So the
    whole part of a `step` of 2 or more is done first, by taking means of blocks.

    **Convention.** Centre-aligned (``align_corners=False``): sizes are areas here, edge to edge.
    """
    check_array("images", images, ("N", "C", "h", "w"))
    check_size_pair("out_size", out_size)
    if not step > 0:
        raise ValueError(f"step: expected a number above 0, got {step!r}")
    block = max(int(step), 1)
    small = block_means(images, block)
    theta = np.zeros((1, 2, 3), images.dtype)
    for axis, row in ((3, 0), (2, 1)):  # x is the last axis of the image and the first of theta
        size = images.shape[axis] / block / small.shape[axis]  # how much of it is not padding
        theta[0, row, row] = step / block * out_size[axis - 2] / small.shape[axis]
        theta[0, row, 2] = size - 1
    grid, _ = affine_grid(to_device_of(theta, images), out_size, align_corners=False)
    V, _ = grid_sample(small, grid, align_corners=False, needs_dU=False, needs_dgrid=False)
    return V


def block_means(images: Array, block: int) -> Array:
    """Means of blocks of pixels; zeros complete the last ones.

    Parameters
    ----------
    images
        (N, C, h, w).
    block
        Side of a block, in pixels.

    Returns
    -------
    Array
        (N, C, ceil(h / block), ceil(w / block)).
    """
    if block == 1:
        return images
    N, C, h, w = images.shape
    xp = array_module(images=images)
    padded = xp.pad(images, ((0, 0), (0, 0), (0, -h % block), (0, -w % block)))
    H, W = padded.shape[2] // block, padded.shape[3] // block
    means: Array = padded.reshape(N, C, H, block, W, block).mean((3, 5), dtype=images.dtype)
    return means
