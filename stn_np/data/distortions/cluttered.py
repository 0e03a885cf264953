"""The distortion TC: the digit at a random place among pieces of other digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from stn_np.backend import Array, array_module, to_device_of
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
        xp, (N, C, H, W) = array_module(images=images), images.shape
        V: Array = xp.zeros((N, C, *self.out_size((H, W))), images.dtype)
        _paste(V, images, rng)
        patches = _Patches(images, self.patch_size((H, W)))
        for _ in range(self.n_patches):
            other = _others(N, rng)
            _paste(V, patches.array[patches.random_index(other, rng)], rng)
        return V


class _Patches:
    """All windows of one size in pictures (N, C, H, W): ``array[random_index(...)]`` are some.

    NumPy copies fastest from a view with axes for the windows' places. CuPy would write that view
    out in full, N C H W h w numbers, and so works out where each pixel lies.
    """

    def __init__(self, pictures: Array, size: tuple[int, int]) -> None:
        xp, (_, C, H, W), (h, w) = array_module(pictures=pictures), pictures.shape, size
        self.places = H - h + 1, W - w + 1
        self._strides = C * H * W, W
        if xp is np:
            self.array = sliding_window_view(pictures, size, axis=(2, 3), writeable=True)
            return
        self.array = pictures.reshape(-1)
        rows = xp.arange(C)[:, None, None] * H + xp.arange(h)[:, None]
        self._pixels: Array = rows * W + xp.arange(w)  # of the upper left window, (C, h, w)

    def random_index(self, picture: Array, rng: np.random.Generator) -> Any:
        """One window, anywhere, of each picture (N,): the index of (N, C, h, w) in `array`."""
        y, x = (rng.integers(0, places, len(picture)) for places in self.places)
        if self.array.ndim > 1:
            return picture, slice(None), y, x
        start = picture * self._strides[0] + y * self._strides[1] + x
        return to_device_of(start, self.array)[:, None, None, None] + self._pixels


def _others(n: int, rng: np.random.Generator) -> Array:
    """For each of n pictures the index of another one; of a picture that is alone, its own."""
    steps = rng.integers(1, n, n) if n > 1 else np.zeros(n, np.int64)
    other: Array = (np.arange(n) + steps) % max(n, 1)
    return other


def _paste(V: Array, pieces: Array, rng: np.random.Generator) -> None:
    """Put pieces (N, C, h, w) at random places of the fields V (N, C, H, W), the brighter wins."""
    xp, windows = array_module(V=V, pieces=pieces), _Patches(V, (pieces.shape[2], pieces.shape[3]))
    here = windows.random_index(np.arange(len(V)), rng)  # one window of each field: none twice
    windows.array[here] = xp.maximum(windows.array[here], pieces)
