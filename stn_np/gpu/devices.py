"""The CPU or the GPU: which is there, and in words what is missing.

Nothing here runs before somebody asks for a GPU by name, or for whatever there is ("auto").
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shlex
import sys
from functools import cache
from typing import Any

import numpy as np

from stn_np.backend import Array, array_module, to_numpy
from stn_np.checks import check_choice

#: In programs; "cuda" is another name for the GPU, PyTorch's.
NAMES = ("cpu", "gpu", "cuda")

#: For the command line; "auto" is the GPU where one can be used.
CHOICES = ("auto", *NAMES)

#: The oldest CuPy that this library is made for.
LEAST_CUPY = 14


class DeviceError(RuntimeError):
    """A device that cannot be used here; the message says what to install or to do."""


def choose_device(name: str) -> tuple[str, str]:
    """What ``--device`` means on this machine.

    Parameters
    ----------
    name : {"auto", "cpu", "gpu", "cuda"}
        "auto": the GPU if one can be used, else the CPU.

    Returns
    -------
    device : {"cpu", "gpu"}
        For `stn_np.gpu.devices.to_device` and `stn_np.layers.Module.to`.
    note : str
        Where "auto" found no GPU, a line to show that says why; else empty.

    Raises
    ------
    DeviceError
        If "gpu" is asked for and cannot be used.
    ValueError
        If there is no such name.
    """
    check_choice("--device", name, CHOICES)
    if name == "cpu":
        return "cpu", ""
    try:
        find_cupy()
    except DeviceError as error:
        if name != "auto":
            raise
        # A user without an NVIDIA GPU need not be told what to install for one.
        why = error if driver_version() else "no NVIDIA driver was found"
        return "cpu", f"--device auto: running on the CPU, since {why}"
    return "gpu", ""


def library(device: str) -> Any:
    """The array library of a device: numpy of "cpu", cupy of "gpu" and "cuda".

    Raises
    ------
    DeviceError
        If it is the GPU and cannot be used.
    ValueError
        If there is no such name.
    """
    check_choice("device", device, NAMES)
    return np if device == "cpu" else find_cupy()


def to_device(x: Array, device: str) -> Array:
    """The same values in the CPU's memory or in the current GPU's.

    Parameters
    ----------
    x : Array
        NumPy's or CuPy's.
    device : {"cpu", "gpu", "cuda"}
        "cuda" is the GPU too.

    Returns
    -------
    Array
        x itself if it is there already, else a copy.

    Raises
    ------
    stn_np.gpu.devices.DeviceError
        If there is no GPU that can be used; the message says what is missing.
    TypeError, ValueError
        If x is no array, or there is no such device.
    """
    xp = library(device)
    return x if array_module(x=x) is xp else to_numpy(x) if xp is np else xp.asarray(x)


def import_cupy() -> Any:
    """Import CuPy, for a caller who asked for a GPU; all other code only looks if it is there."""
    return importlib.import_module("cupy")


def find_cupy() -> Any:
    """CuPy, new enough and with a GPU that computes; else a `DeviceError` says what is missing."""
    try:
        cupy = import_cupy()
    except ModuleNotFoundError as error:
        if error.name == "cupy":
            raise DeviceError(_not_installed()) from None
        raise DeviceError(_broken("cannot be imported", error)) from error
    except Exception as error:  # a CUDA library that cannot be loaded may raise anything
        raise DeviceError(_broken("cannot be imported", error)) from error
    if not hasattr(cupy, "__version__"):  # Python takes any folder of that name for a package
        where = ", ".join(getattr(cupy, "__path__", ["?"]))
        raise DeviceError(
            f"CuPy is not installed, there is only a folder of its name, {where}: remove it, then "
            f"{_how_to_install()}"
        )
    if int(cupy.__version__.split(".")[0]) < LEAST_CUPY:
        got = f"CuPy {LEAST_CUPY} or newer is needed, and {cupy.__version__} is installed"
        raise DeviceError(f"{got}: remove it, then {_how_to_install()}")
    _check_gpu(cupy)
    return cupy


def _check_gpu(cupy: Any) -> None:
    """A GPU must be there, and do a small piece of work."""
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise DeviceError(_why_no_gpu(str(error), runtime.runtimeGetVersion())) from error
    if count == 0:
        raise DeviceError(_why_no_gpu("cudaErrorNoDevice", runtime.runtimeGetVersion()))
    try:
        _try(cupy)
    except Exception as error:  # likewise
        if isinstance(error, MemoryError):
            raise DeviceError("the GPU's memory is taken by other programs; stop them") from error
        raise DeviceError(_broken("cannot compute", error)) from error


@cache  # of what went well: an error is not kept
def _try(cupy: Any) -> None:
    """Whether kernels can be compiled, and cuBLAS is there."""
    x = cupy.ones((2, 2), np.float32)
    (x @ x).get()


def _why_no_gpu(error: str, cuda: int) -> str:
    """What CUDA's error code means when it is asked for GPUs."""
    driver = driver_version()
    if driver is None:
        return "no NVIDIA driver was found: a GPU needs one, from https://www.nvidia.com/drivers"
    if "cudaErrorInsufficientDriver" in error:
        advice = f"update the driver, or remove CuPy and {_how_to_install()}"
        return (
            f"the NVIDIA driver is too old: it knows CUDA {_dotted(driver)}, and CuPy is built for "
            f"{_dotted(cuda)}; {advice}"
        )
    if "cudaErrorNoDevice" in error:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible!r} may hide it)"
        return f"CuPy finds no GPU{hidden}: look what nvidia-smi says"
    return f"CuPy finds no GPU ({error}): look what nvidia-smi says"


