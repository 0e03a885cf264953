"""The sampler on CuPy arrays: which kernel of `cuda/` runs on what.

They do what `stn_np.sampling` does on NumPy arrays for the modes with a name. A grid and an affine
map differ in where a point comes from, and in nothing else: each is a `Source`.
"""

from __future__ import annotations

from math import ceil, prod
from typing import NamedTuple

import numpy as np

from stn_np.backend import Array, SampleBackward, array_module
from stn_np.gpu.launcher import Argument, launch
from stn_np.gpu.source import Source, from_affine, from_grid

SAMPLER, TRANSPOSE = "cuda/sampler.cu", "cuda/transpose.cu"
TRANSPOSE_AFFINE = "cuda/transpose_affine.cu"

#: Pixels that a point reads along an axis, as the enum `Mode` in axis.cuh has it.
TAPS = {"NEAREST": 1, "LINEAR": 2, "CUBIC": 4}

#: Enough threads to keep a large GPU busy. A thread takes several channels of a point once there
#: are more: then it works out but once where the point lies.
ENOUGH_THREADS = 2**20

#: Sides of the patch of points that a block takes, and how many places more than points there may
#: be for it: where patches stick out of a small output, threads would be idle.
PATCH, MOST_PLACES = 16, 1.15

#: Channels in which a pixel collects at a time what comes back to it, of few channels or of many.
#: Of float64 half as many: each takes two registers.
FEW, MANY = 4, {"float32": 16, "float64": 8}

#: CuPy's running sum counts in 32 bits what it sums up; longer ones are made in pieces.
LONGEST_SUM = 2**30


class Settings(NamedTuple):
    """How images are to be sampled, in the kernels' words; see axis.cuh."""

    mode: str
    padding: str
    align_corners: bool = True
    outside: float = 0.0  # the value there, for padding ZEROS
    dU_method: str = "deterministic"

    @property
    def template(self) -> tuple[str, str, bool]:
        """The last template arguments."""
        return self.mode, self.padding, self.align_corners


def sample_grid(
    U: Array, grid: Array, N: int, settings: Settings, *, needs_dU: bool, needs_ds: bool
) -> tuple[Array, SampleBackward]:
    """V (N, C, ...) through a grid; backward(dV) returns (dU, dgrid), dgrid for N grids."""
    sampling = Sampling(U, from_grid(U.shape[2:], grid, N), settings)
    V = sampling.forward()

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        fitting = sampling.fitting(dV)
        dU = fitting.backward_image(dV) if needs_dU else None
        if not needs_ds:
            return dU, None
        if settings.mode == "NEAREST":  # eq. (4) is flat between its jumps
            return dU, sampling.xp.zeros(grid.shape, grid.dtype)
        return dU, fitting.backward_grid(dV)

    return V, backward


def sample_affine(
    U: Array,
    A: Array,
    out_size: tuple[int, int],
    N: int,
    settings: Settings,
    *,
    needs_dU: bool,
    needs_ds: bool,
) -> tuple[Array, SampleBackward]:
    """V through A (N or 1, 2, 3), which counts in pixels; backward(dV) returns (dU, dA)."""
    sampling = Sampling(U, from_affine(U.shape[2:], A, out_size, N), settings)
    V = sampling.forward()

    def backward(dV: Array) -> tuple[Array | None, Array | None]:
        fitting = sampling.fitting(dV)
        dU = fitting.backward_image(dV) if needs_dU else None
        return dU, fitting.backward_matrices(dV) if needs_ds else None

    return V, backward


