"""How images are to be sampled: all that a sampler is told, checked once and handed on."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

import numpy as np

from stn_np.backend import Array
from stn_np.checks import check_choice, check_flag, check_scalar
from stn_np.gpu.sampling import Settings
from stn_np.sampling.kernels import BY_NAME, Kernel
from stn_np.sampling.linearised import Linearised
from stn_np.sampling.padding import PADDING_MODES, PADDINGS, Padding

#: The modes with a name.
MODES = tuple(BY_NAME)

#: Their kernels' names in `gpu/cuda/axis.cuh`.
CUDA_MODES = {"nearest": "NEAREST", "bilinear": "LINEAR", "bicubic": "CUBIC"}

#: Ways to sum up the gradient of the image on a GPU.
DU_METHODS = ("deterministic", "atomic")

#: What ``mode`` may be. A name, one kernel for all axes, or one an axis as (x, y[, z]).
Mode: TypeAlias = str | Kernel | tuple[Kernel, ...]


@dataclass(frozen=True)
class Rules:
    """The settings of `stn_np.grid_sample`, checked; its documentation says what each means."""

    mode: Mode = "bilinear"
    padding_mode: str = "zeros"
    padding_value: float = 0.0
    align_corners: bool = True
    grid_gradient: str | Linearised = "exact"
    dU_method: str = "deterministic"

    def __post_init__(self) -> None:
        """Refuse what is unknown or excludes each other."""
        self._check_mode()
        check_choice("padding_mode", self.padding_mode, PADDING_MODES)
        check_flag("align_corners", self.align_corners)
        self._check_padding_value()
        if not isinstance(self.grid_gradient, Linearised):
            check_choice("grid_gradient", self.grid_gradient, ("exact", "linearised"))
        if self.grid_gradient != "exact" and self.mode != "bilinear":
            raise ValueError(
                f"grid_gradient: expected 'exact' with mode {self.mode!r}, got 'linearised'"
            )
        check_choice("dU_method", self.dU_method, DU_METHODS)

    def _check_mode(self) -> None:
        mode = self.mode
        if isinstance(mode, str) and mode in ("gaussian", "lanczos", "area"):
            call = f"{mode}({'reduction' * (mode == 'area')})"
            raise ValueError(
                f"mode: expected one of {', '.join(map(repr, MODES))}, or a Kernel, got {mode!r}; "
                f"use stn_np.sampling.kernels.{call}"
            )
        if isinstance(mode, str):
            check_choice("mode", mode, MODES)
        elif not isinstance(mode, Kernel | tuple):
            raise TypeError(
                "mode: expected a name, a Kernel such as stn_np.sampling.kernels.lanczos(), or a "
                f"tuple of kernels, got {mode!r}"
            )

    def _check_padding_value(self) -> None:
        value = self.padding_value
        check_scalar("padding_value", value)
        if not isfinite(value):
            raise ValueError(f"padding_value: expected a finite number, got {value!r}")
        if value != 0 and self.padding_mode != "constant":
            raise ValueError(
                "padding_value: expected 0 unless padding_mode is 'constant', "
                f"got {value!r} with {self.padding_mode!r}"
            )

    def check_value_fits(self, U: Array) -> None:
        """The value must be one that the image's dtype knows, or it would become infinite."""
        if abs(float(self.padding_value)) > float(np.finfo(U.dtype).max):
            raise ValueError(
                f"padding_value: expected a number for {U.dtype}, got {self.padding_value!r}"
            )

    def kernels(self, n: int) -> tuple[Kernel, ...]:
        """One kernel an axis, (x, y[, z]), for n axes."""
        mode = self.mode
        if isinstance(mode, tuple):
            if len(mode) != n or not all(isinstance(kernel, Kernel) for kernel in mode):
                axes = ", ".join(("x", "y", "z")[:n])
                raise TypeError(f"mode: expected {n} kernels ({axes}), got {mode!r}")
            return mode
        return (mode if isinstance(mode, Kernel) else BY_NAME[mode],) * n

    @property
    def padding(self) -> Padding:
        """The entry of the table."""
        return PADDINGS[self.padding_mode]

    @property
    def for_gpu(self) -> Settings:
        """The same in the words of `gpu/cuda/`, for the modes with a name."""
        mode, value = CUDA_MODES[str(self.mode)], float(self.padding_value)
        return Settings(mode, self.padding.cuda, self.align_corners, value, self.dU_method)

    @property
    def linearised(self) -> Linearised | None:
        """The settings of the linearised gradient; None for eq. (7)."""
        if isinstance(self.grid_gradient, Linearised):
            return self.grid_gradient
        return Linearised() if self.grid_gradient == "linearised" else None
