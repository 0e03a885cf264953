"""Initial weights."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np

from stn_np.backend import Array


def he_normal(shape: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> Array:
    """N(0, 2 / fan-in), for layers followed by ReLU (He et al. 2015).

    Parameters
    ----------
    shape
        (outputs, inputs, ...): all axes but the first make up the fan-in.
    rng
        Source of random numbers.
    dtype
        float32 or float64.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator, got {rng!r}")
    scale = sqrt(2.0 / prod(shape[1:]))
    return (scale * rng.standard_normal(shape)).astype(dtype)
