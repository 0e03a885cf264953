"""A process for each job on this machine, so many at a time: an executor of `concurrent.futures`.

A job that is killed, or runs out of memory, takes no other with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

T = TypeVar("T")

#: A job whose process dies is begun so many times.
TRIES = 3


class Processes(Executor):
    """So many processes at a time, a new one for each job.

    Parameters
    ----------
    workers
        How many.
    """

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers)
        self._stopping = False

    def submit(self, f: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As `concurrent.futures` has it; the function and its arguments must be picklable."""
        return self._threads.submit(self._in_process, f, *args, **kwargs)

    def _in_process(self, f: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """In a thread, which waits for a process."""
        context = multiprocessing.get_context("spawn")
        for tries_left in reversed(range(TRIES)):
            try:
                with ProcessPoolExecutor(1, context, initializer=_begin) as pool:
                    return pool.submit(_work, f, *args, **kwargs).result()
            except BrokenProcessPool:
                if self._stopping or not tries_left:
                    raise
        raise AssertionError

    def stop(self) -> None:
        """Ask all processes to save what they have and to end."""
        self._stopping = True
        for process in multiprocessing.active_children():
            process.terminate()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As `concurrent.futures` has it."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)


def _begin() -> None:
    """At a process's start: a Ctrl-C is for its parent alone, and it does not outlive that."""
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Once the parent is gone: ask the training to stop, which saves it."""
    _parent().join()
    os.kill(os.getpid(), signal.SIGTERM)


def _work(f: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """In the process. Without a parent nobody takes the result, nor ends the process."""
    try:
        return f(*args, **kwargs)
    finally:
        if not _parent().is_alive():
            os._exit(1)


def _parent() -> Any:
    """The process that began this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only for processes of an executor"
    return parent
