"""The launcher: what it refuses, what it pastes together, and how it starts kernels."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from stn_np.backend import to_numpy
from stn_np.gpu import launcher
from stn_np.gpu.launcher import Argument, expression, launch, source

KERNEL = """
#include "common.cuh"
#include "{header}"
template <typename T, int FACTOR>
__global__ void scale(int64 n, const T* x, T* y, int64 shift, double add) {{
    FOR_EACH_ITEM(i, n) y[i] = T(x[i] * FACTOR + shift + add);
}}
"""

#: `far`: every thread does what one of 2^33 threads would.
NUMBERS = """
#include "{header}"
template <int> __global__ void quotients(int64 n, const int64* i, const int64* d, int64* q) {{
    FOR_EACH_ITEM(j, n) q[j] = quotient(i[j], d[j]);
}}
template <int> __global__ void far(int64, int64* taken, int64 n) {{
    const struct {{ unsigned x; }} gridDim{{1u << 25}}, blockDim{{256}}, blockIdx{{1u << 24}},
        threadIdx{{7}};
    int k = 0;
    FOR_EACH_ITEM(i, n) {{
        if (k == 5) break;
        taken[k++] = i;
    }}
}}
"""


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    """A small kernel; its path is absolute, which the launcher's joining leaves as it is."""
    header = (Path(launcher.__file__).parent / "cuda/launcher.cuh").as_posix()
    (tmp_path / "common.cuh").write_text(f'#include "{header}"\n// once\n')
    path = tmp_path / "scale.cu"
    path.write_text(KERNEL.format(header=header))
    return str(path)


@pytest.fixture
def numbers(tmp_path: Path) -> str:
    path = tmp_path / "numbers.cu"
    header = (Path(launcher.__file__).parent / "cuda/launcher.cuh").as_posix()
    path.write_text(NUMBERS.format(header=header))
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
    started: list[int] = []
    compiled = launcher.compiled

    def noted(*which: Any) -> Any:
        def run(blocks: tuple[int], *rest: Any) -> None:
            started.extend(blocks)
            compiled(*which)(blocks, *rest)

        return run

    monkeypatch.setattr(launcher, "compiled", noted)
    launch(kernel, "scale", ("float64", 2), n, *arrays, np.int64(0), 0.0)
    np.testing.assert_array_equal(to_numpy(y), 2.0 * np.arange(n))
    assert started == [2]


def test_items_beyond_32_bits(gpu: ModuleType, numbers: str) -> None:
    taken, first, step = gpu.zeros(5, np.int64), 2**32 + 7, 2**33
    launch(numbers, "far", (1,), 1, Argument("t", taken, np.int64, (5,)), first + 2 * step + 1)
    assert to_numpy(taken).tolist() == [first, first + step, first + 2 * step, 0, 0]


def test_quotients_beyond_32_bits(gpu: ModuleType, numbers: str) -> None:
    edges = [2**k + offset for k in (0, 2, 31, 32, 33, 40, 62) for offset in (-1, 0, 1)]
    pairs = [(i, d) for i in edges for d in edges if d]
    n, want = len(pairs), [i // d for i, d in pairs]
    i, d, q = (gpu.asarray(np.array(x, np.int64)) for x in (*zip(*pairs, strict=True), [0] * n))
    arguments = (Argument(name, x, np.int64, (n,)) for name, x in (("i", i), ("d", d), ("q", q)))
    launch(numbers, "quotients", (1,), n, *arguments)
    assert to_numpy(q).tolist() == want


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
        (x[:, :1], ValueError, r"x: expected shape \(6,\), got \(6, 1\)"),
    ]
    for array, error, message in cases:
        refused(gpu, kernel, Argument("x", array, **want), error, message)
    columns = Argument("x", gpu.ones((2, 6), np.float32).T, np.float32, (6, 2))
    refused(gpu, kernel, columns, ValueError, "x: expected a contiguous array")


def test_every_array_is_checked(gpu: ModuleType, kernel: str) -> None:
    x, y = gpu.ones(6, np.float32), gpu.zeros(6, np.float64)
    arguments = Argument("x", x, np.float32, (6,)), Argument("y", y, np.float32, (6,))
    with pytest.raises(TypeError, match="y: expected float32, got float64"):
        launch(kernel, "scale", ("float32", 1), 6, *arguments, 0, 0.0)


def test_each_gpu_has_its_own_kernels(
    stand_in: ModuleType, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cupy, made = stand_in.cupy, []
    module = cupy.RawModule

    def counted(**settings: Any) -> Any:
        made.append(cupy.cuda.Device().id)
        return module(**settings)

    monkeypatch.setattr(cupy, "RawModule", counted)
    with stand_in.pretend(devices=2):
        places = []
        for device in (0, 1):
            with cupy.cuda.Device(device):
                x, y = cupy.ones(6, np.float32), cupy.zeros(6, np.float32)
                places.append([Argument(n, a, np.float32, (6,)) for n, a in (("x", x), ("y", y))])
                launch(kernel, "scale", ("float32", 5), 6, *places[-1], 0, 0.0)
                assert to_numpy(y).tolist() == [5] * 6
        with pytest.raises(ValueError, match="x on GPU 0, y on GPU 1"):
            launch(kernel, "scale", ("float32", 5), 6, places[0][0], places[1][1], 0, 0.0)
    assert made == [0, 1]


def test_strides_may_be_allowed(gpu: ModuleType, kernel: str) -> None:
    x, y = gpu.ones((6, 2), np.float32)[:, 0], gpu.zeros(6, np.float32)
    arguments = Argument("x", x, np.float32, (6,), strided=True), Argument("y", y, np.float32, (6,))
    launch(kernel, "scale", ("float32", 1), 6, *arguments, 0, 0.0)
    assert to_numpy(y).tolist() == [1] * 6


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
