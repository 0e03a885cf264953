"""Every way from the device to the host is counted: on a GPU each one waits for all work queued."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpu.stand_in import graphs
from gpu.stand_in.errors import Synchronised

#: "float() at stn_np/training/loop.py:88" for each. Tests read its length and clear it.
synchronisations: list[str] = []

_HERE = str(Path(__file__).parent)
_forbidden = False


def synchronise(what: str) -> None:
    """The host waits here; `what` made it."""
    global _forbidden
    graphs.refuse_in_capture(what)
    place = f"{what} at {_caller()}"
    synchronisations.append(place)
    if _forbidden:
        _forbidden = False  # else pytest's own look at the values would raise again
        raise Synchronised(f"the host waits for the device: {place}")


def _caller() -> str:
    """The file and line outside the stand-in that asked."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@contextmanager
def no_synchronisation() -> Iterator[None]:
    """The first synchronisation within raises `Synchronised` at its place."""
    global _forbidden
    _forbidden = True
    try:
        yield
    finally:
        _forbidden = False
