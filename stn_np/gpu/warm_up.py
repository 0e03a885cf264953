"""Kernels compiled ahead, several at a time. CuPy (14.2) keeps them on the disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from stn_np.gpu import launcher
from stn_np.gpu.devices import find_cupy
from stn_np.gpu.variants import Variant

#: Kernels that a process compiles before it tells.
TOGETHER = 8

#: What training launches by default has none of these words: float32, bilinear, images.
RARE = ("float16", "float64", "NEAREST", "CUBIC", ", 3>")


def usual(variants: Iterable[Variant]) -> list[Variant]:
    """Those that training launches with its default settings, and others of their kind."""
    named = [(v, launcher.expression(v[1], v[2])) for v in variants]
    return [v for v, name in named if not any(word in name for word in RARE)]


def compile_ahead(variants: Sequence[Variant], jobs: int) -> Iterator[tuple[int, list[str]]]:
    """Compile kernels for the current GPU and load them.

    Parameters
    ----------
    variants
        File, kernel and template arguments of each.
    jobs
        Processes, each with a context of its own on the GPU; with 1 none but this one.

    Yields
    ------
    count, complaints
        How many kernels were tried since the last time, and a line for each that failed.

    Raises
    ------
    DeviceError
        If there is no GPU that can be used.
    """
    find_cupy()
    parts = [variants[k : k + TOGETHER] for k in range(0, len(variants), TOGETHER)]
    if jobs == 1:
        yield from ((len(part), _load(part)) for part in parts)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:  # CUDA survives no fork
        for part, complaints in zip(parts, pool.map(_load, parts), strict=True):
            yield len(part), complaints


def _load(variants: Sequence[Variant]) -> list[str]:
    """Compile some kernels; a line for each that fails."""
    cupy, complaints = find_cupy(), []
    device = cupy.cuda.Device().id
    for file, function, template in variants:
        name = launcher.expression(function, template)
        try:
            launcher.compiled(cupy, device, file, name)
        except Exception as error:  # whatever the compiler or the driver may raise
            complaints.append(f"{name}: {' '.join(str(error).split())[:300]}")
    return complaints
