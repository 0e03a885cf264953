"""Distorted MNIST (section 4.1, appendix A.4): the paper's four models on distorted digits.

Also on the embedded digits, and on folders of one's own pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from stn_np import data, models
from stn_np.backend import Array
from stn_np.data.distortions import KINDS
from stn_np.experiments.classification import TRANSFORM_HELP, Classification, PictureSettings
from stn_np.experiments.upright import middle_half, remaining_angles
from stn_np.training.evaluate import in_blocks
from stn_np.training.settings import setting
from stn_np.training.task import Data
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import FAMILIES

#: The distortions that turn pictures by maps that are known.
TURNING = ("R", "RTS")


@dataclass(frozen=True, kw_only=True)
class DistortedDigitsSettings(PictureSettings):
    """How the digits are distorted, and what learns to read them."""

    distortion: str = setting(
        "R",
        "R turns by up to 90 degrees; RTS turns, scales and moves; P shows in perspective; E "
        "bends; TC moves and adds pieces of other digits",
        choices=KINDS,
        group="data",
    )
    model: str = setting(
        "st-cnn", "the network; st- is with a spatial transformer", choices=models.NAMES
    )
    transform: str = setting("affine", TRANSFORM_HELP, metavar="NAME", choices=FAMILIES)
    filters: int = setting(
        64, "filters in st-cnn; the other models get as many parameters", minimum=1
    )

    by_data: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnist": {
            "transform": "affine",
            "filters": 64,
            "epochs": 26,
            "batch_size": 256,
            "lr": 6e-3,
            "loc_lr_factor": 2.0,
            "label_smoothing": 0.1,
            "average": 0.999,
        },
        # On so few images the six numbers of an affine map learn to turn the digits from some seeds
        # only, the four of a similarity did from all that were tried. Chosen on held-out training
        # digits, see benchmarks/digits_recipe.py.
        "digits": {
            "transform": "similarity",
            "filters": 32,
            "epochs": 25,
            "batch_size": 32,
            "loc_lr_factor": 2.0,
            "label_smoothing": 0.1,
            "average": 0.99,
        },
    }


class DistortedDigits(Classification):
    """Read distorted digits."""

    name = "distorted-digits"
    Settings = DistortedDigitsSettings
    no_figure = "its table has MNIST only, and not every setting"

    def data(self) -> Data:
        """Test images that are distorted once and for all."""
        return self._tested

    @cached_property
    def _tested(self) -> Data:
        settings, (_, test) = self.settings, self.halves
        test = data.fixed_test_set(test, settings.distortion, settings.test_seed)
        return self.tested_on(test.images, test.labels)

    def batch(self, step: int) -> tuple[Array, Array]:
        """Freshly distorted images (N, C, H', W') and their labels (N,)."""
        rows, rng = self.order[step]
        images, labels = self.train
        return data.distort(images[rows], self.settings.distortion, rng), labels[rows]

    def model(self) -> models.Model:
        """One of the paper's four."""
        settings = self.settings
        return models.build(
            settings.model,
            input_shape=(
                self.channels,
                *data.distorted_size(settings.distortion, self.image_size),
            ),
            n_classes=self.n_classes,
            transform=settings.transform,
            filters=settings.filters,
            distortion=settings.distortion,
            seed=settings.seed,
        )

    def transformers(self, model: Any) -> dict[str, SpatialTransformer]:
        """The first layer, where it is one."""
        return {} if model.transformer is None else {"transformer": model.transformer}

    def paper_error(self) -> float | None:
        """The cell of table 1."""
        settings = self.settings
        return paper_error(settings.data, settings.distortion, settings.model, self.transform)

    @staticmethod
    def why_different(n_steps: int, optimizer: str) -> str:
        """Less training, and smaller models."""
        return (
            "the paper's is the mean of three runs of 150,000 iterations of SGD, with models of "
            "about twice as many parameters (400,000, if we remember rightly); this is one run of "
            f"{n_steps:,} iterations of {optimizer}"
        )

    def facts(self) -> dict[str, Any]:
        """Data, distortion and model."""
        return {**super().facts(), "distortion": self.settings.distortion}

    def figures(self, model: Any) -> dict[str, Any]:
        """How wide the middle half of the pictures' angles is, before the transformer and after it.

        In degrees; only where the distortion turns, and by a map that is known.
        """
        settings, (_, test) = self.settings, self.halves
        if model.transformer is None or settings.distortion not in TURNING:
            return {}
        transformer, inputs = model.transformer, self.data().inputs
        theta = in_blocks(transformer.theta, inputs)
        size, out_size = self.image_size, (inputs.shape[2], inputs.shape[3])
        maps = data.fixed_test_theta(
            len(test.images), settings.distortion, settings.test_seed, size
        )
        unturned = np.tile(transformer.transform.identity, (len(theta), 1))
        before, after = (
            middle_half(remaining_angles(transformer.transform, t, maps, out_size, size))
            for t in (unturned, theta)
        )
        return {"angles": {"before": before, "after": after}}

    def stem(self, *about: str) -> str:
        """With the distortion."""
        return super().stem(self.settings.distortion, *about)

    def headline(self) -> str:
        """How many images, distorted how."""
        return f"{super().headline()}, distortion {self.settings.distortion}"

    @classmethod
    def summary(cls, results: Mapping[str, Any]) -> list[tuple[str, str]]:
        """With the distortion. Results of version 0.1 do not say why the figures differ."""
        none = results["paper_error"] is None
        why = cls.no_figure if none else cls.why_different(results["steps"], results["optimizer"])
        rows = super().summary({"paper_why": why, **results})
        rows.insert(1, ("distortion", results["distortion"]))
        if angles := results.get("angles"):
            text = f"middle half {angles['before']:.0f}° → {angles['after']:.0f}°"
            rows.append(("angles", text))
        return rows

    @classmethod
    def title(cls, config: Mapping[str, Any]) -> str:
        """With the distortion."""
        return f"{super().title(config)}, distortion {config['distortion']}"


_COLUMNS = ("R", "RTS", "P", "E", "TC")

#: Table 1 (section 4.1), and at the end of some rows the error of TC (appendix A.4). The paper does
#: not say with which transform those of TC were reached: to list them with affine is our decision.
_ROWS: dict[tuple[str, str], tuple[float, ...]] = {
    ("fcn", "none"): (2.1, 5.2, 3.1, 3.2, 13.2),
    ("cnn", "none"): (1.2, 0.8, 1.5, 1.4, 3.5),
    ("st-fcn", "affine"): (1.2, 0.8, 1.5, 2.7, 2.0),
    ("st-fcn", "projective"): (1.3, 0.9, 1.4, 2.6),
    ("st-fcn", "tps"): (1.1, 0.8, 1.4, 2.4),
    ("st-cnn", "affine"): (0.7, 0.5, 0.8, 1.2, 1.7),
    ("st-cnn", "projective"): (0.8, 0.6, 0.8, 1.3),
    ("st-cnn", "tps"): (0.7, 0.5, 0.8, 1.1),
}


def paper_error(name: str, distortion: str, model: str, transform: str | None) -> float | None:
    """The paper's test error in %, mean of three seeds, or None where it has none.

    Parameters
    ----------
    name
        Of the data set; the paper's table is of "mnist" only.
    distortion, model
        As on the command line.
    transform
        Name of the transform, None for a model without one.
    """
    if name != "mnist" or distortion not in _COLUMNS:
        return None
    errors = _ROWS.get((model, transform or "none"), ())
    return dict(zip(_COLUMNS, errors, strict=False)).get(distortion)
