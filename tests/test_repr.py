"""How the library's objects print: short, in the words of their constructors, without addresses."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from stn_np import SpatialTransformer, data, layers, models, sampling, transforms
from stn_np.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Parameter, ReLU, Sequential
from stn_np.sampling import Kernel, kernels
from stn_np.training import AdamW
from stn_np.transforms import FAMILIES, Affine, LogScale, Similarity, by_name, polynomial

RNG = np.random.default_rng(0)
PARAMETER = Parameter(np.zeros((10, 256), np.float32))

OBJECTS: list[tuple[object, str]] = [
    (Linear(784, 32, rng=RNG), "Linear(784, 32)"),
    (Conv2d(1, 20, 5, rng=RNG), "Conv2d(1, 20, 5)"),
    (MaxPool2d(2), "MaxPool2d(2)"),
    (MaxPool2d(2, 2), "MaxPool2d(2)"),
    (AvgPool2d(3, 1, ceil_mode=True), "AvgPool2d(3, stride=1, ceil_mode=True)"),
    (ReLU(), "ReLU()"),
    (Flatten(), "Flatten()"),
    (Sequential(), "Sequential()"),
    (PARAMETER, "Parameter(10x256, float32)"),
    (Parameter(np.array(1.0)), "Parameter(1, float64)"),
    (Affine(), "Affine(6 numbers)"),
    (transforms.Affine3d(), "Affine3d(12 numbers)"),
    (transforms.ThinPlateSpline(3), "ThinPlateSpline(18 numbers)"),
    (transforms.Flow((3, 4)), "Flow(3x4, 24 numbers)"),
    (LogScale(Similarity()), "LogScale(Similarity, 4 numbers)"),
    (polynomial((3, 4)), "LinearBasis(3x4, 12 numbers)"),
    (polynomial((3, 4), learned=True), "LinearBasis(3x4, 12 numbers, learned)"),
    (kernels.LINEAR, "Kernel(linear, radius=1)"),
    (kernels.gaussian(), "Kernel(gaussian, radius=1.5, normalise=True)"),
    (kernels.area(2.5), "Kernel(area, radius=2.5, normalise=True)"),
    (data.load_digits()[1], "Dataset('digits', 355 images 1x28x28, 10 classes)"),
    (AdamW(Linear(3, 2, rng=RNG)), "AdamW(2 parameters, 0 steps made)"),
]


@pytest.mark.parametrize(("thing", "expected"), OBJECTS, ids=[text for _, text in OBJECTS])
def test_in_one_line(thing: object, expected: str) -> None:
    assert repr(thing) == str(thing) == expected


def net() -> Sequential:
    return Sequential(flatten=Flatten(), theta=Linear(12, 6, rng=RNG))


def test_modules_below_each_other() -> None:
    transformer = SpatialTransformer(net(), Affine())
    expected = """\
        Sequential(
          (transformer): SpatialTransformer(
            (localisation): Sequential(
              (flatten): Flatten()
              (theta): Linear(12, 6)
            )
            (transform): Affine(6 numbers)
          )
          (relu): ReLU()
        )"""
    assert repr(Sequential(transformer=transformer, relu=ReLU())) == dedent(expected)


def test_only_settings_of_ones_own_are_listed() -> None:
    chosen: dict[str, Any] = {"padding_mode": "constant", "padding_value": 0.5}
    transformer = SpatialTransformer(
        net(), Affine(), (5, 4), mode=kernels.CUBIC, align_corners=False, **chosen
    )
    assert repr(transformer).splitlines()[:3] == [
        "SpatialTransformer(",
        "  out_shape=(5, 4), align_corners=False, mode=Kernel(cubic, radius=2), "
        "padding_mode='constant', padding_value=0.5",
        "  (localisation): Sequential(",
    ]


def test_a_model_says_what_it_is() -> None:
    first, second, *_ = repr(models.build("fcn")).splitlines()
    assert (first, second) == ("Model(", "  'fcn', input_shape=(1, 28, 28)")


class Own:
    """A family outside the library: it has no repr of its own."""

    name, n_params, identity = "own", 2, np.zeros(2)

    def __call__(self, theta: Any, out_shape: Any, *, align_corners: bool = True) -> Any:
        raise NotImplementedError


class Twice(layers.Module):
    """A module outside the library."""

    def __init__(self) -> None:
        self.weight = PARAMETER
        self.inner = ReLU()


def test_what_others_write_prints_as_well() -> None:
    assert repr(Twice()) == "Twice(\n  (inner): ReLU()\n)"
    assert "(transform): Own(2 numbers)" in repr(SpatialTransformer(net(), Own()))
    assert repr(Kernel(lambda d: 1 - abs(d), lambda d: -np.sign(d), 1)).startswith("Kernel(")


def test_no_addresses() -> None:
    things = [
        *(by_name(name, (3, 4)) for name in FAMILIES),
        *(models.build(name) for name in models.NAMES),
        *(models.build("st-cnn", transform=name) for name in FAMILIES),
        *kernels.BY_NAME.values(),
        sampling.Linearised(),
        *(thing for thing, _ in OBJECTS),
    ]
    for thing in things:
        assert " at 0x" not in repr(thing)
        assert "object" not in repr(thing)
