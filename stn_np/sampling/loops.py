"""Eqs (3), (6) and (7) as the paper prints them: loops over points and the pixels that each reads.

This is plain Python, and slow as such; `fast.py` has the very same lines compiled by Numba.

Every image is put in a frame of n pixels, n the number that a point reads along an axis. The frame
shows what lies there under the padding mode. A point is moved to where it reads nothing beyond the
frame, so no pixel needs a test. Axes are numbered as in a grid: x, y, z. An image is a volume with
D = 1, which has no frame along z and is read in one plane.

Numba takes a number that is written out for a float64 or int64. What must not be promoted is turned
into the arrays' dtype, T. Conditions are joined by &, and choices made in one line: then the
compiler works on 16 points at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from stn_np.backend import Array

#: A scalar of dtype T.
Number: TypeAlias = Any
#: A number for each pixel that a point reads along an axis. The compiler knows how many there are.
Numbers: TypeAlias = tuple[Number, ...]

#: The table of `padding.py`, in its order. ZEROS stands for any constant.
ZEROS, BORDER, REFLECTION, WRAP = range(4)
#: So many points are located before pixels are read: few enough to stay near the core.
BLOCK = 2048


class Axis(NamedTuple):
    """One axis of the image."""

    size: int  # in pixels
    stride: int  # from one pixel of the frame to the next
    padding: int
    n: int  # how many pixels a point reads
    per_unit: Number  # dx/dg
    M: Number  # of `coordinates.to_pixels`
    centre: Number  # (size - 1) / 2
    last: Number  # size - 1
    low: Number  # the left mirror; from there to the right one it is `span`
    span: Number
    far: Number  # `coordinates.FAR`


class Rule(NamedTuple):
    """How all points are read. `taps` and `taps_z` are as long as a point reads pixels."""

    axes: tuple[Axis, ...]
    taps: Numbers  # along x and y
    taps_z: Numbers
    pixels: tuple[Array, Array, Array]  # of x, y, z: the pixel at each place of the frame, or -1
    outside: Number  # what is read at -1


class Source(NamedTuple):
    """Where points come from: g = numbers[n * step_n + p * step_p + k * step_axis], or matrices.

    With W > 0 `numbers` has affine maps (., 2, 3) instead, for an output of H x W pixels. They
    count in pixels from the middles of both images.
    """

    numbers: Array
    step_n: int
    step_p: int
    step_axis: int
    H: int
    W: int


class Places(NamedTuple):
    """Where points lie. Each array may be a part, or have images and points as its last axes."""

    at: Array  # the first pixel that is read, in the flat frame
    f: Array  # (axes, ...) how far the point lies beyond the place of that pixel, in pixels
    sign: Array  # (axes, ...) 1, -1 where mirrored, 0 where nothing changes; empty: all are 1


# --------------------------------------------------- one point along one axis: to pixels, padding


def pixel(x: Number, axis: Axis) -> Number:
    """`coordinates.to_pixels`: from the image's middle to its first pixel, rounded by M."""
    x = x + axis.M
    x = x - (axis.M - axis.centre)
    x = x if x > -axis.far else -axis.far  # NaN too
    return x if x < axis.last + axis.far else axis.last + axis.far


def is_near(x: Number, axis: Axis) -> Any:
    """Whether x is less than FAR outside: beyond there is no gradient."""
    return (x > -axis.far) & (x < axis.last + axis.far)


def clamp(x: Number, axis: Axis) -> tuple[Number, Number]:
    """BORDER: a point outside goes to the nearest border pixel. The new x, and its derivative."""
    T = type(x)
    sign = T(1) if (x > T(0)) & (x < axis.last) else T(0)
    x = x if x > T(0) else T(0)
    return (x if x < axis.last else axis.last), sign


def mirror(x: Number, axis: Axis) -> tuple[Number, Number]:
    """REFLECTION: a point outside is mirrored at both ends as often as needed."""
    T = type(x)
    near = is_near(x, axis)
    x = x if near | (axis.n > 2) else axis.low  # `padding.mirror` does that too
    x = x - axis.low
    sign = T(-1) if x < T(0) else T(1)
    x = abs(x)
    turns = np.floor(x / axis.span)
    x = x - turns * axis.span
    odd = turns - T(2) * np.floor(turns * T(0.5)) == T(1)
    x = axis.span - x if odd else x
    sign = -sign if odd else sign
    return x + axis.low, (sign if near else T(0))


