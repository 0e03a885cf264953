"""The regular target grid G: where the output pixels lie, in normalised coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.checks import check_flag, check_size_pair
from stn_np.gpu.constants import beside


def pixel_centres(xp: Any, size: int, *, align_corners: bool, dtype: Any) -> Array:
    """Centres (size,) of the pixels of one axis, normalised to [-1, 1].

    Each is rounded once to dtype, which the sampler relies on to return to the pixel exactly
    (`stn_np.sampling.coordinates.to_pixels`).

    **Convention.** ``align_corners=True`` (usual in the paper's time): -1 and +1 are the *centres*
    of the outermost pixels; an axis of one pixel has its centre at 0. ``False``: -1 and +1 are the
    outer *edges* of the outermost pixels.
    """
    check_flag("align_corners", align_corners)
    steps = 2.0 * xp.arange(size) - (size - 1)  # whole numbers, symmetric about 0
    spacing = max(size - 1, 1) if align_corners else size
    centres: Array = (steps / spacing).astype(dtype)
    return centres


def homogeneous_grid(
    xp: Any, out_shape: tuple[int, ...], *, align_corners: bool, dtype: Any
) -> Array:
    """All target points (x_t, y_t, 1)^T side by side, row after row: G of T(G) = M G, (3, H'W').

    For volumes, out_shape (D', H', W'), the points are (x_t, y_t, z_t, 1): (4, D'H'W').
    """
    n = len(out_shape)
    G = xp.ones((n + 1, *out_shape), dtype)
    for k, size in enumerate(reversed(out_shape)):  # x lies along the last axis
        centres = pixel_centres(xp, size, align_corners=align_corners, dtype=dtype)
        G[k] = centres.reshape(-1, *(1,) * k)
    return G.reshape(n + 1, -1)  # type: ignore[no-any-return]


def grid_beside(x: Array, out_shape: tuple[int, ...], *, align_corners: bool, dtype: Any) -> Array:
    """`homogeneous_grid` where x lives; on a GPU it is made once, and not to be changed."""
    check_flag("align_corners", align_corners)

    def make() -> Array:
        return homogeneous_grid(np, out_shape, align_corners=align_corners, dtype=dtype)

    if array_module(x=x) is np:
        return make()
    return beside(x, (out_shape, bool(align_corners), np.dtype(dtype).str), make)


def proportion(
    in_shape: tuple[int, int] | None, out_shape: tuple[int, int] | None, align_corners: bool
) -> float:
    """How many pixels high an image is for one pixel of width, between its points -1 and +1.

    Where in_shape (H, W) is not known, out_shape stands for it. ValueError if neither is given.
    """
    if out_shape is not None:
        check_size_pair("out_shape", out_shape)
    shape = out_shape if in_shape is None else in_shape
    if shape is None:
        raise ValueError(
            "out_shape: expected (height, width), since a rotation depends on the image's "
            "proportions, got None; give it here, or in_shape to the transform"
        )
    H, W = shape
    return max(H - 1, 1) / max(W - 1, 1) if align_corners else H / W


class Described:
    """A family that prints as ``Affine(6 numbers)``."""

    n_params: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._describe()})"

    def _describe(self) -> str:
        """The settings that `repr` shows, in one line."""
        return f"{self.n_params} numbers"

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies, which NumPy makes writable, are as fixed as what they are copied from."""
        vars(self).update(state)
        for x in state.values():
            if isinstance(x, np.ndarray):
                x.flags.writeable = False
