"""The paper's networks for distorted MNIST, by name (section 4.1 and appendix A.4).

All models for one input are given about the same number of parameters: that of the ST-CNN with the
chosen number of filters. The paper's widths ("128-256 units", "32-64 filters") cannot meet its
"about 400k" exactly, so this is our reading of it; `summary` prints the totals.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from stn_np.checks import check_choice, check_size
from stn_np.layers import AvgPool2d, Module, Sequential
from stn_np.models.networks import (
    cnn,
    cnn_localisation,
    cnn_localisation_size,
    cnn_size,
    fcn,
    fcn_localisation,
    fcn_units,
)
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import by_name

NAMES = ("fcn", "cnn", "st-fcn", "st-cnn")
FILTERS = 64


class Model(Sequential):
    """A classifier: images (N, C, H, W) to logits (N, n_classes).

    Attributes
    ----------
    name : str
        One of `NAMES`.
    input_shape : tuple of int
        (C, H, W).
    transformer : SpatialTransformer or None
        The spatial transformer that is its first layer, where it has one.
    """

    transformer: SpatialTransformer | None = None

    def __init__(self, name: str, input_shape: tuple[int, int, int], **layers: Module) -> None:
        super().__init__(**layers)
        self.name = name
        self.input_shape = input_shape


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
        (C, H, W) of the images; by default (1, 28, 28), for "RTS" (1, 42, 42).
    n_classes : int
        Number of logits.
    transform : str
        Family of the spatial transformer, one of `stn_np.transforms.FAMILIES`.
    filters : int, optional
        Filters of each convolution of the ST-CNN's classifier, 64 by default. The other models get
        the widths that bring them nearest to the same number of parameters (the CNN: 66 filters).
    distortion : str
        For "RTS" a 2x average pooling follows the transformer, as in the paper.
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
        localisation net alone has more parameters.
    TypeError
        For a size that is no whole number, or a dtype that is none of floating-point numbers.
    """
    check_choice("model", name, NAMES)
    filters = FILTERS if filters is None else filters
    check_size("filters", filters)
    check_choice("distortion", distortion, ("none", "R", "RTS"))
    check_size("n_classes", n_classes)
    least = 42 if distortion == "RTS" else 28
    input_shape = (1, least, least) if input_shape is None else input_shape
    check_input_shape(input_shape, least)
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"dtype: expected a floating-point dtype, got {dtype!r}")
    family = by_name(transform)
    C, H, W = input_shape
    pooled = (C, H // 2, W // 2) if distortion == "RTS" else input_shape
    budget = cnn_size(pooled, filters, n_classes) + cnn_localisation_size(input_shape, family)

    rng = np.random.default_rng(seed)
    if name == "fcn":
        units = fcn_units(prod(input_shape), n_classes, budget)
        return Model(name, input_shape, **fcn(input_shape, units, n_classes, rng, dtype))
    if name == "cnn":
        sizes = {f: cnn_size(input_shape, f, n_classes) for f in range(1, 2 * filters + 20)}
        fitting = min(sizes, key=lambda f: abs(sizes[f] - budget))
        return Model(name, input_shape, **cnn(input_shape, fitting, n_classes, rng, dtype))

    localise = fcn_localisation if name == "st-fcn" else cnn_localisation
    localisation = localise(input_shape, family, rng, dtype)
    layers: dict[str, Module] = {"transformer": SpatialTransformer(localisation, family)}
    if distortion == "RTS":
        layers["pool"] = AvgPool2d(2)
    if name == "st-fcn":
        units = fcn_units(prod(pooled), n_classes, budget - localisation.n_parameters())
        layers |= fcn(pooled, units, n_classes, rng, dtype)
    else:
        layers |= cnn(pooled, filters, n_classes, rng, dtype)
    return Model(name, input_shape, **layers)


def check_input_shape(shape: object, least: int) -> None:
    """(C, H, W), large enough for all convolutions: `least` pixels along both axes."""
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise ValueError(f"input_shape: expected (C, H, W), got {shape!r}")
    for size in shape:
        check_size("input_shape", size)
    if min(shape[1:]) < least:
        raise ValueError(f"input_shape: expected images of at least {least}x{least}, got {shape!r}")