def _not_installed() -> str:
    """What to do where there is no CuPy: first comes the driver, which pip does not have."""
    if driver_version() is None:
        return (
            "no NVIDIA driver was found, without which there is no GPU to use; once there is one, "
            f"{_how_to_install()}"
        )
    return f"CuPy is not installed: {_how_to_install()}"


def _how_to_install() -> str:
    """The command that fits the driver, for the Python at hand."""
    driver, install = driver_version(), f"{shlex.quote(sys.executable)} -m pip install"
    if driver is None:
        newer = '"cupy-cuda13x[ctk]" (driver 580 or newer)'
        return f'{install} {newer}, or "cupy-cuda12x[ctk]"'
    if driver < 12000:
        knows = f"which knows CUDA {_dotted(driver)} only"
        return f'update the NVIDIA driver, {knows}, and {install} "cupy-cuda12x[ctk]"'
    return f'{install} "cupy-cuda{12 if driver < 13000 else 13}x[ctk]"'


def _broken(what: str, error: Exception) -> str:
    """CuPy is there, but does not work."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"CuPy is installed, but {what} ({text}): remove it, then {_how_to_install()}"


def driver_version() -> int | None:
    """The newest CUDA that the NVIDIA driver knows, as 13020 for 13.2; None without a driver."""
    version = ctypes.c_int()
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        failed = driver.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed else version.value or None


def driver_name() -> str:
    """The NVIDIA driver's own version, such as 580.82.07, or "unknown"."""
    text = ctypes.create_string_buffer(80)
    try:
        nvml = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
        failed = nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, len(text))
    except (OSError, AttributeError):
        return "unknown"
    return "unknown" if failed else text.value.decode()


def describe_gpu() -> str:
    """CuPy, GPUs, driver and CUDA in a line, or what is missing. Imports CuPy if it is there."""
    try:
        cupy = find_cupy()
    except DeviceError as error:
        return f"not used: {error}"
    runtime = cupy.cuda.runtime
    names = []
    for i in range(runtime.getDeviceCount()):
        properties = runtime.getDeviceProperties(i)
        gigabytes = properties["totalGlobalMem"] / 2**30
        names.append(f"{properties['name'].decode()} ({gigabytes:.0f} GiB)")
    knows = _dotted(runtime.driverGetVersion())
    return (
        f"{cupy.__version__}, {', '.join(names)}, CUDA {_dotted(runtime.runtimeGetVersion())}, "
        f"driver {driver_name()} (CUDA {knows})"
    )


def is_gpu_error(error: Exception) -> bool:
    """Whether an error is CuPy's or CUDA's own."""
    cupy: Any = sys.modules.get("cupy")
    if not hasattr(cupy, "cuda"):  # never imported, or not to its end
        return False
    known = (
        cupy.cuda.memory.OutOfMemoryError,
        cupy.cuda.runtime.CUDARuntimeError,
        cupy.cuda.compiler.CompileException,
    )
    package = type(error).__module__.split(".")[0]
    return isinstance(error, known) or package in ("cupy", "cupy_backends", "cupyx")


def explain_gpu_error(error: Exception, run: str = "") -> str | None:
    """What a program can say about an error of CuPy or CUDA; None if it is from elsewhere.

    Parameters
    ----------
    error
        Any.
    run
        The command that goes on with what was begun, if there is one. A run keeps its settings:
        another batch size would need a new one.
    """
    if not is_gpu_error(error):
        return None
    text = " ".join(str(error).split()) or type(error).__name__
    full = isinstance(error, MemoryError) or "cudaErrorMemoryAllocation" in text
    what = f"the GPU's memory is full ({text})" if full else f"the GPU reports: {text}"
    if run:
        other = "; or begin a new run with a smaller --batch-size" if full else ""
        return (
            f"{what}. The last checkpoint is kept; to go on without it: {run} --device cpu{other}"
        )
    if full:
        return f"{what}: take a smaller --batch-size, or --device cpu"
    return f"{what}; to go on without it: --device cpu"


def _dotted(version: int) -> str:
    """13.2 for CUDA's 13020."""
    return f"{version // 1000}.{version % 1000 // 10}"
