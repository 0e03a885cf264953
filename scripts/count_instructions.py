"""What the compiler makes of the kernels that matter: instructions, counted in the machine code.

    pip install -e ".[nvrtc]" nvidia-cuda-nvdisasm
    python scripts/count_instructions.py [--for 90]

For each kernel all of its instructions, and those of its innermost loop with the most loads: what
is carried out again and again, for so many channels (or entries) as the loop takes at a time:
four, in `gather_affine` sixteen. It
needs no GPU and tells no time: which instructions wait for which is not in it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kernel_compiler import _options

from stn_np.gpu import launcher

GRID = ("float32", "Grid<float32, 2>", "LINEAR", "ZEROS", True)
MAP = ("float32", "AffineMap<float32>", "LINEAR", "ZEROS", True)
KERNELS = (
    ("cuda/sampler.cu", "forward", GRID),
    ("cuda/sampler.cu", "backward_grid", GRID),
    ("cuda/sampler.cu", "backward_image_atomic", GRID),
    ("cuda/sampler.cu", "forward", MAP),
    ("cuda/sampler.cu", "backward_matrix", MAP),
    ("cuda/transpose.cu", "count", GRID[1:]),
    ("cuda/transpose.cu", "fill", GRID),
    ("cuda/transpose.cu", "gather", ("float32", 4, 16)),
    ("cuda/transpose_affine.cu", "gather_affine", ("float32", "float32", 16)),
    ("cuda/losses.cu", "cross_entropy", ("float32",)),
    ("cuda/optimizers.cu", "adam", ("float32",)),
)

#: Groups of instructions by how their names begin.
GROUPS = {
    "loads": ("LDG",),
    "stores": ("STG",),
    "atomics": ("RED", "ATOM"),
    "float": ("FADD", "FMUL", "FFMA", "MUFU"),
}


#: Its address, its name behind a condition that it may have, and the rest.
INSTRUCTION = re.compile(r"\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)")


class Instruction(NamedTuple):
    """One line of the disassembly."""

    address: int
    name: str
    target: str  # of a branch, a label


def machine_code(file: str, name: str, architecture: int) -> bytes:
    """A kernel compiled for an architecture."""
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(launcher.source(file), file, (), ())
    try:
        nvrtc.addNameExpression(program, name)
        nvrtc.compileProgram(program, _options(architecture))
        return bytes(nvrtc.getCUBIN(program)) + b"\0"  # CuPy takes the last byte for a string's end
    finally:
        nvrtc.destroyProgram(program)


def disassembled(code: bytes) -> tuple[list[Instruction], dict[str, int]]:
    """The instructions of a kernel, and where its labels are."""
    tool = shutil.which("nvdisasm") or next(map(str, _from_pip()), None)
    if tool is None:
        sys.exit("nvdisasm is not there: pip install nvidia-cuda-nvdisasm")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        text = subprocess.run([tool, "-c", file.name], capture_output=True, text=True, check=True)
    instructions, labels, waiting = [], {}, []
    for line in text.stdout.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            waiting.append(label[1])
        elif found := INSTRUCTION.match(line):
            address = int(found[1], 16)
            labels.update(dict.fromkeys(waiting, address))
            waiting.clear()
            target = re.search(r"`\((\.L_\w+)\)", found[3])
            instructions.append(Instruction(address, found[2], target[1] if target else ""))
    return [i for i in instructions if i.name != "NOP"], labels


def _from_pip() -> Iterator[Path]:
    """Where pip puts it."""
    for folder in map(Path, sys.path):
        yield from folder.glob("nvidia/*/bin/nvdisasm")


def nvrtc_error() -> type[Exception]:
    """What NVRTC's binding raises."""
    from cupy_backends.cuda.libs import nvrtc

    found: type[Exception] = nvrtc.NVRTCError
    return found


def busiest_loop(instructions: list[Instruction], labels: dict[str, int]) -> list[Instruction]:
    """The innermost loop with the most loads; nothing if there is none."""
    loops = [
        (labels[i.target], i.address)
        for i in instructions
        if i.name.startswith("BRA") and labels.get(i.target, i.address) < i.address
    ]
    inner = [
        (a, b)
        for a, b in loops
        if not any((a, b) != (c, d) and a <= c and d <= b for c, d in loops)
    ]
    bodies = [[i for i in instructions if a <= i.address <= b] for a, b in inner]
    return max(bodies, key=lambda body: (_count(body, "loads"), len(body)), default=[])


def _count(instructions: list[Instruction], group: str) -> int:
    """How many belong to a group."""
    return sum(i.name.startswith(GROUPS[group]) for i in instructions)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--for", dest="architecture", type=int, default=90, help="90 is sm_90")
    architecture = parser.parse_args().architecture
    head = ["kernel", "all", "in the loop", *GROUPS]
    print(f"sm_{architecture}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for file, function, template in KERNELS:
        name = launcher.expression(function, template)
        try:
            code = machine_code(file, name, architecture)
        except (OSError, nvrtc_error()) as error:  # an older tree may lack a kernel
            print(f"| {name} | {type(error).__name__} |")
            continue
        instructions, labels = disassembled(code)
        loop = busiest_loop(instructions, labels)
        cells = [f"`{name}`", len(instructions), len(loop), *(_count(loop, g) for g in GROUPS)]
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