def wrap(x: Number, axis: Axis) -> tuple[Number, Number]:
    """WRAP: the image again after `size` pixels."""
    T = type(x)
    sign = T(1) if is_near(x, axis) else T(0)
    size = axis.last + T(1)
    return x - np.floor(x / size) * size, sign


def ahead(x: Number, axis: Axis) -> Number:
    """How far x lies beyond where it would read from pixel 0 on: floor of it is the first pixel."""
    return x - type(x)(0.5 * axis.n - 1)


def is_inside(x: Number, axis: Axis) -> Any:
    """Whether the point reads anything but the frame: beyond, nothing changes any more."""
    x = ahead(x, axis)
    return (x > type(x)(-axis.n)) & (x < axis.last + type(x)(1))


def split(x: Number, axis: Axis) -> tuple[Any, Number]:
    """The first pixel that is read, floor(x - n/2) + 1, in the frame; how far x lies beyond it."""
    T = type(x)
    least, most = T(-axis.n), axis.last + T(1)
    x = ahead(x, axis)
    x = x if x > least else least
    x = x if x < most else most
    first = np.floor(x)
    return np.int32(first) + np.int32(axis.n), x - first


def locate(x: Array, axis: Axis, at: Array, f: Array, sign: Array) -> None:
    """Points x, in pixels: adds to `at`, sets f, and sign if it has room. Overwrites x."""
    T = type(axis.last)
    moved = (axis.padding == BORDER or axis.padding == REFLECTION) and axis.n <= 2
    if axis.padding == REFLECTION and axis.span == T(0):  # a single pixel between two mirrors
        x[:], sign[:] = T(0), T(0)
    elif axis.padding == REFLECTION:
        for p in range(x.size):
            x[p], sign[p] = mirror(x[p], axis)
    elif axis.padding == WRAP:
        for p in range(x.size):
            x[p], sign[p] = wrap(x[p], axis)
    else:
        sign[:] = T(1)
    if moved:
        for p in range(x.size):
            x[p], inside = clamp(x[p], axis)
            sign[p] *= inside
    for p in range(sign.size):
        sign[p] = sign[p] if is_inside(x[p], axis) else T(0)
    for p in range(x.size):
        first, f[p] = split(x[p], axis)
        at[p] += first * np.int32(axis.stride)


# ---------------------------------------------------------------------- k of eq. (3): kernels.py


def weights(f: Number, taps: Numbers) -> Numbers:
    """k(x - m) at the pixels m that are read, from the first on."""
    T = type(f)
    if len(taps) == 1:  # eq. (4)
        return (T(1),)
    elif len(taps) == 2:  # eq. (5)
        return (T(1) - f, f)
    else:
        return (cubic(f + T(1)), cubic(f), cubic(T(1) - f), cubic(T(2) - f))


def slopes(f: Number, taps: Numbers) -> Numbers:
    """k'(x - m): where k has a kink, the right one."""
    T = type(f)
    if len(taps) == 1:
        return (T(0),)
    elif len(taps) == 2:
        return (T(-1), T(1))
    else:
        left, right = cubic_slope(f + T(1)), cubic_slope(f)
        return (left, right, -cubic_slope(T(1) - f), -cubic_slope(T(2) - f))


def all_weights(f: Array, taps: Numbers, w: Array, s: Array) -> None:
    """`weights` and `slopes` of many points, where they take long: w, s (pixels, points)."""
    if len(taps) == 4:
        for i in range(f.size):
            w[0, i], w[1, i], w[2, i], w[3, i] = weights(f[i], taps)
    if len(taps) == 4 and s.size > 0:
        for i in range(f.size):
            s[0, i], s[1, i], s[2, i], s[3, i] = slopes(f[i], taps)


def weights_of(i: int, f: Array, taps: Numbers, w: Array) -> Numbers:
    """Point i's weights: worked out, or looked up."""
    if len(taps) < 4:
        return weights(f[i], taps)
    else:
        return (w[0, i], w[1, i], w[2, i], w[3, i])


