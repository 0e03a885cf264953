"""Softmax and cross-entropy in one step.

Eq.:  L = mean over n of  log(sum over k of exp z[n, k]) - z[n, label(n)]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.checks import check_array, check_scalar, check_shape


def cross_entropy(logits: Array, labels: Array) -> tuple[Array, Callable[..., Array]]:
    r"""Mean cross-entropy of softmax(logits) against class labels.

    Parameters
    ----------
    logits : Array
        (N, K), N at least 1: unnormalised log-probabilities z.
    labels : Array
        (N,) integers in [0, K), in the same library.

    Returns
    -------
    loss : Array
        0-d, in nats.
    backward : callable
        backward(dloss=1.0) returns dlogits (N, K) = dloss (softmax(z) - onehot(label)) / N.

    Raises
    ------
    TypeError
        If logits is no floating-point array or labels no integer array.
    ValueError
        If the batch is empty, the shapes do not fit, or, on the CPU, a label is out of range.

    Notes
    -----
    .. math::

        L = -\frac{1}{N} \sum_n \log \frac{e^{z_{n, l_n}}}{\sum_k e^{z_{nk}}}, \quad
        dz_{nk} = \frac{dL}{N} \Bigl( \frac{e^{z_{nk}}}{\sum_j e^{z_{nj}}} - [k = l_n] \Bigr)

    To look at the labels a program has to wait for the GPU. So there a label that is out of range
    is no error: the loss and the gradient of its row become NaN.
    """
    xp = array_module(logits=logits, labels=labels)
    check_array("logits", logits, ("N", "K"))
    N, K = logits.shape
    if N == 0:
        raise ValueError("logits: expected at least one row, got none (a mean needs one)")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels: expected an integer dtype, got {labels.dtype}")
    check_shape("labels", labels, (N,))
    if xp is not np:
        logits, labels = _without_strangers(xp, logits, labels)
    elif labels.min() < 0 or labels.max() >= K:
        raise ValueError(
            f"labels: expected values in [0, {K}), got {int(labels.min())} to {int(labels.max())}"
        )
    row = xp.arange(N)
    z = logits - logits.max(axis=1, keepdims=True)  # the largest is 0: exp cannot overflow
    exp_z = xp.exp(z)
    sum_exp = exp_z.sum(axis=1, keepdims=True)
    loss = (xp.log(sum_exp[:, 0]) - z[row, labels]).mean()

    def backward(dloss: float = 1.0) -> Array:
        check_scalar("dloss", dloss)
        dlogits = exp_z / sum_exp
        dlogits[row, labels] -= 1
        dlogits *= dloss / N
        return dlogits  # type: ignore[no-any-return]

    return loss, backward


def _without_strangers(xp: Any, logits: Array, labels: Array) -> tuple[Array, Array]:
    """NaN in each row whose label is out of range, and 0 for that label: nothing is read back."""
    labels = labels.astype(np.int64)  # a comparison with K may be too much for a small type
    stranger = (labels < 0) | (labels >= logits.shape[1])
    logits = logits.copy()
    xp.copyto(logits, np.nan, where=stranger[:, None])
    return logits, xp.where(stranger, 0, labels)
