"""What the transformers do with the same few test examples, recorded after every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from stn_np.backend import Array, OptionalBackward, to_device_of, to_numpy
from stn_np.module import Module
from stn_np.transformer import SpatialTransformer

#: Maps of more channels than a picture can show are recorded as the mean of their channels.
MAX_CHANNELS = 3


class Frames:
    """The record: one entry before training and one after each epoch.

    Parameters
    ----------
    inputs, targets
        (M, C, H, W) and (M, ...), the examples; NumPy's, as all that is kept.
    transformers
        From a model to its transformers by name, wherever they sit in it.
    answers
        From the model's outputs to what it says, (M, ...).
    """

    def __init__(
        self,
        inputs: Array,
        targets: Array,
        transformers: Callable[[Any], Mapping[str, SpatialTransformer]],
        answers: Callable[[Array], Array] = lambda outputs: outputs.argmax(axis=1),
    ) -> None:
        self.inputs = inputs
        self.targets = targets
        self._transformers = transformers
        self._answers = answers
        self._record: dict[str, list[Array]] = {}
        self._families: dict[str, str] = {}

    def record(self, model: Module) -> None:
        """Add what the model does now."""
        transformers = self._transformers(model)
        if not transformers:
            raise ValueError("model: expected one with a spatial transformer, got one without")
        inputs = to_device_of(self.inputs, model.parameters()[0].data)
        with watched(model, transformers.values()) as calls:
            outputs, _ = model(inputs, needs_dx=False)
        now: dict[str, Array] = {}
        for name, transformer in transformers.items():
            suffix = f"/{name}" if len(transformers) > 1 else ""
            U, V = calls[id(transformer)]
            now[f"thetas{suffix}"] = transformer.theta(U)
            now[f"warped{suffix}"] = _to_be_shown(V)
            if U is not inputs:  # it sits further in: what it reads is learned, too
                now[f"read{suffix}"] = _to_be_shown(U)
            self._families[f"transform{suffix}"] = transformer.transform.name
        now["predictions"] = self._answers(outputs)
        for key, value in now.items():
            self._record.setdefault(key, []).append(to_numpy(value).copy())

    def state_dict(self) -> dict[str, Array]:
        """The recorded arrays, epochs first."""
        return {name: np.stack(entries) for name, entries in self._record.items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over what `state_dict` returned."""
        for name in self._record:
            self._record[name] = list(state[name])

    def arrays(self) -> dict[str, Any]:
        """Everything that the pictures need.

        Returns
        -------
        dict
            images (M, C, H, W) and labels (M, ...), the examples; epochs (E + 1,), counted from
            0 = untrained; and with them as first axis predictions (E + 1, M, ...), thetas
            (E + 1, M, n_params) and warped (E + 1, M, C', H', W'); transform, a string. Of several
            transformers the last three are there for each, as "thetas/NAME" and so on. One that
            does not read the images themselves has read (E + 1, M, C', H, W), too. Of more than
            three channels the mean is recorded; of volumes, what `seen_from_ahead` makes of them.
        """
        recorded = self.state_dict()
        return {
            "images": _to_be_shown(self.inputs),
            "labels": self.targets,
            "epochs": np.arange(len(recorded["predictions"])),
            **{name: np.array(family) for name, family in self._families.items()},
            **recorded,
        }


def _to_be_shown(maps: Array) -> Array:
    """(M, C, H, W) as it is, or of many channels the mean, (M, 1, H, W)."""
    if maps.ndim == 5:
        maps = seen_from_ahead(maps)
    return maps if maps.shape[1] <= MAX_CHANNELS else maps.mean(axis=1, keepdims=True)


def seen_from_ahead(volumes: Array) -> Array:
    """Volumes (M, C, D, H, W) as pictures (M, C, H, W): sums over depth, the largest of each is 1.

    Where a volume is empty its picture is, too.
    """
    sums = volumes.sum(axis=2)
    most = abs(sums).max(axis=(1, 2, 3), keepdims=True)
    pictures: Array = sums / (most + (most == 0))
    return pictures


class _Watched(Module):
    """Stands in the place of a module and calls it; notes its input and output."""

    def __init__(self, module: Module, calls: dict[int, tuple[Array, Array]]) -> None:
        self.module = module
        self._calls = calls

    def __call__(
        self, x: Array, *, needs_dx: bool = True, **mode: Any
    ) -> tuple[Array, OptionalBackward]:
        y, backward = self.module(x, needs_dx=needs_dx, **mode)
        self._calls[id(self.module)] = x, y
        return y, backward


@contextmanager
def watched(model: Module, modules: Any) -> Iterator[dict[int, tuple[Array, Array]]]:
    """A context in which the calls of some sub-modules are noted, wherever they sit.

    Yields
    ------
    dict
        From a module's id to the input and the output of its last call.
    """
    calls: dict[int, tuple[Array, Array]] = {}
    stand_ins = {id(module): _Watched(module, calls) for module in modules}
    with ExitStack() as stack:
        for parent in _below(model):
            for name, part in list(vars(parent).items()):
                if id(part) in stand_ins:
                    stack.callback(setattr, parent, name, part)
                    setattr(parent, name, stand_ins[id(part)])
        yield calls


def _below(module: Module) -> list[Module]:
    """A module and all below it."""
    parts = [part for part in vars(module).values() if isinstance(part, Module)]
    return [module, *(deeper for part in parts for deeper in _below(part))]
