"""Experiments, one file each, and their registry."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from stn_np.checks import check_choice
from stn_np.data.dataset import expanded
from stn_np.experiments.experiment import Experiment, Paper
from stn_np.module import Module
from stn_np.training.checkpoint import CheckpointError, load_newest, part_of
from stn_np.training.folder import RunFolder, find_run, read_settings

#: Every experiment: its name on the command line, the file below this folder, and its class.
EXPERIMENTS: dict[str, tuple[str, str]] = {
    "distorted-digits": ("distorted_digits", "DistortedDigits"),
    "addition": ("addition", "Addition"),
    "volumes": ("volumes", "Volumes"),
    "recurrent": ("recurrent", "Recurrent"),
}

#: What ``stn-np train`` trains by itself, and what runs of version 0.1 are.
DEFAULT = "distorted-digits"


def by_name(name: str) -> type[Experiment]:
    """The class of an experiment, imported only now.

    Raises
    ------
    ValueError
        If there is none of this name; the nearest one is suggested.
    """
    check_choice("experiment", name, EXPERIMENTS)
    module, kind = EXPERIMENTS[name]
    found: type[Experiment] = getattr(importlib.import_module(f"{__name__}.{module}"), kind)
    return found


def open_run(path: str | Path) -> tuple[RunFolder, type[Experiment], Any]:
    """An existing run: its folder, its experiment's class, and its settings.

    Raises
    ------
    ValueError, TypeError
        If it is no run folder, or its settings cannot be understood.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"run: expected the path of a run's folder, got {path!r}")
    folder, found = find_run(expanded(path))
    name = found.pop("experiment", DEFAULT)
    try:
        kind = by_name(name)
    except (TypeError, ValueError) as e:
        raise ValueError(f"{folder.config}: {e}") from e
    return folder, kind, read_settings(folder.config, found, kind.Settings)


def load_model(run: str | Path) -> Module:
    """Build the network of a run, with the weights of its newest checkpoint.

    Parameters
    ----------
    run
        The folder that ``stn-np train`` wrote.

    Returns
    -------
    Module
        On the CPU; ``.to("gpu")`` moves it.

    Raises
    ------
    ValueError
        If it is no run folder.
    CheckpointError
        If it has no sound checkpoint, or one with other weights than its network's.
    """
    folder, kind, settings = open_run(run)
    newest = load_newest(folder.checkpoints)
    model = kind(settings).model()
    try:
        model.load_state_dict(part_of(newest.arrays, "weights"))
    except ValueError as e:
        raise CheckpointError(f"{newest.path}: the checkpoint does not fit this run: {e}") from e
    return model


__all__ = ["DEFAULT", "EXPERIMENTS", "Experiment", "Paper", "by_name", "load_model", "open_run"]