def slopes_of(i: int, f: Array, taps: Numbers, s: Array) -> Numbers:
    """Point i's slopes: likewise."""
    if len(taps) < 4:
        return slopes(f[i], taps)
    else:
        return (s[0, i], s[1, i], s[2, i], s[3, i])


def cubic(d: Number) -> Number:
    """Keys' cubic with a = -3/4, at 0 <= d <= 2, as `kernels.py` explains it."""
    T = type(d)
    u, w = T(2) - d, T(1) - d
    t = w if w > T(0) else T(0)
    return T(0.75) * u * u * w - T(2) * t * t * t


def cubic_slope(d: Number) -> Number:
    """The derivative of `cubic`."""
    T = type(d)
    u, w = T(2) - d, T(1) - d
    t = w if w > T(0) else T(0)
    return T(6) * t * t - T(0.75) * u * (u + T(2) * w)


# ------------------------------------------------------------------------------------- one point


def value(U: Array, at: Any, wx: Numbers, wy: Numbers, wz: Numbers, row: Any, plane: Any) -> Number:
    """Eq. (3): the sum of all pixels that the point reads, each times its weights."""
    V = type(wx[0])(0)
    for k in range(len(wz)):
        for j in range(len(wy)):
            start = at + np.uintp(k) * plane + np.uintp(j) * row
            line = wx[0] * U[start]
            for i in range(1, len(wx)):
                line += wx[i] * U[start + np.uintp(i)]
            V += wz[k] * wy[j] * line
    return V


def give(
    dU: Array, at: Any, dv: Number, wx: Numbers, wy: Numbers, wz: Numbers, row: Any, plane: Any
) -> None:
    """Eq. (6): each of these pixels gets dV times its weights."""
    for k in range(len(wz)):
        for j in range(len(wy)):
            start = at + np.uintp(k) * plane + np.uintp(j) * row
            here = dv * (wz[k] * wy[j])
            for i in range(len(wx)):
                dU[start + np.uintp(i)] += here * wx[i]


# Eq. (7) is `value` with k' in place of k along the axis in question.


# -------------------------------------------------------------------------------- images in frames


