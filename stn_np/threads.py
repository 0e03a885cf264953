"""A few Python threads for the library's own work on a CPU.

NumPy lets go of the interpreter's lock inside its loops and products, so pieces of a batch can be
worked on side by side. Whoever calls cuts the pieces, and never by how many threads there are:
results are the same bits for any number of them.

BLAS, the library below ``np.matmul``, has threads of its own. They share out every single product,
and wait for each other after each: as soon as another program wants a core, that is slow. So BLAS
is held to one thread while pieces are worked on.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from stn_np.checks import check_size

if TYPE_CHECKING:  # else when they are needed: they take 10 ms
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")
R = TypeVar("R")


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usual_threads() -> int:
    """One a core, or the number in OMP_NUM_THREADS, as PyTorch has it."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    given = int(wanted) if wanted.isdecimal() and len(wanted) < 6 else 0
    return given or available_cores()


class _Pool:
    """The threads beside the caller's own, made when they are first needed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lock = threading.RLock()
        self.executor: ThreadPoolExecutor | None = None
        self.holders: set[object] = set()  # those who hold BLAS just now
        self.had: list[int] = []  # its threads before

    @cached_property
    def blas(self) -> list[Any]:
        """What sets the number of threads of each BLAS that is loaded: NumPy's, if it is known."""
        from threadpoolctl import ThreadpoolController

        found: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
        return found

    def submit(self, work: Callable[[], None]) -> Future[None]:
        """Begin work in another thread."""
        from concurrent.futures import ThreadPoolExecutor

        with self.lock:
            if self.executor is None:
                self.executor = ThreadPoolExecutor(max(1, self.size - 1), "stn_np")
            # NumPy's errstate is part of the context.
            return self.executor.submit(copy_context().run, work)


class _Here(threading.local):
    """What a thread knows of itself."""

    working = False  # whether it works on a piece


_pool = _Pool(usual_threads())
_here = _Here()


def _forget() -> None:
    """A forked process has the pool's memory, but none of its threads."""
    global _pool, _here
    if _pool.had:
        for library, n in zip(_pool.blas, _pool.had, strict=True):
            library.set_num_threads(n)
    _pool, _here = _Pool(_pool.size), _Here()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def get_threads() -> int:
    """How many threads the library uses."""
    return _pool.size


def set_threads(n: int) -> None:
    """Use so many threads from now on; by default there is one for each core (`usual_threads`).

    Results do not depend on it. TypeError or ValueError unless n is a whole number from 1 on.
    """
    n = check_size("threads", n)
    with _pool.lock:
        _pool.size, executor, _pool.executor = n, _pool.executor, None
    if executor:
        executor.shutdown(wait=False)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS uses one thread, in the whole process, until the last such block ends."""
    pool, holder = _pool, object()
    try:  # from here on, since Ctrl-C may come between any two lines
        with pool.lock:
            pool.holders.add(holder)
            if not pool.had:  # ThreadpoolController.limit does the same in ten times the time
                pool.had = [library.num_threads for library in pool.blas]
                for library in pool.blas:
                    library.set_num_threads(1)
        yield
    finally:
        with pool.lock:
            pool.holders.discard(holder)
            if not pool.holders:
                for library, n in zip(pool.blas, pool.had, strict=False):
                    library.set_num_threads(n)
                pool.had = []


def share_out(work: Callable[[T], R], pieces: Sequence[T], xp: Any = np) -> list[R]:
    """[work(piece) for piece in pieces], side by side; on a GPU, where xp is CuPy, in turn.

    If a piece fails, those not yet begun are left out, and its error is raised. What a piece itself
    runs is not shared out again, unless it is the only one.
    """
    if _here.working or xp is not np:
        return in_turn(work, pieces)
    with one_blas_thread():
        if len(pieces) < 2 or _pool.size < 2:
            return in_turn(work, pieces)
        return _side_by_side(work, pieces)


def in_turn(work: Callable[[T], R], pieces: Sequence[T], xp: Any = np) -> list[R]:
    """The same by the caller's thread alone."""
    return [work(piece) for piece in pieces]


def _side_by_side(work: Callable[[T], R], pieces: Sequence[T]) -> list[R]:
    """The same by the caller's thread and those of the pool, each taking what is next."""
    results: dict[int, R] = {}
    left = deque(enumerate(pieces))

    def take() -> None:
        _here.working = True
        try:
            while True:
                try:
                    i, piece = left.popleft()
                except IndexError:
                    return
                results[i] = work(piece)
        except BaseException:
            left.clear()
            raise
        finally:
            _here.working = False

    others: list[Future[None]] = []
    try:
        try:
            for _ in range(min(_pool.size, len(pieces)) - 1):
                others.append(_pool.submit(take))
        except RuntimeError:  # the interpreter is ending, or the system has no thread to give
            pass
        take()
    finally:
        # Who has not begun, busy with another caller's work, is not waited for: nothing is left.
        begun = [other for other in others if not other.cancel()]
        for other in begun:
            other.exception()  # waits
    for other in begun:
        other.result()  # raises its error
    return [results[i] for i in range(len(results))]
