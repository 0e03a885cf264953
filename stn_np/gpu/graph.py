"""A piece of work on a GPU, kept as a CUDA graph and carried out again at one stroke."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from stn_np.backend import Array
from stn_np.gpu.devices import import_cupy

#: Of each thread: as ``read``, the constants that its step under capture has read.
_capturing = threading.local()


def keep_for_graph(constant: Array) -> None:
    """Let a graph under capture keep an array that it reads, and that somebody else may drop."""
    read: list[Array] | None = getattr(_capturing, "read", None)
    if read is not None:
        read.append(constant)


class CaptureError(RuntimeError):
    """A step cannot become a CUDA graph; the message is CUDA's. The step was carried out once."""


def capture(step: Callable[[], None]) -> Callable[[], None]:
    """Carry out a step on the current GPU, and keep its launches as a CUDA graph.

    To start a kernel takes the CPU longer than most kernels of a small network take the GPU. A
    graph starts them all at once.

    Parameters
    ----------
    step
        Work on CuPy arrays that are there before and after. It is called twice: once to be carried
        out, which also compiles its kernels and sets cuBLAS up, and once to be recorded, which
        carries out nothing. It must not wait for the GPU, and must do the same every time: numbers
        that change come to it in arrays, into which the caller writes before each replay.

    Returns
    -------
    callable
        replay() carries out the step again, on the stream that is current then. It does not wait.

    Raises
    ------
    CaptureError
        If the step does something that a graph cannot hold.
    """
    cupy = import_cupy()
    # What the step allocates and frees belongs to the graph from now on, which uses the same
    # addresses in every replay. So it comes from a pool that nobody else takes memory from.
    # Should memory run out meanwhile, a pool gives back what is free in it, and tries again: it
    # must not give back what was recorded. So its blocks are held here as well.
    blocks: list[Any] = []

    def block(size: int) -> Any:
        blocks.append(cupy.cuda.MemoryPointer(cupy.cuda.Memory(size), 0))
        return blocks[-1]

    pool = cupy.cuda.MemoryPool(block)
    device = cupy.cuda.Device()
    stream = cupy.cuda.Stream(non_blocking=True)  # the default one cannot be captured
    stream.wait_event(cupy.cuda.get_current_stream().record())
    with cupy.cuda.using_allocator(pool.malloc), stream:
        step()
        stream.synchronize()  # as replays need not be on this stream
        constants: list[Array] = []
        _capturing.read = constants
        try:
            graph = _recorded(stream, step)
        except BaseException:
            blocks.clear()
            pool.free_all_blocks()
            raise
        finally:
            _capturing.read = None

    # The graph knows addresses only: what lies there must not go before it does.
    alive = graph, pool, constants, blocks

    def replay() -> None:
        alive[0].launch()

    # CuPy (14.2) does not free what is left in a pool that nobody has any more.
    weakref.finalize(replay, _give_back, device, pool, blocks).atexit = False
    return replay


def _give_back(device: Any, pool: Any, blocks: list[Any]) -> None:
    """Free what a graph has used, which nobody can replay any more. It waits for the GPU."""
    blocks.clear()
    with device:
        pool.free_all_blocks()


def _recorded(stream: Any, step: Callable[[], None]) -> Any:
    """The launches of a step as a cupy.cuda.Graph."""
    stream.begin_capture()
    try:
        step()
        return stream.end_capture()
    except BaseException as error:
        with suppress(Exception):  # CUDA says once more that the capture has failed
            stream.end_capture()
        if not isinstance(error, Exception):  # Ctrl-C
            raise
        raise CaptureError(" ".join(str(error).split()) or type(error).__name__) from error
