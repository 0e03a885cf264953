"""Updates of all parameters with one rate factor in a single launch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.gpu.launcher import Argument, launch

OPTIMIZERS = "cuda/optimizers.cu"

#: For what parameters there are kernels.
DTYPES = ("float32", "float64")


def update(
    p: Array, g: Array, state: Sequence[Array], numbers: Any, kernel: str, *constants: float
) -> None:
    """Change parameters once, in place.

    Parameters
    ----------
    p, g
        Parameters and gradient, (n,), contiguous, of a dtype in `DTYPES`.
    state
        What the optimiser keeps, arrays like p.
    numbers
        What changes from step to step: numbers, or an array of float64 on the GPU.
    kernel
        "sgd" or "adam".
    constants
        The momentum, or both betas.
    """
    xp = array_module(parameters=p, gradient=g)
    numbers = xp.asarray(numbers, np.float64)
    arrays = [("parameters", p), ("gradient", g), *((f"state {k}", x) for k, x in enumerate(state))]
    launch(
        OPTIMIZERS,
        kernel,
        (p.dtype.name,),
        p.size,
        *(Argument(name, x, p.dtype, p.shape) for name, x in arrays),
        Argument("numbers", numbers, np.float64, numbers.shape),
        *map(float, constants),
    )


def variants() -> Iterator[tuple[str, str, tuple[str | int | bool, ...]]]:
    """Every (file, kernel, template arguments) that may be launched from here."""
    for kernel in ("sgd", "adam"):
        for dtype in DTYPES:
            yield OPTIMIZERS, kernel, (dtype,)
