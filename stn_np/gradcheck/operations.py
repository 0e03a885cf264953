"""Every operation of the library with inputs on which its gradient can be checked.

The inputs are free of kinks by construction: sampling points lie well between pixels, the values in
pooling windows differ, nothing is near the corner of a ReLU. No two sizes are alike, so that
mixed-up axes show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from stn_np import models
from stn_np.backend import Array, to_device_of
from stn_np.gpu.devices import to_device
from stn_np.gradcheck import families
from stn_np.gradcheck.check import gradcheck
from stn_np.gradcheck.inputs import (
    distinct,
    grid_between_pixels,
    keep_off_corners,
    ramps,
    read_between_pixels,
    theta_between_pixels,
)
from stn_np.gradcheck.operation import Operation
from stn_np.gradcheck.parameters import parameters_as_inputs
from stn_np.gradcheck.probe import Function
from stn_np.layers import (
    Flatten,
    Linear,
    Parallel,
    Sequential,
    Training,
    avg_pool2d,
    batch_norm,
    conv2d,
    cross_entropy,
    dropout,
    global_avg_pool2d,
    linear,
    max_pool2d,
    relu,
)
from stn_np.sampling import PADDING_MODES, Mode, affine_sample, grid_sample, kernels
from stn_np.sampling.affine_sample import AFFINE_PADDING_MODES
from stn_np.sampling.kernels import BY_NAME
from stn_np.transforms import Affine


class Row(NamedTuple):
    """One line of `table`; `message` is empty unless something is wrong."""

    name: str
    relative_error: float
    ok: bool
    message: str


def table(seed: int = 0, device: str = "cpu") -> list[Row]:
    """Check every operation of the library against finite differences.

    Parameters
    ----------
    seed
        Of the inputs and of the directions.
    device : {"cpu", "gpu", "cuda"}
        Where the operations run; their inputs are the same.

    Returns
    -------
    list of Row

    Raises
    ------
    stn_np.gpu.devices.DeviceError
        If there is no GPU that can be used.
    """
    rows = []
    for name, f, inputs, eps in operations(np.random.default_rng(seed)):
        arrays = [to_device(x, device) for x in inputs.values()]
        report = gradcheck(
            f, *arrays, names=list(inputs), eps=eps, seed=seed, raise_exception=False
        )
        message = "" if report.ok else str(report)
        rows.append(Row(name, report.max_error, report.ok is True, message))
    return rows


def operations(rng: np.random.Generator) -> Iterator[Operation]:
    """All operations, with fresh inputs."""
    parts = (
        families.grids, families.groups, _samplers, _layers, families.transformers, _models,
    )  # fmt: skip
    for part, its_rng in zip(parts, rng.spawn(len(parts)), strict=True):
        yield from part(its_rng)  # a row more in one part changes no number in another


def _samplers(rng: np.random.Generator) -> Iterator[Operation]:
    others: dict[str, Mode] = {
        "gaussian": kernels.gaussian(),
        "lanczos": kernels.lanczos(),
        "area": kernels.area(2.5),
        "one kernel an axis": (kernels.CUBIC, kernels.area(2)),
    }
    for mode, padding in product(BY_NAME, PADDING_MODES):
        for corners in (True, False):
            title = f"grid_sample, {mode}, {padding}, {_rule(corners)}"
            yield _sampler(rng, title, (5, 7), mode=mode, padding_mode=padding, corners=corners)
    for name, kernel in others.items():
        yield _sampler(rng, f"grid_sample, {name}", (5, 7), mode=kernel, padding_mode="wrap")
    for mode, padding in product(BY_NAME, PADDING_MODES):
        title = f"grid_sample, volume, {mode}, {padding}"
        yield _sampler(rng, title, (3, 5, 4), mode=mode, padding_mode=padding)
    for padding in AFFINE_PADDING_MODES:
        theta = theta_between_pixels(Affine(), rng, 2, (5, 7)).reshape(2, 2, 3)
        yield Operation(
            f"affine_sample, {padding}",
            lambda U, theta, padding=padding: affine_sample(U, theta, (5, 7), padding_mode=padding),
            {"U": rng.normal(size=(2, 3, 5, 7)), "theta": theta},
        )
    yield _linearised(rng)
    one = _sampler(rng, "", (5, 7)).inputs
    for shared, case in (("U", "one image, many grids"), ("grid", "many images, one grid")):
        inputs = {name: x[:1] if name == shared else x for name, x in one.items()}
        yield Operation(f"grid_sample, {case}", grid_sample, inputs)


def _sampler(
    rng: np.random.Generator,
    title: str,
    size: tuple[int, ...],
    *,
    corners: bool = True,
    padding_mode: str = "zeros",
    mode: Mode = "bilinear",
) -> Operation:
    """Two images or volumes, read between their pixels."""
    rules: dict[str, Any] = {"mode": mode, "padding_mode": padding_mode, "align_corners": corners}
    if padding_mode == "constant":
        rules["padding_value"] = 0.7
    out = (2, 4, 6) if len(size) == 2 else (2, 5, 8, 6)
    inputs = {
        "U": rng.normal(size=(2, 3, *size)),
        "grid": grid_between_pixels(rng, out, size, corners),
    }
    return Operation(title, lambda U, grid: grid_sample(U, grid, **rules), inputs)


def _linearised(rng: np.random.Generator) -> Operation:
    """On a plane the fitted slope is the derivative: the only image on which it is."""
    x, y = np.arange(15.0), np.arange(13.0)[:, None]
    planes = np.stack([2 * x - 3 * y, x + y / 2])[None]

    def sample(grid: Array) -> tuple[Array, Callable[..., Any]]:
        V, backward = grid_sample(
            to_device_of(planes, grid), grid, grid_gradient="linearised", needs_dU=False
        )
        return V, lambda dV: backward(dV)[1]

    grid = rng.uniform(-0.2, 0.2, (2, 3, 4, 2))  # so far inside that all samples are on the plane
    return Operation("grid_sample, linearised, on a plane", sample, {"grid": grid})


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
    yield Operation("cross_entropy", _with_loss(_identity, labels), logits)
    yield from _more_layers(*rng.spawn(1))


def _more_layers(rng: np.random.Generator) -> Iterator[Operation]:
    """Strides and padding, what has a mode, branches, and several heads."""
    images = {"x": rng.normal(size=(2, 3, 7, 6))}
    kernels = {"weight": rng.normal(size=(4, 3, 3, 2)), "bias": rng.normal(size=4)}
    for title, stride, padding in (("stride", (2, 3), 0), ("padding", 1, (2, 1)), ("both", 2, 1)):
        yield Operation(
            f"conv2d, {title}",
            lambda x, weight, bias, s=stride, p=padding: conv2d(x, weight, bias, s, p),
            images | kernels,
        )
    yield Operation("global_avg_pool2d", global_avg_pool2d, images)
    masks = Training(seed=3, step=5)
    yield Operation("dropout", lambda x: dropout(x, 0.4, masks), images)
    vectors = {"weight": rng.normal(size=3), "bias": rng.normal(size=3)}
    mean, var = rng.normal(size=3), rng.uniform(0.5, 2, 3)
    for case in ("training", "evaluation"):

        def normalise(*inputs: Array, case: str = case) -> tuple[Array, Callable[..., Any]]:
            running = [to_device_of(v.copy(), inputs[0]) for v in (mean, var)]
            return batch_norm(*inputs, *running, training=case == "training")

        yield Operation(f"batch_norm, {case}", normalise, images | vectors)
    branches = Parallel(
        plain=Flatten(),
        dense=Sequential(flatten=Flatten(), dense=Linear(24, 3, rng=rng, dtype=np.float64)),
    )
    f, values = parameters_as_inputs(branches)
    yield Operation("Parallel", f, {"x": rng.normal(size=(2, 2, 3, 4))} | values)
    labels = np.array([[3, 0], [1, 1], [4, 2]])
    logits = {"logits": rng.normal(size=(3, 2, 5))}
    yield Operation("cross_entropy, two heads", _with_loss(_identity, labels), logits)


def _models(rng: np.random.Generator) -> Iterator[Operation]:
    labels = np.array([1, 3])
    cases = [(name, "R", (1, 28, 30)) for name in models.NAMES] + [("st-cnn", "RTS", (1, 42, 44))]
    for name, distortion, shape in cases:
        x = ramps(rng, shape)
        sizes: dict[str, Any] = {"input_shape": shape, "n_classes": 4, "filters": 24}
        model = models.build(name, **sizes, distortion=distortion, dtype=np.float64)
        keep_off_corners(model, rng)
        eps = 3e-5  # the loss depends so little on some of the biases that rounding shows
        if model.transformer is not None:
            read_between_pixels(model.transformer, rng, x)
            eps = 1e-5  # theta moves many points at once; none may come to a pixel
        f, values = parameters_as_inputs(model)
        title = f"model {name}, {distortion}"
        yield Operation(title, _with_loss(f, labels), {"x": x} | values, eps)


def _with_loss(f: Function, labels: Array) -> Function:
    """Append the cross-entropy to f."""

    def loss(*inputs: Array) -> tuple[Array, Callable[..., Any]]:
        logits, pullback = f(*inputs)
        y, loss_backward = cross_entropy(logits, to_device_of(labels, logits))
        return y, lambda dy: pullback(loss_backward(dy))

    return loss


def _identity(x: Array) -> tuple[Array, Callable[..., Any]]:
    return x, lambda dx: dx


def _rule(corners: bool) -> str:
    return "corners aligned" if corners else "corners not aligned"
