"""What the kernels need, a table in docs/explanation/kernels.md; of which source it is a record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path
from statistics import median_low

from kernel_compiler import Report, Variant

from stn_np.gpu import launcher

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "kernels.md"
BEGIN, END = "<!-- written by scripts/compile_kernels.py -->\n", "<!-- end -->\n"

#: Warps that one multiprocessor can hold, by architecture (CUDA C++ Programming Guide).
WARPS = {75: 32, 80: 64, 90: 64, 100: 64, 120: 48}
#: Registers in each of a multiprocessor's four parts, and how many a warp gets at a time.
PART, STEP = 16384, 256


def fingerprint(variants: Iterable[Variant]) -> str:
    """Stands for all variants and the text that they are compiled from, comments left out."""
    names = sorted(
        (file, launcher.expression(function, template)) for file, function, template in variants
    )
    digest = hashlib.sha256(repr(names).encode())
    for file in sorted({file for file, _ in names}):
        code = re.sub(r"//.*|/\*.*?\*/", "", launcher.source(file))
        digest.update(" ".join(code.split()).encode())
    return digest.hexdigest()[:16]


def occupancy(registers: int, architecture: int) -> float:
    """The share of a multiprocessor's warps that can be there at a time, as far as registers go."""
    for_a_warp = ceil(32 * registers / STEP) * STEP
    warps_of_a_block = launcher.THREADS // 32
    blocks = min(4 * (PART // for_a_warp), WARPS[architecture]) // warps_of_a_block
    return blocks * warps_of_a_block / WARPS[architecture]


def record(reports: Sequence[Report], compiler: str, of: str) -> str:
    """What goes between the marks of the page."""
    architectures = sorted({r.architecture for r in reports})
    variants = {r[:3] for r in reports}
    kernels = dict.fromkeys((r.file, r.function) for r in sorted(reports, key=lambda r: r[:2]))
    lines = [
        f"{compiler}: {len(variants):,} variants of {len(kernels)} kernels, each for "
        f"{', '.join(f'sm_{a}' for a in architectures)}. Source and variants: `{of}`.",
        "",
        "| kernel | variants | local memory, bytes | "
        + " | ".join(f"sm_{a}" for a in architectures)
        + " |",
        "|---|---|---|" + "---|" * len(architectures),
    ]
    for file, function in kernels:
        those = [r for r in reports if r[:2] == (file, function)]
        cells = [_registers([r for r in those if r.architecture == a]) for a in architectures]
        count, local = len({r.template for r in those}), max(r.local for r in those)
        lines.append(f"| `{file}` {function} | {count} | {local} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _registers(reports: list[Report]) -> str:
    """Registers of a kernel's variants on one architecture, and what the largest number allows."""
    numbers = [r.registers for r in reports]
    share = occupancy(max(numbers), reports[0].architecture)
    return f"{min(numbers)} · {median_low(numbers)} · {max(numbers)}: {share:.0%}"


def write(text: str) -> None:
    """Put a new record into the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + text + END + after, encoding="utf-8")


def recorded() -> str:
    """The fingerprint that stands in the page."""
    found = re.search(r"Source and variants: `(\w+)`", PAGE.read_text(encoding="utf-8"))
    return found[1] if found else "nothing"
