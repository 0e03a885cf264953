"""Softmax and cross-entropy on a GPU: one kernel for the losses of all rows and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stn_np.backend import Array
from stn_np.checks import check_scalar
from stn_np.gpu.launcher import Argument, launch

LOSSES = "cuda/losses.cu"

#: For what logits there are kernels; float16 is computed in float32.
DTYPES = ("float32", "float64")


def cross_entropy(
    xp: Any, logits: Array, labels: Array, epsilon: float
) -> tuple[Array, Callable[..., Array]]:
    """`stn_np.layers.cross_entropy` for CuPy arrays that it has checked.

    A row whose label is out of range has the loss NaN, and so has its gradient: nothing is read
    back. (N, K) and (N,), or (N, heads, K) and (N, heads).
    """
    wide = np.promote_types(logits.dtype, np.float32)
    K, rows, N = logits.shape[-1], labels.size, logits.shape[0]
    z = xp.ascontiguousarray(logits.reshape(rows, K).astype(wide, copy=False))
    of_rows = xp.ascontiguousarray(labels.reshape(rows).astype(np.int64, copy=False))
    losses, dz = xp.empty(rows, wide), xp.empty((rows, K), wide)
    launch(
        LOSSES,
        "cross_entropy",
        (wide.name,),
        rows,
        Argument("logits", z, wide, (rows, K)),
        Argument("labels", of_rows, np.int64, (rows,)),
        Argument("losses", losses, wide, (rows,)),
        Argument("dlogits", dz, wide, (rows, K)),
        K,
        epsilon,
    )
    loss: Array = (losses.sum() / N).astype(logits.dtype, copy=False)

    def backward(dloss: float = 1.0) -> Array:
        check_scalar("dloss", dloss)
        dlogits: Array = (dz * (dloss / N)).astype(logits.dtype, copy=False)
        return dlogits.reshape(logits.shape)

    return loss, backward


def variants() -> Iterator[tuple[str, str, tuple[str | int | bool, ...]]]:
    """Every (file, kernel, template arguments) that may be launched from here."""
    for dtype in DTYPES:
        yield LOSSES, "cross_entropy", (dtype,)
