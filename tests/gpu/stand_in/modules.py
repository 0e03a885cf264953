"""The modules `cupy` and `cupyx`, put together."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
from gpu.stand_in import (
    counting,
    creation,
    cublas,
    devices,
    errors,
    functions,
    graphs,
    kernels,
    memory,
)
from gpu.stand_in.ndarray import ndarray

from stn_np.gpu import matmul as matrix_product


class _Module(ModuleType):
    """Looks names up in the lists; those found are kept."""

    prefix = ""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = functions.lookup(self.prefix + name)
        setattr(self, name, found)
        return found


_all: dict[str, ModuleType] = {}


def _module(name: str, **contents: Any) -> Any:
    made = _Module(name) if name in ("cupy", "cupy.linalg") else ModuleType(name)
    made.__spec__ = ModuleSpec(name, None, is_package=True)
    made.__path__ = []
    vars(made).update(contents)
    _all[name] = made
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(_all[parent], child, made)
    return made


cupy = _module(
    "cupy",
    __version__="14.2.0 (stand-in)",
    ndarray=ndarray,
    array=creation.array,
    asarray=creation.asarray,
    asanyarray=creation.asarray,
    asnumpy=creation.asnumpy,
    copy=creation.copy,
    empty=creation.empty,
    empty_like=creation.empty_like,
    einsum=functions.einsum,
    reshape=lambda a, newshape, order="C": a.reshape(newshape, order=order),
    get_array_module=creation.get_array_module,
    may_share_memory=creation.may_share_memory,
    shares_memory=creation.shares_memory,
    result_type=creation.result_type,
    RawModule=kernels.RawModule,
    get_default_memory_pool=memory.get_default_memory_pool,
    is_available=devices.is_available,
    synchronisations=counting.synchronisations,
    no_synchronisation=counting.no_synchronisation,
)
_module("cupy.linalg", LinAlgError=np.linalg.LinAlgError).prefix = "linalg."
_module(
    "cupy.cuda",
    Device=devices.Device,
    Stream=graphs.Stream,
    Event=graphs.Event,
    Graph=graphs.Graph,
    MemoryPool=memory.MemoryPool,
    get_current_stream=graphs.get_current_stream,
    is_available=devices.is_available,
    set_allocator=memory.set_allocator,
    using_allocator=memory.using_allocator,
    get_cublas_handle=lambda: 1,
)
_module("cupy.cuda.memory", OutOfMemoryError=errors.OutOfMemoryError, MemoryPool=memory.MemoryPool)
_module(
    "cupy.cuda.runtime",
    CUDARuntimeError=errors.CUDARuntimeError,
    getDeviceCount=devices.device_count,
    getDeviceProperties=devices.device_properties,
    getDevice=lambda: devices.Machine.current,
    driverGetVersion=lambda: 0 if devices.Machine.driver_is_too_old else 13000,
    runtimeGetVersion=lambda: 13000,
    streamCaptureModeGlobal=0,
    streamCaptureModeThreadLocal=1,
    streamCaptureModeRelaxed=2,
)
_module("cupy.cuda.compiler", CompileException=errors.CompileException)
cupyx = _module("cupyx", scatter_add=creation.scatter_add)


@contextmanager
def installed() -> Iterator[Any]:
    """Within, ``import cupy`` gives the stand-in; afterwards all is as before."""
    before = {n: m for n, m in sys.modules.items() if n.split(".")[0] in ("cupy", "cupyx")}
    for name in before:
        del sys.modules[name]
    sys.modules.update(_all)
    counting.synchronisations.clear()
    real, matrix_product.cublas = matrix_product.cublas, lambda: cublas
    try:
        yield cupy
    finally:
        matrix_product.cublas = real
        for name in _all:
            sys.modules.pop(name, None)
        sys.modules.update(before)
        graphs.forget()
        devices.Machine.current = 0
