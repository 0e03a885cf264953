"""What all optimisers share: parameters with their rate factors, and named state arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stn_np.backend import Array, array_module, to_numpy
from stn_np.checks import format_shape
from stn_np.layers.module import Module, Parameter

#: What `SGD.step` and the others multiply the learning rate with, for a parameter of this name.
RateFactor = Callable[[str], float]


def localisation_factor(factor: float) -> RateFactor:
    """A rate factor for the parameters of localisation nets only; 1 for all others.

    Parameters
    ----------
    factor
        For names that contain "localisation". The paper's SVHN nets use 0.1.
    """
    return lambda name: factor if "localisation" in name else 1.0


def gradient_norm(model: Module) -> Array:
    """The Euclidean norm of all gradients together, as a 0-d float64 array.

    Not a Python number, so that on a GPU nothing waits for it before it is looked at.
    """
    squares = []
    for p in model.parameters():
        flat = p.grad.reshape(-1)
        squares.append(flat.dot(flat))
    xp = array_module(gradient=model.parameters()[0].grad)
    total: Array = xp.sqrt(xp.stack(squares).sum(dtype=xp.float64))
    return total


class Optimizer:
    """What the three have in common: the parameters, their rate factors, and named state arrays.

    Parameters
    ----------
    model
        Its parameters are changed by `step`, in place.
    rate_factor
        From a parameter's name to the factor on its learning rate; 1 for all by default.

    Attributes
    ----------
    n_steps : int
        How many updates were made.
    """

    #: Names of the state arrays that each parameter has.
    slots: tuple[str, ...] = ()

    def __init__(self, model: Module, *, rate_factor: RateFactor | None = None) -> None:
        factor = rate_factor or (lambda name: 1.0)
        self.n_steps = 0
        self._named = list(model.named_parameters())
        if not self._named:
            raise ValueError("model: expected at least one parameter to train, got none")
        self._factors = {name: float(factor(name)) for name, _ in self._named}
        self._state = {
            f"{slot}/{name}": array_module(parameter=p.data).zeros_like(p.data)
            for name, p in self._named
            for slot in self.slots
        }
        self._scratch: dict[Any, Array] = {}

    def step(self, lr: float) -> None:
        """Change every parameter once.

        Parameters
        ----------
        lr
            Learning rate of this step, before the factor of each parameter.
        """
        self.n_steps += 1
        for name, p in self._named:
            state = [self._state[f"{slot}/{name}"] for slot in self.slots]
            self._update(p, lr * self._factors[name], self._scratch_like(p.data), *state)

    def _update(self, p: Parameter, lr: float, tmp: Array, *state: Array) -> None:
        """One parameter's update; `tmp` has its shape and may be overwritten."""
        raise NotImplementedError

    def _scratch_like(self, x: Array) -> Array:
        """Memory of x's shape and dtype, shared by all parameters: it grows to the largest."""
        tmp = self._scratch.get(x.dtype)
        if tmp is None or tmp.size < x.size:
            tmp = self._scratch[x.dtype] = array_module(parameter=x).empty(x.size, x.dtype)
        return tmp[: x.size].reshape(x.shape)

    def state_dict(self) -> dict[str, Array]:
        """All that the next step depends on besides the parameters: NumPy copies by name."""
        state = {name: to_numpy(x).copy() for name, x in self._state.items()}
        return {"n_steps": np.array(self.n_steps, dtype=np.int64), **state}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over what `state_dict` returned.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a shape differs. Nothing is changed then.
        """
        want = {"n_steps": (), **{name: x.shape for name, x in self._state.items()}}
        if want.keys() != state.keys():
            missing = ", ".join(sorted(want.keys() - state.keys())) or "nothing"
            unknown = ", ".join(sorted(state.keys() - want.keys())) or "nothing"
            raise ValueError(f"state: missing {missing}, unknown {unknown}")
        for name, shape in want.items():
            if state[name].shape != shape:
                expected, got = format_shape(shape), format_shape(state[name].shape)
                raise ValueError(f"state[{name!r}]: expected shape {expected}, got {got}")
        self.n_steps = int(state["n_steps"])
        for name, x in self._state.items():
            x[...] = array_module(state=x).asarray(state[name])
