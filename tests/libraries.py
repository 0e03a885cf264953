"""The array libraries that are present: a test body runs once for each."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from gpu import stand_in
from oracles import KERNELS


def _present() -> dict[str, Any]:
    """numpy; the stand-in for cupy (tests/gpu); cupy where it is installed and finds a GPU."""
    found = {"numpy": np, "stand-in": stand_in.cupy}
    if importlib.util.find_spec("cupy"):
        import cupy

        if cupy.cuda.is_available():
            found["cupy"] = cupy
    return found


LIBRARIES = [pytest.param(xp, id=name) for name, xp in _present().items()]

#: The kernels with CUDA code, and one for those that are array operations in every library: on the
#: stand-in, where each operation takes ten times as long as in NumPy, it stands for the others.
ON_THE_STAND_IN = ("nearest", "bilinear", "bicubic", "gaussian")


def with_kernels(*names: str) -> pytest.MarkDecorator:
    """For arguments `xp` and `mode`."""
    pairs = [
        pytest.param(xp, KERNELS[name][0], id=f"{library}-{name}")
        for library, xp in _present().items()
        for name in names
        if library != "stand-in" or name in ON_THE_STAND_IN
    ]
    return pytest.mark.parametrize(("xp", "mode"), pairs, indirect=["xp"])


every_kernel = with_kernels(*KERNELS)
