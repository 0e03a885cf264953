"""SGD, Adam and AdamW: in place, from the gradients that the backward pass left in the parameters.

Each update is written out as single NumPy calls into one scratch array, because on half a million
numbers the time goes into passes over memory and fresh arrays, not into arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from stn_np.backend import Array, array_module, place_of, to_device_of, to_numpy
from stn_np.checks import check_choice, check_number, check_size, format_shape
from stn_np.gpu import optimizers as gpu
from stn_np.module import Module
from stn_np.training.flat import Part, flattened, moved_too_late

#: What `SGD.step` and the others multiply the learning rate with, for a parameter of this name.
RateFactor = Callable[[str], float]

#: The numbers of one step by rate factor; see `Optimizer.advance`.
Coefficients: TypeAlias = dict[float, tuple[float, ...]]


#: The state that belongs to `Optimizer.average`: the averaged weights, while the model has the
#: trained ones; and inside of `Optimizer.averaged` the trained ones.
OTHER = "other_weights"


def localisation_factor(factor: float) -> RateFactor:
    """A rate factor for the parameters of localisation nets only; 1 for all others.

    Parameters
    ----------
    factor
        For names that contain "localisation".
    """
    return lambda name: factor if "localisation" in name else 1.0


def norm_of(arrays: Sequence[Array]) -> Array:
    """The Euclidean norm of all arrays together, as a 0-d float64 array.

    Not a Python number, so that on a GPU nothing waits for it before it is looked at.
    """
    squares = []
    for x in arrays:
        flat = x.reshape(-1)
        squares.append(flat.dot(flat))
    xp = array_module(array=arrays[0])
    total: Array = xp.sqrt(xp.stack(squares).sum(dtype=xp.float64))
    return total


class Optimizer:
    """What the three have in common: the parameters, their rate factors, and named state arrays.

    On a GPU the parameters are moved into one piece of memory: move the model first.

    Parameters
    ----------
    model
        Its parameters are changed by `step`, in place.
    rate_factor
        From a parameter's name to the factor on its learning rate; 1 for all by default.
    average
        Decay of a running average of the weights, which `averaged` puts in their place; 0: none.

    Attributes
    ----------
    n_steps : int
        How many updates were made.

    Raises
    ------
    TypeError, ValueError
        If the model is none, or a number is out of its range: rates and their factors are finite
        and not negative.
    """

    #: Names of the state arrays that each parameter has.
    slots: tuple[str, ...] = ()

    def __init__(
        self, model: Module, *, rate_factor: RateFactor | None = None, average: float = 0.0
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"model: expected a Module, got {type(model).__name__}")
        if rate_factor is not None and not callable(rate_factor):
            raise TypeError(f"rate_factor: expected a function of a name, got {rate_factor!r}")
        self.average = check_number("average", average, 0, 1)
        slots = (*self.slots, *[OTHER] * bool(self.average))
        factor = rate_factor or (lambda name: 1.0)
        self.n_steps = 0
        self._named = list(model.named_parameters())
        if not self._named:
            raise ValueError("model: expected at least one parameter to train, got none")
        self._factors = {
            name: check_number(f"rate_factor({name!r})", factor(name), 0) for name, _ in self._named
        }
        on_gpu = array_module(**{name: p.data for name, p in self._named}) is not np
        self._flat = flattened(self._named, self._factors, slots) if on_gpu else []
        views = {name: x for flat in self._flat for name, x in flat.views.items()}
        self._state = {
            key: views[key] if on_gpu else np.zeros_like(p.data)
            for name, p in self._named
            for key in (f"{slot}/{name}" for slot in slots)
        }
        for name, p in self._named * bool(self.average):
            self._state[f"{OTHER}/{name}"][...] = p.data
        self._all_slots = slots
        self._scratch: dict[Any, Array] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._named)} parameters, {self.n_steps} steps made)"

    def step(self, lr: float) -> None:
        """Change every parameter once.

        Parameters
        ----------
        lr
            Learning rate of this step, before the factor of each parameter.
        """
        self.update(self.advance(lr))

    def advance(self, lr: float) -> Coefficients:
        """Count a step, and compute what `update` needs and what changes from step to step.

        Apart from `update`, because a CUDA graph repeats the same launches: what changes must come
        to it in the GPU's memory.

        Parameters
        ----------
        lr
            As in `step`.

        Returns
        -------
        dict of float to tuple of float
            For each rate factor the numbers that `update` needs.

        Raises
        ------
        TypeError, ValueError
            If lr is no finite number of at least 0; nothing is counted then. If a parameter on the
            GPU was given another array, as `Module.to` does: a graph that is replayed would go on
            with the old one.
        """
        lr = check_number("lr", lr, 0)
        for flat in self._flat:
            flat.check()
        self.n_steps += 1
        t = self.n_steps
        kept = min(self.average, (1 + t) / (10 + t))  # at first the average must not lag behind
        return {factor: (*self._coefficients(lr * factor), 1 - kept) for factor in self.factors}

    @property
    def factors(self) -> list[float]:
        """The different rate factors, in a fixed order."""
        return list(dict.fromkeys(self._factors.values()))

    def update(self, coefficients: Mapping[float, Any]) -> None:
        """Change every parameter once: launches only, the same ones every time.

        The coefficients are those of `advance`, or the same as arrays of float64 on the GPU.
        """
        for part in self._parts():
            numbers, other = coefficients[part.factor], part.state[len(self.slots) :]
            part = part._replace(state=part.state[: len(self.slots)])
            kernel = self._kernel() if self._flat and part.data.dtype in gpu.DTYPES else None
            if kernel:
                gpu.update(part.data, part.grad, part.state, numbers, *kernel)
            if not isinstance(numbers, tuple) and (other or not kernel):
                numbers = numbers.astype(part.data.dtype, copy=False)
            if not kernel:
                self._update(part, self._scratch_like(part.data), *numbers[:-1])
            for average in other:
                self._follow(average, part.data, numbers[-1])

    def _follow(self, average: Array, p: Array, share: Any) -> None:
        """Move the average by this share towards the weights."""
        xp, tmp = array_module(parameter=p), self._scratch_like(p)
        xp.subtract(p, average, out=tmp)
        xp.multiply(tmp, share, out=tmp)
        xp.add(average, tmp, out=average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """In this context the model has the averaged weights, and the state the trained ones.

        Buffers, such as batch normalisation's statistics, stay those of the trained weights.
        """
        done: list[Part] = []
        try:
            self._swap(self._parts(), done)
            yield
        finally:
            self._swap(done, [])

    def _swap(self, parts: Iterable[Part], done: list[Part]) -> None:
        """Exchange weights and averages, and list what was done; nothing without averages."""
        for part in parts:
            for other in part.state[len(self.slots) :]:
                trained, averaged = part.data.copy(), other.copy()
                try:
                    part.data[...], other[...] = averaged, trained
                except BaseException:  # Ctrl-C between the two
                    part.data[...], other[...] = trained, averaged
                    raise
            done.append(part)

    def _parts(self) -> Iterator[Part]:
        """What is updated at once: each parameter by itself, or on a GPU all of one factor."""
        for flat in self._flat:
            yield from flat.parts
        if not self._flat:
            for name, p in self._named:
                if place_of(p.data) != "cpu":
                    raise moved_too_late(name)
                state = tuple(self._state[f"{slot}/{name}"] for slot in self._all_slots)
                yield Part(self._factors[name], p.data, p.grad, state)

    def _coefficients(self, lr: float) -> tuple[float, ...]:
        """The numbers of this step, the `n_steps`-th, for parameters with this learning rate."""
        raise NotImplementedError

    def _update(self, part: Part, tmp: Array, *coefficients: Any) -> None:
        """One part's update; `tmp` has its shape and may be overwritten."""
        raise NotImplementedError

    def _kernel(self) -> tuple[Any, ...] | None:
        """The kernel that does what `_update` does, and its constants; None: there is none."""
        return None

    def zero_grad(self) -> None:
        """Clear the gradient of every parameter."""
        for x in [flat.grad for flat in self._flat] or [p.grad for _, p in self._named]:
            x[...] = 0

    def gradient_norm(self) -> Array:
        """The Euclidean norm of all gradients together; on a GPU, in few launches."""
        if not self._flat:
            return norm_of([p.grad for _, p in self._named])
        return norm_of([flat.grad for flat in self._flat])

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
        n_steps = check_size("state['n_steps']", to_numpy(state["n_steps"]).item(), 0)
        for name, shape in want.items():
            if state[name].shape != shape:
                expected, got = format_shape(shape), format_shape(state[name].shape)
                raise ValueError(f"state[{name!r}]: expected shape {expected}, got {got}")
        self.n_steps = n_steps
        for name, x in self._state.items():
            x[...] = to_device_of(state[name], x)


