"""The stand-in for CuPy: that it refuses what CuPy refuses, counts, records and runs kernels."""

from __future__ import annotations

import gc
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gpu.stand_in import Synchronised, compiler, functions, names
from gpu.stand_in.errors import CompileException

KERNEL = """
using int64 = long long;
enum Mode { NEAREST, LINEAR };
template <typename T, Mode MODE, bool TWICE>
__global__ void scale(int64 n, const T* __restrict__ x, T* __restrict__ y, double factor) {
    static_assert(MODE == LINEAR || !TWICE, "ill-formed for NEAREST, true");
    int64 i = blockIdx.x * int64(blockDim.x) + threadIdx.x;
    if (i < n) y[i] = T(x[i] * (TWICE ? 2 : 1) * factor);
}
template <typename T>
__global__ void sum(int64 n, const T* x, T* total) {
    int64 i = blockIdx.x * int64(blockDim.x) + threadIdx.x;
    if (i < n) atomicAdd(total, x[i]);
}
__global__ void writes(float* x) { x[threadIdx.x] = 1; }
__global__ void reads(const float* x) { if (x[threadIdx.x] == 12345) atomicAdd((float*)x, 1); }
"""

needs_compiler = pytest.mark.skipif(
    bool(compiler.compiler_missing()), reason=compiler.compiler_missing() or "-"
)


@pytest.fixture
def cupy(stand_in: ModuleType) -> Any:
    return stand_in.cupy


@pytest.fixture
def x(cupy: Any) -> Any:
    return cupy.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))


def kernel(cupy: Any, name: str) -> Any:
    module = cupy.RawModule(code=KERNEL, options=("-std=c++17",), name_expressions=(name,))
    return module.get_function(name)


# ------------------------------------------------------------------------------ host and device


def test_it_is_cupy_for_as_long_as_the_test_runs(cupy: Any) -> None:
    import cupy as found
    from cupy.cuda import runtime

    assert found is cupy is sys.modules["cupy"] and runtime.getDeviceCount() == 2


def test_and_not_afterwards() -> None:
    assert "stand-in" not in getattr(sys.modules.get("cupy"), "__version__", "")


@pytest.mark.parametrize(
    "use",
    [
        lambda cupy, x, host: x + host,
        lambda cupy, x, host: host + x,
        lambda cupy, x, host: np.array(1.0) * x,
        lambda cupy, x, host: x * [1, 2, 3],
        lambda cupy, x, host: x.__iadd__(host),
        lambda cupy, x, host: x == host,
        lambda cupy, x, host: x[np.array([0])],
        lambda cupy, x, host: x[[0, 1]],
        lambda cupy, x, host: x.__setitem__(0, host[0]),
        lambda cupy, x, host: x[: cupy.asarray(1)],
        lambda cupy, x, host: x.take(np.array([0])),
        lambda cupy, x, host: np.floor(x),
        lambda cupy, x, host: np.sum(x),
        lambda cupy, x, host: np.asarray(x),
        lambda cupy, x, host: np.stack([x, x]),
        lambda cupy, x, host: np.add(host, 1, out=x),
        lambda cupy, x, host: cupy.add(x, x, out=host),
        lambda cupy, x, host: cupy.add(x, x, where=x > 1),
        lambda cupy, x, host: cupy.sum(x, where=x > 1),
        lambda cupy, x, host: cupy.max(x, initial=0),
        lambda cupy, x, host: cupy.take(x, cupy.asarray(1), mode="wrap"),
        lambda cupy, x, host: cupy.where(x > 1, host, x),
        lambda cupy, x, host: cupy.where(True, x, x),
        lambda cupy, x, host: cupy.stack([x, host]),
        lambda cupy, x, host: cupy.stack(x, host),
        lambda cupy, x, host: cupy.einsum("ij,ij", x, host),
        lambda cupy, x, host: cupy.einsum("ij->i", x, out=x[:, 0]),
        lambda cupy, x, host: cupy.copyto(host, x),
        lambda cupy, x, host: x.astype("f8", casting="safe"),
        lambda cupy, x, host: range(cupy.asarray(3)),
        lambda cupy, x, host: {x},
    ],
)
def test_host_and_device_do_not_mix(cupy: Any, x: Any, use: Any) -> None:
    with pytest.raises(TypeError):
        use(cupy, x, np.ones((2, 3), np.float32))


