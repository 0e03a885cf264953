"""Which GPUs there are (in pretence), which one is current, and how much memory they have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpu.stand_in.errors import no_device, old_driver


class Machine:
    """What a test may pretend: see `pretend`."""

    devices = 2
    driver_is_too_old = False
    memory = 2**36  # bytes of each device
    current = 0


@contextmanager
def pretend(
    devices: int = 2, driver_is_too_old: bool = False, memory: int = 2**36
) -> Iterator[None]:
    """Another machine for a while: without a GPU, with an old driver, with little memory."""
    before = Machine.devices, Machine.driver_is_too_old, Machine.memory
    Machine.devices, Machine.driver_is_too_old, Machine.memory = devices, driver_is_too_old, memory
    try:
        yield
    finally:
        Machine.devices, Machine.driver_is_too_old, Machine.memory = before


def device_count() -> int:
    """cupy.cuda.runtime.getDeviceCount"""
    if Machine.driver_is_too_old:
        raise old_driver()
    if Machine.devices == 0:
        raise no_device()
    return Machine.devices


def device_properties(device: int) -> dict[str, Any]:
    """cupy.cuda.runtime.getDeviceProperties"""
    if not 0 <= device < device_count():
        raise no_device()
    name = f"Stand-in {device}".encode()
    return {
        "name": name,
        "major": 9,
        "minor": 0,
        "totalGlobalMem": Machine.memory,
        "multiProcessorCount": 4,
    }


def is_available() -> bool:
    """cupy.cuda.is_available: False rather than an exception."""
    return Machine.devices > 0 and not Machine.driver_is_too_old


def check_device(device: int) -> None:
    """What CuPy does with an array that lies elsewhere."""
    if device != Machine.current:
        raise ValueError(
            f"The device where the array resides ({device}) is different from the current device "
            f"({Machine.current}). Peer access is unavailable between these devices."
        )


class Device:
    """cupy.cuda.Device"""

    def __init__(self, device: int | Device | None = None) -> None:
        device = device.id if isinstance(device, Device) else device
        self.id = Machine.current if device is None else int(device)
        if not 0 <= self.id < device_count():
            raise no_device()
        self._before: list[int] = []

    def __enter__(self) -> Device:
        self._before.append(Machine.current)
        Machine.current = self.id
        return self

    def __exit__(self, *_: object) -> None:
        Machine.current = self._before.pop()

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def use(self) -> None:
        Machine.current = self.id

    def synchronize(self) -> None:
        from gpu.stand_in.counting import synchronise

        synchronise("Device.synchronize()")

    @property
    def compute_capability(self) -> str:
        return "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        from gpu.stand_in.memory import allocated

        return Machine.memory - allocated(self.id), Machine.memory
