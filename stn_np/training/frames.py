"""What the transformer does with the same few test digits, recorded after every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stn_np.backend import Array, to_device_of, to_numpy

if TYPE_CHECKING:
    from stn_np.models import Model

#: How many digits are followed.
N_DIGITS = 20


def choose(labels: Array, count: int = N_DIGITS) -> Array:
    """Indices of the digits to follow: the first of each class, then the second of each, ...

    Parameters
    ----------
    labels
        (N,), the class of each test image.
    count
        How many; fewer if there are not so many images.
    """
    by_class = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    longest = max(map(len, by_class))
    order = [rows[i] for i in range(longest) for rows in by_class if i < len(rows)]
    return np.array(order[:count])


class Frames:
    """The record: one entry before training and one after each epoch.

    Parameters
    ----------
    images, labels
        (M, 1, H, W) distorted test digits, and (M,) their classes; NumPy's, as all that is kept.
    transform
        The name of the transform.
    """

    _RECORDED = ("thetas", "warped", "predictions")

    def __init__(self, images: Array, labels: Array, transform: str) -> None:
        self.images = images
        self.labels = labels
        self.transform = transform
        self._record: dict[str, list[Array]] = {name: [] for name in self._RECORDED}

    def record(self, model: Model) -> None:
        """Add what the model does now."""
        transformer = model.transformer
        if transformer is None:
            raise ValueError("model: expected one with a spatial transformer, got one without")
        images = to_device_of(self.images, model.parameters()[0].data)
        warped, _ = transformer(images, needs_dx=False)
        logits, _ = model(images, needs_dx=False)
        now = (transformer.theta(images), warped, logits.argmax(axis=1))
        for name, value in zip(self._RECORDED, now, strict=True):
            self._record[name].append(to_numpy(value).copy())

    def state_dict(self) -> dict[str, Array]:
        """The recorded arrays, epochs first."""
        return {name: np.stack(entries) for name, entries in self._record.items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over what `state_dict` returned."""
        for name in self._RECORDED:
            self._record[name] = list(state[name])

    def arrays(self) -> dict[str, Any]:
        """Everything that the pictures need.

        Returns
        -------
        dict
            images (M, 1, H, W) and labels (M,); epochs (E + 1,), counted from 0 = untrained; and
            with them as first axis predictions (E + 1, M), thetas (E + 1, M, n_params) and warped
            (E + 1, M, 1, H', W'), float32 in [0, 1]; transform, a string.
        """
        recorded = self.state_dict()
        return {
            "images": self.images,
            "labels": self.labels,
            "epochs": np.arange(len(recorded["thetas"])),
            "transform": np.array(self.transform),
            **recorded,
        }
