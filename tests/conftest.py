"""What all tests share: the array libraries that are present, and reproducible random numbers."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# The same examples on every run and machine; no time limits, since machines differ.
settings.register_profile("stn_np", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("stn_np")


def _array_libraries() -> list[Any]:
    """numpy, and cupy where it is installed and finds a GPU."""
    found = [pytest.param(np, id="numpy")]
    if importlib.util.find_spec("cupy"):
        import cupy

        if cupy.cuda.is_available():
            found.append(pytest.param(cupy, id="cupy"))
    return found


@pytest.fixture(scope="session", params=_array_libraries())
def xp(request: pytest.FixtureRequest) -> ModuleType:
    """The array library: a test that asks for it runs once for each that is present."""
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20150605)
