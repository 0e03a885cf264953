"""Parameters as inputs, so that their gradients can be checked too."""

from __future__ import annotations

import copy
from typing import Any

from stn_np.backend import Array, array_module
from stn_np.gradcheck.probe import Function
from stn_np.module import Module


def parameters_as_inputs(module: Module) -> tuple[Function, dict[str, Array]]:
    """Turn a module with parameters into a function of its input and its parameters.

    Parameters
    ----------
    module
        A layer or network with float64 parameters. It is copied and stays as it is.

    Returns
    -------
    f : callable
        ``y, backward = f(x, *values)``; backward(dy) returns dx, then the parameters' gradients.
    values : dict of Array
        The parameters' values by name, in the order in which f takes them.

    Examples
    --------
    >>> f, values = parameters_as_inputs(layer)  # doctest: +SKIP
    >>> gradcheck(f, x, *values.values(), names=["x", *values])  # doctest: +SKIP
    """
    module = copy.deepcopy(module)
    parameters = module.parameters()

    def f(x: Array, *values: Array) -> tuple[Array, Any]:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value  # A new array: pullbacks made before keep the one they know.
        y, pullback = module(x)

        def backward(dy: Array) -> tuple[Array | None, ...]:
            for parameter in parameters:
                data = parameter.data
                parameter.grad = array_module(data=data).zeros_like(data)
            dx = pullback(dy)
            return (dx, *(parameter.grad for parameter in parameters))

        return y, backward

    return f, module.state_dict()
