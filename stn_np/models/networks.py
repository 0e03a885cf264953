"""The parts that the paper's networks are put together from, and how large they are."""

from __future__ import annotations

from bisect import bisect_right
from math import isqrt, prod, sqrt
from typing import Any

import numpy as np

from stn_np.layers import Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential
from stn_np.transforms import Transform

LOCALISATION_UNITS = 32  # ST-FCN
LOCALISATION_FILTERS = 20  # ST-CNN


def fcn(
    shape: tuple[int, ...], units: int, n_classes: int, rng: np.random.Generator, dtype: Any
) -> dict[str, Module]:
    """Two hidden layers and the classification layer."""
    return {
        "flatten": Flatten(),
        "hidden1": Linear(prod(shape), units, rng=rng, dtype=dtype),
        "relu1": ReLU(),
        "hidden2": Linear(units, units, rng=rng, dtype=dtype),
        "relu2": ReLU(),
        "classifier": Linear(units, n_classes, rng=rng, dtype=dtype),
    }


def cnn(
    shape: tuple[int, int, int], filters: int, n_classes: int, rng: np.random.Generator, dtype: Any
) -> dict[str, Module]:
    """Conv 9x9, max-pool, conv 7x7, max-pool, classification.

    ReLU comes after the pooling: both orders give the same values and gradients (the maximum
    commutes with a rising function), this one with a quarter of the work. Pooling rounds up, or
    the 21x21 maps of RTS would become too small for the second convolution.
    """
    return {
        "conv1": Conv2d(shape[0], filters, 9, rng=rng, dtype=dtype),
        "pool1": MaxPool2d(2, ceil_mode=True),
        "relu1": ReLU(),
        "conv2": Conv2d(filters, filters, 7, rng=rng, dtype=dtype),
        "pool2": MaxPool2d(2, ceil_mode=True),
        "relu2": ReLU(),
        "flatten": Flatten(),
        "classifier": Linear(cnn_features(shape, filters), n_classes, rng=rng, dtype=dtype),
    }


def cnn_features(shape: tuple[int, ...], filters: int) -> int:
    """How many features the CNN's classification layer sees."""
    return filters * prod(-(-(-(-(size - 8) // 2) - 6) // 2) for size in shape[1:])


def cnn_size(shape: tuple[int, ...], filters: int, n_classes: int) -> int:
    """How many parameters the CNN has."""
    convolutions = filters * (81 * shape[0] + 1) + filters * (49 * filters + 1)
    return convolutions + n_classes * (cnn_features(shape, filters) + 1)


def cnn_filters(shape: tuple[int, ...], n_classes: int, budget: int) -> int:
    """The CNN's filters that bring its parameters nearest to a budget; at least 1."""
    widths = range(1, isqrt(max(budget, 0)) + 2)  # a net of f filters has more than f^2 parameters
    fitting = bisect_right(widths, budget, key=lambda f: cnn_size(shape, f, n_classes))
    filters = max(1, fitting)
    excess = {f: abs(cnn_size(shape, f, n_classes) - budget) for f in (filters, filters + 1)}
    return min(excess, key=excess.__getitem__)


def fcn_units(inputs: int, n_classes: int, budget: int) -> int:
    """Units h >= 0 with h^2 + (inputs + n_classes + 2) h + n_classes = budget, rounded."""
    b = inputs + n_classes + 2
    return round((sqrt(b * b + 4 * max(0, budget - n_classes)) - b) / 2)


def cnn_localisation_size(shape: tuple[int, ...], transform: Transform) -> int:
    """How many parameters the ST-CNN's localisation net has."""
    F, sides = LOCALISATION_FILTERS, localisation_sides(shape)
    convolutions = F * (25 * shape[0] + 1) + F * (25 * F + 1)
    return convolutions + F * (F * prod(sides) + 1) + transform.n_params * (F + 1)


def localisation_sides(shape: tuple[int, ...]) -> list[int]:
    """Height and width of the last feature maps of the ST-CNN's localisation net."""
    return [(size // 2 - 4) // 2 - 4 for size in shape[1:]]


def fcn_localisation(
    shape: tuple[int, int, int], transform: Transform, rng: np.random.Generator, dtype: Any
) -> Sequential:
    """ST-FCN: three fully connected layers, counting the regression."""
    units = LOCALISATION_UNITS
    return Sequential(
        flatten=Flatten(),
        hidden1=Linear(prod(shape), units, rng=rng, dtype=dtype),
        relu1=ReLU(),
        hidden2=Linear(units, units, rng=rng, dtype=dtype),
        relu2=ReLU(),
        regression=regression(units, transform, rng, dtype),
    )


def cnn_localisation(
    shape: tuple[int, int, int], transform: Transform, rng: np.random.Generator, dtype: Any
) -> Sequential:
    """ST-CNN: max-pool, conv 5x5, max-pool, conv 5x5, a fully connected layer, regression."""
    F = LOCALISATION_FILTERS
    sides = localisation_sides(shape)
    return Sequential(
        shrink=MaxPool2d(2),
        conv1=Conv2d(shape[0], F, 5, rng=rng, dtype=dtype),
        pool1=MaxPool2d(2),
        relu1=ReLU(),
        conv2=Conv2d(F, F, 5, rng=rng, dtype=dtype),
        relu2=ReLU(),
        flatten=Flatten(),
        hidden=Linear(F * prod(sides), F, rng=rng, dtype=dtype),
        relu3=ReLU(),
        regression=regression(F, transform, rng, dtype),
    )


def regression(
    features: int, transform: Transform, rng: np.random.Generator, dtype: Any = np.float32
) -> Linear:
    """The layer that outputs theta (N, n_params) from features (N, D).

    It starts at the identity whatever it is shown: weights zero, bias ``transform.identity``.

    Parameters
    ----------
    features
        D.
    transform
        The family whose theta it is.
    rng
        As for `stn_np.layers.Linear`; nothing random is left in the layer.
    dtype
        float32 or float64.

    Raises
    ------
    ValueError
        If the family's identity has not n_params numbers.
    """
    if np.shape(transform.identity) != (transform.n_params,):
        raise ValueError(
            f"transform.identity: expected shape ({transform.n_params},), as n_params says, "
            f"got {np.shape(transform.identity)}"
        )
    layer = Linear(features, transform.n_params, rng=rng, dtype=dtype)
    layer.weight.data[...] = 0
    layer.bias.data[...] = transform.identity
    return layer
