"""MNIST addition (appendix A.1): two distorted digits in two channels, their sum as 19 classes.

The digits lie anywhere in 42 x 42, and overlap in the plane; "left" is channel 0, "right" is 1. Two
transformers in parallel read and warp both channels each, which makes four channels. In training
each of the two comes to follow one digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from stn_np.backend import Array, array_module
from stn_np.data import distort, distorted_size
from stn_np.experiments.classification import TRANSFORM_HELP, Classification, PictureSettings
from stn_np.gpu.devices import to_device
from stn_np.layers import AvgPool2d, Parallel
from stn_np.models import Model
from stn_np.models.networks import cnn, cnn_filters, fcn, fcn_localisation, fcn_units
from stn_np.training.evaluate import in_blocks
from stn_np.training.settings import setting
from stn_np.training.task import Data
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import FAMILIES, by_name

DISTORTION = "RTS"  # of each digit on its own
TEST_STREAM = 11  # keeps the random numbers of the test set apart from those of others

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
        0, "filters of each convolution in cnn", minimum=0, shown="as many parameters as the others"
    )

    # loc_lr_factor 0.1: while nothing is learned yet, gradients are noise. At the full rate they
    # would throw the transformers off the image.
    by_data: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {"repeats": 1, "epochs": 60, "lr": 2e-3, "loc_lr_factor": 0.1},
        "digits": {"repeats": 8, "epochs": 50, "lr": 2e-3, "loc_lr_factor": 0.1},
    }
    grey_only = "addition is of"


class Addition(Classification):
    """Read the sum of two digits."""

    name = label = "addition"
    Settings = AdditionSettings
    no_figure = "its table has MNIST only, with affine, projective and tps"

    def data(self) -> Data:
        """Each test digit once in the left channel and once in the right one."""
        _, test = self.halves
        rng = np.random.default_rng([self.settings.test_seed, TEST_STREAM])
        other = rng.permutation(len(test.images))
        inputs = as_channels(test.images, test.images[other], rng)
        return self.tested_on(inputs, test.labels + test.labels[other])

    def batch(self, step: int) -> tuple[Array, Array]:
        """Each digit of the batch beside any other: (N, 2, 42, 42), and their sums (N,)."""
        rows, rng = self.order[step]
        images, labels = self.train
        rows = rows % len(images)  # each digit comes `repeats` times
        other = to_device(rng.integers(len(images), size=len(rows)), self.device)
        return as_channels(images[rows], images[other], rng), labels[rows] + labels[other]

    @property
    def epoch_size(self) -> int:
        """There are more pairs than digits."""
        return super().epoch_size * int(self.settings.repeats)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The sums: 0 to 18 of ten digits."""
        return tuple(str(total) for total in range(2 * self.n_classes - 1))

    def model(self) -> Model:
        """The fully connected net has the given units; all others get as many parameters."""
        settings, sums, dtype = self.settings, len(self.class_names), np.float32
        size = distorted_size(DISTORTION, self.image_size)
        shape, u = (2, *size), settings.units
        rng = np.random.default_rng(settings.seed)
        budget = u * u + (prod(shape) + sums + 2) * u + sums  # parameters of fcn with u units
        if settings.model == "fcn":
            return Model("fcn", shape, **fcn(shape, u, sums, rng, dtype))
        if settings.model == "cnn":
            filters = settings.filters or cnn_filters(shape, sums, budget)
            return Model("cnn", shape, **cnn(shape, filters, sums, rng, dtype))
        family, branches = by_name(settings.transform, size), {}
        for name in BRANCHES[settings.model]:
            localisation = fcn_localisation(shape, family, rng, dtype)
            branches[name] = SpatialTransformer(localisation, family)
        transformers = Parallel(**branches)
        warped = (2 * len(branches), size[0] // 2, size[1] // 2)  # pooled, as for RTS in table 1
        left_over = fcn_units(prod(warped), sums, budget - transformers.n_parameters())
        if left_over < 1:
            raise ValueError(
                f"units: expected more, since the localisation nets of {settings.model} alone have "
                f"{transformers.n_parameters():,} parameters, got {settings.units}"
            )
        layers = {"transformers": transformers, "pool": AvgPool2d(2)}
        return Model(settings.model, shape, **layers, **fcn(warped, left_over, sums, rng, dtype))

    def transformers(self, model: Any) -> dict[str, SpatialTransformer]:
        """Those in parallel, by name."""
        return {name: getattr(model.transformers, name) for name in BRANCHES[self.settings.model]}

    def paper_error(self) -> float | None:
        """The cell of its table."""
        settings = self.settings
        return PAPER.get((settings.model, self.transform)) if settings.data == "mnist" else None

    def figures(self, model: Any) -> dict[str, Any]:
        """How far each transformer specialises: in % of the test images, which digit it frames."""
        inputs, named = self.data().inputs, self.transformers(model)
        frames = {name: framed(transformer, inputs) for name, transformer in named.items()}
        return {"frames": frames} if frames else {}

    @classmethod
    def summary(cls, results: Mapping[str, Any]) -> list[tuple[str, str]]:
        """With the share of test images in which each transformer frames either digit."""
        lines = [
            f"{name}: left {share['left']:.0f} %, right {share['right']:.0f} % of the images"
            for name, share in results.get("frames", {}).items()
        ]
        return [*super().summary(results), *([("frames", "\n".join(lines))] if lines else [])]


def framed(transformer: SpatialTransformer, inputs: Array) -> dict[str, float]:
    """In % of the images, whether a transformer frames the left or the right channel's digit.

    Each digit has a usual place in the outputs: the median of its centres of ink. The transformer
    frames the digit that is nearer to its usual place; neither, if it looks off the image.
    """
    centres = ink_centres(in_blocks(lambda U: transformer(U, needs_dx=False)[0], inputs))
    known = np.ma.masked_invalid(centres)
    usual = np.ma.median(known, axis=0).filled(0)  # type: ignore[no-untyped-call]
    away = np.nan_to_num(np.linalg.norm(centres - usual, axis=2), nan=np.inf)  # (N, 2)
    shares = {"left": away[:, 0] < away[:, 1], "right": away[:, 1] < away[:, 0]}
    return {side: 100 * float(which.mean()) for side, which in shares.items()}


def ink_centres(images: Array) -> Array:
    """Centres of ink (x, y), in pixels, of images (N, C, H, W): (N, C, 2); NaN where is none."""
    H, W = images.shape[2:]
    ink = images.astype(np.float64)
    with np.errstate(invalid="ignore"):
        ink /= ink.sum(axis=(2, 3), keepdims=True)
    return np.stack([ink.sum(axis=2) @ np.arange(W), ink.sum(axis=3) @ np.arange(H)], axis=2)


def as_channels(left: Array, right: Array, rng: np.random.Generator) -> Array:
    """Two batches of digits (N, 1, H, W), each distorted on its own, to (N, 2, H', W')."""
    channels = [distort(digits, DISTORTION, rng) for digits in (left, right)]
    both: Array = array_module(left=left).concatenate(channels, axis=1)
    return both
