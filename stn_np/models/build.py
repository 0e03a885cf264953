"""The paper's networks for distorted MNIST, by name (section 4.1 and appendix A.4).

All models for one input are given about the same number of parameters: that of the ST-CNN with the
chosen number of filters. The paper's widths ("128-256 units", "32-64 filters") cannot meet its
"about 400k" exactly, so this is our reading of it; `summary` prints the totals.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import prod
from typing import Any

import numpy as np

from stn_np.backend import Array, OptionalBackward
from stn_np.checks import check_array, check_choice, check_size
from stn_np.layers import AvgPool2d, Module, Sequential, Training
from stn_np.models.networks import (
    cnn,
    cnn_filters,
    cnn_localisation,
    cnn_localisation_size,
    cnn_size,
    fcn,
    fcn_localisation,
    fcn_units,
)
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import by_name

#: The models that `build` knows.
NAMES = ("fcn", "cnn", "st-fcn", "st-cnn")
#: Filters of each convolution of the ST-CNN's classifier, if nothing is said.
FILTERS = 64

#: Height and width of the images under each distortion (at least, and by default).
SIDES = {"none": 28, "R": 28, "RTS": 42, "P": 28, "E": 28, "TC": 60}

#: The distortions under which a 2x average pooling follows the transformer, as in the paper.
POOLED = ("RTS", "TC")


class Model(Sequential):
    """A classifier: images (N, C, H, W), or volumes, to logits (N, n_classes).

    Attributes
    ----------
    name : str
        As in `build`.
    input_shape : tuple of int
        (C, H, W), or (C, D, H, W).
    transformer : SpatialTransformer or None
        The spatial transformer that is its first layer, where it has one.
    """

    transformer: SpatialTransformer | None = None

    def __init__(self, name: str, input_shape: tuple[int, ...], **layers: Module) -> None:
        super().__init__(**layers)
        self.name = name
        self.input_shape = input_shape

    def __call__(
        self, x: Array, *, needs_dx: bool = True, mode: Training | None = None
    ) -> tuple[Array, OptionalBackward]:
        """Images (N, C, H, W) to logits (N, n_classes)."""
        hint = "; that is the model's input_shape, an argument of models.build"
        check_array("x", x, ("N", *self.input_shape), hint)
        return super().__call__(x, needs_dx=needs_dx, mode=mode)

    def _describe(self) -> str:
        return f"{self.name!r}, input_shape={self.input_shape}"


def build(
    name: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    n_classes: int = 10,
    transform: str = "affine",
    filters: int | None = None,
    distortion: str = "R",
    seed: int = 0,
    dtype: Any = np.float32,
) -> Model:
    """One of the paper's networks with fresh weights.

    Parameters
    ----------
    name : {"fcn", "cnn", "st-fcn", "st-cnn"}
        The model.
    input_shape : tuple of int, optional
        (C, H, W) of the images; by default (1, 28, 28), for "RTS" (1, 42, 42), for "TC"
        (1, 60, 60).
    n_classes : int
        Number of logits.
    transform : str
        Family of the spatial transformer, one of `stn_np.transforms.FAMILIES`.
    filters : int, optional
        Filters of each convolution of the ST-CNN's classifier, 64 by default. The other models get
        the widths that bring them nearest to the same number of parameters (the CNN: 66 filters).
    distortion : str
        What the images were made by, "none", "R", "RTS", "P", "E" or "TC". For "RTS" and "TC" a
        2x average pooling follows the transformer, as in the paper.
    seed : int
        Of the initial weights.
    dtype
        float32 or float64.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        For an unknown name, images too small for the network, or so few filters that the ST-FCN's
        localisation net alone has more parameters; the message says how many it takes.
    TypeError
        For a size that is no whole number, or a dtype that is none of floating-point numbers.
    """
    check_choice("model", name, NAMES)
    filters = check_size("filters", FILTERS if filters is None else filters)
    check_choice("distortion", distortion, SIDES)
    n_classes = check_size("n_classes", n_classes)
    least = SIDES[distortion]
    input_shape = (1, least, least) if input_shape is None else input_shape
    input_shape = check_input_shape(input_shape, least)
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"dtype: expected a floating-point dtype, got {dtype!r}")
    C, H, W = input_shape
    family = by_name(transform, (H, W))
    pooled = (C, H // 2, W // 2) if distortion in POOLED else input_shape
    rng = np.random.default_rng(seed)

    def budget(filters: int) -> int:
        """How many parameters the ST-CNN has, and so all others."""
        return cnn_size(pooled, filters, n_classes) + cnn_localisation_size(input_shape, family)

    if name == "cnn":
        fitting = cnn_filters(input_shape, n_classes, budget(filters))
        return Model(name, input_shape, **cnn(input_shape, fitting, n_classes, rng, dtype))
    if name == "fcn":
        units = _units(name, input_shape, n_classes, filters, budget)
        return Model(name, input_shape, **fcn(input_shape, units, n_classes, rng, dtype))

    localise = fcn_localisation if name == "st-fcn" else cnn_localisation
    localisation = localise(input_shape, family, rng, dtype)
    layers: dict[str, Module] = {"transformer": SpatialTransformer(localisation, family)}
    if distortion in POOLED:
        layers["pool"] = AvgPool2d(2)
    if name == "st-fcn":
        taken = localisation.n_parameters()
        units = _units(name, pooled, n_classes, filters, lambda f: budget(f) - taken)
        layers |= fcn(pooled, units, n_classes, rng, dtype)
    else:
        layers |= cnn(pooled, filters, n_classes, rng, dtype)
    return Model(name, input_shape, **layers)


def _units(
    name: str,
    shape: tuple[int, ...],
    n_classes: int,
    filters: int,
    budget: Callable[[int], int],
) -> int:
    """Units for a fully connected net with the parameters that so many filters leave for it."""

    def units(filters: int) -> int:
        return fcn_units(prod(shape), n_classes, budget(filters))

    if units(filters) < 1:
        least = next(f for f in count(filters + 1) if units(f) >= 1)
        raise ValueError(
            f"filters: expected at least {least}, so that this {name} can have as many parameters "
            f"as the st-cnn, got {filters}"
        )
    return units(filters)


def check_input_shape(shape: object, least: int) -> tuple[int, int, int]:
    """(C, H, W), large enough for all convolutions: `least` pixels along both axes."""
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise ValueError(f"input_shape: expected (C, H, W), got {shape!r}")
    C, H, W = (check_size("input_shape", size) for size in shape)
    if min(H, W) < least:
        raise ValueError(f"input_shape: expected images of at least {least}x{least}, got {shape!r}")
    return C, H, W