class SGD(Optimizer):
    """Gradient descent with momentum (Polyak's, not Nesterov's).

    With a running direction b that starts at 0: ``b = momentum * b + g``, then ``p -= lr * b``.

    Parameters
    ----------
    model, rate_factor, average
        See `Optimizer`.
    momentum
        Share of the last step's direction that is kept.
    """

    slots = ("momentum",)

    def __init__(
        self,
        model: Module,
        *,
        rate_factor: RateFactor | None = None,
        average: float = 0.0,
        momentum: float = 0.9,
    ) -> None:
        super().__init__(model, rate_factor=rate_factor, average=average)
        self.momentum = check_number("momentum", momentum, 0, 1)

    def _coefficients(self, lr: float) -> tuple[float, ...]:
        return (lr,)

    def _update(self, part: Part, tmp: Array, *coefficients: Any) -> None:
        _, p, g, (b,) = part
        (lr,) = coefficients
        xp = array_module(parameter=p)
        xp.multiply(b, self.momentum, out=b)
        xp.add(b, g, out=b)
        xp.multiply(b, lr, out=tmp)
        xp.subtract(p, tmp, out=p)

    def _kernel(self) -> tuple[Any, ...]:
        return "sgd", self.momentum


class Adam(Optimizer):
    r"""Adam (Kingma & Ba, 2015), in the form that PyTorch computes too.

    .. math::

        m \leftarrow b_1 m + (1 - b_1) g, \quad v \leftarrow b_2 v + (1 - b_2) g^2, \quad
        p \leftarrow p - \frac{\mathrm{lr}}{1 - b_1^t}
        \frac{m}{\sqrt{v / (1 - b_2^t)} + \mathrm{eps}}

    Parameters
    ----------
    model, rate_factor, average
        See `Optimizer`.
    betas
        (b1, b2), the decay of the two running means.
    eps
        Keeps the division finite where a gradient is always zero.
    """

    slots = ("mean", "square")
    #: Share of lr by which the parameter itself shrinks, apart from the gradient.
    weight_decay = 0.0

    def __init__(
        self,
        model: Module,
        *,
        rate_factor: RateFactor | None = None,
        average: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(model, rate_factor=rate_factor, average=average)
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"betas: expected a pair of numbers, got {betas!r}")
        b1, b2 = (check_number(f"betas[{i}]", b, 0, 1) for i, b in enumerate(betas))
        self.betas, self.eps = (b1, b2), check_number("eps", eps, 0)

    def _coefficients(self, lr: float) -> tuple[float, ...]:
        b1, b2 = self.betas
        # The bias correction of v is one number: taken out of the root it saves a pass.
        root = math.sqrt(1 - b2**self.n_steps)
        return 1 - lr * self.weight_decay, self.eps * root, lr * root / (1 - b1**self.n_steps)

    def _update(self, part: Part, tmp: Array, *coefficients: Any) -> None:
        _, p, g, (m, v) = part
        shrink, eps, rate = coefficients
        xp, (b1, b2) = array_module(parameter=p), self.betas
        if self.weight_decay:
            xp.multiply(p, shrink, out=p)
        xp.multiply(m, b1, out=m)
        xp.multiply(g, 1 - b1, out=tmp)
        xp.add(m, tmp, out=m)
        xp.multiply(v, b2, out=v)
        xp.multiply(g, g, out=tmp)
        xp.multiply(tmp, 1 - b2, out=tmp)
        xp.add(v, tmp, out=v)
        xp.sqrt(v, out=tmp)
        xp.add(tmp, eps, out=tmp)
        xp.divide(m, tmp, out=tmp)
        xp.multiply(tmp, rate, out=tmp)
        xp.subtract(p, tmp, out=p)

    def _kernel(self) -> tuple[Any, ...]:
        return "adam", *self.betas


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019).

    Before each of Adam's steps, ``p *= 1 - lr * weight_decay``, in `Adam._update`.

    Parameters
    ----------
    model, rate_factor, average, betas, eps
        See `Adam`.
    weight_decay
        0.01, as in PyTorch. It acts on every parameter, biases included.
    """

    def __init__(
        self,
        model: Module,
        *,
        rate_factor: RateFactor | None = None,
        average: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(model, rate_factor=rate_factor, average=average, betas=betas, eps=eps)
        self.weight_decay = check_number("weight_decay", weight_decay, 0)


#: The optimisers by the names that the command line knows.
OPTIMIZERS: dict[str, type[SGD] | type[Adam] | type[AdamW]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
}


def build_optimizer(
    name: str,
    model: Module,
    rate_factor: RateFactor | None = None,
    average: float = 0.0,
    weight_decay: float | None = None,
) -> Optimizer:
    """The optimiser of this name with its default settings.

    Parameters
    ----------
    name
        One of `OPTIMIZERS`.
    model, rate_factor, average
        See `Optimizer`.
    weight_decay
        See `AdamW`. The others have none: for them it is not looked at.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest one is suggested.
    """
    check_choice("optimizer", name, OPTIMIZERS)
    if name == "adamw" and weight_decay is not None:
        return AdamW(model, rate_factor=rate_factor, average=average, weight_decay=weight_decay)
    return OPTIMIZERS[name](model, rate_factor=rate_factor, average=average)
