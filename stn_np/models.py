"""The paper's networks for distorted MNIST, by name (section 4.1 and appendix A.4).

All models for one input are given about the same number of parameters: that of the CNN with the
chosen number of filters. The paper's widths ("128-256 units", "32-64 filters") cannot meet its
"about 400k" exactly, so this is our reading of it; `summary` prints the totals.
"""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np

from stn_np.checks import check_choice, check_size
from stn_np.layers import (
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
)
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import Transform, by_name

NAMES = ("fcn", "cnn", "st-fcn", "st-cnn")
FILTERS = 64
LOCALISATION_UNITS = 32  # ST-FCN
LOCALISATION_FILTERS = 20  # ST-CNN


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
    input_shape: tuple[int, int, int] = (1, 28, 28),
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
    input_shape : tuple of int
        (C, H, W) of the images.
    n_classes : int
        Number of logits.
    transform : str
        Family of the spatial transformer, one of `stn_np.transforms.FAMILIES`.
    filters : int, optional
        Filters of each convolution of the classifier, 64 by default. It sets the number of
        parameters of all four models.
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
        For an unknown name, or images too small for the network.
    """
    check_choice("model", name, NAMES)
    filters = FILTERS if filters is None else filters
    check_size("filters", filters)
    C, H, W = input_shape
    if min(H, W) < 28:
        raise ValueError(f"input_shape: expected images of at least 28x28, got {H}x{W}")
    rng = np.random.default_rng(seed)
    layers: dict[str, Module] = {}
    shape, spent = input_shape, 0
    if name.startswith("st-"):
        family = by_name(transform)
        localise = fcn_localisation if name == "st-fcn" else cnn_localisation
        localisation = localise(input_shape, family, rng, dtype)
        spent = localisation.n_parameters()
        layers["transformer"] = SpatialTransformer(localisation, family)
        if distortion == "RTS":
            layers["pool"] = AvgPool2d(2)
            shape = (C, H // 2, W // 2)
    if name.endswith("fcn"):
        budget = cnn_size(input_shape, filters, n_classes) - spent
        layers |= fcn(shape, fcn_units(prod(shape), n_classes, budget), n_classes, rng, dtype)
    else:
        layers |= cnn(shape, filters, n_classes, rng, dtype)
    return Model(name, input_shape, **layers)


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
    """How many parameters the CNN has: the budget of all models for that input."""
    convolutions = filters * (81 * shape[0] + 1) + filters * (49 * filters + 1)
    return convolutions + n_classes * (cnn_features(shape, filters) + 1)


def fcn_units(inputs: int, n_classes: int, budget: int) -> int:
    """Units h with h^2 + (inputs + n_classes + 2) h + n_classes = budget, rounded."""
    b = inputs + n_classes + 2
    return max(1, round((sqrt(b * b + 4 * max(0, budget - n_classes)) - b) / 2))


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
    sides = [(size // 2 - 4) // 2 - 4 for size in shape[1:]]
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


def regression(features: int, transform: Transform, rng: np.random.Generator, dtype: Any) -> Linear:
    """The layer that outputs theta. It starts at the identity whatever it is shown."""
    layer = Linear(features, transform.n_params, rng=rng, dtype=dtype)
    layer.weight.data[...] = 0
    layer.bias.data[...] = transform.identity
    return layer


def summary(model: Model) -> str:
    """Layers, output shapes and parameters as a table of plain text."""
    rows: list[tuple[str, str, int]] = []

    def walk(layers: Sequential, x: Any, indent: str) -> Any:
        for name, layer in zip(layers.names, layers, strict=True):
            if isinstance(layer, SpatialTransformer):
                title = f"{indent}{name} ({type(layer.transform).__name__})"
                at = len(rows)
                assert isinstance(layer.localisation, Sequential)
                walk(layer.localisation, x, indent + "  ")
                x = layer(x, needs_dx=False)[0]
                rows.insert(at, (title, "x".join(map(str, x.shape[1:])), 0))
            else:
                x = layer(x, needs_dx=False)[0]
                title = f"{indent}{name} ({type(layer).__name__})"
                rows.append((title, "x".join(map(str, x.shape[1:])), layer.n_parameters()))
        return x

    dtype = model.parameters()[0].data.dtype
    walk(model, np.zeros((1, *model.input_shape), dtype), "")
    width = max(len(title) for title, _, _ in rows)
    lines = [f"{'layer':<{width}}  {'output':>9}  {'parameters':>10}"]
    lines += [
        f"{title:<{width}}  {shape:>9}  {n or '':>10,}" if n else f"{title:<{width}}  {shape:>9}"
        for title, shape, n in rows
    ]
    lines.append(f"{'total':<{width}}  {'':>9}  {model.n_parameters():>10,}")
    return "\n".join(lines)
