"""Arguments that look right and are not; and what must survive being copied or pickled."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import stn_np
from stn_np import layers, transforms
from stn_np.experiments import load_model
from stn_np.models import build
from stn_np.sampling import kernels
from stn_np.training.optimizers import SGD, Adam, AdamW
from stn_np.training.schedule import learning_rate
from stn_np.transforms.linear_basis import linear_basis_grid

RNG = np.random.default_rng(0)
X, W, B = np.ones((1, 2)), np.ones((3, 2)), np.ones(3)
IMAGES = np.ones((1, 1, 4, 5))
LINEAR = layers.Linear(2, 3, rng=RNG)
AFFINE, THETA = transforms.Affine(), np.array([[1.0, 0, 0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.linear(X, W, B, needs_dx="False"), "needs_dx: expected True or False"),
        (
            lambda: layers.conv2d(IMAGES, np.ones((1, 1, 2, 2)), np.ones(1), needs_dx=0),
            "needs_dx: expected True or False",
        ),
        (lambda: LINEAR(X.astype(np.float32), needs_dx="no"), "needs_dx: expected True or False"),
        (lambda: layers.Sequential(a=LINEAR)(X, needs_dx=None), "needs_dx: expected True or False"),
        (lambda: layers.apply(3, X), "module: expected a Module, got 3"),
        (
            lambda: linear_basis_grid(np.ones((1, 2, 3)), np.ones((3, 4, 5)), needs_dB="False"),
            "needs_dB: expected True or False",
        ),
        (lambda: layers.max_pool2d(IMAGES, 2, ceil_mode="no"), "ceil_mode: expected True or False"),
        (lambda: transforms.polynomial((4, 5), learned="no"), "learned: expected True or False"),
        (
            lambda: stn_np.gradcheck(lambda x: (x, lambda dy: dy), X, raise_exception="no"),
            "raise_exception: expected True or False",
        ),
        (
            lambda: stn_np.gradcheck(3, X),
            "f: expected a function that returns .y, backward., got 3",
        ),
        (lambda: AFFINE.matrix(THETA, (4, 5), align_corners="no"), "align_corners: expected True"),
        (lambda: AFFINE.compose(THETA, THETA, align_corners="no"), "align_corners: expected True"),
        (lambda: AFFINE.inverse(THETA, align_corners="no"), "align_corners: expected True"),
        (
            lambda: kernels.reduction(np.ones((1, 2, 2, 2)), (4, 5), align_corners="no"),
            "align_corn",
        ),
        (
            lambda: AFFINE.inverse(THETA.astype(np.longdouble)),
            "theta: expected float64 at most, got",
        ),
        (lambda: layers.Linear(2, 3, rng=RNG, dtype=int), "dtype: expected a floating-point dtype"),
        (lambda: layers.Conv2d(2, 3, 3, rng=RNG, dtype="i4"), "dtype: expected a floating-point"),
        (lambda: layers.Flatten()([[1.0]]), "x: expected"),
        (lambda: layers.Flatten()(np.ones((2, 2), int)), "x: expected a floating-point dtype"),
        (
            lambda: stn_np.affine_grid(THETA.reshape(1, 2, 3), (10**30, 5)),
            "out_shape: expected at mo",
        ),
        (lambda: load_model(None), "run: expected the path of a run's folder, got None"),
        (lambda: build("st-fcn", n_classes=10**30), "n_classes: expected at most"),
        (
            lambda: learning_rate("constant", 0, 1, float("nan")),
            "base_lr: expected a finite number",
        ),
        (
            lambda: learning_rate("constant", 0, 1, -1),
            "base_lr: expected a finite number of at leas",
        ),
        (lambda: learning_rate("constant", None, 1, 1), "step: expected a whole number, got None"),
        (lambda: SGD(None), "model: expected a Module, got NoneType"),
        (lambda: SGD(LINEAR, rate_factor=2), "rate_factor: expected a function of a name, got 2"),
        (
            lambda: SGD(LINEAR, rate_factor=lambda _: -1),
            r"rate_factor\('weight'\): expected a fini",
        ),
        (
            lambda: SGD(LINEAR, momentum=1),
            "momentum: expected a finite number of at least 0, below 1",
        ),
        (
            lambda: Adam(LINEAR, betas=(1, 1)),
            r"betas\[0\]: expected a finite number .* below 1, got 1",
        ),
        (lambda: Adam(LINEAR, betas=0.9), "betas: expected a pair of numbers, got 0.9"),
        (
            lambda: Adam(LINEAR, eps=float("inf")),
            "eps: expected a finite number of at least 0, got ",
        ),
        (lambda: AdamW(LINEAR, weight_decay="x"), "weight_decay: expected one number, got 'x'"),
    ],
)
def test_it_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        call()


@pytest.mark.parametrize("lr", [None, "x", float("nan"), float("inf"), -1e-3, True, 10**400])
@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_a_rate_that_is_none_changes_nothing(kind: Any, lr: Any) -> None:
    model = layers.Linear(2, 3, rng=np.random.default_rng(0))
    optimizer, before = kind(model), model.weight.data.copy()
    with pytest.raises((TypeError, ValueError), match="^lr: expected"):
        optimizer.step(lr)
    assert optimizer.n_steps == 0
    np.testing.assert_array_equal(model.weight.data, before)


def test_a_chain_of_layers_checks_its_gradient() -> None:
    y, backward = layers.Sequential(a=LINEAR)(X.astype(np.float32))
    for wrong in (None, y[:, :2], [[1.0]]):
        with pytest.raises((TypeError, ValueError), match="^dy: expected"):
            backward(wrong)


@pytest.mark.parametrize(
    "kernel", [kernels.lanczos(2), kernels.gaussian(0.7), kernels.area(1.7)], ids=repr
)
def test_kernels_can_be_pickled(kernel: Any) -> None:
    again = pickle.loads(pickle.dumps(kernel))
    d = np.linspace(-3, 3, 101)
    np.testing.assert_array_equal(again(d), kernel(d))
    np.testing.assert_array_equal(again.k_slope(d), kernel.k_slope(d))
    assert repr(again) == repr(kernel) and again.radius == kernel.radius
    assert repr(kernel).split("(")[1].split(",")[0] in ("lanczos", "gaussian", "area")


@pytest.mark.parametrize("name", transforms.FAMILIES)
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_families_are_as_fixed_as_they(name: str, how: Any) -> None:
    family = transforms.by_name(name, (4, 5))
    theta = family.identity[None] + 0.1
    expected, _ = family(theta, (4, 5))
    again = how(family)
    np.testing.assert_array_equal(again(theta, (4, 5))[0], expected)
    for x in vars(again).values():
        assert not isinstance(x, np.ndarray) or not x.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        again.identity[0] = 7
