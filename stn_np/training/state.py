"""The whole state of a training as named arrays, and back: what a checkpoint holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from stn_np.backend import Array, to_numpy
from stn_np.training.checkpoint import CheckpointError
from stn_np.training.config import TrainConfig
from stn_np.training.loop import METRICS, Trainer


def state_of(trainer: Trainer) -> dict[str, Array]:
    """Everything that later steps and the run's files depend on.

    Returns
    -------
    dict of str to Array
        config (the settings as JSON), step, sums and rows as in `Trainer`, and below
        ``weights/``, ``optimizer/`` and ``frames/`` the state of those. NumPy's, wherever the
        training runs, so that it can go on elsewhere.

    Raises
    ------
    DivergedError
        If a GPU has gone on with numbers that are not finite.
    """
    trainer.look()
    parts: dict[str, Mapping[str, Array]] = {
        "weights": {name: to_numpy(x) for name, x in trainer.model.state_dict().items()},
        "optimizer": trainer.optimizer.state_dict(),
        "frames": trainer.frames.state_dict() if trainer.frames is not None else {},
    }
    return {
        "config": np.array(json.dumps(trainer.config.identity())),
        "step": np.array(trainer.step, dtype=np.int64),
        "sums": trainer.sums,
        "rows": np.array(trainer.rows, dtype=np.float64).reshape(-1, len(METRICS)),
        **{f"{part}/{name}": x for part, arrays in parts.items() for name, x in arrays.items()},
    }


def restore(trainer: Trainer, state: Mapping[str, Array]) -> None:
    """Put a training into a state, so that it goes on as if it had never stopped.

    Parameters
    ----------
    trainer
        Of the same settings.
    state
        From `state_of`.

    Raises
    ------
    CheckpointError
        If it is the state of another run, or not of a run at all.
    """
    try:
        _check_same_run(trainer.config, json.loads(str(state["config"])))
        trainer.model.load_state_dict(part_of(state, "weights"))
        trainer.weights_changed()
        trainer.optimizer.load_state_dict(part_of(state, "optimizer"))
        if trainer.frames is not None:
            trainer.frames.load_state_dict(part_of(state, "frames"))
        trainer.go_to(
            int(state["step"]),
            state["sums"],
            [[float(value) for value in row] for row in state["rows"]],
        )
    except (KeyError, ValueError) as e:
        raise CheckpointError(f"the checkpoint does not fit this run: {e}") from e


def _check_same_run(config: TrainConfig, saved: dict[str, Any]) -> None:
    """The settings must be those that the checkpoint was made with."""
    for name, value in config.identity().items():
        if saved[name] != value:
            raise CheckpointError(
                f"the checkpoint was made with {name} {saved[name]!r}, "
                f"but the run's config.json says {value!r}"
            )


def part_of(state: Mapping[str, Array], part: str) -> dict[str, Array]:
    """The entries of a state below one prefix, without it."""
    prefix = f"{part}/"
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
