"""The network of a run, as it was trained."""

from __future__ import annotations

from pathlib import Path

from stn_np import models
from stn_np.data import distorted_size
from stn_np.training.checkpoint import CheckpointError, load_newest
from stn_np.training.folder import open_run
from stn_np.training.state import part_of


def load_model(run: str | Path, *, image_size: tuple[int, int] = (28, 28)) -> models.Model:
    """Build the network of a run, with the weights of its newest checkpoint.

    Parameters
    ----------
    run
        The folder that ``stn-np train`` wrote.
    image_size
        (H, W) of the training's images before they were distorted: 28 x 28 on the command line.

    Returns
    -------
    Model
        On the CPU; ``.to("gpu")`` moves it.

    Raises
    ------
    ValueError
        If it is no run folder.
    CheckpointError
        If it has no sound checkpoint, or one with other weights than its network's.
    """
    folder, config = open_run(Path(run))
    newest = load_newest(folder.checkpoints)
    try:
        weights = part_of(newest.arrays, "weights")
        model = models.build(
            config.model,
            input_shape=(1, *distorted_size(config.distortion, image_size)),
            n_classes=len(weights["classifier.bias"]),
            transform=config.transform,
            filters=config.filters,
            distortion=config.distortion,
        )
        model.load_state_dict(weights)
    except (KeyError, ValueError) as e:
        raise CheckpointError(f"{newest.path}: the checkpoint does not fit this run: {e}") from e
    return model
