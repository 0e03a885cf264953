"""The old name of `stn_np.training.step.TrainingStep`, for one version more."""

from __future__ import annotations

import warnings
from typing import Any

from stn_np.training.step import TrainingStep


class GpuStep(TrainingStep):
    """Deprecated: `TrainingStep`, which makes the step on either device."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        warnings.warn(
            "stn_np.training.graph.GpuStep: use stn_np.training.TrainingStep",
            DeprecationWarning,
            stacklevel=2,
        )
        super().__init__(*arguments, **settings)
