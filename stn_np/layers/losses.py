"""Softmax and cross-entropy in one step, for one label an image or several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.checks import check_array, check_number, check_scalar, check_shape
from stn_np.gpu import losses as gpu


def cross_entropy(
    logits: Array, labels: Array, *, label_smoothing: float = 0.0
) -> tuple[Array, Callable[..., Array]]:
    r"""Mean over the images of the cross-entropy of softmax(logits), summed over the heads.

    .. math::

        L = -\frac{1}{N} \sum_{n, h, k} t_{nhk} \log p_{nhk}, \quad
        dz_{nhk} = \frac{dL}{N} (p_{nhk} - t_{nhk}), \quad
        p_{nhk} = \frac{e^{z_{nhk}}}{\sum_j e^{z_{nhj}}}, \quad
        t_{nhk} = (1 - \epsilon) [k = l_{nh}] + \frac{\epsilon}{K}

    Returns the loss, 0-d, in nats; backward(dloss=1.0) returns dlogits. TypeError or ValueError if
    types or shapes do not fit, the batch is empty, or, on the CPU, a label is out of range. On a
    GPU, which nobody waits for, the loss and that row's gradient become NaN instead.

    Parameters
    ----------
    logits : Array
        (N, K), or (N, heads, K) for several labels an image; N at least 1.
    labels : Array
        (N,) or (N, heads): integers in [0, K), in the same library.
    label_smoothing : float
        The share :math:`\epsilon` of the target that all classes get alike, in [0, 1) (Szegedy et
        al. 2016): a network that is certain of every training image learns nothing more from it.
    """
    xp = array_module(logits=logits, labels=labels)
    check_array("logits", logits, ("N", "heads", "K") if logits.ndim == 3 else ("N", "K"))
    shape, (N, *heads, K) = logits.shape, logits.shape
    if 0 in (N, *heads):
        raise ValueError("logits: expected at least one row, got none (a mean needs one)")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels: expected an integer dtype, got {labels.dtype}")
    check_shape("labels", labels, (N, *heads))
    epsilon = check_number("label_smoothing", label_smoothing, 0, 1)
    if xp is not np:
        return gpu.cross_entropy(xp, logits, labels, epsilon)
    logits, labels = logits.reshape(-1, K), labels.reshape(-1)
    if labels.min() < 0 or labels.max() >= K:
        raise ValueError(
            f"labels: expected values in [0, {K}), got {int(labels.min())} to {int(labels.max())}"
        )
    row = np.arange(len(labels))
    z = logits - logits.max(axis=1, keepdims=True)  # the largest is 0: exp cannot overflow
    with np.errstate(under="ignore"):
        exp_z = np.exp(z)
    sum_exp = exp_z.sum(axis=1, keepdims=True)
    target = z[row, labels]
    if epsilon:
        target = (1 - epsilon) * target + epsilon * z.mean(axis=1)
    loss = (np.log(sum_exp[:, 0]) - target).mean()
    if heads:
        loss = loss * heads[0]

    def backward(dloss: float = 1.0) -> Array:
        check_scalar("dloss", dloss)
        dlogits = exp_z / sum_exp
        dlogits[row, labels] -= 1 - epsilon
        if epsilon:
            dlogits -= epsilon / K
        dlogits *= dloss / N
        return dlogits.reshape(shape)  # type: ignore[no-any-return]

    return loss, backward
