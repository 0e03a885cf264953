"""The distortion TC: the digit at a random place among pieces of other digits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from stn_np.backend import Array
from stn_np.data.distortions.warping import PAPER_SIDE


@dataclass(frozen=True)
class Cluttered:
    """Translated and cluttered pictures: 28 x 28 becomes 60 x 60, with six patches of 6 x 6.

    Attributes
    ----------
    field : float
        How many times as wide and as high the field is afterwards.
    patch : float
        Side of a patch, as a share of the picture's side.
    n_patches : int
        Patches in a field.

    Notes
    -----
    The digit and all patches lie wholly inside the field, at whole pixels, every place being
    equally likely. Each patch is cut from a random place of another picture, drawn anew for each
    patch from those that are distorted together: the same batch, or the whole test set. Where two
    overlap, the brighter pixel is seen. The paper states the sizes and the number; all else is our
    decision, and so are two special cases: a picture that is alone lends itself its patches, and on
    pictures of another size than 28 field and patches grow in proportion.
    """

    field: float = 60 / PAPER_SIDE
    patch: float = 6 / PAPER_SIDE
    n_patches: int = 6

    def out_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (H', W') that pictures of size (H, W) have afterwards."""
        return round(size[0] * self.field), round(size[1] * self.field)

    def patch_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the patches from pictures of size (H, W), at least one pixel."""
        return max(1, round(size[0] * self.patch)), max(1, round(size[1] * self.patch))

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Images (N, C, H, W), background 0, to cluttered ones (N, C, H', W')."""
        N, C, H, W = images.shape
        V = np.zeros((N, C, *self.out_size((H, W))), images.dtype)
        _paste(V, images, rng)
        patches = sliding_window_view(images, self.patch_size((H, W)), axis=(2, 3))
        for _ in range(self.n_patches):
            other = _others(N, rng)
            y, x = (rng.integers(0, places, N) for places in patches.shape[2:4])
            _paste(V, patches[other, :, y, x], rng)
        return V


def _others(n: int, rng: np.random.Generator) -> Array:
    """For each of n pictures the index of another one; of a picture that is alone, its own."""
    steps = rng.integers(1, n, n) if n > 1 else np.zeros(n, np.int64)
    other: Array = (np.arange(n) + steps) % max(n, 1)
    return other


def _paste(V: Array, pieces: Array, rng: np.random.Generator) -> None:
    """Put pieces (N, C, h, w) at random places of the fields V (N, C, H, W), the brighter wins."""
    windows = sliding_window_view(V, pieces.shape[2:], axis=(2, 3), writeable=True)
    y, x = (rng.integers(0, places, len(V)) for places in windows.shape[2:4])
    here = np.arange(len(V)), slice(None), y, x  # one window of each field: none twice
    windows[here] = np.maximum(windows[here], pieces)
