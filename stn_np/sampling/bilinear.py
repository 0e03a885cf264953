"""The bilinear sampler: from theta or a grid to V, and back. It reads from top to bottom.

::

    theta or grid --(1)--> x, y --> corner, fx, fy --(5)--> V
    dtheta, dgrid <-(1)-- dx, dy <------(7)------ dV --(6)--> dU

The image is padded by two pixels on every side: then every point has four neighbours, none needs a
test, and "outside contributes zero" is simply true. Points come in blocks that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from stn_np.backend import Array, SampleBackward, coordinate_dtype, gather, scatter_add
from stn_np.sampling.blocks import channel_blocks, channel_index, crop, groups_of, pad, point_blocks
from stn_np.sampling.coordinates import keep_within, pixels_per_unit, rounding_constant
from stn_np.sampling.rules import Rules
from stn_np.threads import share_out

#: Pixels of padding on every side of the image. With two, a point at pixel -2, or one pixel beyond
#: the last, has nothing but padding for neighbours; all points further out are moved there.
PAD = 2

#: Up to so many channels the forward pass keeps dV/dx and dV/dy for the backward pass. With more
#: they would take too much memory; to read the image again takes 1.4 times as long, without dU 3.
FEW_CHANNELS = 4

#: Of a point's four neighbours: upper left, upper right, lower left, lower right.
Corners: TypeAlias = tuple[Array, Array, Array, Array]
#: One for x and one for y.
Pair: TypeAlias = tuple[Array, Array]


class Points(NamedTuple):
    """A block of source points: rows are images, columns are points of the grid."""

    images: slice
    columns: slice
    corner: Array  # flat index of the upper left neighbour, in channel 0 of the padded images
    fx: Array  # how far the point lies to the right of that neighbour, in [0, 1)
    fy: Array  # and below it
    x_sign: Array | None  # of the padding rule: 1, -1 where mirrored, 0 outside; None: 1
    y_sign: Array | None


#: A block as the backward pass needs it: points, and their channels with dV/dx and dV/dy if kept.
Kept: TypeAlias = tuple[Points, list[tuple[slice, Pair | None]]]
#: Takes a block of points with dL/dx and dL/dy, in pixels, at them.
Give: TypeAlias = Callable[[Points, Array, Array], Any]


# --------------------------------------------------------------- from theta or a grid to pixels


class Axis:
    """Pixel coordinates along one axis, to which `shift` has been added.

    shift = M - (size - 1) // 2 holds the large number M of `coordinates.to_pixels`, whose addition
    rounds x and makes the identity exact. It stays added: as a whole number it changes no fraction,
    and `split` needs positive coordinates.
    """

    def __init__(self, size: int, dtype: np.dtype[Any], rules: Rules) -> None:
        self.size, self.dtype, self.rules = size, dtype, rules
        self.per_unit = pixels_per_unit(size, rules.align_corners)
        self.shift = int(rounding_constant(size)) - (size - 1) // 2
        self.middle = (size - 1) / 2 + self.shift
        ends = np.array([self.shift - PAD, self.shift + size], dtype)
        self.ends = ends.view(np.int32 if dtype == np.float32 else np.int64)

    def move(self, x: Array) -> Array | None:
        """Move x onto the image, in place; returns the new x's derivative, None for 1."""
        if (move := self.rules.padding.move) is None:
            return None
        x -= self.shift
        keep_within(np, x, self.size)
        sign = move(np, x, self.size, self.rules.align_corners)
        x += self.shift
        return sign

    def split(self, x: Array) -> tuple[Array, Array]:
        """Clip to pixels -PAD to size, and split into the whole part and the fraction.

        The bits of positive floats, read as whole numbers, are in the floats' order. Those of
        negative ones and of -inf are negative; those of NaN lie beyond an infinity. So one pass
        over the bits clips all. Overwrites x.
        """
        bits = x.view(self.ends.dtype)
        bits.clip(*self.ends, out=bits)
        whole = np.floor(x)
        x -= whole
        return whole, x


def axes_of(U: Array, dtype: np.dtype[Any], rules: Rules) -> tuple[Axis, Axis]:
    """Both axes of the image, x and y, for coordinates that were given in this dtype."""
    H, W = U.shape[2:]
    single = coordinate_dtype(dtype, max(H, W)) == np.float32
    kind = np.dtype(np.float32 if single else np.float64)
    return Axis(W, kind, rules), Axis(H, kind, rules)


