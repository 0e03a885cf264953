"""ReLU, and the reshaping between feature maps and vectors."""

from __future__ import annotations

from math import prod

from stn_np.backend import Array, Backward, OptionalBackward, array_module
from stn_np.checks import check_floating, check_gradient
from stn_np.layers.memory_order import elementwise
from stn_np.module import Module


def relu(x: Array) -> tuple[Array, Backward]:
    """max(0, x), elementwise.

    Parameters
    ----------
    x : Array
        Any shape.

    Returns
    -------
    y : Array
        The same shape, dtype and memory order.
    backward : callable
        backward(dy) returns dx. At x = 0 the gradient is 0.

    Raises
    ------
    TypeError
        If x is no floating-point array.
    """
    xp = array_module(x=x)
    check_floating("x", x)
    y = xp.asarray(elementwise(xp, lambda x: xp.maximum(x, 0), x))  # NumPy: 0-d to a number

    def backward(dy: Array) -> Array:
        check_gradient("dy", dy, y)
        dy = dy.astype(y.dtype, copy=False)
        return elementwise(xp, lambda y, dy: dy * (y > 0), y, dy)

    return y, backward


class ReLU(Module):
    """max(0, x) as a layer."""

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """Any shape to the same shape."""
        return relu(x)


class Flatten(Module):
    """(N, C, H, W) to (N, C H W), in that order of axes."""

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """Feature maps to vectors."""
        y = x.reshape(x.shape[0], prod(x.shape[1:]))  # -1 is ambiguous in an empty batch

        def backward(dy: Array) -> Array:
            check_gradient("dy", dy, y)
            return dy.astype(y.dtype, copy=False).reshape(x.shape)

        return y, backward
