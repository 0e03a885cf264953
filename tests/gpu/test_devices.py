"""Choosing a device, and what is said where there is none that can be used."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import stn_np
from stn_np import layers
from stn_np.backend import array_module, to_numpy
from stn_np.cli import main
from stn_np.gpu import devices
from stn_np.gpu.devices import (
    DeviceError,
    choose_device,
    describe_gpu,
    find_cupy,
    library,
    to_device,
)
from stn_np.layers import Linear

ROOT = Path(stn_np.__file__).parents[1]
GRADCHECK = importlib.import_module("stn_np.gradcheck")  # the attribute is the function


@pytest.fixture(autouse=True)
def _try_again() -> Any:
    """What went well is tried once only; here the machine changes."""
    devices._try.cache_clear()
    yield
    devices._try.cache_clear()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretends a driver that knows this CUDA, or none."""

    def pretend(version: int | None) -> None:
        monkeypatch.setattr(devices, "driver_version", lambda: version)

    pretend(13020)
    return pretend


def no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------- what is missing


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        (13020, r'CuPy is not installed: .* -m pip install "cupy-cuda13x\[ctk\]"$'),
        (13000, r'CuPy is not installed: .* -m pip install "cupy-cuda13x\[ctk\]"$'),
        (12080, r'CuPy is not installed: .* -m pip install "cupy-cuda12x\[ctk\]"$'),
        (11040, r"CuPy is not installed: update the .*, which knows CUDA 11\.4 only, .*cuda12"),
        (None, r"no NVIDIA driver was found, .*cuda13.*580 or newer.*cuda12"),
    ],
)
def test_without_cupy(
    monkeypatch: pytest.MonkeyPatch, driver: Any, version: int | None, advice: str
) -> None:
    no_cupy(monkeypatch)
    driver(version)
    with pytest.raises(DeviceError, match=f"^{advice}"):
        find_cupy()