class Source(NamedTuple):
    """Where the points of the output come from, and where their gradients go."""

    axes: tuple[Axis, Axis]
    out_size: tuple[int, int]
    locate: Callable[[slice, slice], Any]  # images and columns to x, y: shifted pixel coordinates
    backward: Callable[[Callable[[Give], list[Any]]], Array]  # calls what it is given, see there
    step: int = 1  # blocks are whole multiples of so many points


def from_grid(U: Array, grid: Array, N: int, rules: Rules) -> Source:
    """Points of a grid (N or 1, H', W', 2); its pullback gives (N, H', W', 2)."""
    N_grid, H_out, W_out = grid.shape[:3]
    x_axis, y_axis = axes_of(U, grid.dtype, rules)
    gx, gy = (grid[..., k].reshape(N_grid, H_out * W_out) for k in (0, 1))
    dtype = np.promote_types(U.dtype, np.float32)
    empty = np.empty if U.shape[1] else np.zeros  # from no channels nothing comes back

    def locate(images: slice, columns: slice) -> Pair:
        here = images if N_grid == N else slice(0, 1), columns
        x = gx[here].astype(x_axis.dtype, copy=False) * x_axis.per_unit
        y = gy[here].astype(y_axis.dtype, copy=False) * y_axis.per_unit
        x += x_axis.middle
        y += y_axis.middle
        return x, y

    def backward(for_each_block: Callable[[Give], list[Any]]) -> Array:
        dgrid = empty((2, N, H_out * W_out), dtype)

        def give(points: Points, dx: Array, dy: Array) -> None:
            np.multiply(dx, x_axis.per_unit, out=dgrid[0, points.images, points.columns])
            np.multiply(dy, y_axis.per_unit, out=dgrid[1, points.images, points.columns])

        for_each_block(give)
        return dgrid.reshape(2, N, H_out, W_out).transpose(1, 2, 3, 0)

    return Source((x_axis, y_axis), (H_out, W_out), locate, backward)


def from_affine(
    U: Array, A: Array, dtype: np.dtype[Any], out_size: tuple[int, int], N: int, rules: Rules
) -> Source:
    """Points of affine maps, eq. (1): A (N or 1, 2, 3), in pixels from the middles of both images.

    The pullback gives dA (N, 2, 3). Each axis's shift is part of A's third column.
    """
    axes = axes_of(U, dtype, rules)
    shifted = A.copy()
    shifted[:, :, 2] += [axis.middle for axis in axes]
    shifted = shifted.transpose(1, 0, 2).astype(axes[0].dtype)
    target = lru_cache(maxsize=1)(partial(target_rows, out_size, axes[0].dtype))

    def locate(images: slice, columns: slice) -> Array:
        here = images if A.shape[0] == N else slice(0, 1)
        return shifted[:, here] @ target(columns.start, columns.stop)  # eq. (1): x, y

    def backward(for_each_block: Callable[[Give], list[Any]]) -> Array:
        def give(points: Points, dx: Array, dy: Array) -> tuple[slice, Array, Array]:
            G_T = target(points.columns.start, points.columns.stop).T
            return points.images, dx @ G_T, dy @ G_T

        dA = np.zeros((N, 2, 3))
        for images, of_x, of_y in filter(None, for_each_block(give)):  # in the blocks' order
            dA[images, 0] += of_x
            dA[images, 1] += of_y
        return dA

    return Source(axes, out_size, locate, backward, step=out_size[1])  # whole rows


