"""A strict stand-in for CuPy on a machine without a GPU: arrays on NumPy, kernels on the CPU.

It shows that the library says ``xp``, never mixes host and device, waits for the device only where
it must, and launches its kernels with what they expect; and the kernels' own source computes the
values. It says nothing about speed, and a program that runs on it has not run on a GPU.

    ndarray.py, operators.py, calls.py    the array; the way of every operation through NumPy
    names.py, functions.py   which functions there are, with which parameters
    creation.py              new arrays; the way in
    counting.py              the ways out, counted
    devices.py, memory.py    what a test may pretend: no GPU, two GPUs, no memory left
    graphs.py                streams; recording operations and running them again
    kernels.py, compiler.py, cuda_on_cpu.h    CUDA source, compiled by the host's C++ compiler
    modules.py               all this as modules `cupy` and `cupyx`

    with stand_in.installed() as cupy: ...       # or the fixture `xp`, or `stand_in`
    with stand_in.pretend(devices=0): ...
    with cupy.no_synchronisation(): ...          # raises at the first
    cupy.synchronisations                        # a list: what, at which line

Tests of it are those with "stand-in" in their names (pytest -k stand-in). Under AddressSanitizer
and UBSan, which end the process at the first read or write outside an array:

    STN_NP_SANITIZE=1 ASAN_OPTIONS=detect_leaks=0 \\
    LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so.6)" \\
    python -m pytest -k stand-in -p no:faulthandler tests/gpu tests/sampling tests/layers

Compiled kernels are kept in <temporary folder>/stn_np_stand_in_<user>; it may be deleted.
"""

from __future__ import annotations

from gpu.stand_in.compiler import compiler_missing, precompile
from gpu.stand_in.counting import no_synchronisation, synchronisations
from gpu.stand_in.devices import pretend
from gpu.stand_in.errors import Synchronised
from gpu.stand_in.kernels import threads_backwards
from gpu.stand_in.modules import cupy, cupyx, installed

__all__ = [
    "Synchronised",
    "compiler_missing",
    "cupy",
    "cupyx",
    "installed",
    "no_synchronisation",
    "precompile",
    "pretend",
    "synchronisations",
    "threads_backwards",
]
