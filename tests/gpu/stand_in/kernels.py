"""cupy.RawModule in pretence: compiles CUDA source for the CPU and runs it thread by thread."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from gpu.stand_in import compiler, graphs
from gpu.stand_in.calls import is_array
from gpu.stand_in.devices import check_device
from gpu.stand_in.errors import CUDARuntimeError

_backwards = False


@contextmanager
def threads_backwards() -> Iterator[None]:
    """Runs the last thread first. A result that differs depends on the order of threads."""
    global _backwards
    _backwards = True
    try:
        yield
    finally:
        _backwards = False


@cache
def _loaded(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))


class RawModule:
    """cupy.RawModule"""

    def __init__(
        self,
        code: str | None = None,
        *,
        path: None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        name_expressions: Sequence[str] | None = None,
        **others: object,
    ) -> None:
        if code is None or path is not None or backend != "nvrtc" or others:
            raise NotImplementedError("the stand-in's RawModule takes code for nvrtc")
        if not isinstance(options, tuple):
            raise TypeError("options must be a tuple")
        if name_expressions and not any("std=" in o for o in options):
            raise ValueError("need to specify C++ standard for compiling template code")
        self._code, self._options = code, options
        self._names = tuple(name_expressions or ())

    def get_function(self, name: str) -> RawKernel:
        """The kernel of this name expression."""
        if self._names and name not in self._names:
            raise CUDARuntimeError(500, f"CUDA_ERROR_NOT_FOUND: named symbol not found ({name})")
        path, number = compiler.library(self._code, self._options, name)
        return RawKernel(name, _loaded(path), number)


class RawKernel:
    """One kernel; call it with grid, block and arguments."""

    def __init__(self, name: str, library: ctypes.CDLL, number: int) -> None:
        self.name = name
        signature = getattr(library, f"signature_{number}")
        signature.restype = ctypes.c_char_p
        self.parameters: list[str] = signature().decode().split(",")[:-1]
        self._run = getattr(library, f"run_{number}")
        self._run.restype = None
        self._run.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
    ) -> None:
        blocks, threads = _only_x("grid", grid), _only_x("block", block)
        if not (1 <= blocks < 2**31 and 1 <= threads <= 1024) or shared_mem:
            raise CUDARuntimeError(1, f"cudaErrorInvalidValue: {grid}, {block}, {shared_mem}")
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name}: expected {self.parameters}, got {len(args)} arguments")
        kept = [
            self._value(i, p, x) for i, (p, x) in enumerate(zip(self.parameters, args, strict=True))
        ]
        pointers = (ctypes.c_void_p * len(kept))(*(k.ctypes.data for k in kept))
        arrays = [(p, x) for p, x in zip(self.parameters, args, strict=True) if is_array(x)]
        pointed_to = [x._a for _, x in arrays]

        def run() -> None:
            assert kept and pointed_to is not None  # a replay comes when the arrays have gone
            self._run(blocks, threads, int(_backwards), pointers)

        if graphs.recording is not None:
            graphs.recording.uses(x._memory for _, x in arrays)
            graphs.recording.will_write(x._a for p, x in arrays if "const" not in p)
            graphs.recording.add(self.name, run)
        run()

    def _value(self, i: int, parameter: str, x: Any) -> np.ndarray:
        """The argument's bytes: an address, or a number as the kernel declares it."""
        if parameter.startswith("*") and is_array(x):
            check_device(x._memory.device_id)
            if parameter.split()[-1].lstrip("*") == x.dtype.str[1:]:
                return np.array(x._a.ctypes.data, np.uintp)
        elif isinstance(x, np.generic) and x.dtype.str[1:] == parameter:
            return np.array(x)
        got = f"array of {x.dtype.str[1:]}" if is_array(x) else f"{type(x).__name__} {x!r}"
        raise TypeError(f"{self.name}: argument {i}: expected {parameter}, got {got}")


def _only_x(name: str, size: tuple[int, ...]) -> int:
    if not isinstance(size, tuple) or not size or any(s != 1 for s in size[1:]):
        raise ValueError(f"{name}: the stand-in runs one dimension, got {size!r}")
    return int(size[0])
