"""Parameters and modules, and the two ways to compose them: one after the other, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np

from stn_np.backend import Array, OptionalBackward, array_module, to_device_of
from stn_np.checks import (
    check_flag,
    check_same_dtype,
    check_shape,
    check_size,
    format_shape,
    pullback,
)
from stn_np.gpu.devices import to_device

T = TypeVar("T")


class Parameter:
    """A trained array `data` with its gradient `grad`, dL/d(data), of the same shape and place.

    Every backward pass *adds* to the gradient; `zero_grad` clears it.
    """

    def __init__(self, data: Array) -> None:
        self.data = data
        self.grad: Array = array_module(data=data).zeros_like(data)

    def __repr__(self) -> str:
        return f"Parameter({'x'.join(map(str, self.data.shape)) or '1'}, {self.data.dtype})"

    def zero_grad(self) -> None:
        """Forget the gradient collected so far."""
        self.grad[...] = 0


def into_grads(
    backward: Callable[[Array], tuple[Array | None, *tuple[Array, ...]]], *parameters: Parameter
) -> OptionalBackward:
    """From backward(dy) -> (dx, the parameters' gradients) to one that adds those to ``grad``."""

    def adding(dy: Array) -> Array | None:
        dx, *gradients = backward(dy)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad += gradient
        return dx

    return adding


class Buffer:
    """An array `data` that is saved and moved with a module but not trained: a running mean."""

    def __init__(self, data: Array) -> None:
        self.data = data


@dataclass(frozen=True, eq=False)
class Training:
    """The mode of a training step: the run's seed, at least 0, and the step's number.

    `first` is the place of the first image in the step's batch, of which it may be a part.
    A captured CUDA graph reads the step anew in each replay if it is a 0-d array of integers where
    the images are. Evaluation is ``mode=None``. TypeError or ValueError for other numbers.
    """

    seed: int
    step: int | Array
    first: int = 0

    def __post_init__(self) -> None:
        check_size("seed", self.seed, 0)
        check_size("first", self.first, 0)
        step: Any = self.step
        if not hasattr(step, "dtype"):
            check_size("step", step, 0)
        elif step.shape != () or step.dtype.kind not in "iu":
            shape = format_shape(step.shape)
            raise TypeError(f"step: expected one whole number, got shape {shape}, {step.dtype}")


def check_mode(mode: object) -> None:
    """None (evaluation) or a `Training` is expected."""
    if mode is not None and not isinstance(mode, Training):
        raise TypeError(f"mode: expected None (evaluation) or Training(seed, step), got {mode!r}")


class Module:
    """Something with parameters that is called as ``y, backward = module(x)``.

    Sub-modules, parameters and buffers are found among the attributes, in the order in which they
    were set: a layer is an ordinary class with an ordinary ``__init__``.
    """

    def __call__(self, x: Array, *, needs_dx: bool = True) -> tuple[Array, OptionalBackward]:
        """Value and pullback. With ``needs_dx=False`` the pullback may skip dx and return None.

        What differs in training (`uses_mode`) takes ``mode`` as well: None, or a `Training`. The
        pullback uses the parameters as they are when it is called, so the optimiser steps later.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no forward pass")

    @property
    def uses_mode(self) -> bool:
        """Whether training differs from evaluation, here or in a sub-module."""
        return any(part.uses_mode for part in vars(self).values() if isinstance(part, Module))

    @property
    def by_image(self) -> bool:
        """Whether a batch may be cut into parts, which threads work on side by side.

        An image's output must depend on that image alone, a call must change nothing, and
        `copy.deepcopy` must find every parameter. The library's layers say so, but for batch
        normalisation. A class of your own does by ``by_image = True``.
        """
        ours = type(self).__module__.partition(".")[0] == __name__.partition(".")[0]
        parts = (part for part in vars(self).values() if isinstance(part, Module))
        return ours and all(part.by_image for part in parts)

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
        """All parameters below as (dotted name, parameter), in a fixed order, a shared one once."""
        return self._named(Parameter, prefix)

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """All buffers in the same way."""
        return self._named(Buffer, prefix)

    def _named(self, kind: type[T], prefix: str) -> Iterator[tuple[str, T]]:
        seen: set[int] = set()
        for name, value in self._walk(prefix):
            if isinstance(value, kind) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def _walk(self, prefix: str) -> Iterator[tuple[str, object]]:
        for name, value in vars(self).items():
            yield prefix + name, value
            if isinstance(value, Module):
                yield from value._walk(f"{prefix}{name}.")

    def _arrays(self) -> dict[str, Parameter | Buffer]:
        """All that is saved."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

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
        """Move parameters, gradients and buffers, in place, to "cpu", "gpu" or "cuda"; return self.

        The arrays are new ones: an optimiser or a pullback that was made before knows the old.
        DeviceError if there is no GPU that can be used; nothing is moved then.
        """
        arrays = self._arrays().values()
        moved = [(x, to_device(x.data, device)) for x in arrays]
        grads = [(p, to_device(p.grad, device)) for p in self.parameters()]
        for x, data in moved:
            x.data = data
        for p, grad in grads:
            p.grad = grad
        return self

    def twin(self) -> Self:
        """A copy that shares parameters and buffers, but collects gradients of its own, from 0."""
        copied: dict[int, Any] = {id(x.data): x.data for x in self._arrays().values()}
        for p in self.parameters():
            copied[id(p.grad)] = array_module(grad=p.grad).zeros_like(p.grad)
        return deepcopy(self, copied)

    def state_dict(self) -> dict[str, Array]:
        """Parameters and buffers by name: copies, where the module is, as in PyTorch."""
        return {name: x.data.copy() for name, x in self._arrays().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over values saved by `state_dict`: arrays by name, NumPy's or CuPy's.

        ValueError if a name is missing or unknown, or a shape differs; nothing is changed then.
        """
        own = self._arrays()
        if own.keys() != state.keys():
            missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
            raise ValueError(
                f"state: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}"
            )
        for name, x in own.items():
            if state[name].shape != x.data.shape:
                want, got = format_shape(x.data.shape), format_shape(state[name].shape)
                raise ValueError(f"state[{name!r}]: expected shape {want}, got {got}")
        for name, x in own.items():
            x.data[...] = to_device_of(state[name], x.data)


def apply(
    module: Module, x: Array, *, needs_dx: bool = True, mode: Training | None = None
) -> tuple[Array, OptionalBackward]:
    """Call a module, and hand the mode to it if it uses one: others need not take it."""
    check_flag("needs_dx", needs_dx)
    if not isinstance(module, Module):
        raise TypeError(f"module: expected a Module, got {module!r:.60}")
    if module.uses_mode:
        return module(x, needs_dx=needs_dx, mode=mode)  # type: ignore[call-arg]
    return module(x, needs_dx=needs_dx)


class _Container(Module):
    """Layers by name, in order; the names show up in `Module.named_parameters` and summaries."""

    def __init__(self, *unnamed: Module, **layers: Module) -> None:
        own = type(self).__name__
        if unnamed:
            raise TypeError(f"layers: expected each by a name, as in {own}(hidden=Linear(...))")
        for name, layer in layers.items():
            if not isinstance(layer, Module):
                raise TypeError(f"{name}: expected a layer, got {layer!r}")
            own_name = getattr(type(self), name, None)
            if name == "names" or callable(own_name) or isinstance(own_name, property):
                raise ValueError(f"{name}: expected a name that {own} does not use itself")
            setattr(self, name, layer)
        self.names = tuple(layers)

    def __iter__(self) -> Iterator[Module]:
        return (getattr(self, name) for name in self.names)


class Sequential(_Container):
    """Layers by name, one after the other; the backward pass walks them in reverse."""

    def __call__(
        self, x: Array, *, needs_dx: bool = True, mode: Training | None = None
    ) -> tuple[Array, OptionalBackward]:
        """Apply all layers; the first one's input to the last one's output."""
        y, pullbacks = x, []
        for layer in self:
            y, layer_backward = apply(layer, y, needs_dx=needs_dx, mode=mode)
            pullbacks.append(layer_backward)
            # Behind the first layer with parameters every gradient is needed, to reach them.
            needs_dx = needs_dx or bool(layer.parameters())

        @pullback(dy=y)
        def backward(dy: Array) -> Array | None:
            dx: Array | None = dy
            for layer_backward in reversed(pullbacks):
                if dx is None:  # Nothing further up has parameters.
                    break
                dx = layer_backward(dx)
            return dx

        return y, backward


class Parallel(_Container):
    r"""Branches by name, at least one, that all get the same input; outputs side by side in axis 1.

    .. math:: y = [f_1(x), \dots, f_B(x)], \quad dx = \sum_b f_b^*(dy_b)
    """

    def __init__(self, *unnamed: Module, **branches: Module) -> None:
        super().__init__(*unnamed, **branches)
        if not branches:
            raise ValueError("branches: expected at least one, got none")

    def __call__(
        self, x: Array, *, needs_dx: bool = True, mode: Training | None = None
    ) -> tuple[Array, OptionalBackward]:
        """(N, C, ...) to (N, the sum of the branches' channels, ...).

        ValueError if the branches' outputs differ in another axis than 1.
        """
        outputs, pullbacks = zip(
            *(apply(branch, x, needs_dx=needs_dx, mode=mode) for branch in self), strict=True
        )
        named = dict(zip(self.names, outputs, strict=True))
        xp = array_module(**named)
        first = outputs[0].shape
        for name, output in named.items():
            check_shape(f"output of {name}", output, (first[0], "C", *first[2:]))
        check_same_dtype(**named)
        y = xp.concatenate(outputs, axis=1)
        ends = np.cumsum([output.shape[1] for output in outputs]).tolist()
        parts = [slice(*ends) for ends in zip([0, *ends], ends, strict=False)]

        @pullback(dy=y)
        def backward(dy: Array) -> Array | None:
            dxs = [f(dy[:, part]) for f, part in zip(pullbacks, parts, strict=True)]
            return sum(dxs[1:], start=dxs[0]) if needs_dx else None

        return y, backward
