"""Parameters on a GPU in one piece of memory: one launch goes over all of them.

A small array takes a GPU no less time than a large one. A network has a dozen arrays of parameters,
and an update passes over each of them a dozen times: done one by one, that is most of a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stn_np.backend import Array, array_module
from stn_np.module import Parameter

#: Every parameter begins at a multiple of so many bytes, like memory of its own: the matrix
#: product chooses its way by it.
ALIGNMENT = 256


class Part(NamedTuple):
    """What an update goes over in one pass: arrays of one shape.

    Attributes
    ----------
    factor : float
        On the learning rate.
    data, grad : Array
        The parameters and their gradient.
    state : tuple of Array
        What the optimiser keeps about them.
    """

    factor: float
    data: Array
    grad: Array
    state: tuple[Array, ...]


class Flat:
    """Parameters of one dtype, moved into two arrays: values and gradients.

    ``data`` and ``grad`` of every parameter become views into these.

    Parameters
    ----------
    named
        The parameters by name.
    factors
        By the parameters' names. Those with the same factor lie next to each other.
    slots
        Names of the state arrays, which are laid out in the same way.

    Attributes
    ----------
    grad : Array
        (n,). Between two parameters may be a few zeros, which stay zero.
    views : dict of str to Array
        The state of each parameter, in its shape, as "slot/name".
    parts : list of Part
        One for each factor.
    """

    def __init__(
        self,
        named: Sequence[tuple[str, Parameter]],
        factors: Mapping[str, float],
        slots: Sequence[str],
    ) -> None:
        first = named[0][1].data
        xp, dtype = array_module(parameter=first), first.dtype
        step = ALIGNMENT // dtype.itemsize
        places: dict[str, slice] = {}
        groups: list[tuple[float, slice]] = []
        end = 0
        for factor in dict.fromkeys(factors[name] for name, _ in named):
            begin = end
            for name, p in named:
                if factors[name] == factor:
                    places[name] = slice(end, end + p.data.size)
                    end += -(-p.data.size // step) * step
            groups.append((factor, slice(begin, end)))
        data, self.grad = xp.zeros(end, dtype), xp.zeros(end, dtype)
        state = {slot: xp.zeros(end, dtype) for slot in slots}
        self.views: dict[str, Array] = {}
        for name, p in named:
            p.data = _moved(p.data, data[places[name]])
            p.grad = _moved(p.grad, self.grad[places[name]])
            for slot in slots:
                self.views[f"{slot}/{name}"] = state[slot][places[name]].reshape(p.data.shape)
        self.parts = [
            Part(factor, data[group], self.grad[group], tuple(state[slot][group] for slot in slots))
            for factor, group in groups
        ]
        self._views = [(name, p, p.data, p.grad) for name, p in named]

    def check(self) -> None:
        """Refuse to go on with arrays that the network no longer uses.

        Raises
        ------
        ValueError
            If a parameter was given another array, as `Module.to` does.
        """
        for name, p, data, grad in self._views:
            if p.data is not data or p.grad is not grad:
                raise moved_too_late(name)


def moved_too_late(name: str) -> ValueError:
    """A parameter is elsewhere than when its optimiser was made."""
    return ValueError(
        f"{name}: it was moved or replaced after the optimiser was made; "
        "move the model first, and make the optimiser then"
    )


def _moved(x: Array, memory: Array) -> Array:
    """The same array in other memory (x.size,)."""
    view = memory.reshape(x.shape)
    view[...] = x
    return view


def flattened(
    named: Sequence[tuple[str, Parameter]], factors: Mapping[str, float], slots: Sequence[str]
) -> list[Flat]:
    """All parameters, in one `Flat` for each dtype."""
    by_dtype: dict[object, list[tuple[str, Parameter]]] = {}
    for name, p in named:
        by_dtype.setdefault(p.data.dtype, []).append((name, p))
    return [Flat(same, factors, slots) for same in by_dtype.values()]
