"""Every kernel that may ever be launched, for who compiles or counts them all."""

from __future__ import annotations

from collections.abc import Iterator

from stn_np.gpu import convolution, on_gpu, pooling


def layers() -> Iterator[tuple[str, str, tuple[str | int | bool, ...]]]:
    """Every (file, kernel, template arguments) that the layers may launch."""
    yield from convolution.variants()
    yield from pooling.variants()


def sampling() -> Iterator[tuple[str, str, tuple[str | int | bool, ...]]]:
    """Every (file, kernel, template arguments) that the samplers may launch."""
    yield from on_gpu.variants()
