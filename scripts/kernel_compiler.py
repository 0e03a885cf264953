"""Compile kernels with NVRTC for GPUs that need not be there, and read what ptxas says of them.

Needs ``pip install -e ".[nvrtc]"``: CuPy for its binding, and NVIDIA's compiler as a package. No
GPU and no driver. The options are those that `stn_np.gpu.launcher` and CuPy 14 give at run time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

from stn_np.gpu import launcher

#: A kernel with its template arguments: file, function, template.
Variant = tuple[str, str, tuple[str | int | bool, ...]]

#: Turing, Ampere, Hopper, and both kinds of Blackwell: data centre and desk.
ARCHITECTURES = (75, 80, 90, 100, 120)

#: What CuPy adds to the options of `stn_np.gpu.launcher` (cupy/cuda/compiler.py).
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")

#: Variants in one program: long enough to share its parsing, short enough to share out the work.
PROGRAM = 64


def version() -> str:
    """NVRTC's version, as "13.5". Raises ImportError or RuntimeError where it is not installed."""
    from cupy_backends.cuda.libs import nvrtc

    return ".".join(map(str, nvrtc.getVersion()))


class Report(NamedTuple):
    """What one variant needs on one architecture.

    Attributes
    ----------
    file, function, template
        The variant.
    architecture : int
        90 for sm_90.
    registers : int
        For each thread.
    local : int
        Bytes of local memory for each thread: the stack, and registers spilled to it. It lies in
        the GPU's main memory.
    constant : int
        Bytes of constant memory, the kernel's arguments included; ptxas says it up to sm_8x only.
    """

    file: str
    function: str
    template: tuple[str | int | bool, ...]
    architecture: int
    registers: int
    local: int
    constant: int


class Compiled(NamedTuple):
    """What a run of the compiler gave: its reports, and in words what is wrong."""

    reports: list[Report]
    complaints: list[str]


def compile_all(
    variants: Iterable[Variant], architectures: Iterable[int], processes: int
) -> Compiled:
    """Compile every variant for every architecture to machine code.

    Parameters
    ----------
    variants
        As the ``variants()`` of the rooms that have kernels give them.
    architectures
        75 for sm_75.
    processes
        How many compile at a time.
    """
    programs = list(_programs(list(variants), list(architectures)))
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        done = list(pool.map(compile_program, *zip(*programs, strict=True)))
    return Compiled(
        [report for reports, _ in done for report in reports],
        [complaint for _, complaints in done for complaint in complaints],
    )


def _programs(
    variants: list[Variant], architectures: list[int]
) -> Iterator[tuple[tuple[Variant, ...], int]]:
    """Variants of one file, `PROGRAM` at a time, with an architecture."""
    for file in dict.fromkeys(file for file, _, _ in variants):
        of_file = [variant for variant in variants if variant[0] == file]
        for start in range(0, len(of_file), PROGRAM):
            for architecture in architectures:
                yield tuple(of_file[start : start + PROGRAM]), architecture


def compile_program(
    variants: tuple[Variant, ...], architecture: int, text: str | None = None
) -> Compiled:
    """Compile variants of one file for one architecture.

    Parameters
    ----------
    variants
        All of the same file.
    architecture
        75 for sm_75.
    text
        The source; None for the file's own.
    """
    from cupy_backends.cuda.libs import nvrtc

    file = variants[0][0]
    names = [launcher.expression(function, template) for _, function, template in variants]
    program = nvrtc.createProgram(launcher.source(file) if text is None else text, file, (), ())
    try:
        for name in names:
            nvrtc.addNameExpression(program, name)
        try:
            nvrtc.compileProgram(program, _options(architecture))
        except nvrtc.NVRTCError:
            log = nvrtc.getProgramLog(program)
            return Compiled([], [f"{file}, sm_{architecture}: does not compile\n{log}"])
        log = nvrtc.getProgramLog(program)
        lowered = [nvrtc.getLoweredName(program, name) for name in names]
    finally:
        nvrtc.destroyProgram(program)
    used = parse(log)
    reports = [
        Report(*variant, architecture, **used[mangled])
        for variant, mangled in zip(variants, lowered, strict=True)
    ]
    return Compiled(reports, [f"{file}, sm_{architecture}: {line}" for line in warnings(log)])


def _options(architecture: int) -> tuple[str, ...]:
    """Machine code for exactly this architecture, and ptxas's report of it."""
    return (
        *launcher.OPTIONS,
        *CUPY_OPTIONS,
        f"-arch=sm_{architecture}",
        "--ptxas-options=-v",
    )


def parse(log: str) -> dict[str, dict[str, Any]]:
    """Registers, local and constant memory of each kernel in a log of ptxas, by mangled name."""
    used: dict[str, dict[str, Any]] = {}
    for part in log.split("Compiling entry function '")[1:]:
        name = part[: part.index("'")]
        stack, stores, loads = (
            _largest(rf"(\d+) bytes {what}", part)
            for what in ("stack frame", "spill stores", "spill loads")
        )
        used[name] = {
            "registers": _largest(r"Used (\d+) registers", part),
            "local": max(stack, stores, loads, _largest(r"(\d+) bytes cumulative stack", part)),
            "constant": sum(int(b) for b in re.findall(r"(\d+) bytes cmem", part)),
        }
    return used


def _largest(pattern: str, text: str) -> int:
    """The largest number that stands in the pattern's group; 0 if the pattern does not occur."""
    return max((int(number) for number in re.findall(pattern, text)), default=0)


def warnings(log: str) -> list[str]:
    """The lines of a log that warn, NVRTC's own and those of ptxas."""
    return re.findall(r"^(?!Remark).*\bwarning\b.*$", log, re.MULTILINE)
