"""CUDA graphs and streams: what runs between begin_capture and end_capture can be run again.

On a GPU nothing is carried out while a stream captures. Here every operation is carried out, since
only its result says which shape and dtype come out, and `end_capture` puts all memory back as it
was: a training step that was captured and never launched has not changed a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from gpu.stand_in.errors import CUDARuntimeError, not_while_capturing
from gpu.stand_in.memory import Loan, Memory

#: The recording under way.
recording: Recording | None = None


class Recording:
    """The operations of one capture, in order."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.operations: list[Callable[[], object]] = []
        self.names: list[str] = []
        self.loans: dict[int, Loan] = {}
        self.failed = False
        self._before: list[tuple[np.ndarray, np.ndarray]] = []

    def will_write(self, arrays: Iterable[np.ndarray]) -> None:
        """Remembers what lies in existing memory before an operation writes there."""
        if get_current_stream() is not self.stream:
            raise CUDARuntimeError(906, "cudaErrorStreamCaptureImplicit: work on another stream")
        self._before += [(x, x.copy()) for x in arrays]

    def uses(self, memories: Iterable[Memory]) -> None:
        for memory in memories:
            self.loans.setdefault(id(memory), Loan(memory))

    def add(self, name: str, operation: Callable[[], object]) -> None:
        """One launch."""
        self.names.append(name)
        self.operations.append(operation)

    def repeat_into(self, name: str, result: np.ndarray, compute: Callable[[], Any]) -> None:
        """A replay computes the new array again, into the same memory."""
        self.add(name, lambda: np.copyto(result, compute()))
        self._before.append((result, poison(np.empty_like(result))))

    def undo(self) -> None:
        for target, before in reversed(self._before):
            target[...] = before
        self._before.clear()


def refuse_in_capture(what: str) -> None:
    """If a stream captures, `what` is an error, and nothing comes of the capture."""
    if recording is not None:
        recording.failed = True
        raise not_while_capturing(what)


def poison(x: np.ndarray) -> np.ndarray:
    """NaN, or a large integer, into memory that nobody has written yet."""
    if x.dtype.kind in "fc":
        x.fill(np.nan)
    elif x.dtype.kind in "iu":
        x.fill(np.iinfo(x.dtype).max)
    return x


class Graph:
    """What end_capture gives."""

    def __init__(self, recorded: Recording) -> None:
        self._recorded = recorded

    def launch(self, stream: Stream | None = None) -> None:
        """Runs all operations again, on what now lies in the same memory."""
        refuse_in_capture("Graph.launch")
        lost = sum(loan.is_lost() for loan in self._recorded.loans.values())
        if lost:
            raise RuntimeError(
                f"{lost} arrays of the captured operations were given back to a memory "
                "pool that may have lent their memory to others: keep them, or capture with a "
                "MemoryPool of its own, and keep that"
            )
        with np.errstate(all="ignore"):
            for operation in self._recorded.operations:
                operation()

    def upload(self, stream: Stream | None = None) -> None:
        """Nothing to do."""


class Stream:
    """cupy.cuda.Stream. Everything runs at once and in order."""

    null: Stream

    def __init__(
        self,
        null: bool = False,
        non_blocking: bool = False,
        ptds: bool = False,
        priority: Any = None,
    ) -> None:
        self.is_null = null
        self.ptr = 0 if null else id(self)

    def __enter__(self) -> Stream:
        _streams.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _streams.pop()

    def use(self) -> Stream:
        _streams[-1] = self
        return self

    def synchronize(self) -> None:
        from gpu.stand_in.counting import synchronise

        synchronise("Stream.synchronize()")

    def record(self, event: Any = None) -> Event:
        return event or Event()

    def wait_event(self, event: Event) -> None:
        """Nothing to do: everything before has run."""

    def is_capturing(self) -> bool:
        return recording is not None and recording.stream is self

    def begin_capture(self, mode: int | None = None) -> None:
        global recording
        if self.is_null:
            raise CUDARuntimeError(900, "cudaErrorStreamCaptureUnsupported: the default stream")
        if recording is not None:
            raise CUDARuntimeError(901, "cudaErrorIllegalState: a capture is under way")
        recording = Recording(self)

    def end_capture(self) -> Graph:
        global recording
        if recording is None or recording.stream is not self:
            raise CUDARuntimeError(901, "cudaErrorIllegalState: this stream captures nothing")
        recorded, recording = recording, None
        recorded.undo()
        if recorded.failed:
            raise CUDARuntimeError(
                901,
                "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error "
                "during capture",
            )
        return Graph(recorded)


class Event:
    """cupy.cuda.Event"""

    def __init__(self, *_: object, **__: object) -> None:
        self.done = True

    def record(self, stream: Stream | None = None) -> None:
        """Nothing to do."""

    def synchronize(self) -> None:
        from gpu.stand_in.counting import synchronise

        synchronise("Event.synchronize()")


Stream.null = Stream(null=True)
_streams = [Stream.null]


def get_current_stream(device_id: int | None = None) -> Stream:
    return _streams[-1]


def forget() -> None:
    """Ends whatever a failed test has left open."""
    global recording
    recording = None
    _streams[:] = [Stream.null]
