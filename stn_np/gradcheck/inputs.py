"""Inputs and weights free of kinks by construction."""

from __future__ import annotations

import numpy as np

from stn_np.gradcheck.probe import Values
from stn_np.layers import Linear, Module, Sequential
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import Transform


def grid_between_pixels(
    rng: np.random.Generator, points: tuple[int, ...], shape: tuple[int, ...], corners: bool
) -> Values:
    """Sampling points inside and outside the image, away from pixels and from the half-way lines.

    Those are where the sampler has kinks, and where reflections without corner alignment have.
    """
    size = np.array(shape[::-1])  # (x, y[, z])
    whole = np.floor(rng.uniform(-size, 2 * size, (*points, len(size))))
    fraction = rng.uniform(0.15, 0.35, whole.shape) + 0.5 * rng.integers(0, 2, whole.shape)
    pixels = whole + fraction
    grid: Values = 2 * pixels / (size - 1) - 1 if corners else (2 * pixels + 1) / size - 1
    return grid


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Values in [0, 1], no two of them nearly alike."""
    n = int(np.prod(shape))
    return rng.permutation(n).reshape(shape) / (n - 1)


def ramps(rng: np.random.Generator, shape: tuple[int, int, int]) -> Values:
    """Two images that rise towards a corner: sums of neighbours with positive weights do so too.

    So a pooling behind a convolution finds clear maxima, in another place of its windows in each.
    """
    C, H, W = shape
    ramp = np.arange(H)[:, None] + 1.3 * np.arange(W) + rng.uniform(0, 0.3, (2, C, H, W))
    ramp[1] = ramp[1, ..., ::-1]
    ramp /= ramp.max()
    return 0.1 + 0.9 * ramp


def keep_off_corners(model: Module, rng: np.random.Generator) -> None:
    """Give every unit in front of a ReLU weights of one sign: three are on, the fourth is off.

    With weights of both signs some of a thousand sums come out too near to 0, whatever the seed.
    """
    for name, parameter in model.named_parameters():
        if "classifier" in name or "regression" in name:
            continue
        shape = parameter.data.shape
        sign = np.where(np.arange(shape[0]) % 4 == 3, -1.0, 1.0)
        sizes = rng.uniform(0.5, 1.5, shape) / np.prod(shape[1:])  # About a mean of the inputs.
        parameter.data[...] = (sign * sizes.T).T


def theta_between_pixels(
    transform: Transform, rng: np.random.Generator, n_images: int, shape: tuple[int, ...]
) -> Values:
    """Near the identity, where every sample is on a kink, thetas that read between the pixels.

    To first order all points move by 0.35 pixels along each axis, as far as the family can, and at
    random by up to 0.1 more or less.
    """
    identity = np.asarray(transform.identity)
    steps = 1e-4 * np.eye(len(identity))
    forward, backward = (
        _pixels(transform(theta, shape)[0]) for theta in (identity + steps, identity - steps)
    )
    J = (forward - backward).reshape(len(identity), -1) / 2e-4  # row k: where theta_k moves points
    shift = np.linalg.lstsq(J.T, np.full(J.shape[1], 0.35), rcond=None)[0]
    random = rng.uniform(-1.0, 1.0, (n_images, len(identity)))
    random *= 0.1 / np.abs(random @ J).max(axis=1, keepdims=True)
    theta: Values = identity + shift + random
    return theta


def read_between_pixels(
    transformer: SpatialTransformer, rng: np.random.Generator, images: Values
) -> None:
    """Give a transformer weights with which it reads these images between their pixels.

    The regression gets random weights, and of those that give `theta_between_pixels` the nearest.
    """
    transform, shape = transformer.transform, images.shape[2:]
    theta = theta_between_pixels(transform, rng, len(images), shape)
    assert isinstance(transformer.localisation, Sequential)
    layers = list(transformer.localisation)
    regression, features = layers.pop(), images
    assert isinstance(regression, Linear)
    for layer in layers:
        features, _ = layer(features)
    features = np.column_stack([features, np.ones(len(images))])
    weights = rng.normal(size=(features.shape[1], transform.n_params)) * 0.1
    weights += np.linalg.pinv(features) @ (theta - features @ weights)
    regression.weight.data[...], regression.bias.data[...] = weights[:-1].T, weights[-1]

    grid, _ = transform(transformer.theta(images), shape)
    fraction = _pixels(grid) % 1
    assert 0.1 < fraction.min() and fraction.max() < 0.9, (
        f"{transform.name}: some points stay near pixels, where the sampler has kinks"
    )


def _pixels(grid: Values) -> Values:
    """Normalised to pixel coordinates of an image with the grid's own shape, corners aligned."""
    size = np.array(grid.shape[-2:0:-1])  # (x, y[, z])
    pixels: Values = (grid + 1) * (size - 1) / 2
    return pixels
