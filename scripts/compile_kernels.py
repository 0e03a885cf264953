"""Compile every kernel variant, and check what comes out.

    python scripts/compile_kernels.py --for 75 90  # what CI does
    python scripts/compile_kernels.py --record     # for all, and write docs/explanation/kernels.md

It fails if a variant does not compile, warns, or keeps anything in local memory. Needs no GPU, but
``pip install -e ".[nvrtc]"``. Comments apart, a change of a kernel wants a new record.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence

import kernel_compiler
import kernel_record
from kernel_compiler import ARCHITECTURES, Report, Variant, compile_all

from stn_np.gpu import launcher

#: Patterns of variants, as C++ spells them, that may use local memory, and why.
LOCAL_MEMORY: dict[str, str] = {}


def variants() -> Iterator[Variant]:
    """Everything that the library may ever launch."""
    from stn_np.gpu import variants
    from stn_np.sampling.padding import PADDINGS

    yield from variants.sampling({p.cuda: p.neighbours for p in PADDINGS.values()})
    yield from variants.layers()


def compiler() -> str:
    """NVRTC's version, and CuPy's."""
    import cupy

    return f"NVRTC {kernel_compiler.version()}, CuPy {cupy.__version__}"


def spilling(reports: Sequence[Report]) -> list[str]:
    """A line for each variant with local memory that no reason was given for."""
    lines = []
    for r in reports:
        name = launcher.expression(r.function, r.template)
        if r.local and not any(re.fullmatch(pattern, name) for pattern in LOCAL_MEMORY):
            where = f"{r.file}, sm_{r.architecture}"
            lines.append(f"{where}: {name} keeps {r.local} bytes in local memory")
    return lines


def main() -> None:
    """Compile, complain, and write the record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write docs/explanation/kernels.md")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--for",
        dest="architectures",
        type=int,
        nargs="+",
        choices=ARCHITECTURES,
        default=ARCHITECTURES,
        help="architectures, all by default: 90 is sm_90",
    )
    arguments = parser.parse_args()
    if arguments.record and len(set(arguments.architectures)) < len(ARCHITECTURES):
        parser.error("--record: expected all architectures, got --for")
    start = time.perf_counter()
    everything = sorted(set(variants()), key=repr)
    reports, complaints = compile_all(everything, arguments.architectures, arguments.jobs)
    complaints += spilling(reports)
    text = kernel_record.record(reports, compiler(), kernel_record.fingerprint(everything))
    print(f"{text}\n{len(reports):,} kernels in {time.perf_counter() - start:.0f} s")
    if complaints:
        sys.exit("\n".join([*complaints[:40], f"{len(complaints)} complaints"]))
    if arguments.record:
        kernel_record.write(text)


if __name__ == "__main__":
    main()
