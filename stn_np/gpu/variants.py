"""Every kernel that may ever be launched, for those who compile or count them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TypeAlias

from stn_np.gpu import convolution, losses, optimizers, pooling
from stn_np.gpu.sampling import FEW, MANY, SAMPLER, TAPS, TRANSPOSE, TRANSPOSE_AFFINE

#: File, kernel, template arguments.
Variant: TypeAlias = tuple[str, str, tuple[str | int | bool, ...]]

#: Dtypes of image and coordinates that kernels are compiled for; others are converted.
DTYPES = (
    ("float16", "float32"),
    ("float32", "float32"),
    ("float64", "float32"),
    ("float64", "float64"),
)


def layers() -> Iterator[Variant]:
    """All that the layers, the loss and the optimisers may launch."""
    yield from convolution.variants()
    yield from pooling.variants()
    yield from losses.variants()
    yield from optimizers.variants()


def sampling(paddings: Mapping[str, bool]) -> Iterator[Variant]:
    """All that the samplers may launch, by padding modes, each with whether maps have it too."""
    for n, rules in product((2, 3), product(TAPS, paddings, (True, False))):
        yield from _of_source(f"Grid<{{}}, {n}>", *rules)
        for T, X in DTYPES if rules[0] != "NEAREST" else ():
            yield SAMPLER, "backward_grid", (T, f"Grid<{X}, {n}>", *rules)
    for (T, X), many in product(DTYPES, (False, True)):
        yield TRANSPOSE_AFFINE, "gather_affine", (T, X, _at_once(T, many))
    for X in ("float32", "float64"):
        yield TRANSPOSE_AFFINE, "bound", (X,)
    of_maps = [name for name, has_maps in paddings.items() if has_maps]
    for rules in product(("LINEAR",), of_maps, (True, False)):
        yield from _of_source("AffineMap<{}>", *rules, lists=rules[1] != "ZEROS")
        for T, X in DTYPES:
            yield SAMPLER, "backward_matrix", (T, f"AffineMap<{X}>", *rules)
    for A in ("float32", "float64"):
        yield TRANSPOSE, "sort_rows", (A,)
    entries = sorted({taps**n for taps in TAPS.values() for n in (2, 3)})
    for T, taps, many in product(("float16", "float32", "float64"), entries, (False, True)):
        yield TRANSPOSE, "gather", (T, taps, _at_once(T, many))


def _at_once(T: str, many: bool) -> int:
    """Channels that a pixel collects at a time."""
    return MANY["float64" if T == "float64" else "float32"] if many else FEW


def _of_source(kind: str, *rules: str | bool, lists: bool = True) -> Iterator[Variant]:
    """What runs for grids and maps alike; in `kind` the dtype of coordinates is left open.

    `lists`: whether dU is made from lists of the points that read a pixel.
    """
    for T, X in DTYPES:
        source = kind.format(X)
        yield SAMPLER, "forward", (T, source, *rules)
        yield SAMPLER, "backward_image_atomic", (T, source, *rules)
        if lists and T != "float16":  # weights are in float32 at least
            yield TRANSPOSE, "fill", (T, source, *rules)
    for X in ("float32", "float64") if lists else ():
        yield TRANSPOSE, "count", (kind.format(X), *rules)
