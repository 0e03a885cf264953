"""The exceptions of CuPy that the library may meet."""

from __future__ import annotations


class CUDARuntimeError(RuntimeError):
    """What a call of the CUDA runtime came back with."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class OutOfMemoryError(MemoryError):
    """More device memory was asked for than there is."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
            + (f", limit set to: {limit:,} bytes)." if limit else ").")
        )


class CompileException(Exception):
    """The compiler refused a kernel."""

    def __init__(self, message: str, source: str, name: str, options: tuple[str, ...]) -> None:
        self.source, self.name, self.options = source, name, options
        super().__init__(message)


class Synchronised(AssertionError):
    """The host waited for the device where a test said that it must not."""


def no_device() -> CUDARuntimeError:
    return CUDARuntimeError(100, "cudaErrorNoDevice: no CUDA-capable device is detected")


def old_driver() -> CUDARuntimeError:
    return CUDARuntimeError(
        35,
        "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
    )


def not_while_capturing(what: str) -> CUDARuntimeError:
    return CUDARuntimeError(
        900,
        "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing "
        f"({what})",
    )