def test_a_cupy_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, driver: Any) -> None:
    for error in (
        ImportError("libcudart.so.13: cannot open\nshared object file"),
        ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock"),
        OSError("libcuda.so.1"),
    ):

        def broken(error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(devices, "import_cupy", broken)
        with pytest.raises(DeviceError, match=r"cannot be imported \(.*\): .*cuda13") as caught:
            find_cupy()
        assert "\n" not in str(caught.value)


def test_a_cupy_that_is_too_old(
    monkeypatch: pytest.MonkeyPatch, stand_in: ModuleType, driver: Any
) -> None:
    for old in ("13.6.0", "9.0.0b1"):
        monkeypatch.setattr(stand_in.cupy, "__version__", old)
        with pytest.raises(DeviceError, match=f"^CuPy 14 or newer is needed, and {old} is inst"):
            find_cupy()
    monkeypatch.setattr(stand_in.cupy, "__version__", "15.0.0a1")
    assert find_cupy() is stand_in.cupy


def test_a_folder_that_is_called_cupy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an uninstallation leaves behind, or another thread has just begun to import."""
    leftover = ModuleType("cupy")
    leftover.__path__ = ["/site-packages/cupy"]
    monkeypatch.setitem(sys.modules, "cupy", leftover)
    assert array_module(x=np.zeros(3)) is np
    with pytest.raises(TypeError, match="x: expected a NumPy or CuPy array, got list"):
        array_module(x=[1])
    assert devices.explain_gpu_error(RuntimeError("ours")) is None
    with pytest.raises(DeviceError, match="only a folder of its name, /site-packages/cupy: remove"):
        find_cupy()
    assert choose_device("auto")[0] == "cpu"
    assert main(["gradcheck", "--device", "gpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_driver_that_is_too_old(stand_in: ModuleType, driver: Any) -> None:
    driver(12040)
    expected = r"driver is too old: it knows CUDA 12\.4, .* built for 13\.0; update .*cuda12"
    with (
        stand_in.pretend(driver_is_too_old=True),
        pytest.raises(DeviceError, match=expected),
    ):
        find_cupy()


def test_no_driver_at_all(stand_in: ModuleType, driver: Any) -> None:
    """CUDA calls this an insufficient driver as well."""
    driver(None)
    with stand_in.pretend(driver_is_too_old=True):
        with pytest.raises(DeviceError, match=r"^no NVIDIA driver was found: .*nvidia\.com"):
            find_cupy()


def test_no_gpu(monkeypatch: pytest.MonkeyPatch, stand_in: ModuleType, driver: Any) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with stand_in.pretend(devices=0):
        with pytest.raises(DeviceError, match="^CuPy finds no GPU: look what nvidia-smi says$"):
            find_cupy()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        with pytest.raises(DeviceError, match=r"no GPU \(CUDA_VISIBLE_DEVICES='' may hide it\)"):
            find_cupy()
    monkeypatch.setattr(stand_in.cupy.cuda.runtime, "getDeviceCount", lambda: 0)
    with pytest.raises(DeviceError, match="^CuPy finds no GPU"):
        find_cupy()


def test_another_error_of_cuda(
    monkeypatch: pytest.MonkeyPatch, stand_in: ModuleType, driver: Any
) -> None:
    def failing() -> int:
        raise stand_in.cupy.cuda.runtime.CUDARuntimeError(46, "cudaErrorDevicesUnavailable: busy")

    monkeypatch.setattr(stand_in.cupy.cuda.runtime, "getDeviceCount", failing)
    with pytest.raises(DeviceError, match=r"no GPU \(cudaErrorDevicesUnavailable: busy\): look"):
        find_cupy()


def test_a_gpu_that_cannot_compute(
    monkeypatch: pytest.MonkeyPatch, stand_in: ModuleType, driver: Any
) -> None:
    """CuPy without CUDA's libraries imports, and fails with the first kernel."""

    def failing(*_: Any) -> Any:
        raise RuntimeError("CuPy failed to load libnvrtc.so.13")

    with monkeypatch.context() as m:
        m.setattr(stand_in.cupy, "ones", failing)
        with pytest.raises(DeviceError, match=r"cannot compute \(.*libnvrtc.*pip install .*cuda13"):
            find_cupy()
    with stand_in.pretend(memory=8), pytest.raises(DeviceError, match="memory is taken by other"):
        find_cupy()
    assert find_cupy() is stand_in.cupy  # an error is not remembered


# ---------------------------------------------------------------------------------------- choosing


def test_choosing_with_a_gpu(stand_in: ModuleType) -> None:
    assert choose_device("auto") == choose_device("gpu") == choose_device("cuda") == ("gpu", "")
    assert choose_device("cpu") == ("cpu", "")
    assert library("gpu") is library("cuda") is stand_in.cupy
    assert library("cpu") is np


def test_choosing_without_one(monkeypatch: pytest.MonkeyPatch, driver: Any) -> None:
    no_cupy(monkeypatch)
    device, note = choose_device("auto")
    assert device == "cpu" and "\n" not in note
    assert note.startswith("--device auto: running on the CPU, since CuPy is not installed")
    driver(None)  # no GPU of NVIDIA's: nothing to install
    assert choose_device("auto")[1] == (
        "--device auto: running on the CPU, since no NVIDIA driver was found"
    )
    driver(13000)
    assert choose_device("cpu") == ("cpu", "")
    with pytest.raises(DeviceError, match="^CuPy is not installed"):
        choose_device("gpu")
    with pytest.raises(ValueError, match=r"^--device: .* got 'cup'; did you mean 'cpu'\?"):
        choose_device("cup")
    with pytest.raises(ValueError, match=r"^device: expected one of 'cpu', 'gpu', 'cuda', got"):
        library("auto")


def test_a_gpu_that_goes_is_noticed(stand_in: ModuleType, driver: Any) -> None:
    find_cupy()
    with stand_in.pretend(devices=0):
        assert choose_device("auto")[0] == "cpu"


def test_a_cpu_needs_no_cupy() -> None:
    """Neither the library nor --device cpu imports it, and arrays of NumPy never do."""
    code = """
import sys
import numpy as np
import stn_np
from stn_np.gpu.devices import to_device
from stn_np.cli import main
from stn_np.gpu.devices import choose_device
assert choose_device("cpu") == ("cpu", "")
model = stn_np.models.build("st-cnn", filters=4).to("cpu")
logits, backward = model(to_device(np.ones((2, 1, 28, 28), np.float32), "cpu"))
backward(logits)
assert not {"cupy", "cupyx", "cupy_backends"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# ------------------------------------------------------------------------------------ moving arrays


def test_arrays_move_both_ways(stand_in: ModuleType) -> None:
    cupy = stand_in.cupy
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for name in ("gpu", "cuda"):
        there = to_device(x, name)
        assert isinstance(there, cupy.ndarray) and there.dtype == np.float32
        assert to_device(there, name) is there
        back = to_device(there, "cpu")
        assert isinstance(back, np.ndarray) and back is not x
        np.testing.assert_array_equal(back, x)
    assert to_device(x, "cpu") is x
    with pytest.raises(ValueError, match="^device: expected one of"):
        to_device(x, "tpu")
    for device in ("cpu", "gpu"):
        with pytest.raises(TypeError, match="^x: expected a NumPy or CuPy array, got list"):
            to_device([1.0], device)  # type: ignore[arg-type]


def test_mixed_arrays_are_refused(stand_in: ModuleType) -> None:
    x, w = np.ones((2, 3)), stand_in.cupy.ones((4, 3))
    expected = r"^expected all arrays in one library, got x in NumPy, weight in CuPy, .*; move them"
    with pytest.raises(TypeError, match=expected):
        stn_np.layers.linear(x, w, np.ones(4))


def test_arrays_on_two_gpus_are_refused(stand_in: ModuleType) -> None:
    cupy = stand_in.cupy
    with cupy.cuda.Device(0):
        x, bias = cupy.ones((2, 3)), cupy.ones(4)
    with cupy.cuda.Device(1):
        w = cupy.ones((4, 3))
    expected = "got x on GPU 0, weight on GPU 1, bias on GPU 0; move them"
    with pytest.raises(ValueError, match=expected):
        stn_np.layers.linear(x, w, bias)
    assert array_module(x=x, bias=bias) is array_module(w=w) is cupy


def test_the_gpu_of_the_arrays_must_be_the_current_one(stand_in: ModuleType) -> None:
    cupy = stand_in.cupy
    with cupy.cuda.Device(1):
        U, grid, theta = cupy.ones((1, 1, 2, 2)), cupy.zeros((1, 2, 2, 2)), cupy.zeros((1, 2, 3))
        weight, bias = cupy.ones((1, 1, 1, 1)), cupy.ones(1)
        logits, labels = cupy.zeros((1, 3)), cupy.zeros(1, int)
        V, backward = stn_np.grid_sample(U, grid)
    calls = {
        "U": lambda: stn_np.grid_sample(U, grid),
        "theta": lambda: stn_np.affine_sample(U, theta, (2, 2)),
        "weight": lambda: layers.conv2d(U, weight, bias),
        "labels": lambda: layers.cross_entropy(logits, labels),
        "dV": lambda: backward(V),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError) as caught:
            call()
        message = str(caught.value)
        assert f"{name} on GPU 1" in message and "GPU 0 is current; make theirs" in message
        assert message.endswith("`with cupy.cuda.Device(1): ...`")
    with pytest.raises(ValueError, match=r"x on GPU 1, y on GPU 0.* make theirs the current one"):
        layers.max_pool2d(U, 2)


def test_a_model_that_cannot_move_stays(monkeypatch: pytest.MonkeyPatch, driver: Any) -> None:
    no_cupy(monkeypatch)
    layer = Linear(3, 2, rng=np.random.default_rng(0))
    data, grad = layer.weight.data, layer.weight.grad
    with pytest.raises(DeviceError, match="^CuPy is not installed"):
        layer.to("gpu")
    assert layer.weight.data is data and layer.weight.grad is grad
    assert layer.to("cpu") is layer and layer.weight.data is data


# -------------------------------------------------------------------------------- the command line


def test_info_names_gpu_driver_and_cuda(
    monkeypatch: pytest.MonkeyPatch, stand_in: ModuleType
) -> None:
    monkeypatch.setattr(devices, "driver_name", lambda: "580.82.07")
    with stand_in.pretend(devices=2, memory=80 * 2**30):
        text = describe_gpu()
    assert text == (
        "14.2.0 (stand-in), Stand-in 0 (80 GiB), Stand-in 1 (80 GiB), CUDA 13.0, "
        "driver 580.82.07 (CUDA 13.0)"
    )


def test_info_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], driver: Any
) -> None:
    no_cupy(monkeypatch)
    assert describe_gpu().startswith("not used: CuPy is not installed: ")
    monkeypatch.setenv("STN_NP_DATA", "nowhere")
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match("CuPy +not used: CuPy is not installed", line) for line in lines)


def rows(device: str) -> list[Any]:
    return [(f"on the {device}", 1e-12, True, "")]


def test_gradcheck_runs_where_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stand_in: ModuleType,
    driver: Any,
) -> None:
    monkeypatch.setattr(GRADCHECK, "table", rows)
    for arguments, device in (([], "gpu"), (["--device", "gpu"], "gpu"), (["--device=cpu"], "cpu")):
        assert main(["gradcheck", *arguments]) == 0
        assert f"on the {device}" in capsys.readouterr().out
    with stand_in.pretend(devices=0):
        assert main(["gradcheck"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("--device auto: running on the CPU, since CuPy finds no GPU")
        assert "on the cpu" in out
        assert main(["gradcheck", "--device", "gpu"]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.count("\n") == 1
        assert captured.err.startswith("stn-np gradcheck: error: CuPy finds no GPU")


@pytest.mark.parametrize("command", ["train", "eval", "gradcheck"])
def test_wrong_devices(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [command, *(["run"] if command == "eval" else []), "--device", "tpu"]
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "argument --device: invalid choice: 'tpu'" in capsys.readouterr().err


def test_errors_of_the_gpu_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stand_in: ModuleType
) -> None:
    cuda = stand_in.cupy.cuda
    full = cuda.memory.OutOfMemoryError(2**40, 2**30)
    errors = {
        full: "the GPU's memory is full (Out of memory allocating 1,099,511,627,776 bytes",
        cuda.runtime.CUDARuntimeError(2, "cudaErrorMemoryAllocation: out of memory"): "memory is f",
        cuda.runtime.CUDARuntimeError(700, "cudaErrorIllegalAddress"): "reports: cudaErrorIllegalA",
        cuda.compiler.CompileException("bad\nkernel", "", "", ()): "the GPU reports: bad kernel;",
    }
    for error, text in errors.items():

        def failing(device: str, error: Exception = error) -> list[Any]:
            raise error

        monkeypatch.setattr(GRADCHECK, "table", failing)
        assert main(["gradcheck"]) == 2
        err = capsys.readouterr().err
        assert text in err and err.count("\n") == 1 and "--device cpu" in err
        assert ("--batch-size" in err) == ("memory" in text)


def test_other_errors_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stand_in: ModuleType
) -> None:
    for error in (RuntimeError("ours"), KeyError("ours"), AssertionError("ours")):

        def failing(device: str, error: Exception = error) -> list[Any]:
            raise error

        monkeypatch.setattr(GRADCHECK, "table", failing)
        with pytest.raises(type(error), match="ours"):
            main(["gradcheck"])


def test_memory_of_the_cpu_is_not_the_gpus(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stand_in: ModuleType
) -> None:
    def failing(device: str) -> list[Any]:
        raise MemoryError("Unable to allocate 8 TiB")

    monkeypatch.setattr(GRADCHECK, "table", failing)
    assert main(["gradcheck", "--device", "cpu"]) == 2
    assert capsys.readouterr().err == "stn-np gradcheck: error: Unable to allocate 8 TiB\n"


def test_a_gpu_that_is_too_small_says_so(stand_in: ModuleType) -> None:
    x = np.ones(1000)
    find_cupy()
    with stand_in.pretend(memory=4000), pytest.raises(MemoryError) as caught:
        to_device(x, "gpu")
    assert "smaller --batch-size" in str(devices.explain_gpu_error(caught.value))  # type: ignore[arg-type]
    assert to_numpy(to_device(x, "gpu")).sum() == 1000
