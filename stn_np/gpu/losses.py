"""What the loss does on a GPU where it would raise on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from stn_np.backend import Array


def nan_where_out_of_range(xp: Any, logits: Array, labels: Array) -> tuple[Array, Array]:
    """NaN in each row whose label is out of range, and 0 for that label: nothing is read back."""
    labels = labels.astype(np.int64)  # a comparison with K may be too much for a small type
    outside = (labels < 0) | (labels >= logits.shape[1])
    logits = logits.copy()
    xp.copyto(logits, np.nan, where=outside[:, None])
    return logits, xp.where(outside, 0, labels)