@pytest.mark.parametrize("name", ["errstate", "ndenumerate", "longdouble", "nonsense"])
def test_what_cupy_does_not_have(cupy: Any, name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(cupy, name)


def test_flags_are_the_three_of_cupy(x: Any) -> None:
    assert x.flags.c_contiguous and not x.T.flags.c_contiguous and x.flags.owndata
    with pytest.raises(AttributeError):
        x.flags.writeable  # noqa: B018


# ----------------------------------------------------------------------------- values and memory


def test_values_follow_numpy_and_stay_on_the_device(cupy: Any, x: Any) -> None:
    one = x[1, 2]
    for y in (
        x.sum(),
        x.max(axis=0),
        one,
        -x,
        2 / x,
        np.float64(2) * x,
        x > 2,
        cupy.exp(x),
        x @ x.T,
    ):
        assert type(y) is cupy.ndarray
    assert (x * 2.0).dtype == np.float32 and (x * np.float64(2)).dtype == np.float64
    assert (x * cupy.asarray(2.0)).dtype == np.float64  # 0-d arrays count as arrays
    one += 10  # a view, as in CuPy
    assert x.get()[1, 2] == 15


def test_a_copy_and_no_alias(cupy: Any) -> None:
    host = np.zeros(3)
    device = cupy.asarray(host)
    device += 1
    back = device.get()
    back += 1
    assert host[0] == 0 and device.get()[0] == 1


def test_new_arrays_lie_in_c_order(cupy: Any, x: Any) -> None:
    """CuPy's ufuncs and reductions write so, whatever they read; copies keep the order."""
    assert (x.T + 1).flags.c_contiguous and cupy.exp(x.T).flags.c_contiguous
    assert x.T.astype("f8").flags.f_contiguous and cupy.empty_like(x.T).flags.f_contiguous
    assert x.T.copy().flags.c_contiguous
    out = cupy.empty_like(x.T)
    assert cupy.add(x.T, 1, out=out) is out and out.flags.f_contiguous


def test_memory_that_nobody_wrote_is_nan(cupy: Any) -> None:
    assert np.isnan(cupy.empty(3).get()).all() and cupy.empty(1, int).get()[0] > 2**62


def test_add_at(cupy: Any) -> None:
    import cupyx

    target, index, values = cupy.zeros(3), cupy.asarray([0, 2, 2]), cupy.asarray([1.0, 2, 3])
    cupy.add.at(target, index, values)
    assert target.tolist() == [1, 0, 5]
    with pytest.warns(DeprecationWarning, match="cupy.add.at"):
        cupyx.scatter_add(target, index, values)
    assert target.tolist() == [2, 0, 10]


# ------------------------------------------------------------------------------- synchronisations


@pytest.mark.parametrize(
    "use",
    [
        lambda cupy, x: float(x[0, 0]),
        lambda cupy, x: int(x[0, 0]),
        lambda cupy, x: bool(x[0, 0]),
        lambda cupy, x: x.get(),
        lambda cupy, x: cupy.asnumpy(x),
        lambda cupy, x: x[0, 0].item(),
        lambda cupy, x: x.tolist(),
        lambda cupy, x: str(x),
        lambda cupy, x: x[x > 1],
        lambda cupy, x: cupy.nonzero(x),
        lambda cupy, x: cupy.unique(x),
        lambda cupy, x: cupy.where(x),
        lambda cupy, x: cupy.cuda.Device().synchronize(),
    ],
)
def test_ways_to_the_host_are_counted(cupy: Any, x: Any, use: Any) -> None:
    use(cupy, x)
    (only,) = cupy.synchronisations
    assert "test_stand_in.py:" in only
    with pytest.raises(Synchronised, match="test_stand_in"), cupy.no_synchronisation():
        use(cupy, x)


def test_work_on_the_device_does_not_count(cupy: Any, x: Any) -> None:
    with cupy.no_synchronisation():
        x[x > 2] = 0
        x[0] = cupy.where(x[1] > 0, x[0], 1)
        x -= x.mean(axis=1, keepdims=True)
        cupy.asarray(np.ones(3))
    assert cupy.synchronisations == []


# ---------------------------------------------------------------------------------------- kernels


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_runs_on_every_item(cupy: Any, dtype: Any) -> None:
    x = cupy.arange(1000, dtype=dtype)
    y = cupy.empty_like(x)
    f = kernel(cupy, f"scale<{'float' if dtype == np.float32 else 'double'}, LINEAR, true>")
    f((4,), (256,), (np.int64(1000), x, y, np.float64(0.5)))
    np.testing.assert_array_equal(y.get(), np.arange(1000))


@needs_compiler
def test_one_that_is_ill_formed_does_not_spoil_the_others(cupy: Any) -> None:
    kernel(cupy, "scale<float, NEAREST, false>")
    with pytest.raises(CompileException, match="ill-formed for NEAREST"):
        kernel(cupy, "scale<float, NEAREST, true>")


def test_which_are_compiled_together() -> None:
    together = compiler.siblings(KERNEL, "scale<float, LINEAR, true>")
    assert len(together) == 4 and "scale<float, NEAREST, false>" in together
    assert compiler.siblings(KERNEL, "sum<float>") == ["sum<float>"]


@needs_compiler
def test_arguments_are_held_against_the_signature(cupy: Any) -> None:
    f = kernel(cupy, "scale<float, LINEAR, true>")
    x, n, factor = cupy.ones(4, np.float32), np.int64(4), np.float64(1)
    for wrong in (
        (n, x, x),
        (n, x, x, 1.0),
        (4, x, x, factor),
        (np.int32(4), x, x, factor),
        (n, x, x.astype("f8"), factor),
        (n, np.ones(4, np.float32), x, factor),
        (x, x, x, factor),
        (n, x, x, np.int64(1)),
    ):
        with pytest.raises(TypeError, match="scale"):
            f((1,), (256,), wrong)


@needs_compiler
def test_the_order_of_threads_can_be_turned_round(cupy: Any, stand_in: ModuleType) -> None:
    x = cupy.asarray(np.random.default_rng(0).normal(size=999).astype(np.float32))
    f, totals = kernel(cupy, "sum<float>"), cupy.zeros(2, np.float32)
    f((4,), (256,), (np.int64(999), x, totals[:1]))
    with stand_in.threads_backwards():
        f((4,), (256,), (np.int64(999), x, totals[1:]))
    a, b = totals.get()
    assert a != b and abs(a - b) < 1e-3


# ----------------------------------------------------------------------- graphs, devices, memory


def capture(cupy: Any, work: Any) -> Any:
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        work()
        return stream.end_capture()


def test_a_graph_repeats_what_was_recorded(cupy: Any, x: Any) -> None:
    weights, kept = cupy.ones(3), []

    def step() -> None:
        gradient = (x * weights).sum(axis=0)
        weights[...] -= 0.5 * gradient
        cupy.multiply(weights, 2, out=weights)
        kept.extend([gradient])

    graph = capture(cupy, step)
    assert weights.tolist() == [1, 1, 1]  # nothing is carried out while a stream captures
    assert np.isnan(kept[0].get()).all()
    expected = np.ones(3)
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        pooled = capture(cupy, step)
    for values in (np.ones((2, 3)), np.full((2, 3), -0.25)):
        x.set(values.astype(np.float32))
        pooled.launch()
        expected = (expected - 0.5 * (values * expected).sum(axis=0)) * 2
        np.testing.assert_allclose(weights.get(), expected)
    kept.clear()
    pooled.launch()
    del pool
    gc.collect()
    for dangling in (graph, pooled):
        with pytest.raises(RuntimeError, match="given back to a memory pool"):
            dangling.launch()


@needs_compiler
def test_kernels_are_recorded_too(cupy: Any) -> None:
    x, total = cupy.ones(4, np.float32), cupy.zeros(1, np.float32)
    f = kernel(cupy, "sum<float>")
    graph = capture(cupy, lambda: f((1,), (256,), (np.int64(4), x, total)))
    x *= 2
    graph.launch()
    graph.launch()
    assert total.tolist() == [16]


@pytest.mark.parametrize(
    "use", [lambda cupy, x: x.get(), lambda cupy, x: float(x), lambda cupy, x: cupy.asarray([1.0])]
)
def test_the_host_cannot_take_part_in_a_graph(cupy: Any, use: Any) -> None:
    x = cupy.zeros(())
    stream = cupy.cuda.Stream()
    with stream:
        stream.begin_capture()
        x += 1
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="capturing"):
            use(cupy, x)
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Invalidated"):
            stream.end_capture()
    assert x.get() == 0


