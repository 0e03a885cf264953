"""A process for each job on this machine, so many at a time: an executor of `concurrent.futures`.

A job that is killed, or runs out of memory, takes no other with it.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from typing import Any, TypeVar

from stn_np.training.run import StoppedError, StopSignals

T = TypeVar("T")

#: A job whose process dies is begun so many times.
TRIES = 3


class DiedError(Exception):
    """A job's process has ended without a result, or was asked to by somebody else."""


class Processes(Executor):
    """So many processes at a time, a new one for each job.

    Parameters
    ----------
    workers
        How many.
    """

    def __init__(self, workers: int) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._running: set[SpawnProcess] = set()
        self._stopping = False
        self._lock = threading.Lock()  # between a process's start and a stop
        if hasattr(signal, "pthread_sigmask"):
            resource_tracker.ensure_running()  # it would take the mask of `_serve` away
        # As daemons: a program that ends in whatever way does not wait for them.
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, f: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As `concurrent.futures` has it; the function and its arguments must be picklable."""
        future: Future[T] = Future()
        self._waiting.put((future, partial(f, *args, **kwargs)))
        return future

    def _serve(self) -> None:
        """In a thread: one job after another."""
        if hasattr(signal, "pthread_sigmask"):
            # The processes inherit it from here: a Ctrl-C is for the program that began them.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while (item := self._waiting.get()) is not None:
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = self._tried(work)
            except BaseException as e:
                future.set_exception(e)
            else:
                future.set_result(result)

    def _tried(self, work: Callable[[], T]) -> T:
        """A job, again where its process dies or is asked to stop by somebody else."""
        for tries_left in reversed(range(TRIES)):
            try:
                return self._in_process(work)
            except (DiedError, StoppedError) as e:
                if self._stopping:
                    raise StoppedError("it was asked to") from e
                if not tries_left:
                    raise DiedError(f"{e}; it was begun {TRIES} times") from e
        raise AssertionError

    def _in_process(self, work: Callable[[], T]) -> T:
        """A job in a process, which is waited for."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(theirs, work), daemon=True)
        with ours:
            with theirs, self._lock:
                if self._stopping:
                    raise StoppedError("it has not begun")
                process.start()
                self._running.add(process)
            try:
                worked, result = ours.recv()
            except (EOFError, OSError):
                process.join()
                code = process.exitcode
                raise DiedError(f"its process has ended with exit code {code}") from None
            finally:
                process.join()
                with self._lock:
                    self._running.discard(process)
        if not worked:
            raise result
        found: T = result
        return found

    def stop(self) -> None:
        """Ask all processes to save what they have, and wait for it.

        Raises
        ------
        KeyboardInterrupt
            After another Ctrl-C. The processes were killed; their last epochs are saved.
        """
        with self._lock:
            self._stopping = True
            for process in self._running:
                process.terminate()
        try:
            self.shutdown()
        except BaseException:
            with self._lock:
                for process in self._running:
                    process.kill()
            for thread in self._threads:
                while thread.is_alive():  # not for long
                    with suppress(KeyboardInterrupt):
                        thread.join()
            raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As `concurrent.futures` has it."""
        while cancel_futures and not self._waiting.empty():
            if (item := self._waiting.get()) is not None:
                item[0].cancel()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads if wait else ():
            thread.join()


def _work(connection: Connection, work: Callable[[], Any]) -> None:
    """In the process: a job, and what came of it."""
    # A signal that goes to a whole terminal or group of processes is for the parent. A stop may
    # come from several sides at once; whoever cannot wait has SIGKILL.
    if hasattr(os, "setsid"):
        os.setsid()
    StopSignals.patient = True
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        outcome = True, work()
    except BaseException as e:
        outcome = False, _picklable(e)
    with suppress(BrokenPipeError):  # where nobody is left to take it
        connection.send(outcome)


def _end_with_parent() -> None:
    """Once the parent is gone: ask the training to stop, which saves it."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only for processes of an executor"
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _picklable(error: BaseException) -> BaseException:
    """An error that can be sent: itself, or what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
