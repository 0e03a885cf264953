"""The layers that are kernels of their own on a GPU: `convolution_on_gpu` and `pooling_on_gpu`.

All other layers are array operations, the same lines for NumPy and CuPy.
"""

from __future__ import annotations

from collections.abc import Iterator

from stn_np.layers import convolution_on_gpu, pooling_on_gpu


def variants() -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """Every (file, kernel, template arguments) that the layers may launch."""
    yield from convolution_on_gpu.variants()
    yield from pooling_on_gpu.variants()
