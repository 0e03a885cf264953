"""V from an image and the points of a source, and its gradients: which kernel runs on what."""

from __future__ import annotations

from math import ceil, prod

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.gpu.launcher import Argument, launch
from stn_np.gpu.source import Source

TRANSPOSE = "cuda/transpose.cu"

#: Enough threads to keep a large GPU busy. A thread takes several channels of a point once there
#: are more: then it works out but once where the point lies.
ENOUGH_THREADS = 2**20


#: CuPy's running sum counts in 32 bits what it sums up; longer ones are made in pieces.
LONGEST_SUM = 2**30


class Sampling:
    """V from an image and the points of a source; and its gradients. U is read where it is."""

    def __init__(self, U: Array, source: Source, outside: float) -> None:
        self.xp, self.source, self.outside = array_module(U=U), source, outside
        self.dtype, self.X = U.dtype, np.dtype(source.points.dtype)
        # For coordinates in float64 there are kernels for images in float64 only.
        self.T = np.promote_types(U.dtype, np.float32 if self.X == np.float32 else np.float64)
        if U.dtype == np.float16 and self.X == np.float32:
            self.T = U.dtype
        self.wide = np.promote_types(self.T, np.float32)
        self.U = self.xp.ascontiguousarray(U.astype(self.T, copy=False))
        self.C, self.plane, self.P = U.shape[1], prod(U.shape[2:]), prod(source.out_size)
        self.shared = U.shape[0] != source.N

    def forward(self) -> Array:
        """Eq. (3)."""
        source = self.source
        V: Array = self.xp.empty((source.N, self.C, self.P), self.T)
        channels, groups = self._channels(source.N * self.P)
        launch(
            source.file,
            f"{source.prefix}forward",
            (self.T.name, self.X.name, *source.rules),
            source.N * groups * self.P,
            self._image("U", self.U),
            source.points,
            self._points("V", V),
            *(self.C, *source.size, self._step(self.C), *source.steps, channels),
            float(self.outside),
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
        wide = Sampling(self.U.astype(np.float32), self.source, self.outside)
        wide.dtype = self.dtype
        return wide

    def backward_grid(self, dV: Array) -> Array:
        """Eq. (7) for a grid: (N, H', W', 2) or (N, D', H', W', 3), in coordinates' dtype."""
        source = self.source
        n = source.points.array.shape[-1]
        dgrid = self.xp.empty((source.N, n, self.P), self.X)
        launch(
            source.file,
            "backward_grid",
            (self.T.name, self.X.name, *source.rules),
            source.N * self.P,
            self._image("U", self.U),
            source.points,
            self._points("dV", dV),
            Argument("dgrid", dgrid, self.X, (source.N, n, self.P)),
            *(self.C, *source.size, self._step(self.C), *source.steps),
            float(self.outside),
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
            source.file,
            "affine_backward_matrix",
            (self.T.name, self.X.name, *source.rules),
            source.N * strips,
            self._image("U", self.U),
            source.points,
            self._points("dV", dV),
            Argument("dA", dA, self.wide, (source.N, 6, strips)),
            *(self.C, *source.size, self._step(self.C), *source.steps, strips),
            float(self.outside),
        )
        total: Array = dA.sum(axis=2, dtype=np.float64)
        return total.reshape(source.N, 2, 3)

    def backward_image(self, dV: Array, method: str) -> Array:
        """Eq. (6), in U's shape and dtype."""
        dU = self._atomic(dV) if method == "atomic" else self._transposed(dV)
        return dU.astype(self.dtype, copy=False)

    def _atomic(self, dV: Array) -> Array:
        """Every point adds to the pixels that it read."""
        source = self.source
        dU: Array = self.xp.zeros(self.U.shape, self.wide)
        channels, groups = self._channels(source.N * self.P)
        launch(
            source.file,
            f"{source.prefix}backward_image_atomic",
            (self.T.name, self.X.name, *source.rules),
            source.N * groups * self.P,
            source.points,
            self._points("dV", dV),
            Argument("dU", dU, self.wide, self.U.shape),
            *(self.C, *source.size, self._step(self.C), *source.steps, channels),
        )
        return dU

    def _transposed(self, dV: Array) -> Array:
        """Every pixel adds up what the points that read it give, in their order."""
        xp, source, prefix = self.xp, self.source, self.source.prefix
        rows, n = self.U.shape[0] * self.plane, source.N * self.P
        counts = xp.zeros(rows, np.int64)
        keys, weights = xp.empty(n * source.taps, np.int64), xp.empty(n * source.taps, self.wide)
        geometry = (*source.size, self._step(1), *source.steps)
        launch(
            TRANSPOSE,
            f"{prefix}count",
            (self.X.name, *source.rules),
            n,
            source.points,
            Argument("counts", counts, np.int64, (rows,)),
            *geometry,
        )
        ends = counts.copy()
        for begin in range(0, rows, LONGEST_SUM):
            piece = ends[begin : begin + LONGEST_SUM]
            if begin:
                piece[:1] += ends[begin - 1 : begin]
            xp.cumsum(piece, out=piece)
        ends -= counts
        lists = (
            Argument("ends", ends, np.int64, (rows,)),
            Argument("keys", keys, np.int64, (n * source.taps,)),
            Argument("weights", weights, self.wide, (n * source.taps,)),
        )
        types = (self.wide.name, self.X.name)
        args = (source.points, *lists, self.C, *geometry)
        launch(TRANSPOSE, f"{prefix}fill", (*types, *source.rules), n, *args)
        launch(TRANSPOSE, "sort_rows", (self.wide.name,), rows, *lists)

        dU: Array = xp.empty(self.U.shape, self.T)
        channels, groups = self._channels(rows)
        launch(
            TRANSPOSE,
            "gather",
            (self.T.name, source.taps),
            self.U.shape[0] * groups * self.plane,
            *lists,
            self._points("dV", dV),
            self._image("dU", dU),
            *(self.C, self.plane, self.P, channels),
        )
        return dU

    def _channels(self, items: int) -> tuple[int, int]:
        """How many channels a thread takes, and how many such groups there are."""
        groups = min(self.C, ceil(ENOUGH_THREADS / max(items, 1)))
        channels = ceil(self.C / max(groups, 1)) or 1
        return channels, ceil(self.C / channels)

    def _step(self, channels: int) -> int:
        """From image to image, with so many channels; 0 if there is but one."""
        return 0 if self.shared else channels * self.plane

    def _image(self, name: str, x: Array) -> Argument:
        return Argument(name, x, self.T, self.U.shape)

    def _points(self, name: str, x: Array) -> Argument:
        shape = (self.source.N, self.C, self.P)
        x = self.xp.ascontiguousarray(x.reshape(shape).astype(self.T, copy=False))
        return Argument(name, x, self.T, shape)
