"""Parameters, and the little that layers have in common. No forward pass leaves state here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from stn_np.backend import Array, OptionalBackward, array_module, to_device_of
from stn_np.checks import check_gradient, check_same_dtype, check_shape, format_shape
from stn_np.gpu.devices import to_device


class Parameter:
    """A trained array with its gradient.

    Attributes
    ----------
    data : Array
        The value.
    grad : Array
        dL/d(data), of the same shape, where data lives. Every backward pass *adds* to it;
        `zero_grad` clears it.
    """

    def __init__(self, data: Array) -> None:
        self.data = data
        self.grad: Array = array_module(data=data).zeros_like(data)

    def __repr__(self) -> str:
        return f"Parameter({'x'.join(map(str, self.data.shape)) or '1'}, {self.data.dtype})"

    def zero_grad(self) -> None:
        """Forget the gradient collected so far."""
        self.grad[...] = 0


class Module:
    """Something with parameters that is called as ``y, backward = module(x)``.

    Sub-modules and parameters are found among the attributes, in the order in which they were set,
    so that a layer is an ordinary class with an ordinary ``__init__``.
    """

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """Value and pullback. With ``needs_dx=False`` the pullback may skip dx and return None.

        The pullback uses the parameters as they are when it is called: first all backward passes,
        then the optimiser's step.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no forward pass")

    def __repr__(self) -> str:
        """The settings in one line; below them the sub-modules, if any, as in PyTorch."""
        settings = self._describe()
        lines = [f"({name}): {child}" for name, child in self._children().items()]
        if not lines:
            return f"{type(self).__name__}({settings})"
        body = "\n".join([settings] * bool(settings) + lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"

    def _describe(self) -> str:
        """The settings that `repr` shows, in one line."""
        return ""

    def _children(self) -> dict[str, str]:
        """What `repr` shows below the settings."""
        return {name: repr(part) for name, part in vars(self).items() if isinstance(part, Module)}

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """All parameters below this module as (dotted name, parameter), in a fixed order.

        One that is reached in several ways, as in a shared localisation net, comes once.
        """
        seen: set[int] = set()
        for name, parameter in self._walk(prefix):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def _walk(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
            elif isinstance(value, Module):
                yield from value._walk(f"{prefix}{name}.")

    def parameters(self) -> list[Parameter]:
        """All parameters below this module."""
        return [p for _, p in self.named_parameters()]

    def n_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(p.data.size for p in self.parameters())

    def zero_grad(self) -> None:
        """Clear the gradient of every parameter."""
        for p in self.parameters():
            p.zero_grad()

    def to(self, device: str) -> Self:
        """Move all parameters and their gradients to the CPU or to the GPU, in place.

        Parameters
        ----------
        device : {"cpu", "gpu", "cuda"}
            "cuda" is the GPU too.

        Returns
        -------
        Module
            This one, as in PyTorch.

        Raises
        ------
        stn_np.gpu.devices.DeviceError
            If there is no GPU that can be used. Nothing is moved then.
        ValueError
            If there is no such device.

        Notes
        -----
        The arrays are new ones: an optimiser or a pullback that was made before knows the old.
        """
        moved = [
            (p, to_device(p.data, device), to_device(p.grad, device)) for p in self.parameters()
        ]
        for p, data, grad in moved:
            p.data, p.grad = data, grad
        return self

    def state_dict(self) -> dict[str, Array]:
        """The parameters' values by name: copies, so that training on does not change them.

        They are where the parameters are, as in PyTorch.
        """
        return {name: p.data.copy() for name, p in self.named_parameters()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over values saved by `state_dict`.

        Parameters
        ----------
        state : dict
            Arrays by name, NumPy's or CuPy's: they are copied to where the parameters are.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a shape differs. Nothing is changed then.
        """
        own = dict(self.named_parameters())
        if own.keys() != state.keys():
            missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
            raise ValueError(
                f"state: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}"
            )
        for name, p in own.items():
            if state[name].shape != p.data.shape:
                want, got = format_shape(p.data.shape), format_shape(state[name].shape)
                raise ValueError(f"state[{name!r}]: expected shape {want}, got {got}")
        for name, p in own.items():
            p.data[...] = to_device_of(state[name], p.data)


class _Container(Module):
    """Layers by name, in order. The names show up in `Module.named_parameters` and summaries."""

    def __init__(self, *unnamed: Module, **layers: Module) -> None:
        own = type(self).__name__
        if unnamed:
            raise TypeError(f"layers: expected each by a name, as in {own}(hidden=Linear(...))")
        for name, layer in layers.items():
            if not isinstance(layer, Module):
                raise TypeError(f"{name}: expected a layer, got {layer!r}")
            if name == "names" or callable(getattr(type(self), name, None)):
                raise ValueError(f"{name}: expected a name that {own} does not use itself")
            setattr(self, name, layer)
        self.names = tuple(layers)

    def __iter__(self) -> Iterator[Module]:
        return (getattr(self, name) for name in self.names)


class Sequential(_Container):
    """Layers one after the other; the backward pass walks them in reverse.

    Parameters
    ----------
    **layers
        The layers by name, in order.
    """

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """Apply all layers; the first one's input to the last one's output."""
        y, pullbacks = x, []
        for layer in self:
            y, pullback = layer(y, needs_dx=needs_dx)
            pullbacks.append(pullback)
            # Behind the first layer with parameters every gradient is needed, to reach them.
            needs_dx = needs_dx or bool(layer.parameters())

        def backward(dy: Array) -> Array | None:
            dx: Array | None = dy
            for pullback in reversed(pullbacks):
                if dx is None:  # Nothing further up has parameters.
                    break
                dx = pullback(dx)
            return dx

        return y, backward


class Parallel(_Container):
    r"""Branches that all get the same input; their outputs side by side along axis 1.

    .. math:: y = [f_1(x), \dots, f_B(x)], \quad dx = \sum_b f_b^*(dy_b)

    Parameters
    ----------
    **branches
        The branches by name, in the order of their outputs. There is at least one.
    """

    def __init__(self, *unnamed: Module, **branches: Module) -> None:
        super().__init__(*unnamed, **branches)
        if not branches:
            raise ValueError("branches: expected at least one, got none")

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """Apply each branch to x; (N, C, ...) to (N, the sum of the branches' channels, ...).

        Raises
        ------
        ValueError
            If the outputs differ in another axis than 1.
        """
        outputs, pullbacks = zip(*(branch(x, needs_dx=needs_dx) for branch in self), strict=True)
        xp = array_module(**dict(zip(self.names, outputs, strict=True)))
        N, *others = outputs[0].shape[:1] + outputs[0].shape[2:]
        for name, output in zip(self.names, outputs, strict=True):
            check_shape(f"output of {name}", output, (N, "C", *others))
        check_same_dtype(**dict(zip(self.names, outputs, strict=True)))
        y = xp.concatenate(outputs, axis=1)
        ends = np.cumsum([output.shape[1] for output in outputs]).tolist()

        def backward(dy: Array) -> Array | None:
            check_gradient("dy", dy, y)
            dxs = [
                pullback(dy[:, start:end])
                for pullback, start, end in zip(pullbacks, [0, *ends], ends, strict=False)
            ]
            return sum(dxs[1:], start=dxs[0]) if needs_dx else None

        return y, backward
