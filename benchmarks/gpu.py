"""All figures on a GPU, in one run beside PyTorch: one table, and the same as JSON.

    python benchmarks/gpu.py                        # everything, some minutes
    python benchmarks/gpu.py --only sampler fused   # parts of it

Both sides alternate, after a comparison of their results. Kernels are timed by CUDA events, steps
by the wall clock from an idle GPU to an idle GPU; buffers are larger than the L2 cache or rotated;
medians. Needs a GPU, CuPy, and PyTorch built for CUDA; without, it says so and exits with 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

try:
    import torch
except ModuleNotFoundError:
    print("nothing was measured: PyTorch, built for CUDA, is not installed", file=sys.stderr)
    sys.exit(2)
import gpu_sampler
import gpu_training
from gpu_machine import HEAD, Gpu, Machine, Row

from stn_np.gpu.devices import DeviceError, find_cupy

SECTIONS = ("sampler", "fused", "training", "curve")


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes
    ----------
    copy : int
        Bytes that are copied.
    sampler, fused : tuple of shape
        Of U and V; the sampler's goals are for the first.
    batch, filters, steps : int
        Of the ST-CNN, and of the training curve.
    compiled : bool
        Whether PyTorch's compiler takes part.
    """

    copy: int
    sampler: tuple[gpu_sampler.Shape, ...]
    fused: tuple[gpu_sampler.Shape, ...]
    batch: int
    filters: int
    steps: int
    compiled: bool


FULL = Sizes(
    copy=10**9,
    sampler=(
        (64, 64, 256, 256),
        (256, 1, 28, 28),
        (64, 32, 28, 28),
        (16, 64, 64, 64),
        (8, 3, 224, 224),
        (1, 3, 1024, 1024),
    ),
    fused=((64, 1, 256, 256), (256, 1, 28, 28), (8, 3, 224, 224), (64, 64, 256, 256)),
    batch=256,
    filters=64,
    steps=50,
    compiled=True,
)

#: For a look at whether it runs.
SMOKE = Sizes(
    copy=1000,
    sampler=((2, 3, 12, 10), (1, 1, 9, 8)),
    fused=((2, 1, 12, 10), (1, 4, 9, 8)),
    batch=4,
    filters=2,
    steps=3,
    compiled=False,
)


def rows(machine: Machine, sizes: Sizes, only: Sequence[str], repeat: int) -> Iterator[Row]:
    """All rows, one after the other as they are measured."""
    copied = gpu_sampler.bandwidth(machine, sizes.copy, repeat)
    yield copied
    if "sampler" in only:
        for shape in sizes.sampler:
            goals = shape == sizes.sampler[0]
            yield from gpu_sampler.sampler(machine, shape, repeat, copied.value, goals)
    if "fused" in only:
        for shape in sizes.fused:
            yield from gpu_sampler.fused(machine, shape, repeat)
    if "training" in only:
        steps = (machine, sizes.batch, sizes.filters, repeat, sizes.compiled)
        yield from gpu_training.training(*steps)
    if "curve" in only:
        yield from gpu_training.curve(machine, sizes.batch, sizes.filters, sizes.steps)


def find_gpu() -> Gpu:
    """The GPU; without one the program ends here."""
    try:
        find_cupy()
    except DeviceError as error:
        missing = str(error)
    else:
        if torch.cuda.is_available():
            return Gpu()
        missing = "PyTorch finds no GPU: install its build for CUDA, from https://pytorch.org"
    print(f"benchmarks/gpu.py: nothing was measured, since {missing}", file=sys.stderr)
    raise SystemExit(2)


def main(arguments: Sequence[str] | None = None, machine: Any = None) -> None:
    """Print the table and write the JSON.

    Parameters
    ----------
    arguments
        The command line's by default.
    machine
        The GPU by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--repeat", type=int, default=31)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    options = parser.parse_args(arguments)
    machine = machine or find_gpu()
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **machine.describe()}
    print("\n".join(f"{name}: {value}" for name, value in about.items()), f"\n\n{HEAD}")
    measured: list[dict[str, Any]] = []
    for row in rows(machine, SMOKE if options.smoke else FULL, options.only, options.repeat):
        print(row.line(), flush=True)
        measured.append({**asdict(row), "verdict": row.verdict})
        options.out.write_text(json.dumps({"about": about, "rows": measured}, indent=1))


if __name__ == "__main__":
    main()
