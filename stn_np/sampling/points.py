"""Between which four pixels each source point lies, and where between them: index and fractions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from stn_np.backend import Array, coordinate_dtype
from stn_np.sampling.blocks import point_blocks
from stn_np.sampling.coordinates import (
    REACH,
    keep_within,
    move_inside,
    rounding_constant,
    units_to_pixels,
)

#: Pixels of padding on every side of the image. With two, a point at pixel -2, or one pixel beyond
#: the last, has nothing but padding for neighbours; all points further out are moved there.
FRAME = 2
#: The padding modes for which the frame is all that is needed.
FRAMED = ("zeros", "constant")


class Points(NamedTuple):
    """A block of source points: rows are images, columns are points of the grid."""

    images: slice
    columns: slice
    corner: Array  # flat index of the upper left neighbour, in channel 0 of the framed images
    fx: Array  # distance from that neighbour to the right, in [0, 1)
    fy: Array  # and downwards
    x_slope: Array | None  # d(place where it is read)/d(pixel coordinate): 1, -1 or 0; None: 1
    y_slope: Array | None


def without_place(xp: Any, points: Points) -> Points:
    """What the backward pass still needs to know of points whose slopes are kept: less memory."""
    nothing = xp.empty(0)
    return points._replace(corner=nothing, fx=nothing, fy=nothing)


def frame_with(xp: Any, U: Array, value: float) -> Array:
    """U (N, C, H, W) inside a frame of one value, in float32 at least."""
    N, C, H, W = U.shape
    dtype = np.promote_types(U.dtype, np.float32)
    framed = xp.full((N, C, H + 2 * FRAME, W + 2 * FRAME), value, dtype)
    framed[:, :, FRAME:-FRAME, FRAME:-FRAME] = U
    return framed  # type: ignore[no-any-return]


class Axis:
    """Pixel coordinates along one axis, to which `shift` has been added.

    The shift is the M of `to_pixels`, whose addition rounds, less the number of the middle pixel.
    It is a whole number, so it changes no fraction, and with it all coordinates near the image are
    positive.
    """

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self.size = size
        self.shift = int(rounding_constant(size)) - (size - 1) // 2
        ends = np.array([self.shift - FRAME, self.shift + size], dtype)
        self.ends = ends.view(np.int32 if dtype == np.float32 else np.int64)

    def from_grid(self, g: Array, align_corners: bool) -> Array:
        """Normalised to shifted pixel coordinates, as `to_pixels`, but not yet clipped."""
        x = g * units_to_pixels(self.size, align_corners)
        x += (self.size - 1) / 2 + self.shift
        return x

    def pad(self, xp: Any, x: Array, padding: str, align_corners: bool) -> Array | None:
        """Apply a padding mode to x, in place; its slope, None if it leaves all to the frame."""
        if padding in FRAMED:
            return None
        x -= self.shift
        keep_within(xp, x, self.size, REACH[padding])
        slope = move_inside(xp, x, self.size, padding, align_corners)
        x += self.shift
        return slope

    def split(self, xp: Any, x: Array) -> tuple[Array, Array]:
        """Clip to pixels -FRAME to size, and split into the whole part and the fraction.

        The clipping is done on the bits of the floats, read as whole numbers. Those of positive
        floats are in the same order as the floats themselves, those of negative ones and of -inf
        are negative, and those of NaN, which no comparison of floats could move, lie beyond an
        infinity: one pass for all. Overwrites x.
        """
        bits = x.view(self.ends.dtype)
        bits.clip(*self.ends, out=bits)
        whole = xp.floor(x)
        x -= whole
        return whole, x


class Frame:
    """Where in memory the pixels of all images are, each image within its frame of padding."""

    def __init__(
        self,
        xp: Any,
        U_shape: tuple[int, ...],
        N: int,
        dtype: np.dtype[Any],
        padding: str,
        align_corners: bool,
        offset: float = 0.0,
    ) -> None:
        self.xp, self.rule, self.offset = xp, (padding, align_corners), offset
        N_U, C, H, W = U_shape
        single = coordinate_dtype(dtype, max(H, W)) == np.float32
        self.dtype = np.dtype(np.float32 if single else np.float64)
        self.x, self.y = Axis(W, self.dtype), Axis(H, self.dtype)
        self.W = W + 2 * FRAME
        image = C * (H + 2 * FRAME) * self.W
        # NumPy turns floats into 32-bit integers 5 times faster than into 64-bit ones; small arrays
        # of images can do with those until the very end.
        last = N_U * image + (self.y.shift + H) * self.W + self.x.shift + W
        self.integer = np.int32 if last < 2**31 else np.int64
        to_next = image if N_U == N else 0  # 0: all share one image
        first = (FRAME - self.y.shift) * self.W + FRAME - self.x.shift
        self.first = xp.arange(N, dtype=self.integer)[:, None] * to_next + first

    def points(self, block: tuple[slice, slice], x: Array, y: Array) -> Points:
        """Points from their shifted pixel coordinates, which are overwritten."""
        x_slope, y_slope = self.x.pad(self.xp, x, *self.rule), self.y.pad(self.xp, y, *self.rule)
        if self.offset:
            x += self.offset
            y += self.offset
        x0, fx = self.x.split(self.xp, x)
        y0, fy = self.y.split(self.xp, y)
        corner: Array = y0.astype(self.integer)
        corner *= self.W
        corner += x0.astype(self.integer)
        corner = (corner + self.first[block[0]]).astype(np.intp, copy=False)
        return Points(*block, corner, fx, fy, x_slope, y_slope)


def locate(
    xp: Any,
    U_shape: tuple[int, ...],
    grid: Array,
    N: int,
    padding: str,
    align_corners: bool,
    offset: float = 0.0,
) -> Iterator[Points]:
    """Where the points of the grid, or those `offset` pixels further on, lie in the framed images.

    They come a block at a time.
    """
    N_grid, H_out, W_out = grid.shape[:3]
    frame = Frame(xp, U_shape, N, grid.dtype, padding, align_corners, offset)
    gx, gy = (grid[..., k].reshape(N_grid, H_out * W_out) for k in (0, 1))
    for images, columns in point_blocks(N, H_out * W_out):
        here = images if N_grid == N else slice(0, 1), columns
        x = frame.x.from_grid(gx[here].astype(frame.dtype, copy=False), align_corners)
        y = frame.y.from_grid(gy[here].astype(frame.dtype, copy=False), align_corners)
        yield frame.points((images, columns), x, y)
