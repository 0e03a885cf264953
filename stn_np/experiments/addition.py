"""MNIST addition (appendix A.1): two distorted digits in two channels, their sum as 19 classes.

The digits lie anywhere in 42 x 42, and overlap in the plane. Two transformers in parallel read and
warp both channels each; in training, each comes to follow one digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, ClassVar

import numpy as np

from stn_np.backend import Array, array_module, to_numpy
from stn_np.data import distort, distorted_size
from stn_np.experiments.classification import TRANSFORM_HELP, Classification, PictureSettings
from stn_np.experiments.experiment import Paper
from stn_np.gpu.devices import to_device
from stn_np.layers import AvgPool2d, Parallel
from stn_np.models import Model
from stn_np.models.networks import cnn, cnn_filters, fcn, fcn_localisation, fcn_units
from stn_np.training.batches import BatchOrder
from stn_np.training.evaluate import BLOCK
from stn_np.training.settings import setting
from stn_np.training.task import Data
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import FAMILIES, by_name

#: Of each digit on its own.
DISTORTION = "RTS"

#: Keeps the random numbers of the test set apart from those of others.
TEST_STREAM = 11

#: The transformers in each model.
BRANCHES = {"fcn": (), "cnn": (), "st-fcn": ("first",), "2xst-fcn": ("first", "second")}

#: Test error in % on MNIST (appendix A.1). Which column 18.5 and 19.1 belong to is from memory.
PAPER = {
    ("fcn", None): 47.7,
    ("cnn", None): 14.7,
    ("st-fcn", "affine"): 22.6,
    ("st-fcn", "projective"): 18.5,
    ("st-fcn", "tps"): 19.1,
    ("2xst-fcn", "affine"): 9.0,
    ("2xst-fcn", "projective"): 5.9,
    ("2xst-fcn", "tps"): 5.8,
}


@dataclass(frozen=True, kw_only=True)
class AdditionSettings(PictureSettings):
    """What learns to add."""

    model: str = setting(
        "2xst-fcn", "the network; 2x: two transformers in parallel", choices=BRANCHES
    )
    transform: str = setting("affine", TRANSFORM_HELP, metavar="NAME", choices=FAMILIES)
    units: int = setting(
        128, "units of a hidden layer in fcn; the other models get as many parameters", minimum=1
    )

    repeats: int = setting(1, "times that each digit stands on the left in an epoch", minimum=1)
    filters: int = setting(
        0,
        "filters of each convolution in cnn",
        minimum=0,
        shown="so many that it has as many parameters",
    )

    # While nothing is learned yet, gradients are noise: at the full rate they would throw the
    # frames off the image.
    by_data: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {"repeats": 1, "epochs": 30, "lr": 2e-3, "loc_lr_factor": 0.1},
        "digits": {"repeats": 8, "epochs": 50, "lr": 2e-3, "loc_lr_factor": 0.1},
    }


class Addition(Classification):
    """Read the sum of two digits."""

    name = "addition"
    Settings = AdditionSettings

    def data(self) -> Data:
        """Each test digit once in the left channel and once in the right one."""
        _, test = self.halves
        rng = np.random.default_rng([self.settings.test_seed, TEST_STREAM])
        other = rng.permutation(len(test.images))
        inputs = side_by_side(test.images, test.images[other], rng)
        return self.tested_on(inputs, test.labels + test.labels[other])

    def batch(self, step: int) -> tuple[Array, Array]:
        """Each digit of the batch beside any other: (N, 2, 42, 42), and their sums (N,)."""
        rows, rng = self.order[step]
        images, labels = self.train
        rows = rows % len(images)
        other = to_device(rng.integers(len(images), size=len(rows)), self.device)
        return side_by_side(images[rows], images[other], rng), labels[rows] + labels[other]

    @cached_property
    def order(self) -> BatchOrder:
        """Which digits stand on the left when; there are more pairs than digits."""
        settings, (train, _) = self.settings, self.halves
        count = len(train.images) * settings.repeats
        return BatchOrder(count, settings.batch_size, settings.seed, self.device)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The sums: 0 to 18 of ten digits."""
        return tuple(str(total) for total in range(2 * self.n_classes - 1))

    def model(self) -> Model:
        """The fully connected net has the given units; all others get as many parameters."""
        settings, dtype = self.settings, np.float32
        H, W = distorted_size(DISTORTION, self.image_size)
        shape, n_sums = (2, H, W), len(self.class_names)
        family, rng = by_name(settings.transform, (H, W)), np.random.default_rng(settings.seed)
        u, inputs = settings.units, prod(shape)
        budget = u * u + (inputs + n_sums + 2) * u + n_sums
        if settings.model == "cnn":
            filters = settings.filters or cnn_filters(shape, n_sums, budget)
            return Model("cnn", shape, **cnn(shape, filters, n_sums, rng, dtype))
        if settings.model == "fcn":
            return Model("fcn", shape, **fcn(shape, u, n_sums, rng, dtype))
        transformers = Parallel(
            **{
                name: SpatialTransformer(fcn_localisation(shape, family, rng, dtype), family)
                for name in BRANCHES[settings.model]
            }
        )
        warped = (2 * len(transformers.names), H // 2, W // 2)  # pooled, as the paper does for RTS
        u = fcn_units(prod(warped), n_sums, budget - transformers.n_parameters())
        if u < 1:
            raise ValueError(
                f"units: expected more, since the localisation nets of {settings.model} alone have "
                f"{transformers.n_parameters():,} parameters, got {settings.units}"
            )
        classifier = fcn(warped, u, n_sums, rng, dtype)
        layers = {"transformers": transformers, "pool": AvgPool2d(2), **classifier}
        return Model(settings.model, shape, **layers)

    def transformers(self, model: Any) -> dict[str, SpatialTransformer]:
        """Those in parallel, by name."""
        return {name: getattr(model.transformers, name) for name in BRANCHES[self.settings.model]}

    def paper(self) -> Paper:
        """The cell of its table."""
        settings = self.settings
        transform = settings.transform if BRANCHES[settings.model] else None
        error = PAPER.get((settings.model, transform)) if settings.data == "mnist" else None
        if error is None:
            return Paper(None, "its table has MNIST only, with affine, projective and tps")
        n_steps = self.order.per_epoch * settings.epochs
        why = "the paper does not say how it was trained; this is one run of "
        return Paper(error, f"{why}{n_steps:,} iterations of {settings.optimizer}")

    def figures(self, model: Any) -> dict[str, Any]:
        """How far each transformer specialises: in % of the test images, which digit it frames.

        It frames the digit whose centre of ink it brings nearer to where it usually (in the median)
        shows that digit's. One whose frames are off the image frames neither.
        """
        inputs, framed = self.data().inputs, {}
        for name, transformer in self.transformers(model).items():
            blocks = range(0, len(inputs), BLOCK)
            V = [to_numpy(transformer(inputs[k : k + BLOCK], needs_dx=False)[0]) for k in blocks]
            left, right = (from_the_usual(c) for c in ink_centres(np.concatenate(V)).swapaxes(0, 1))
            shares = {"left": left < right, "right": right < left}
            framed[name] = {side: 100 * float(which.mean()) for side, which in shares.items()}
        return {"frames": framed} if framed else {}

    def stem(self, *about: str) -> str:
        """With the experiment's name."""
        return f"addition-{super().stem(*about)}"

    @classmethod
    def title(cls, config: Mapping[str, Any]) -> str:
        """With the experiment's name."""
        return f"{super().title(config)}, addition"

    @classmethod
    def summary(cls, results: Mapping[str, Any]) -> list[tuple[str, str]]:
        """With the share of test images in which each transformer frames either digit."""
        lines = [
            f"{name}: left {share['left']:.0f} %, right {share['right']:.0f} % of the images"
            for name, share in results.get("frames", {}).items()
        ]
        return [*super().summary(results), *([("frames", "\n".join(lines))] if lines else [])]


def ink_centres(images: Array) -> Array:
    """Of each channel of images (N, C, H, W) the centre of its ink as (x, y), in pixels: (N, C, 2).

    NaN where there is none.
    """
    H, W = images.shape[2:]
    ink = images.sum(axis=(2, 3), dtype=np.float64)
    with np.errstate(invalid="ignore"):
        x = images.sum(axis=2, dtype=np.float64) @ np.arange(W) / ink
        y = images.sum(axis=3, dtype=np.float64) @ np.arange(H) / ink
    return np.stack([x, y], axis=2)


def from_the_usual(places: Array) -> Array:
    """How far each of some places (N, 2) is from their median; NaN is infinitely far."""
    known = np.isfinite(places).all(axis=1)
    distance = np.full(len(places), np.inf)
    if known.any():
        usual = np.median(places[known], axis=0)
        distance[known] = np.linalg.norm(places[known] - usual, axis=1)
    return distance


def side_by_side(left: Array, right: Array, rng: np.random.Generator) -> Array:
    """Digits (N, 1, H, W) twice, each distorted on its own, as channels: (N, 2, H', W')."""
    channels = [distort(digits, DISTORTION, rng) for digits in (left, right)]
    both: Array = array_module(left=left).concatenate(channels, axis=1)
    return both