def test_two_devices(cupy: Any) -> None:
    here = cupy.zeros(3)
    with cupy.cuda.Device(1):
        there = cupy.zeros(3)
        assert there.device.id == 1 == cupy.cuda.Device().id
        with pytest.raises(ValueError, match="array resides \\(0\\)"):
            here + there
    assert here.device == cupy.cuda.Device(0)
    with pytest.raises(ValueError, match="array resides \\(1\\)"):
        there += 1


def test_other_machines(cupy: Any, stand_in: ModuleType) -> None:
    cuda = cupy.cuda
    with stand_in.pretend(devices=0):
        assert not cuda.is_available()
        with pytest.raises(cuda.runtime.CUDARuntimeError, match="NoDevice"):
            cuda.runtime.getDeviceCount()
    with (
        stand_in.pretend(driver_is_too_old=True),
        pytest.raises(cuda.runtime.CUDARuntimeError, match="InsufficientDriver"),
    ):
        cuda.runtime.getDeviceCount()
    with stand_in.pretend(memory=2**20), pytest.raises(cuda.memory.OutOfMemoryError):
        cupy.zeros(2**17 + 1)


def test_memory_is_counted(cupy: Any) -> None:
    gc.collect()
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        x = cupy.zeros(100)
    view = x[::2]
    del x
    assert pool.used_bytes() == 800
    del view
    assert pool.used_bytes() == 0


