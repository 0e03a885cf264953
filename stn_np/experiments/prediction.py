"""What a trained run says of pictures of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stn_np.data.folder import load_pictures
from stn_np.experiments import load_model, open_run
from stn_np.experiments.distorted_digits import DistortedDigits
from stn_np.training.frames import Frames
from stn_np.training.storage import read_json


class Prediction(NamedTuple):
    """What a model says of M pictures.

    Attributes
    ----------
    inputs : NDArray
        (M, C, H, W), what it reads.
    classes : NDArray of int64
        (M,).
    probabilities : NDArray
        (M, n_classes).
    class_names : list of str
        By number; the numbers themselves if the run is not finished.
    theta : NDArray or None
        (M, n_params) of the transformer, if there is one.
    frames : dict or None
        As `stn_np.training.frames.Frames.arrays`, of one moment; for pictures of the frames.
    """

    inputs: NDArray[Any]
    classes: NDArray[np.int64]
    probabilities: NDArray[Any]
    class_names: list[str]
    theta: NDArray[Any] | None
    frames: dict[str, Any] | None


def predict(run: str | Path, pictures: Sequence[str | Path]) -> Prediction:
    """Classify pictures by the newest model of a run; its data are not needed.

    Parameters
    ----------
    run
        The folder of a run of distorted digits or of one's own pictures.
    pictures
        Files in any format that a folder of pictures may have. Each is brought to the run's size,
        and inverted if the run's pictures were (by a run of MNIST or the digits, if its border is
        bright), then put in the middle of what the model reads.

    Raises
    ------
    ValueError
        If it is no such run, or there are no pictures.
    DataError
        If a picture cannot be read.
    CheckpointError
        If the run has no sound checkpoint.
    """
    folder, kind, settings = open_run(run)
    if not issubclass(kind, DistortedDigits):
        wanted = "a run of distorted-digits"
        raise ValueError(f"{folder.path}: expected {wanted}, got one of {kind.name}")
    if not pictures:
        raise ValueError("pictures: expected at least one, got none")
    task, model = kind(settings), load_model(run)
    ground = {"inverted": settings.inverted, "white": settings.white}
    images = load_pictures(pictures, task.image_size, task.channels, **ground)
    inputs = _in_the_middle(images, model.input_shape[1:])  # type: ignore[attr-defined]
    transformers = task.transformers(model)
    frames = None
    logits, _ = model(inputs, needs_dx=False)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    classes = logits.argmax(axis=1)
    if transformers:
        record = Frames(inputs, classes, task.transformers, task.answers)
        record.record(model)
        frames = record.arrays()
    numbers = [*range(logits.shape[1])]
    names = read_json(folder.results).get("class_names") if folder.results.is_file() else numbers
    if not isinstance(names, list) or len(names) != len(numbers):
        names = numbers
    return Prediction(
        inputs=inputs,
        classes=classes,
        probabilities=weights / weights.sum(axis=1, keepdims=True),
        class_names=[str(name) for name in names],
        theta=None if frames is None else frames["thetas"][0],
        frames=frames,
    )


def _in_the_middle(images: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Images (M, C, h, w) in fields of zeros (M, C, H, W)."""
    (h, w), (H, W) = images.shape[2:], size
    inputs = np.zeros((*images.shape[:2], H, W), images.dtype)
    top, left = (H - h) // 2, (W - w) // 2
    inputs[:, :, top : top + h, left : left + w] = images
    return inputs
