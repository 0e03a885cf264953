"""The library's own lines, for notebooks: what is explained is what runs."""

from __future__ import annotations

import inspect
from textwrap import dedent
from typing import Any


def show_source(thing: Any, first: str = "", last: str = "") -> None:
    """Print a piece of the library's source, under the name of its file.

    Parameters
    ----------
    thing
        A function, method, class or module.
    first
        Some of the first line to print: the first line that contains it. "": from its beginning.
    last
        Some of the last one: the next line, or the same, that contains it. "": to its end.

    Raises
    ------
    ValueError
        If no such line is there.
    TypeError
        If the thing has no source in Python.
    """
    try:
        lines = inspect.getsource(thing).splitlines()
    except TypeError:
        raise TypeError(f"thing: expected one with source in Python, got {thing!r}") from None
    begin = next((k for k, line in enumerate(lines) if first in line), None)
    if begin is None:
        raise ValueError(f"first: expected some of a line of {thing!r}, got {first!r}")
    end = next((k for k in range(begin, len(lines)) if last in lines[k]), None)
    if end is None:
        raise ValueError(f"last: expected some of a line from {first!r} on, got {last!r}")
    module = inspect.getmodule(thing)
    if module is not None:
        print(f"# {module.__name__.replace('.', '/')}.py")
    print(dedent("\n".join(lines[begin : end + 1 if last else len(lines)])))
