"""Max and average pooling on a GPU, one kernel each way.

The backward pass asks from the pixel's side: each collects from the windows that contain it, in a
fixed order. So overlapping windows need no atomic additions, and the bits are the same every time.

Which pixel of a window was the largest is kept, mostly in one byte, rather than found again: the
backward pass then reads that byte instead of the window's pixels, and x need not be kept for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from stn_np.backend import Array, Backward
from stn_np.checks import pullback
from stn_np.gpu.launcher import Argument, launch
from stn_np.gpu.memory_order import batch_first

FILE = "cuda/pooling.cu"

#: Threads that share the images of one place. More would find out more often where they are (five
#: divisions of whole numbers); fewer would read in shorter runs.
LANES = 64


class Sizes(NamedTuple):
    """Sizes of the images and of the windows on them.

    Attributes
    ----------
    N, C, H, W, H_out, W_out : int
        Images (N, C, H, W), and how many windows there are each way.
    kernel, stride : int
        Side of the windows, and step from one to the next.
    """

    N: int
    C: int
    H: int
    W: int
    H_out: int
    W_out: int
    kernel: int
    stride: int

    @property
    def images(self) -> tuple[int, int, int, int]:
        """(C, H, W, N): what is pooled, as the layers keep it in memory."""
        return self.C, self.H, self.W, self.N

    @property
    def pooled(self) -> tuple[int, int, int, int]:
        """(C, H', W', N): what comes out."""
        return self.C, self.H_out, self.W_out, self.N


def max_pool2d(xp: Any, x: Array, sizes: Sizes) -> tuple[Array, Backward]:
    """`stn_np.layers.max_pool2d` for CuPy arrays that it has checked."""
    dtype, index = x.dtype, "uint8" if sizes.kernel**2 <= 256 else "int64"
    y, largest = xp.empty(sizes.pooled, dtype), xp.empty(sizes.pooled, index)
    known_kernel = 2 if sizes.kernel == 2 else 0
    _launch("max_forward", (index, known_kernel), sizes, x, y, largest)
    images = batch_first(y)

    @pullback(dy=images)
    def backward(dy: Array) -> Array:
        dx, dy = xp.empty(sizes.images, dtype), dy.astype(dtype, copy=False)
        one_each = sizes.stride >= sizes.kernel  # windows for each pixel, at most
        _launch("max_backward", (index, one_each), sizes, dy, dx, largest)
        return batch_first(dx)

    return images, backward


def avg_pool2d(xp: Any, x: Array, sizes: Sizes) -> tuple[Array, Backward]:
    """`stn_np.layers.avg_pool2d` for CuPy arrays that it has checked."""
    dtype, y = x.dtype, xp.empty(sizes.pooled, x.dtype)
    _launch("average_forward", (), sizes, x, y)
    images = batch_first(y)

    @pullback(dy=images)
    def backward(dy: Array) -> Array:
        dx, dy = xp.empty(sizes.images, dtype), dy.astype(dtype, copy=False)
        _launch("average_backward", (), sizes, dy, dx)
        return batch_first(dx)

    return images, backward


def _launch(
    function: str,
    template: tuple[str | int, ...],
    sizes: Sizes,
    source: Array,
    result: Array,
    *largest: Array,
) -> None:
    """Start a kernel that fills `result` from `source`, one of them pooled, the other not.

    `source` may lie in memory in any order. `template` is what follows the dtype.
    """
    N, C, H, W, H_out, W_out, kernel, stride = sizes
    forward = function.endswith("forward")
    places, read = ((H_out, W_out), (H, W)) if forward else ((H, W), (H_out, W_out))
    lanes = min(N, LANES)
    launch(
        FILE, function, (str(result.dtype), *template), C * places[0] * places[1] * lanes,
        Argument("x" if forward else "dy", source, result.dtype, (N, C, *read), strided=True),
        Argument("y" if forward else "dx", result, result.dtype, (C, *places, N)),
        *(Argument("largest", i, template[0], sizes.pooled) for i in largest),
        *(step // source.itemsize for step in source.strides),
        N, H, W, H_out, W_out, kernel, stride, lanes,
    )  # fmt: skip


def variants() -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """Every (file, kernel, template arguments) that may be launched from here."""
    for dtype in ("float16", "float32", "float64"):
        yield FILE, "average_forward", (dtype,)
        yield FILE, "average_backward", (dtype,)
        for index, kernel in (("uint8", 2), ("uint8", 0), ("int64", 0)):
            yield FILE, "max_forward", (dtype, index, kernel)
        for index, one_each in product(("uint8", "int64"), (False, True)):
            yield FILE, "max_backward", (dtype, index, one_each)
