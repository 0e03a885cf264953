"""The launcher: what it refuses, what it pastes together, and how it starts kernels."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from stn_np import launcher
from stn_np.backend import to_numpy
from stn_np.launcher import Argument, expression, launch, source

KERNEL = """
#include "common.cuh"
#include "{header}"
template <typename T, int FACTOR>
__global__ void scale(int64 n, const T* x, T* y, int64 shift, double add) {{
    FOR_EACH_ITEM(i, n) y[i] = T(x[i] * FACTOR + shift + add);
}}
"""


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    """A small kernel; its path is absolute, which the launcher's joining leaves as it is."""
    header = (Path(launcher.__file__).parent / "launcher.cuh").as_posix()
    (tmp_path / "common.cuh").write_text(f'#include "{header}"\n// once\n')
    path = tmp_path / "scale.cu"
    path.write_text(KERNEL.format(header=header))
    return str(path)


def test_expressions_are_cpp() -> None:
    assert (
        expression("forward", ("float32", 2, "LINEAR", True)) == "forward<float32, 2, LINEAR, true>"
    )


def test_headers_are_pasted_in_once(kernel: str) -> None:
    text = source(kernel)
    assert "#include" not in text
    assert text.count("using int64 = long long;") == 1 and text.count("// once") == 1
    assert text.index("using int64") < text.index("// once") < text.index("void scale")


def test_kernels_of_the_package_include_nothing_from_outside() -> None:
    package = Path(launcher.__file__).parent
    files = sorted(package.rglob("*.cu"))
    assert len(files) >= 3
    for file in files:
        assert "#include" not in source(str(file.relative_to(package)))


@pytest.mark.parametrize("n", [1, 255, 256, 257, 70_000])
def test_every_item_is_done_once(gpu: ModuleType, kernel: str, n: int) -> None:
    x, y = gpu.arange(n, dtype=np.float32), gpu.zeros(n, np.float32)
    arrays = (Argument("x", x, np.float32, (n,)), Argument("y", y, np.float32, (n,)))
    launch(kernel, "scale", ("float32", 3), n, *arrays, 2, 0.5)
    np.testing.assert_array_equal(to_numpy(y), np.arange(n, dtype=np.float32) * 3 + 2.5)


def test_a_thread_takes_several_items_where_blocks_run_out(
    gpu: ModuleType, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "MAX_BLOCKS", 2)
    n = 5 * launcher.THREADS + 3
    x, y = gpu.arange(n, dtype=np.float64), gpu.zeros(n, np.float64)
    arrays = (Argument("x", x, np.float64, (n,)), Argument("y", y, np.float64, (n,)))
    launch(kernel, "scale", ("float64", 2), n, *arrays, 0, 0.0)
    np.testing.assert_array_equal(to_numpy(y), 2.0 * np.arange(n))


def test_nothing_to_do_is_no_launch(gpu: ModuleType) -> None:
    x = gpu.zeros((0, 3), np.float32)
    launch("no/such/file.cu", "nothing", (), 0, Argument("x", x, np.float32, (0, 3)))


def refused(gpu: ModuleType, kernel: str, x: Any, error: type[Exception], message: str) -> None:
    y = gpu.zeros(6, np.float32)
    with pytest.raises(error, match=message):
        launch(kernel, "scale", ("float32", 1), 6, x, Argument("y", y, np.float32, (6,)), 0, 0.0)
    assert not to_numpy(y).any()


def test_what_a_kernel_could_not_bear_is_refused(gpu: ModuleType, kernel: str) -> None:
    x = gpu.ones((6, 2), np.float32)
    want = {"dtype": np.float32, "shape": (6,)}
    cases: list[tuple[Any, type[Exception], str]] = [
        (np.ones(6, np.float32), TypeError, "x: expected an array on the GPU, got one of NumPy"),
        ([1.0], TypeError, "x: expected a NumPy or CuPy array, got list"),
        (x[:, 0].astype(np.float64), TypeError, "x: expected float32, got float64"),
        (x, ValueError, r"x: expected shape \(6,\), got \(6, 2\)"),
        (x[:5, 0].copy(), ValueError, r"x: expected shape \(6,\), got \(5,\)"),
        (x[:, 0], ValueError, r"x: expected a contiguous array, got strides \(8,\)"),
    ]
    for array, error, message in cases:
        refused(gpu, kernel, Argument("x", array, **want), error, message)


def test_strides_may_be_allowed(gpu: ModuleType, kernel: str) -> None:
    x, y = gpu.ones((6, 2), np.float32)[:, 0], gpu.zeros(6, np.float32)
    arguments = Argument("x", x, np.float32, (6,), strided=True), Argument("y", y, np.float32, (6,))
    launch(kernel, "scale", ("float32", 1), 6, *arguments, 0, 0.0)


def test_kernels_are_compiled_once(
    gpu: ModuleType, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    module = sys.modules["cupy"].RawModule

    def counted(**settings: Any) -> Any:
        made.extend(settings["name_expressions"])
        return module(**settings)

    monkeypatch.setattr(sys.modules["cupy"], "RawModule", counted)
    x, y = gpu.ones(6, np.float32), gpu.zeros(6, np.float32)
    arguments = Argument("x", x, np.float32, (6,)), Argument("y", y, np.float32, (6,))
    for _ in range(3):
        launch(kernel, "scale", ("float32", 7), 6, *arguments, 0, 0.0)
    assert made == ["scale<float32, 7>"]
