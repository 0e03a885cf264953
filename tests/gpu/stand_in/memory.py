"""Device memory: who holds how much, and which pool it came from."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gpu.stand_in.devices import Machine
from gpu.stand_in.errors import OutOfMemoryError

_in_use: dict[int, int] = {}


def allocated(device: int) -> int:
    """Bytes that arrays hold on a device."""
    return _in_use.get(device, 0)


class Memory:
    """One allocation. An array and all its views share one; with the last of them it goes."""

    __slots__ = ("__weakref__", "device_id", "nbytes", "pool")

    def __init__(self, nbytes: int) -> None:
        self.nbytes = 0  # for __del__, should the next line raise
        self.device_id = Machine.current
        self.pool = _current_pool
        total = allocated(self.device_id)
        if total + nbytes > Machine.memory:
            raise OutOfMemoryError(nbytes, total, Machine.memory)
        self.nbytes = nbytes
        _in_use[self.device_id] = total + nbytes
        self.pool.bytes_in_use += nbytes

    def __del__(self, in_use: dict[int, int] = _in_use) -> None:
        in_use[self.device_id] = in_use.get(self.device_id, 0) - self.nbytes
        self.pool.bytes_in_use -= self.nbytes


class MemoryPool:
    """cupy.cuda.MemoryPool as far as counting goes."""

    def __init__(self, allocator: Any = None) -> None:
        self.bytes_in_use = 0

    def malloc(self, size: int) -> Any:
        raise NotImplementedError("the stand-in only takes pool.malloc as an allocator's name")

    def used_bytes(self) -> int:
        return self.bytes_in_use

    def total_bytes(self) -> int:
        return self.bytes_in_use

    def free_bytes(self) -> int:
        return 0

    def n_free_blocks(self) -> int:
        return 0

    def free_all_blocks(self, stream: Any = None) -> None:
        """Nothing to do: NumPy has given the memory back already."""


_default_pool = MemoryPool()
_current_pool = _default_pool


def get_default_memory_pool() -> MemoryPool:
    return _default_pool


def set_allocator(allocator: Callable[..., Any] | None = None) -> None:
    """cupy.cuda.set_allocator: takes `pool.malloc`, as the library gives it."""
    global _current_pool
    pool = _default_pool if allocator is None else getattr(allocator, "__self__", None)
    if not isinstance(pool, MemoryPool):
        raise TypeError(f"expected the malloc of a MemoryPool, got {allocator!r}")
    _current_pool = pool


@contextmanager
def using_allocator(allocator: Callable[..., Any] | None = None) -> Iterator[None]:
    """cupy.cuda.using_allocator"""
    global _current_pool
    before = _current_pool
    set_allocator(allocator)
    try:
        yield
    finally:
        _current_pool = before


class Loan:
    """What a graph remembers of an allocation, to see at a launch whether it is still its own."""

    def __init__(self, memory: Memory) -> None:
        self._memory = weakref.ref(memory)
        # What goes back to a private pool goes to nobody else, as long as the graph's owner keeps
        # the pool. The default one lends it to whoever comes next.
        self._pool = weakref.ref(memory.pool) if memory.pool is not _default_pool else lambda: None

    def is_lost(self) -> bool:
        return self._memory() is None and self._pool() is None