# ------------------------------------------------------------------- against CuPy, and sanitizers


def test_the_lists_of_names_are_cupys() -> None:
    pytest.importorskip("cupy")
    import cupy as real

    for name in (*names.UFUNCS, *names.PASSED_THROUGH, *functions.used):
        assert hasattr(real, name.split(".")[0]), name
    assert all(type(getattr(real, name)).__name__ == "ufunc" for name in names.UFUNCS)
    for name, listed in names.FUNCTIONS.items():
        module = real.linalg if name.startswith("linalg.") else real
        found = getattr(module, name.removeprefix("linalg."))
        if not inspect.isbuiltin(found):
            theirs = inspect.signature(found).parameters
            variadic = any(p.kind is p.VAR_KEYWORD for p in theirs.values())
            ours = {p.lstrip("*") for p in listed.split()}
            assert variadic or ours <= set(theirs), name


BREAKS_OUT = """
import numpy as np
from gpu.stand_in import cupy
from gpu.test_stand_in import kernel
kernel(cupy, "{name}")((1,), ({threads},), (cupy.zeros(100, np.float32),))
print("came through")
"""


@needs_compiler
@pytest.mark.parametrize(("threads", "seen"), [(100, False), (101, True)])
@pytest.mark.parametrize("name", ["writes", "reads"])
def test_sanitizers_see_what_goes_past_the_end(name: str, threads: int, seen: bool) -> None:
    """What a run with STN_NP_SANITIZE=1 relies on; stand_in/__init__.py has the command."""
    libraries = compiler.sanitizer_libraries()
    if not libraries:
        pytest.skip("no libasan beside the compiler")
    environment = {
        **os.environ,
        "STN_NP_SANITIZE": "1",
        "LD_PRELOAD": libraries,
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    ran = subprocess.run(
        [sys.executable, "-c", BREAKS_OUT.format(name=name, threads=threads)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ("came through" in ran.stdout) is not seen, ran.stderr
    assert ("heap-buffer-overflow" in ran.stderr) is seen, ran.stderr
