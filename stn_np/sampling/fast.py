"""The samplers as compiled loops: `loops.py` where Numba is installed (the extra `fast`).

Numba is imported when the first image is sampled. It keeps what it compiled in a cache on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from math import prod
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from stn_np.backend import Array, SampleBackward, coordinate_dtype
from stn_np.sampling import loops
from stn_np.sampling.coordinates import FAR, pixels_per_unit, rounding_constant
from stn_np.sampling.kernels import BY_NAME
from stn_np.sampling.padding import PADDINGS
from stn_np.sampling.rules import Rules
from stn_np.threads import share_out

#: Turns the loops off ("0"), or runs them as plain Python ("python"), for tests.
SWITCH = "STN_NP_FAST"
#: Dtypes that the loops take; float16 is turned into float32 before, and back afterwards.
DTYPES = (np.float16, np.float32, np.float64)
#: A piece of work for a thread: so many pixels to be read, about 100 µs. More pieces than MOST only
#: cost time.
PIECE, MOST = 2**18, 16
#: The table of `padding.py` in the loops' numbers.
NUMBERS = {"ZEROS": loops.ZEROS, "BORDER": loops.BORDER, "REFLECTION": loops.REFLECTION,
           "WRAP": loops.WRAP}  # fmt: skip


# --------------------------------------------------------------------------------- which path


@lru_cache(maxsize=1)
def compiled() -> SimpleNamespace | str:
    """The functions of `loops.py` compiled; or why they cannot be."""
    try:
        from numba import config, njit
    except Exception as error:  # of any kind, where Numba is broken or does not fit NumPy
        found = isinstance(error, ModuleNotFoundError) and error.name == "numba"
        return "Numba is not installed" if found else f"Numba cannot be imported: {error}"
    if getattr(config, "DISABLE_JIT", False):
        return "Numba is told not to compile, by NUMBA_DISABLE_JIT"
    in_use = [compile_loops(njit, cache=True)]

    def sound(name: str) -> Callable[..., Any]:
        """A function that does without the cache on the disk if that is damaged, or full."""

        def call(*arguments: Any) -> Any:
            functions = in_use[0]
            try:
                return functions[name](*arguments)
            except Exception:  # none comes from the loops; and they write all that they write anew
                in_use[0] = compile_loops(njit, cache=False)
                return in_use[0][name](*arguments)

        return call

    return SimpleNamespace(**{name: sound(name) for name in in_use[0]})


def compile_loops(njit: Any, *, cache: bool) -> dict[str, Any]:
    """The functions of `loops.py` by name, each to be compiled when it is first called."""
    # Fused multiply-adds and nothing else: NaN and the order of sums stay what they are.
    options: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    # In a copy of the module's names: there they call each other compiled, here as plain Python.
    names = dict(vars(loops))
    functions = [name for name, f in names.items() if getattr(f, "__module__", "") == loops.__name__
                 and isinstance(f, FunctionType)]  # fmt: skip
    for name in functions:
        function = FunctionType(names[name].__code__, names, name)
        try:
            names[name] = njit(cache=cache, **options)(function)
        except RuntimeError:  # there is no folder to write to
            names[name] = njit(**options)(function)
    return {name: names[name] for name in functions}


def is_off() -> bool:
    """Whether the user wants NumPy."""
    return os.environ.get(SWITCH, "").strip().lower() in ("0", "no", "false", "off")


def path_in_use() -> str:
    """What samples images on a CPU, in words, as `stn-np info` says it."""
    if is_off():
        return f"NumPy ({SWITCH}={os.environ[SWITCH]})"
    if os.environ.get(SWITCH) == "python":
        return f"loops in plain Python, for tests ({SWITCH}=python)"
    found = compiled()
    return f"NumPy ({found})" if isinstance(found, str) else "loops compiled by Numba"


def loops_for(U: Array, points: Array, rules: Rules) -> Any:
    """The loops, compiled or plain, if they are to be used for these checked arguments, else None.

    `points` is a grid or maps. What is long, empty, or has more than 2^31 pixels is NumPy's.
    """
    if is_off() or not isinstance(rules.mode, str):
        return None
    if U.dtype not in DTYPES or points.dtype not in DTYPES or 0 in (*U.shape, *points.shape):
        return None
    n = BY_NAME[rules.mode].n_taps
    if prod(size + 2 * n for size in U.shape[2:]) >= 2**31:
        return None
    if os.environ.get(SWITCH) == "python":
        return loops
    found = compiled()
    return None if isinstance(found, str) else found


# ------------------------------------------------------------------------- arguments of the loops


def as_compiled_for(x: Array, T: np.dtype[Any]) -> Array:
    """As the loops were compiled for: read-only or unaligned arrays would be another type."""
    return np.require(x, T, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])


def from_grid(grid: Array, T: np.dtype[Any], N: int) -> loops.Source:
    """Points of a grid (N or 1, ..., axes), not copied if its memory is in some order of axes."""
    points, dims = prod(grid.shape[1:-1]), grid.shape[-1]
    orders = {  # where the last axis lies, and the steps from image to image, point and axis
        1: (dims * points, 1, points),  # as `affine_grid` makes it
        0: (points, 1, grid.shape[0] * points),
        grid.ndim - 1: (dims * points, dims, 1),
    }
    for place, (step_n, step_p, step_axis) in orders.items():  # noqa: B007
        numbers = np.moveaxis(grid, -1, place)
        if numbers.flags.c_contiguous:
            break
    flat = as_compiled_for(numbers, T).reshape(-1)
    return loops.Source(flat, step_n if grid.shape[0] == N else 0, step_p, step_axis, 0, 0)


def from_affine(A: Array, T: np.dtype[Any], N: int, out_size: tuple[int, ...]) -> loops.Source:
    """Points of affine maps: A (N or 1, 2, 3), in pixels from the middles of both images."""
    numbers = as_compiled_for(A, T).reshape(-1)
    H, W = out_size
    return loops.Source(numbers, 6 if A.shape[0] == N else 0, 0, 3, H, W)


@lru_cache(maxsize=16)
def rule_of(
    size: tuple[int, ...], dtype: np.dtype[Any], T: np.dtype[Any], mode: str, padding_mode: str,
    value: float, align_corners: bool,
) -> loops.Rule:  # fmt: skip
    """The settings for images of this size, and coordinates that were given in this dtype.

    Float32 coordinates are rounded as such also where the loops have float64: there M is larger.
    """
    n, padding = BY_NAME[mode].n_taps, PADDINGS[padding_mode]
    given = coordinate_dtype(dtype, max(size))
    more = 2.0 ** (np.finfo(T).nmant - np.finfo(given).nmant)
    axes, pixels, stride = [], [], 1
    for s in reversed(size):
        low, span = (0, s - 1) if align_corners else (-0.5, s)
        scalars = (pixels_per_unit(s, align_corners), rounding_constant(s) * more, (s - 1) / 2,
                   s - 1, low, span, FAR)  # fmt: skip
        number = NUMBERS[padding.cuda]
        axes.append(loops.Axis(s, stride, number, n, *(T.type(x) for x in scalars)))
        at = padding.pixel_at(np.arange(-n, s + n), s, align_corners)
        pixels.append(np.where(at == s, -1, at).astype(np.int64))
        stride *= s + 2 * n
    taps = tuple(range(n))
    if len(size) == 2:
        pixels.append(np.zeros(1, np.int64))
    x, y, z = pixels
    return loops.Rule(tuple(axes), taps, taps if len(size) == 3 else (0,), (x, y, z), T.type(value))


class Piece(NamedTuple):
    """What a thread works on at a time: from, to."""

    images: tuple[int, int]
    points: tuple[int, int]


def cut(n: int, many: int) -> Iterator[tuple[int, int]]:
    """0 to n in so many parts, or n where that is less."""
    many = max(1, min(n, many))
    return ((n * i // many, n * (i + 1) // many) for i in range(many))


def pieces_of(N: int, P: int, reads: int) -> list[Piece]:
    """N images with P points each, `reads` pixels a point: few images are cut into their blocks."""
    many = min(MOST, 1 + N * P * reads // PIECE)
    if N >= many // 2 or P <= loops.BLOCK:
        return [Piece(images, (0, P)) for images in cut(N, many)]
    blocks = -(-P // loops.BLOCK)
    return [
        Piece((n, n + 1), (a * loops.BLOCK, min(b * loops.BLOCK, P)))
        for n in range(N)
        for a, b in cut(blocks, -(-many // N))
    ]


# ---------------------------------------------------------------------------------- the sampler


def sample(
    run: Any,
    U: Array,
    points: Array,
    dtype: np.dtype[Any],
    out_size: tuple[int, ...],
    N: int,
    rules: Rules,
    *,
    needs_dU: bool,
    needs_ds: bool,
) -> tuple[Array, SampleBackward]:
    """Sample checked arguments by the functions of `run`; see `stn_np.grid_sample`.

    `points` is a grid, or (N or 1, 2, 3) maps in pixels from the middles; `dtype` is that which the
    coordinates were given in. The pullback gives dgrid for N grids, or dA for N maps. It reads
    copies: the frames with the images in them, and where the points lie.
    """
    U_shape, C, P, maps = U.shape, U.shape[1], prod(out_size), points.ndim == 3
    T = np.promote_types(U.dtype, coordinate_dtype(dtype, max(U_shape[2:])))
    source = from_affine(points, T, N, out_size) if maps else from_grid(points, T, N)
    settings = str(rules.mode), rules.padding_mode, float(rules.padding_value)
    rule = rule_of(U_shape[2:], np.dtype(dtype), T, *settings, bool(rules.align_corners))
    volumes = as_compiled_for(U, T).reshape(*U_shape[:2], -1, *U_shape[-2:])
    has_slope = needs_ds and rules.mode != "nearest"
    pieces = pieces_of(N, P, C * reads(rule))
    if U_shape[0] != N or pieces[0].points[1] < P:  # several pieces read one frame
        frames, volumes, keep = in_frames(run, volumes, rule), volumes[:0], U_shape[0] == N
    else:
        frames, keep = np.empty((N if has_slope else 0, C, frame_size(rule)), T), has_slope
    keep_places = needs_dU or has_slope
    places = empty_places(rule, N if keep_places else 0, P, needs_sign=has_slope)
    V = np.empty((N, C, P), T)

    def forward(piece: Piece) -> None:
        into = frames if frames.size else np.empty((1, C, frame_size(rule)), T)
        here = places if keep_places else empty_places(rule, 1, loops.BLOCK, needs_sign=False)
        run.sample(*piece, source, volumes, into, here, V, rule, (keep, keep_places))

    share_out(forward, pieces)
    kept = Kept(rule, places, frames if has_slope else None, pieces, N, out_size, maps)
    U_dtype = U.dtype

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        dv = as_compiled_for(dV, T).reshape(N, C, P)
        dU = spread(run, kept, dv, U_shape).astype(U_dtype, copy=False) if needs_dU else None
        return dU, slope(run, kept, dv) if needs_ds else None

    return V.reshape(N, C, *out_size).astype(U_dtype, copy=False), backward


class Kept(NamedTuple):
    """What the pullback needs."""

    rule: loops.Rule
    places: loops.Places
    frames: Array | None  # None: no slope is asked for, or there is none
    pieces: list[Piece]
    N: int
    out_size: tuple[int, ...]
    maps: bool


def empty_places(rule: loops.Rule, N: int, P: int, *, needs_sign: bool) -> loops.Places:
    """Room for where the points lie."""
    dims, T = len(rule.axes), rule.outside.dtype
    # Where points are not moved, and two pixels are read, the slopes outside are 0 anyway.
    signed = rule.axes[0].padding != loops.ZEROS or (needs_sign and len(rule.taps) > 2)
    sign = np.empty((dims, N, P if signed else 0), T)
    return loops.Places(np.empty((N, P), np.int32), np.empty((dims, N, P), T), sign)


def reads(rule: loops.Rule) -> int:
    """How many pixels a point reads."""
    return int(len(rule.taps) ** len(rule.axes))


def frame_size(rule: loops.Rule) -> int:
    """How many pixels a frame has."""
    return prod(pixels.size for pixels in rule.pixels)


def in_frames(run: Any, U: Array, rule: loops.Rule) -> Array:
    """All images (N, C, D, H, W) in their frames: (N, C, .)."""
    frames = np.empty((*U.shape[:2], frame_size(rule)), U.dtype)

    (N, C), lines = U.shape[:2], rule.pixels[1].size * rule.pixels[2].size
    many = -(-min(MOST, 1 + frames.size // PIECE) // (N * C))  # parts of an image

    def fill(piece: tuple[int, int, tuple[int, int]]) -> None:
        n, c, lines = piece
        run.put_in_frame(U[n, c], frames[n, c], rule, *lines)

    pieces = [(n, c, part) for n in range(N) for c in range(C) for part in cut(lines, many)]
    share_out(fill, pieces)
    return frames


def spread(run: Any, kept: Kept, dV: Array, U_shape: tuple[int, ...]) -> Array:
    """Eq. (6): dU. One image for all is summed up in MOST parts of the batch, then these."""
    (N, C, P), rule = dV.shape, kept.rule
    size = 1 if U_shape[0] == N else -(-N // MOST)
    groups = -(-N // size)
    depth = (1,) * (5 - len(U_shape))  # images are volumes with D = 1
    dU = np.empty((groups, C, *depth, *U_shape[2:]), dV.dtype)
    many = min(MOST, 1 + N * C * P * reads(rule) // PIECE)
    channels = -(-many // groups)  # few images are cut into their channels
    pieces = [(g, c) for g in cut(groups, many) for c in cut(C, channels)]

    def work(piece: tuple[tuple[int, int], tuple[int, int]]) -> None:
        run.spread(*piece, size, kept.places, dV, dU, rule)

    share_out(work, pieces)
    return (dU if U_shape[0] == N else dU.sum(axis=0)).reshape(U_shape)


def slope(run: Any, kept: Kept, dV: Array) -> Array:
    """Eq. (7): dgrid, or dA (N, 2, 3)."""
    (N, _, P), dims, maps = dV.shape, len(kept.rule.axes), kept.maps
    if kept.frames is None:
        return np.zeros((N, 2, 3) if maps else (N, *kept.out_size, dims), dV.dtype)
    H, W = kept.out_size if maps else (0, 0)
    ds = np.empty((dims, N, *((-(-P // loops.BLOCK), 3) if maps else (P, 1))), dV.dtype)

    def work(piece: Piece) -> None:
        run.slope(*piece, (H, W), kept.frames, kept.places, dV, ds, kept.rule)

    share_out(work, kept.pieces)
    if maps:
        dA: Array = ds.sum(axis=2, dtype=np.float64)
        return dA.transpose(1, 0, 2)
    return np.moveaxis(ds.reshape(dims, N, *kept.out_size), 0, -1)
