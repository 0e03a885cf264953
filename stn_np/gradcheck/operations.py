"""Every operation of the library with inputs on which its gradient can be checked.

The inputs are free of kinks by construction: sampling points lie well between pixels, the values in
pooling windows differ, nothing is near the corner of a ReLU. No two sizes are alike, so that
mixed-up axes show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from stn_np import models
from stn_np.backend import Array
from stn_np.gradcheck.check import gradcheck
from stn_np.gradcheck.inputs import (
    distinct,
    grid_between_pixels,
    keep_off_corners,
    ramps,
    read_between_pixels,
)
from stn_np.gradcheck.parameters import parameters_as_inputs
from stn_np.gradcheck.probe import Function
from stn_np.layers import (
    Flatten,
    Linear,
    Sequential,
    avg_pool2d,
    conv2d,
    cross_entropy,
    linear,
    max_pool2d,
    relu,
)
from stn_np.sampling import PADDING_MODES, grid_sample
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import FAMILIES, affine_grid, by_name


class Operation(NamedTuple):
    """Something to check: a function, and its inputs by name."""

    name: str
    f: Function
    inputs: dict[str, Array]


class Row(NamedTuple):
    """One line of `table`; `message` is empty unless something is wrong."""

    name: str
    relative_error: float
    ok: bool
    message: str


def table(seed: int = 0) -> list[Row]:
    """Check every operation of the library against finite differences.

    Parameters
    ----------
    seed
        Of the inputs and of the directions.

    Returns
    -------
    list of Row
    """
    rows = []
    for name, f, inputs in operations(np.random.default_rng(seed)):
        report = gradcheck(
            f, *inputs.values(), names=list(inputs), seed=seed, raise_exception=False
        )
        message = "" if report.ok else str(report)
        rows.append(Row(name, report.max_error, report.ok is True, message))
    return rows


def operations(rng: np.random.Generator) -> Iterator[Operation]:
    """All operations, with fresh inputs."""
    yield from _grids(rng)
    yield from _samplers(rng)
    yield from _layers(rng)
    yield from _transformers(rng)
    yield from _models(rng)


def _grids(rng: np.random.Generator) -> Iterator[Operation]:
    for corners in (True, False):

        def grid(theta: Array, corners: bool = corners) -> tuple[Array, Callable[..., Any]]:
            return affine_grid(theta, (5, 3), align_corners=corners)

        yield Operation(
            f"affine_grid, {_rule(corners)}", grid, {"theta": rng.normal(size=(2, 2, 3))}
        )
    for name in FAMILIES:
        transform = by_name(name)
        theta = rng.normal(size=(2, transform.n_params))
        yield Operation(
            f"transforms.{type(transform).__name__}",
            lambda theta, transform=transform: transform(theta, (5, 3)),
            {"theta": theta},
        )


def _samplers(rng: np.random.Generator) -> Iterator[Operation]:
    H, W = 5, 7
    for mode in PADDING_MODES:
        for corners in (True, False):
            U = rng.normal(size=(2, 3, H, W))
            grid = grid_between_pixels(rng, (2, 4, 6), (H, W), corners)

            def sample(
                U: Array, grid: Array, mode: str = mode, corners: bool = corners
            ) -> tuple[Array, Callable[..., Any]]:
                return grid_sample(U, grid, padding_mode=mode, align_corners=corners)

            yield Operation(
                f"grid_sample, {mode}, {_rule(corners)}", sample, {"U": U, "grid": grid}
            )
    one_image, one_grid = rng.normal(size=(1, 2, H, W)), grid[:1]
    yield Operation(
        "grid_sample, one image, many grids", grid_sample, {"U": one_image, "grid": grid}
    )
    yield Operation("grid_sample, many images, one grid", grid_sample, {"U": U, "grid": one_grid})


def _layers(rng: np.random.Generator) -> Iterator[Operation]:
    images = {"x": rng.normal(size=(2, 3, 7, 6))}
    kernels = {"weight": rng.normal(size=(4, 3, 3, 3)), "bias": rng.normal(size=4)}
    yield Operation("conv2d", conv2d, images | kernels)
    apart = {"x": distinct(rng, (2, 3, 7, 5))}
    for name, pool in (("max_pool2d", max_pool2d), ("avg_pool2d", avg_pool2d)):
        yield Operation(name, lambda x, pool=pool: pool(x, 2), apart)
        yield Operation(
            f"{name}, ceil_mode", lambda x, pool=pool: pool(x, 2, ceil_mode=True), apart
        )
        yield Operation(f"{name}, overlapping", lambda x, pool=pool: pool(x, 3, 2), apart)
    weights = {"weight": rng.normal(size=(5, 4)), "bias": rng.normal(size=5)}
    yield Operation("linear", linear, {"x": rng.normal(size=(3, 4))} | weights)
    yield Operation(
        "relu", relu, {"x": rng.choice([-1.0, 1.0], (3, 4)) * rng.uniform(0.1, 2, (3, 4))}
    )
    labels = np.array([3, 0, 4])
    logits = {"logits": rng.normal(size=(3, 5))}
    yield Operation("cross_entropy", lambda logits: cross_entropy(logits, labels), logits)


def _transformers(rng: np.random.Generator) -> Iterator[Operation]:
    U = rng.normal(size=(3, 2, 6, 7))
    for name in FAMILIES:
        transform = by_name(name)
        dense = Linear(84, transform.n_params, rng=rng, dtype=np.float64)
        localisation = Sequential(flatten=Flatten(), regression=dense)
        transformer = SpatialTransformer(localisation, transform)
        read_between_pixels(transformer, rng, U)
        f, values = parameters_as_inputs(transformer)
        yield Operation(f"SpatialTransformer, {type(transform).__name__}", f, {"U": U} | values)


def _models(rng: np.random.Generator) -> Iterator[Operation]:
    labels = np.array([1, 3])
    cases = [(name, "R", (1, 28, 30)) for name in models.NAMES] + [("st-cnn", "RTS", (1, 42, 44))]
    for name, distortion, shape in cases:
        x = ramps(rng, shape)
        sizes: dict[str, Any] = {"input_shape": shape, "n_classes": 4, "filters": 24}
        model = models.build(name, **sizes, distortion=distortion, dtype=np.float64)
        keep_off_corners(model, rng)
        if model.transformer is not None:
            read_between_pixels(model.transformer, rng, x)
        f, values = parameters_as_inputs(model)
        yield Operation(f"model {name}, {distortion}", _with_loss(f, labels), {"x": x} | values)


def _with_loss(f: Function, labels: Array) -> Function:
    """Append the cross-entropy to f."""

    def loss(*inputs: Array) -> tuple[Array, Callable[..., Any]]:
        logits, pullback = f(*inputs)
        y, loss_backward = cross_entropy(logits, labels)
        return y, lambda dy: pullback(loss_backward(dy))

    return loss


def _rule(corners: bool) -> str:
    return "corners aligned" if corners else "corners not aligned"