def put_in_frame(U: Array, frame: Array, rule: Rule, first: int, last: int) -> None:
    """U (D, H, W) to lines first to last of its frame, flat: the transpose of `take_out`."""
    W, n = U.shape[2], len(rule.taps)
    xs, ys, zs = rule.pixels
    for number in range(first, last):
        z, y = zs[number // ys.size], ys[number % ys.size]
        line = frame[number * xs.size : (number + 1) * xs.size]
        if z < 0 or y < 0:
            line[:] = rule.outside
            continue
        pixels = U[z, y]
        for i in range(W):
            line[n + i] = pixels[i]
        for i in range(n):
            left, right = xs[i], xs[n + W + i]
            line[i] = pixels[left] if left >= 0 else rule.outside
            line[n + W + i] = pixels[right] if right >= 0 else rule.outside


def take_out(dframe: Array, dU: Array, rule: Rule) -> None:
    """DU (D, H, W), all of it: what each pixel got in every place of the frame where it shows."""
    W = dU.shape[2]
    xs, ys, zs = rule.pixels
    n, start = len(rule.taps), 0
    dU[:] = type(rule.outside)(0)
    for k in range(zs.size):
        for j in range(ys.size):
            line = dframe[start : start + xs.size]
            start += xs.size
            if zs[k] < 0 or ys[j] < 0:
                continue
            pixels = dU[zs[k], ys[j]]
            for i in range(W):
                pixels[i] += line[n + i]
            for i in range(n):
                left, right = xs[i], xs[n + W + i]
                if left >= 0:
                    pixels[left] += line[i]
                if right >= 0:
                    pixels[right] += line[n + W + i]


# ---------------------------------------------------------------------- points, channels and images


def target(p: int, H: int, W: int) -> tuple[float, float]:
    """Pixel p of the output, from its middle: x_t and y_t of eq. (1)."""
    i = p // W
    return p - i * W - 0.5 * (W - 1), i - 0.5 * (H - 1)


def from_grid(g: Array, step: int, axis: Axis, x: Array) -> None:
    """Coordinates x of so many points, in pixels, from a grid."""
    if step == 1:  # apart, for then the compiler works on many at a time
        for i in range(x.size):
            x[i] = pixel(g[i] * axis.per_unit, axis)
    else:
        for i in range(x.size):
            x[i] = pixel(g[i * step] * axis.per_unit, axis)


def from_map(row: Array, p: int, source: Source, axis: Axis, x: Array) -> None:
    """The same from a row of a matrix, eq. (1): points from number p on, a line at a time."""
    T, i = type(axis.last), 0
    while i < x.size:
        x_t, y_t = target(p + i, source.H, source.W)
        end = min(x.size, i + source.W - (p + i) % source.W)
        rest = row[1] * T(y_t) + row[2]
        for j in range(i, end):
            x[j] = pixel(row[0] * (T(x_t) + T(j - i)) + rest, axis)
        i = end


def find(
    source: Source, n: int, p: int, q: int, rule: Rule, x: Array, places: Places, m: int, first: int
) -> None:
    """Where points p to q of image n lie: to image m of the places, from number `first` on."""
    last, at = first + q - p, places.at[m][first : first + q - p]
    at[:] = 0
    for k in range(len(rule.axes)):
        axis, start = rule.axes[k], n * source.step_n + k * source.step_axis
        if source.W == 0:
            from_grid(source.numbers[start + p * source.step_p :], source.step_p, axis, x)
        else:
            from_map(source.numbers[start:], p, source, axis, x)
        locate(x, axis, at, places.f[k, m][first:last], places.sign[k, m][first:last])


def look_up(
    places: Places, n: int, p: int, q: int, rule: Rule, w: Array, s: Array
) -> tuple[Array, Array, Array, Array]:
    """Points p to q of image n: `at` and f along x, y and z; their weights and slopes to w, s."""
    at, fz = places.at[n][p:q], places.f[-1, n][p:q]
    fx, fy = places.f[0, n][p:q], places.f[1, n][p:q]
    all_weights(fx, rule.taps, w[0], s[0])
    all_weights(fy, rule.taps, w[1], s[1])
    all_weights(fz, rule.taps_z, w[2], s[2])
    return at, fx, fy, fz


def sample(
    images: tuple[int, int], points: tuple[int, int], source: Source, U: Array, frames: Array,
    places: Places, V: Array, rule: Rule, keep: tuple[bool, bool],
) -> None:  # fmt: skip
    """Eq. (3) at some points of some images: V (N, C, P).

    Frames (N or 1, C, .) and places (N or 1, P or 1 block) are kept for the backward pass, or
    overwritten. U (N, C, D, H, W) is put in its frame here, unless it is empty: that has been done.
    """
    keep_frames, keep_places = keep
    row, plane = np.uintp(rule.axes[1].stride), np.uintp(rule.axes[-1].stride)
    taps, taps_z = rule.taps, rule.taps_z
    x, w = np.empty(BLOCK, V.dtype), np.empty((3, 4, BLOCK), V.dtype)
    for n in range(images[0], images[1]):
        frame = frames[n if keep_frames else 0]
        for c in range(V.shape[1] if U.size > 0 else 0):
            put_in_frame(U[n, c], frame[c], rule, 0, rule.pixels[1].size * rule.pixels[2].size)
        for p in range(points[0], points[1], BLOCK):
            q = min(p + BLOCK, points[1])
            m, first = (n, p) if keep_places else (0, 0)
            find(source, n, p, q, rule, x[: q - p], places, m, first)
            at, fx, fy, fz = look_up(places, m, first, first + q - p, rule, w, w[:, :, :0])
            for c in range(V.shape[1]):
                pixels, v = frame[c], V[n, c][p:q]
                for i in range(q - p):
                    wx, wy = weights_of(i, fx, taps, w[0]), weights_of(i, fy, taps, w[1])
                    wz = weights_of(i, fz, taps_z, w[2])
                    v[i] = value(pixels, np.uintp(at[i]), wx, wy, wz, row, plane)


def spread(
    groups: tuple[int, int], channels: tuple[int, int], size: int, places: Places, dV: Array,
    dU: Array, rule: Rule,
) -> None:  # fmt: skip
    """Eq. (6) in some channels: dU (groups, C, D, H, W), each group the sum over `size` images."""
    N, P = dV.shape[0], dV.shape[2]
    row, plane = np.uintp(rule.axes[1].stride), np.uintp(rule.axes[-1].stride)
    taps, taps_z, (xs, ys, zs) = rule.taps, rule.taps_z, rule.pixels
    dframe = np.empty(xs.size * ys.size * zs.size, dV.dtype)
    w = np.empty((3, 4, BLOCK), dV.dtype)
    for group in range(groups[0], groups[1]):
        for c in range(channels[0], channels[1]):
            dframe[:] = type(rule.outside)(0)
            for n in range(group * size, min(N, group * size + size)):
                for p in range(0, P, BLOCK):
                    q = min(p + BLOCK, P)
                    at, fx, fy, fz = look_up(places, n, p, q, rule, w, w[:, :, :0])
                    dv = dV[n, c][p:q]
                    for i in range(q - p):
                        wx, wy = weights_of(i, fx, taps, w[0]), weights_of(i, fy, taps, w[1])
                        wz = weights_of(i, fz, taps_z, w[2])
                        give(dframe, np.uintp(at[i]), dv[i], wx, wy, wz, row, plane)
            take_out(dframe, dU[group, c], rule)


def slope(
    images: tuple[int, int], points: tuple[int, int], out_size: tuple[int, int], frames: Array,
    places: Places, dV: Array, ds: Array, rule: Rule,
) -> None:  # fmt: skip
    """Eq. (7) at some points of some images: ds (axes, N, P, 1), or of maps (2, N, blocks, 3)."""
    row, plane = np.uintp(rule.axes[1].stride), np.uintp(rule.axes[-1].stride)
    taps, taps_z, dims = rule.taps, rule.taps_z, len(rule.axes)
    sums, w = np.empty((dims, BLOCK), dV.dtype), np.empty((3, 4, BLOCK), dV.dtype)
    s = np.empty_like(w)
    for n in range(images[0], images[1]):
        frame = frames[n if frames.shape[0] > 1 else 0]
        for p in range(points[0], points[1], BLOCK):
            q = min(p + BLOCK, points[1])
            at, fx, fy, fz = look_up(places, n, p, q, rule, w, s)
            sums[:] = type(rule.outside)(0)
            for c in range(dV.shape[1]):
                pixels, dv = frame[c], dV[n, c][p:q]
                for i in range(q - p):
                    u = np.uintp(at[i])
                    wx, wy = weights_of(i, fx, taps, w[0]), weights_of(i, fy, taps, w[1])
                    wz = weights_of(i, fz, taps_z, w[2])
                    sx, sy = slopes_of(i, fx, taps, s[0]), slopes_of(i, fy, taps, s[1])
                    dV_dx = value(pixels, u, sx, wy, wz, row, plane)
                    dV_dy = value(pixels, u, wx, sy, wz, row, plane)
                    if dims == 3:
                        sz = slopes_of(i, fz, taps_z, s[2])
                        sums[2, i] += dv[i] * value(pixels, u, wx, wy, sz, row, plane)
                    sums[0, i] += dv[i] * dV_dx
                    sums[1, i] += dv[i] * dV_dy
            for k in range(dims):
                total, sign, unit = sums[k][: q - p], places.sign[k, n][p:q], rule.axes[k].per_unit
                for i in range(sign.size):
                    total[i] *= sign[i]
                if out_size[1] == 0:
                    for i in range(q - p):
                        ds[k, n, p + i, 0] = total[i] * unit
                else:
                    to_map(total, p, out_size, ds[k, n, p // BLOCK])


def to_map(dx: Array, p: int, out_size: tuple[int, int], dA: Array) -> None:
    """The transpose of `from_map`, for points from number p on: a row of a matrix."""
    a, b, c = 0.0, 0.0, 0.0  # float64
    for i in range(dx.size):
        x_t, y_t = target(p + i, out_size[0], out_size[1])
        a, b, c = a + dx[i] * x_t, b + dx[i] * y_t, c + np.float64(dx[i])
    dA[0], dA[1], dA[2] = a, b, c