class Sampling:
    """V from an image and the points of a source; and its gradients. U is read where it is."""

    def __init__(self, U: Array, source: Source, settings: Settings) -> None:
        self.xp, self.source, self.settings = array_module(U=U), source, settings
        self.dtype, self.X = U.dtype, np.dtype(source.points.dtype)
        # For coordinates in float64 there are kernels for images in float64 only.
        self.T = np.promote_types(U.dtype, np.float32 if self.X == np.float32 else np.float64)
        if U.dtype == np.float16 and self.X == np.float32:
            self.T = U.dtype
        self.wide = np.promote_types(self.T, np.float32)
        self.U = self.xp.ascontiguousarray(U.astype(self.T, copy=False))
        self.C, self.plane, self.P = U.shape[1], prod(U.shape[2:]), prod(source.out_size)
        self.shared = U.shape[0] != source.N
        self.taps = TAPS[settings.mode] ** source.n_dims
        self.patches, self.places = _patches(source.out_size)
        self.at_once = FEW if self.C <= FEW else MANY[self.wide.name]
        self.template = (self.T.name, source.kind, *settings.template)

    def forward(self) -> Array:
        """Eq. (3)."""
        source = self.source
        V: Array = self.xp.empty((source.N, self.C, self.P), self.T)
        channels, groups = self._channels(source.N * self.P)
        launch(
            SAMPLER,
            "forward",
            self.template,
            source.N * groups * self.places,
            self._image("U", self.U),
            source.points,
            self._points("V", V),
            *(self.C, *self._geometry(self.C), self.patches, channels),
            float(self.settings.outside),
        )
        V = V.reshape(source.N, self.C, *source.out_size)
        return V.astype(self.dtype, copy=False)

    def fitting(self, dV: Array) -> Sampling:
        """Itself; for a gradient that float16 cannot hold, the same sampling in float32.

        Images in float16 may get their gradient in another dtype, and a loss that is scaled up
        gives numbers that would become infinite.
        """
        if self.T != np.float16 or dV.dtype == np.float16:
            return self
        wide = Sampling(self.U.astype(np.float32), self.source, self.settings)
        wide.dtype = self.dtype
        return wide

    def backward_grid(self, dV: Array) -> Array:
        """Eq. (7) for a grid: (N, H', W', 2) or (N, D', H', W', 3), in coordinates' dtype."""
        source = self.source
        n = source.points.array.shape[-1]
        dgrid = self.xp.empty((source.N, n, self.P), self.X)
        launch(
            SAMPLER,
            "backward_grid",
            self.template,
            source.N * self.places,
            self._image("U", self.U),
            source.points,
            self._points("dV", dV),
            Argument("dgrid", dgrid, self.X, (source.N, n, self.P)),
            *(self.C, *self._geometry(self.C), self.patches),
            float(self.settings.outside),
        )
        planar: Array = dgrid.reshape(source.N, n, *source.out_size)
        return planar.transpose(0, *range(2, n + 2), 1)

    def backward_matrices(self, dV: Array) -> Array:
        """Eq. (7) and the transpose of eq. (1) for affine maps: dL/dA (N, 2, 3), float64."""
        source = self.source
        points_each = min(max(source.N * self.P >> 17, 1), 16)
        strips = ceil(self.P / points_each)
        dA = self.xp.empty((source.N, 6, strips), self.wide)
        launch(
            SAMPLER,
            "backward_matrix",
            self.template,
            source.N * strips,
            self._image("U", self.U),
            source.points,
            self._points("dV", dV),
            Argument("dA", dA, self.wide, (source.N, 6, strips)),
            *(self.C, *self._geometry(self.C), strips),
            float(self.settings.outside),
        )
        total: Array = dA.sum(axis=2, dtype=np.float64)
        return total.reshape(source.N, 2, 3)

    def backward_image(self, dV: Array) -> Array:
        """Eq. (6), in U's shape and dtype."""
        if self.settings.dU_method == "atomic":
            dU = self._atomic(dV)
        elif self.source.is_affine and self.settings.padding == "ZEROS":
            dU = self._gathered(dV)
        else:
            dU = self._transposed(dV)
        return dU.astype(self.dtype, copy=False)

    def _atomic(self, dV: Array) -> Array:
        """Every point adds to the pixels that it read."""
        source = self.source
        dU: Array = self.xp.zeros(self.U.shape, self.wide)
        channels, groups = self._channels(source.N * self.P)
        launch(
            SAMPLER,
            "backward_image_atomic",
            self.template,
            source.N * groups * self.places,
            source.points,
            self._points("dV", dV),
            Argument("dU", dU, self.wide, self.U.shape),
            *(self.C, *self._geometry(self.C), self.patches, channels),
        )
        return dU

    def _transposed(self, dV: Array) -> Array:
        """Every pixel adds up what the points that read it give, in their order."""
        xp, source = self.xp, self.source
        rows, n = self.U.shape[0] * self.plane, source.N * self.P
        ends = xp.zeros(rows + 1, np.int64)  # one place on, so that sums will tell where rows begin
        entries = Argument("counts", ends[1:], np.int64, (rows,))
        template, geometry = (source.kind, *self.settings.template), self._geometry(1)
        items = source.N * self.places
        launch(TRANSPOSE, "count", template, items, source.points, entries, *geometry, self.patches)
        self._running_sum(ends)
        keys = xp.empty(n * self.taps, np.int64)
        weights = xp.empty(n * self.taps, self.wide)
        lists = (
            Argument("ends", ends[:-1], np.int64, (rows,)),
            Argument("keys", keys, np.int64, (n * self.taps,)),
            Argument("weights", weights, self.wide, (n * self.taps,)),
        )
        A = self.wide.name
        most = n * self.taps
        launch(
            TRANSPOSE,
            "fill",
            (A, *template),
            items,
            source.points,
            *lists,
            *(most, self.C, *geometry, self.patches),
        )
        launch(TRANSPOSE, "sort_rows", (A,), rows, *lists, most)

        dU: Array = xp.empty(self.U.shape, self.T)
        channels, groups = self._channels(rows)
        patches, places = _patches(self.U.shape[2:])
        launch(
            TRANSPOSE,
            "gather",
            (self.T.name, self.taps, self.at_once),
            self.U.shape[0] * groups * places,
            *lists,
            self._points("dV", dV),
            self._image("dU", dU),
            *(most, self.C, self.plane, self.P, patches, channels),
        )
        return dU

    def _gathered(self, dV: Array) -> Array:
        """As `_transposed`, and in the same order; but every pixel finds its points by itself."""
        source, images = self.source, self.U.shape[0]
        n_maps, (_, H, W) = len(source.points.array), source.size
        bounds = self.xp.empty((n_maps, 10), self.X)
        limits = Argument("bounds", bounds, self.X, (n_maps, 10))
        launch(
            TRANSPOSE_AFFINE,
            "bound",
            (self.X.name,),
            n_maps,
            source.points,
            limits,
            *(H, W, *source.out_size),
        )
        dU: Array = self.xp.empty(self.U.shape, self.T)
        channels, groups = self._channels(images * self.plane)
        patches, places = _patches((H, W))
        launch(
            TRANSPOSE_AFFINE,
            "gather_affine",
            (self.T.name, self.X.name, self.at_once),
            images * groups * places,
            source.points,
            limits,
            self._points("dV", dV),
            self._image("dU", dU),
            *(self.C, H, W, self.P, source.N if self.shared else 1),
            *(*source.steps, patches, channels),
        )
        return dU

    def _running_sum(self, counts: Array) -> None:
        """In place, of pieces that CuPy can sum up."""
        for begin in range(0, counts.size, LONGEST_SUM):
            piece = counts[begin : begin + LONGEST_SUM]
            if begin:
                piece[:1] += counts[begin - 1 : begin]
            self.xp.cumsum(piece, out=piece)

    def _channels(self, items: int) -> tuple[int, int]:
        """How many channels a thread takes, and how many such groups there are."""
        groups = min(self.C, ceil(ENOUGH_THREADS / max(items, 1)))
        channels = ceil(self.C / max(groups, 1)) or 1
        return channels, ceil(self.C / channels)

    def _geometry(self, channels: int) -> tuple[int, ...]:
        """Sizes and steps. From image to image it is so many channels; 0 if there is but one."""
        step = 0 if self.shared else channels * self.plane
        return (*self.source.size, self.P, step, *self.source.steps)

    def _image(self, name: str, x: Array) -> Argument:
        return Argument(name, x, self.T, self.U.shape)

    def _points(self, name: str, x: Array) -> Argument:
        shape = (self.source.N, self.C, self.P)
        x = self.xp.ascontiguousarray(x.reshape(shape).astype(self.T, copy=False))
        return Argument(name, x, self.T, shape)


def _patches(out_size: tuple[int, ...]) -> tuple[int, int]:
    """The width of an output whose points are taken in patches, else 0; and how many places.

    The planes of a volume count as one high image: patches may reach from one into the next.
    """
    W, P = out_size[-1], prod(out_size)
    if P:
        places = PATCH**2 * ceil(W / PATCH) * ceil(P // W / PATCH)
        if places <= MOST_PLACES * P:
            return W, places
    return 0, P
