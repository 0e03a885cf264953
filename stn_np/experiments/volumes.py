"""Digits in volumes (appendix A.3): a plate with a digit, turned and moved in 3-D, read from ahead.

What is classified is the volume's projection: its sum over depth. A 3-D affine transformer before
it can turn the plate to the front; only the digit's class is ever told to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from stn_np.backend import Array, OptionalBackward, array_module
from stn_np.experiments.classification import Classification, PictureSettings
from stn_np.gpu.devices import to_device
from stn_np.layers import Sequential
from stn_np.models import Model
from stn_np.models.networks import cnn, cnn_filters, cnn_localisation, cnn_size
from stn_np.module import Module, Training
from stn_np.sampling import grid_sample
from stn_np.training.settings import setting
from stn_np.training.task import Data
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import Affine3d

TEST_STREAM = 12  # keeps the random numbers of the test set apart from those of others
N_TESTED = 2000  # digits: as volumes, ten thousand would take gigabytes
LARGEST = 64  # side of a volume, in voxels

BLOCK = 64  # volumes that are made at a time

#: Half the side and half the thickness of a plate, and how far its centre is moved along each axis
#: at most; the volume reaches from -1 to 1.
SIDE, THICKNESS, SHIFT = 0.85, 0.12, 0.25
#: Largest turn about each axis, in radians.
TURN = np.pi / 3


@dataclass(frozen=True, kw_only=True)
class VolumesSettings(PictureSettings):
    """How large the volumes are, and what learns to read them."""

    size: int = setting(
        32, "side of a volume, in voxels; the paper has 60", minimum=28, group="data"
    )
    model: str = setting(
        "st-cnn",
        "the network behind the projection; st- is with a 3-D transformer before it",
        choices=("cnn", "st-cnn"),
    )
    filters: int = setting(32, "filters in st-cnn; cnn gets as many parameters", minimum=1)

    by_data: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {"epochs": 8, "batch_size": 64, "average": 0.999},
        "digits": {"epochs": 40, "batch_size": 32, "average": 0.99},
    }
    grey_only = "volumes are of"

    @classmethod
    def check_given(cls, given: Mapping[str, Any], label: Callable[[str], str] = str) -> None:
        """The test set has to fit into memory: 2 GB at the largest size."""
        super().check_given(given, label)
        if (size := given.get("size", 0)) > LARGEST:
            raise ValueError(f"{label('size')}: expected at most {LARGEST}, got {size}")


class Volumes(Classification):
    """Read digits that stand askew in a volume."""

    name = label = "volumes"
    Settings = VolumesSettings
    no_figure = "it shows pictures, and no errors"

    def data(self) -> Data:
        """The first test digits, each as a volume that is made once and for all."""
        return self._tested

    @cached_property
    def _tested(self) -> Data:
        _, test = self.halves
        rng = np.random.default_rng([self.settings.test_seed, TEST_STREAM])
        images = to_device(test.images[:N_TESTED], self.device)
        return self.tested_on(askew(images, self.settings.size, rng), test.labels[:N_TESTED])

    def batch(self, step: int) -> tuple[Array, Array]:
        """Digits, each turned and moved anew: (N, 1, D, H, W), and their labels (N,)."""
        rows, rng = self.order[step]
        images, labels = self.train
        return askew(images[rows], self.settings.size, rng), labels[rows]

    def facts(self) -> dict[str, Any]:
        """With how many digits it is tested on, and the size of a volume."""
        return {
            **super().facts(),
            "test_images": len(self.data().inputs),
            "size": self.settings.size,
        }

    def headline(self) -> str:
        """How many digits there are."""
        train, test = self.halves
        tested = min(len(test.images), N_TESTED)
        return f"{len(train.images):,} training and {tested:,} test digits as volumes"

    @property
    def transform(self) -> str | None:
        """The family of 3-D maps, where there is a transformer."""
        return Affine3d.name if "st-" in self.settings.model else None

    def model(self) -> Model:
        """Transformer, projection, CNN; without the first one the CNN is wider instead."""
        S, classes, dtype = self.settings.size, self.n_classes, np.float32
        rng, family = np.random.default_rng(self.settings.seed), Affine3d()
        seen = (1, S, S)
        # The localisation net sees the layers of a volume as channels.
        localisation = cnn_localisation((S, S, S), family, rng, dtype)
        layers: dict[str, Module] = {}
        filters = self.settings.filters
        if self.settings.model == "st-cnn":
            reader = Sequential(channels=LayersAsChannels(), net=localisation)
            layers["transformer"] = SpatialTransformer(reader, family)
        else:
            budget = cnn_size(seen, filters, classes) + localisation.n_parameters()
            filters = cnn_filters(seen, classes, budget)
        layers["projection"] = Projection()
        layers |= cnn(seen, filters, classes, rng, dtype)
        return Model(self.settings.model, (1, S, S, S), **layers)

    def transformers(self, model: Any) -> dict[str, SpatialTransformer]:
        """The one in three dimensions, where there is one."""
        return {} if model.transformer is None else {"transformer": model.transformer}

    @classmethod
    def title(cls, config: Mapping[str, Any]) -> str:
        """Model, transform and data in one line."""
        return super().title({**config, "transform": Affine3d.name})


class Projection(Module):
    """A volume seen from ahead: the sum over depth, scaled so that a plate that faces us is 1.

    (N, C, D, H, W) to (N, C, H, W).
    """

    def __call__(
        self, x: Array, *, needs_dx: bool = True, mode: Training | None = None
    ) -> tuple[Array, OptionalBackward]:
        """Sum over depth; backward(dy) hands dy to each layer."""
        xp, scale, shape = array_module(x=x), x.dtype.type(self.scale(x.shape[2])), x.shape

        def backward(dy: Array) -> Array:
            dx: Array = xp.broadcast_to(scale * dy[:, :, None], shape)
            return dx

        return scale * x.sum(axis=2), backward

    @staticmethod
    def scale(D: int) -> float:
        """One over the layers in a plate."""
        return 1 / (THICKNESS * D)


class LayersAsChannels(Module):
    """(N, 1, D, H, W) as (N, D, H, W), for a network of pictures."""

    def __call__(
        self, x: Array, *, needs_dx: bool = True, mode: Training | None = None
    ) -> tuple[Array, OptionalBackward]:
        """The same numbers."""
        return x[:, 0], lambda dy: dy[:, None]


def askew(images: Array, size: int, rng: np.random.Generator) -> Array:
    """Digits (N, 1, H, W) as plates in volumes (N, 1, S, S, S), turned and moved at random.

    size is S, rng a generator of which the turns and shifts are drawn; the dtype is that of images.
    A voxel at p lies in the plate at R^T (p - t) / SIDE. Its first two coordinates say which place
    of the digit that is; the third whether it is within the plate, with edges of a voxel's width.
    """
    xp, N = array_module(images=images), len(images)
    turns = rng.uniform(-TURN, TURN, (N, 3))
    t = rng.uniform(-SHIFT, SHIFT, (N, 3, 1))
    RT = rotations(turns).transpose(0, 2, 1)
    theta = xp.asarray(np.concatenate([RT, -RT @ t], axis=2).reshape(N, 12).astype(images.dtype))
    volumes: Array = xp.empty((N, 1, size, size, size), images.dtype)
    for start in range(0, N, BLOCK):  # on the way there are ten numbers for each voxel
        part = slice(start, start + BLOCK)
        points, _ = Affine3d()(theta[part], (size, size, size))
        x_y = (points[..., :2] / images.dtype.type(SIDE)).reshape(-1, size * size, size, 2)
        digits, _ = grid_sample(images[part], x_y, needs_dU=False)
        within = xp.clip((THICKNESS - abs(points[..., 2])) * (size - 1) / 2 + 0.5, 0, 1)
        volumes[part] = digits.reshape(-1, 1, size, size, size) * within[:, None]
    return volumes


def rotations(turns: Array) -> Array:
    """Turns (N, 3) about the x, y and z axes, in radians and in this order: (N, 3, 3)."""
    R = np.tile(np.eye(3), (len(turns), 1, 1))
    for axis, angle in enumerate(turns.T):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        one = np.tile(np.eye(3), (len(turns), 1, 1))
        one[:, a, a] = one[:, b, b] = np.cos(angle)
        one[:, a, b], one[:, b, a] = -np.sin(angle), np.sin(angle)
        R = one @ R
    return R