def target_rows(out_size: tuple[int, int], dtype: np.dtype[Any], start: int, stop: int) -> Array:
    """x_t, y_t and 1 of whole rows of the output, pixels start to stop: (3, points)."""
    H, W = out_size
    rows = np.arange(start // W, stop // W)
    G = np.ones((3, rows.size, W), dtype)
    G[0] = np.arange(W) - (W - 1) / 2
    G[1] = rows[:, None] - (H - 1) / 2
    return G.reshape(3, -1)


# ------------------------------------------------------------ from pixels to the four neighbours


class Located(NamedTuple):
    """Where all points lie in the padded images, a block at a time."""

    blocks: list[tuple[slice, slice]]  # images and columns
    at: Callable[[tuple[slice, slice]], Points]


def locate(U_shape: tuple[int, ...], source: Source, N: int, offset: float = 0.0) -> Located:
    """Which blocks there are, and what is in each; `nearest.py` has an offset."""
    N_U, C, H, W = U_shape
    x_axis, y_axis = source.axes
    W_p = W + 2 * PAD
    image = C * (H + 2 * PAD) * W_p
    # NumPy turns floats into 32-bit integers 5 times faster than into 64-bit ones; small arrays of
    # images can do with those until the very end.
    last = N_U * image + (y_axis.shift + H) * W_p + x_axis.shift + W
    integer = np.int32 if last < 2**31 else np.int64
    to_next = image if N_U == N else 0  # 0: all share one image
    first = np.arange(N, dtype=integer)[:, None] * to_next  # pixel (0, 0), less both shifts
    first = first + ((PAD - y_axis.shift) * W_p + PAD - x_axis.shift)

    def at(block: tuple[slice, slice]) -> Points:
        images, columns = block
        x, y = source.locate(images, columns)
        x_sign, y_sign = x_axis.move(x), y_axis.move(y)
        if offset:
            x += offset
            y += offset
        x0, fx = x_axis.split(x)
        y0, fy = y_axis.split(y)
        corner: Array = y0.astype(integer)
        corner *= W_p
        corner += x0.astype(integer)
        corner = (corner + first[images]).astype(np.intp, copy=False)
        return Points(images, columns, corner, fx, fy, x_sign, y_sign)

    points = source.out_size[0] * source.out_size[1]
    return Located(point_blocks(N, points, C, source.step), at)


# ------------------------------------------------------------------- from four neighbours to V


def bilinear(
    U: Array, source: Source, N: int, rules: Rules, *, needs_dU: bool, needs_ds: bool
) -> tuple[Array, SampleBackward]:
    """V (N, C, H', W'); backward(dV) returns dU, and what the source's pullback gives."""
    C, (H_out, W_out) = U.shape[1], source.out_size
    padded = pad(np, U, PAD, PAD, float(rules.padding_value))
    flat, (H_p, W_p) = padded.reshape(-1), padded.shape[2:]
    V = np.empty((N, C, H_out * W_out), U.dtype)
    keep = needs_ds and C <= FEW_CHANNELS
    located = locate(U.shape, source, N)

    def forward(block: tuple[slice, slice]) -> Kept | None:
        points, parts = located.at(block), []
        for channels in channel_blocks(C, points.corner.size):
            here, index = channel_index(points.corner, channels, H_p * W_p)
            corners = corners_of(flat[here:], index, W_p)
            value, dV_dxy = interpolate(corners, points, needs_derivatives=keep)  # eq. (5)
            V[points.images, channels, points.columns] = value
            parts.append((channels, dV_dxy))
        if keep and not needs_dU:  # where they lie is no longer needed
            points = points._replace(corner=np.empty(0), fx=np.empty(0), fy=np.empty(0))
        return (points, parts) if needs_dU or needs_ds else None

    done = [kept for kept in share_out(forward, located.blocks) if kept]

    def gradients(points: Points, parts: Any, dV: Array, dflat: Array | None) -> Pair | None:
        """Adds eq. (6) to dflat, and returns eq. (7), dL/dx and dL/dy, if needed."""
        dx = dy = None
        for channels, dV_dxy in parts:
            dv = dV[points.images, channels, points.columns].astype(flat.dtype, copy=False)
            if dflat is not None or not dV_dxy:
                here, index = channel_index(points.corner, channels, H_p * W_p)
            if dflat is not None:
                spread(dflat[here:], index, W_p, dv, points)  # eq. (6)
            if needs_ds:
                if not dV_dxy:
                    dV_dxy = derivatives(corners_of(flat[here:], index, W_p), points)
                dx = add_channels(dx, dV_dxy[0] * dv)  # eq. (7)
                dy = add_channels(dy, dV_dxy[1] * dv)
        if dx is None or dy is None:
            return None
        if points.x_sign is not None and points.y_sign is not None:
            dx *= points.x_sign
            dy *= points.y_sign
        return dx, dy

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        if not (needs_dU or needs_ds):
            return None, None
        dV = dV.reshape(N, C, H_out * W_out)
        dflat = np.zeros_like(flat) if needs_dU else None
        groups = groups_of(located.blocks, len(U) == N if needs_dU else None)

        def for_each_block(give: Give) -> list[Any]:
            def work(group: list[int]) -> list[Any]:
                found = ((done[k][0], gradients(*done[k], dV, dflat)) for k in group)
                return [give(points, *pair) if pair else None for points, pair in found]

            return list(chain.from_iterable(share_out(work, groups)))

        ds = source.backward(for_each_block) if needs_ds else None
        if not needs_ds:
            for_each_block(lambda points, dx, dy: None)
        if dflat is None:
            return None, ds
        return crop(dflat.reshape(padded.shape), PAD, PAD).astype(U.dtype), ds

    return V.reshape(N, C, H_out, W_out), backward


def add_channels(total: Array | None, x: Array) -> Array:
    """The total so far plus x (images, channels, points) summed over its channels."""
    x = x[:, 0] if x.shape[1] == 1 else x.sum(axis=1)
    return x if total is None else total + x


def corners_of(flat: Array, index: Array, W_p: int) -> Corners:
    """U at the four pixels round each point: n, m in {floor, floor + 1} of eq. (5)."""
    return (
        gather(flat, index),
        gather(flat[1:], index),
        gather(flat[W_p:], index),
        gather(flat[W_p + 1 :], index),
    )


def interpolate(
    corners: Corners, points: Points, *, needs_derivatives: bool
) -> tuple[Array, Pair | None]:
    """Eq. (5), along x in both rows, then along y; if needed, eq. (7) from the same differences.

    V = (1-fy) ((1-fx) u00 + fx u01) + fy ((1-fx) u10 + fx u11), written so that fx = fy = 0 gives
    u00 exactly. Overwrites the corners.
    """
    u00, u01, u10, u11 = corners
    fx, fy = points.fx[:, None], points.fy[:, None]
    u01 -= u00  # slope of the upper row
    u11 -= u10  # of the lower row
    step = np.empty_like(u01) if needs_derivatives else u01
    u00 += np.multiply(fx, u01, out=step)  # value in the upper row
    u10 += np.multiply(fx, u11, out=step)  # in the lower row
    u10 -= u00  # dV/dy
    u00 += np.multiply(fy, u10, out=step)
    if not needs_derivatives:
        return u00, None
    u11 -= u01
    u11 *= fy
    u11 += u01  # dV/dx
    return u00, (u11, u10)


def derivatives(corners: Corners, points: Points) -> Pair:
    """Eq. (7): dV/dx and dV/dy, to the right and downwards. Overwrites the corners.

    dV/dx = (1-fy) (u01 - u00) + fy (u11 - u10) = (u01 - u00) + fy t, and likewise
    dV/dy = (u10 - u00) + fx t, with t = (u11 - u10) - (u01 - u00).
    """
    u00, u01, u10, u11 = corners
    fx, fy = points.fx[:, None], points.fy[:, None]
    u01 -= u00  # slope of the upper row
    u11 -= u10  # of the lower row
    u11 -= u01  # t
    u10 -= u00  # slope of the left column
    u01 += fy * u11
    u10 += fx * u11
    return u01, u10


def spread(dflat: Array, index: Array, W_p: int, dv: Array, points: Points) -> None:
    """Eq. (6), the transpose of eq. (5): each pixel gets its weight times dV.

    The weights are (1-fy)(1-fx), (1-fy) fx, fy (1-fx) and fy fx.
    """
    fx, fy = points.fx[:, None], points.fy[:, None]
    d10 = dv * fy
    d00 = dv - d10
    d01, d11 = d00 * fx, d10 * fx
    d00 -= d01
    d10 -= d11
    index = index.reshape(-1)
    scatter_add(dflat, index, d00.reshape(-1))
    scatter_add(dflat[1:], index, d01.reshape(-1))
    scatter_add(dflat[W_p:], index, d10.reshape(-1))
    scatter_add(dflat[W_p + 1 :], index, d11.reshape(-1))
