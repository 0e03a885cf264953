"""Names of version 0.1 that moved: importable in this version, with a DeprecationWarning."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: Old module to new one.
MODULES = {
    "stn_np.cuda_graph": "stn_np.gpu.graph",
    "stn_np.devices": "stn_np.gpu.devices",
    "stn_np.launcher": "stn_np.gpu.launcher",
    "stn_np.layers.module": "stn_np.module",
    "stn_np.matrix_product": "stn_np.gpu.matmul",
    "stn_np.transforms.affine_natural": "stn_np.transforms.groups.affine_natural",
    "stn_np.transforms.log_scale": "stn_np.transforms.groups.log_scale",
}

#: Module and name that it had, to the module that has it now.
NAMES = {
    ("stn_np.backend", "keep_freed_memory"): "stn_np.training.memory",
    ("stn_np.backend", "to_device"): "stn_np.gpu.devices",
    ("stn_np.layers.memory_order", "elementwise"): "stn_np.gpu.memory_order",
    ("stn_np.layers.memory_order", "memory_axes"): "stn_np.gpu.memory_order",
    ("stn_np.transforms.groups", "Group"): "stn_np.transforms.groups.group",
    ("stn_np.transforms.groups", "PairBackward"): "stn_np.transforms.groups.group",
    ("stn_np.transforms.similarity", "proportion"): "stn_np.transforms.target_grid",
    ("stn_np.transforms.target_grid", "remember"): "stn_np.gpu.constants",
}


class _Renamed(MetaPathFinder, Loader):
    """Finds an old name when nothing else does, and hands out the new module."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for the old names only."""
        return ModuleSpec(name, self) if name in MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module under its new name, and a word about it."""
        new = MODULES[spec.name]
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        return importlib.import_module(new)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run. Python has just told the module its old name: undo that."""
        module.__spec__ = importlib.machinery.PathFinder.find_spec(
            module.__name__, importlib.import_module(module.__name__.rpartition(".")[0]).__path__
        )


def _found(module: str, name: str) -> Any:
    """What left a module, asked for under its old name."""
    if (module, name) not in NAMES:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    new = NAMES[module, name]
    warnings.warn(f"{module}.{name} is now {new}.{name}", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(new), name)


def install() -> None:
    """Once, when the package is imported; behind all other finders."""
    for module, _ in NAMES:
        vars(importlib.import_module(module))["__getattr__"] = partial(_found, module)
    if not any(isinstance(finder, _Renamed) for finder in sys.meta_path):
        sys.meta_path.append(_Renamed())
