"""What all tests share: processes, the array libraries that are present, random numbers."""

# ruff: noqa: E402

from __future__ import annotations

import os

# Before NumPy and PyTorch are imported: each process of `pytest -n` has one core.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from gpu import stand_in as gpu_stand_in
from hypothesis import settings
from libraries import LIBRARIES

#: More processes than these gain little: each imports PyTorch and collects all tests.
MOST_PROCESSES = 8


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Without pytest-xdist (or with -p no:xdist) pyproject.toml's option says nothing."""
    if not pluginmanager.hasplugin("xdist"):
        parser.addoption("--numprocesses", help="ignored: pytest-xdist is not there")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process a core for the whole suite; none but this one for tests that are named."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    known = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    return min(len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1, MOST_PROCESSES)


# The same examples on every run and machine; no time limits, since machines differ.
settings.register_profile("stn_np", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("stn_np")


@pytest.fixture(scope="session", params=LIBRARIES)
def xp(request: pytest.FixtureRequest) -> ModuleType:
    """The array library: a test that asks for it runs once for each that is present."""
    return request.param


@pytest.fixture(scope="session", params=LIBRARIES[1:])
def gpu(request: pytest.FixtureRequest) -> ModuleType:
    """The same for what only GPUs have: all but NumPy."""
    return request.param


@pytest.fixture(autouse=True)
def _cupy_is_the_stand_in(request: pytest.FixtureRequest) -> Iterator[None]:
    """For as long as a test of the stand-in runs, it is what ``import cupy`` gives.

    Not within `xp`, which lives from its first test to its last, with others in between; and for
    every test, since hypothesis does not want fixtures of one test where it makes many examples.
    """
    wanted = "stand_in" in request.fixturenames or any(
        name in request.fixturenames and request.getfixturevalue(name) is gpu_stand_in.cupy
        for name in ("xp", "gpu")
    )
    if not wanted:
        yield
        return
    with gpu_stand_in.installed():
        yield


@pytest.fixture(scope="session", autouse=True)
def _auto_is_the_cpu() -> Iterator[None]:
    """Commands that name no device run on the CPU, also where there is a GPU: the same everywhere.

    What "auto" does is tested in `tests/gpu`, and there it is itself.
    """
    from stn_np.cli import commands, train
    from stn_np.gpu.devices import choose_device

    def choose(name: str) -> tuple[str, str]:
        here = "tests/gpu/" in os.environ.get("PYTEST_CURRENT_TEST", "")
        return choose_device("cpu" if name == "auto" and not here else name)

    with pytest.MonkeyPatch.context() as patch:
        for module in (commands, train):
            patch.setattr(module, "choose_device", choose)
        yield


@pytest.fixture
def stand_in() -> ModuleType:
    """The stand-in for CuPy, whatever libraries there are: `stand_in.cupy`, `stand_in.pretend`."""
    return gpu_stand_in


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20150605)
