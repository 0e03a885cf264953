"""The paper's networks by name: structure, size, start, and PyTorch's opinion of them."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import numpy as np
import pytest
from oracles import assert_close, assert_equal

from stn_np import models, transforms
from stn_np.data import distorted_size
from stn_np.data.distortions import KINDS
from stn_np.layers import AvgPool2d, Conv2d, MaxPool2d, cross_entropy
from stn_np.models.build import SIDES
from stn_np.transforms import FAMILIES

COLUMNS = [((1, 28, 28), "R"), ((1, 42, 42), "RTS"), ((1, 60, 60), "TC")]  # P and E: as R
WIDE = 48  # filters: enough for every ST-FCN but that with a flow
CELLS = [
    pytest.param(name, shape, distortion, id=f"{name}-{distortion}")
    for name, (shape, distortion) in product(models.NAMES, COLUMNS)
]


def off_identity(model: models.Model, seed: int = 0) -> None:
    """Move a fresh transformer away from identity, as if it had been trained for a while."""
    if model.transformer is not None:
        rng = np.random.default_rng(seed)
        regression = model.transformer.localisation.regression  # type: ignore[attr-defined]
        regression.weight.data += 0.02 * rng.normal(size=regression.weight.data.shape)
        regression.bias.data += 0.1 * rng.normal(size=regression.bias.data.shape)


# ------------------------------------------------------------------------------- size and structure


def build(name: str, distortion: str, filters: int, transform: str) -> models.Model:
    return models.build(name, distortion=distortion, filters=filters, transform=transform)


def least_filters(distortion: str, filters: int, transform: str) -> int:
    """The paper's ST-FCN may need more filters than asked for; then the message says how many."""
    try:
        build("st-fcn", distortion, filters, transform)
    except ValueError as error:
        pattern = rf"filters: expected at least (\d+), .* this st-fcn .*, got {filters}"
        found = re.fullmatch(pattern, str(error))
        assert found, error
        return int(found[1])
    return filters


@pytest.mark.parametrize("transform", FAMILIES)
@pytest.mark.parametrize("distortion", [distortion for _, distortion in COLUMNS])
def test_parameters_of_a_column_agree_within_ten_per_cent(distortion: str, transform: str) -> None:
    for filters in (32, 64):
        least = least_filters(distortion, filters, transform)
        totals = {n: build(n, distortion, least, transform).n_parameters() for n in models.NAMES}
        assert max(totals.values()) <= 1.1 * min(totals.values()), totals


def test_too_few_filters_for_the_localisation_net() -> None:
    """At 60 x 60, or with a flow, it alone may have more parameters than the whole ST-CNN."""
    cases = [("R", 4, "affine"), ("TC", 32, "affine"), ("RTS", 32, "flow"), ("TC", 32, "flow")]
    for distortion, filters, transform in cases:
        least = least_filters(distortion, filters, transform)
        assert filters < least <= 2 * filters + 10
        build("st-fcn", distortion, least, transform)
        with pytest.raises(ValueError, match=rf"^filters: expected at least {least}, "):
            build("st-fcn", distortion, least - 1, transform)
    assert least_filters("TC", 64, "affine") == 64  # MNIST's default does


@pytest.mark.parametrize("transform", ["affine", "flow"])
@pytest.mark.parametrize("filters", [1, 5, 32])
def test_the_cnn_has_the_filters_that_come_nearest(filters: int, transform: str) -> None:
    wanted = build("st-cnn", "TC", filters, transform).n_parameters()
    F = build("cnn", "TC", filters, transform).conv1.weight.data.shape[0]  # type: ignore[attr-defined]

    def by_hand(F: int) -> int:  # 60 -> 52 -> 26 -> 20 -> 10
        return (81 * F + F) + (49 * F * F + F) + (10 * 100 * F + 10)

    assert min(range(1, 200), key=lambda f: abs(by_hand(f) - wanted)) == F


def test_every_distortion_is_known() -> None:
    assert set(KINDS) == set(SIDES)
    for kind in KINDS:
        shape = models.build("st-cnn", distortion=kind).input_shape
        assert shape == (1, *distorted_size(kind, (28, 28)))


def test_parameters_counted_by_hand() -> None:
    # 81 F + F, 49 F F + F; 28 -> 20 -> 10 -> 4 -> 2: 4 F features to 10 classes
    def by_hand(F: int) -> int:
        return (81 * F + F) + (49 * F * F + F) + (10 * 4 * F + 10)

    assert models.build("cnn", filters=32).n_parameters() == by_hand(35)  # 34: too few by 3,000
    # The localisation net sees 14x14 -> 10 -> 5 -> 1: 20 features.
    loc = (25 * 20 + 20) + (25 * 20 * 20 + 20) + (20 * 20 + 20) + (20 * 6 + 6)
    assert models.build("st-cnn", filters=32).n_parameters() == by_hand(32) + loc
    fcn_loc = (784 * 32 + 32) + (32 * 32 + 32) + (32 * 3 + 3)
    st_fcn = models.build("st-fcn", transform="attention")
    assert st_fcn.transformer is not None
    assert st_fcn.transformer.n_parameters() == fcn_loc


@pytest.mark.parametrize(("filters", "of_cnn"), [(None, 66), (16, 22)])
def test_widths_of_the_convolutions(filters: int | None, of_cnn: int) -> None:
    """The CNN gets as many filters more as the localisation net has parameters."""
    for name, F in (("cnn", of_cnn), ("st-cnn", filters or models.FILTERS)):
        layers = [m for m in models.build(name, filters=filters) if isinstance(m, Conv2d)]
        assert [m.weight.data.shape for m in layers] == [(F, 1, 9, 9), (F, F, 7, 7)]


def test_images_too_small_for_the_distortion() -> None:
    for distortion, side in (("R", 28), ("RTS", 42), ("TC", 60)):
        with pytest.raises(ValueError, match=f"^input_shape: .*at least {side}x{side}"):
            models.build("st-cnn", distortion=distortion, input_shape=(1, side - 1, side))


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("distortion", KINDS)
def test_structure(name: str, distortion: str) -> None:
    shape = 1, *distorted_size(distortion, (28, 28))
    model = models.build(name, input_shape=shape, distortion=distortion, filters=WIDE)
    assert (model.name, model.input_shape) == (name, shape)
    has_transformer = name.startswith("st-")
    assert (model.transformer is not None) == has_transformer
    names = [n for n, _ in model.named_parameters()]
    assert any("localisation" in n for n in names) == has_transformer
    assert any("localisation" not in n for n in names)
    if has_transformer:
        assert next(iter(model)) is model.transformer
    pools = [m for m in model if isinstance(m, AvgPool2d)]
    assert len(pools) == (has_transformer and distortion in ("RTS", "TC"))  # the paper: after it
    if name.endswith("cnn"):
        assert [m.ceil_mode for m in model if isinstance(m, MaxPool2d)] == [True, True]
    x = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    logits, backward = model(x)
    assert logits.shape == (3, 10)
    assert logits.dtype == np.float32
    dx = backward(np.ones_like(logits))
    assert dx is not None
    assert (dx.shape, dx.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("shape", [(1, 28, 35), (3, 31, 28), (2, 42, 60)])
@pytest.mark.parametrize("transform", ["attention", "flow"])
def test_other_inputs_and_classes(name: str, shape: Any, transform: str) -> None:
    model = models.build(
        name,
        input_shape=shape,
        n_classes=7,
        filters=64,
        distortion="E",
        transform=transform,
    )
    logits, backward = model(np.ones((2, *shape), np.float32))
    assert logits.shape == (2, 7)
    assert backward(logits).shape == (2, *shape)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", models.NAMES[:2])
def test_no_transformer_where_none_is_meant(name: str) -> None:
    assert models.build(name).transformer is None


@pytest.mark.parametrize("transform", FAMILIES)
@pytest.mark.parametrize(
    ("shape", "distortion", "dtype"),
    [(*COLUMNS[0], np.float64), *((*column, np.float32) for column in COLUMNS)],
)
@pytest.mark.parametrize("name", models.NAMES[2:])
def test_starts_at_identity(
    name: str, shape: Any, distortion: str, transform: str, dtype: Any
) -> None:
    filters = 100 if transform == "flow" else WIDE  # 7,200 numbers make a large regression layer
    model = models.build(
        name,
        input_shape=shape,
        distortion=distortion,
        transform=transform,
        dtype=dtype,
        filters=filters,
    )
    st = model.transformer
    assert st is not None
    U = np.random.default_rng(1).random((5, *shape)).astype(dtype)
    assert_equal(st.theta(U), np.stack([st.transform.identity] * 5).astype(dtype))
    assert_equal(st(U)[0], U)


def test_seed_and_dtype() -> None:
    def weights(**options: Any) -> list[np.ndarray]:
        return [p.data for p in models.build("st-cnn", filters=WIDE, **options).parameters()]

    for a, b in zip(weights(seed=3), weights(seed=3), strict=True):
        assert_equal(a, b)
    assert (weights(seed=3)[0] != weights(seed=4)[0]).any()
    assert {w.dtype for w in weights()} == {np.dtype(np.float32)}
    assert {w.dtype for w in weights(dtype=np.float64)} == {np.dtype(np.float64)}
    for w in weights():
        if w.ndim > 1 and w.any():  # all but the regression layer: He
            assert w.std() == pytest.approx(np.sqrt(2 / w[0].size), rel=0.35)


# ---------------------------------------------------------------------------------- passing through


@pytest.mark.parametrize(("name", "shape", "distortion"), CELLS)
def test_empty_batch(name: str, shape: Any, distortion: str) -> None:
    model = models.build(name, input_shape=shape, distortion=distortion, filters=WIDE)
    logits, backward = model(np.zeros((0, *shape), np.float32))
    assert logits.shape == (0, 10)
    dx = backward(logits)
    assert dx is not None
    assert dx.shape == (0, *shape)
    assert all((p.grad == 0).all() for p in model.parameters())


@pytest.mark.parametrize(("name", "shape", "distortion"), CELLS)
def test_without_dx_and_twice(name: str, shape: Any, distortion: str) -> None:
    """Images need no gradient, parameters do; and two live pullbacks do not disturb each other."""
    model = models.build(
        name, input_shape=shape, distortion=distortion, filters=WIDE, dtype=np.float64
    )
    off_identity(model)
    rng = np.random.default_rng(0)
    x1, x2 = rng.random((2, 2, *shape))
    g = rng.normal(size=(2, 10))
    (_, back1), (_, back2) = model(x1), model(x2)
    dx1, dx2 = back1(g), back2(g)
    grads = [p.grad.copy() for p in model.parameters()]
    model.zero_grad()
    assert_equal(model(x2)[1](g), dx2)
    assert_equal(model(x1)[1](g), dx1)
    for p, grad in zip(model.parameters(), grads, strict=True):
        assert_close(p.grad, grad, 1e-12)
    model.zero_grad()
    for x in (x1, x2):
        assert model(x, needs_dx=False)[1](g) is None
    for p, grad in zip(model.parameters(), grads, strict=True):
        assert_close(p.grad, grad, 1e-12)


def test_summary_shows_layers_shapes_and_parameters() -> None:
    model = models.build("st-cnn", input_shape=(1, 42, 42), distortion="RTS", filters=32)
    text = models.summary(model)
    rows = {line.split()[0]: line.split() for line in text.splitlines()[1:]}
    assert rows["transformer"] == ["transformer", "(Affine)", "1x42x42"]
    assert rows["regression"] == ["regression", "(Linear)", "6", "126"]
    assert rows["pool"] == ["pool", "(AvgPool2d)", "1x21x21"]
    assert rows["classifier"] == ["classifier", "(Linear)", "10", "330"]
    assert rows["total"] == ["total", f"{model.n_parameters():,}"]
    conv2 = [line.split() for line in text.splitlines() if line.split()[0] == "conv2"]
    assert conv2 == [
        ["conv2", "(Conv2d)", "20x4x4", "10,020"], ["conv2", "(Conv2d)", "32x1x1", "50,208"],
    ]  # fmt: skip
    lines = text.splitlines()
    first_words = [line.split()[0] for line in lines]
    order = ("layer", "transformer", "shrink", "pool", "classifier", "total")
    positions = [first_words.index(name) for name in order]
    assert positions == sorted(positions)
    for name in models.NAMES:
        small = models.build(name, filters=WIDE)
        own = [line for line in models.summary(small).splitlines()[1:-1]]
        counted = [int(line.split()[-1].replace(",", "")) for line in own if len(line.split()) == 4]
        assert sum(counted) == small.n_parameters()


# ----------------------------------------------------------------------------------------- PyTorch


def torch_logits(model: models.Model, x: Any, w: dict[str, Any], distortion: str) -> Any:
    """The same network written with torch.nn.functional, from the paper's description."""
    import torch
    import torch.nn.functional as F

    def dense(x: Any, name: str) -> Any:
        return F.linear(x, w[name + ".weight"], w[name + ".bias"])

    def conv(x: Any, name: str) -> Any:
        return F.conv2d(x, w[name + ".weight"], w[name + ".bias"])

    if model.name.startswith("st-"):
        loc = "transformer.localisation."
        if model.name == "st-fcn":
            h = F.relu(dense(x.flatten(1), loc + "hidden1"))
            h = F.relu(dense(h, loc + "hidden2"))
        else:
            h = F.max_pool2d(x, 2)
            h = F.max_pool2d(F.relu(conv(h, loc + "conv1")), 2)
            h = F.relu(conv(h, loc + "conv2"))
            h = F.relu(dense(h.flatten(1), loc + "hidden"))
        theta = dense(h, loc + "regression")
        if theta.shape[1] == 3:
            (s, tx, ty), zero = theta.T, torch.zeros_like(theta[:, 0])
            theta = torch.stack([s, zero, tx, zero, s, ty], 1)
        grid = F.affine_grid(theta.reshape(-1, 2, 3), list(x.shape), align_corners=True)
        x = F.grid_sample(x, grid, align_corners=True)
        if distortion in ("RTS", "TC"):
            x = F.avg_pool2d(x, 2)
    if model.name.endswith("fcn"):
        h = F.relu(dense(x.flatten(1), "hidden1"))
        h = F.relu(dense(h, "hidden2"))
    else:
        h = F.max_pool2d(F.relu(conv(x, "conv1")), 2, ceil_mode=True)
        h = F.max_pool2d(F.relu(conv(h, "conv2")), 2, ceil_mode=True).flatten(1)
    return dense(h, "classifier")


@pytest.mark.parametrize(
    ("name", "shape", "distortion", "transform"),
    [
        *((name, *column, "affine") for name, column in product(models.NAMES, COLUMNS)),
        *((name, *COLUMNS[0], "attention") for name in models.NAMES[2:]),
    ],
)
def test_against_torch(name: str, shape: Any, distortion: str, transform: str) -> None:
    torch = pytest.importorskip("torch")
    model = models.build(
        name, input_shape=shape, distortion=distortion, transform=transform, filters=WIDE,
        dtype=np.float64, seed=2,
    )  # fmt: skip
    off_identity(model, seed=1)
    rng = np.random.default_rng(0)
    images, labels = rng.random((4, *shape)), rng.integers(0, 10, 4)
    logits, backward = model(images)
    loss, loss_backward = cross_entropy(logits, labels)
    dx = backward(loss_backward())

    x = torch.tensor(images, requires_grad=True)
    w = {n: torch.tensor(p.data, requires_grad=True) for n, p in model.named_parameters()}
    expected = torch_logits(model, x, w, distortion)
    assert_close(logits, expected.detach().numpy(), 1e-11)
    expected_loss = torch.nn.functional.cross_entropy(expected, torch.tensor(labels))
    expected_loss.backward()
    assert float(loss) == pytest.approx(float(expected_loss.detach()), rel=1e-11)
    assert dx is not None
    assert_close(dx, x.grad.numpy(), 1e-10)
    for n, p in model.named_parameters():
        assert np.abs(p.grad).max() > 0, n
        assert_close(p.grad / np.abs(p.grad).max(), w[n].grad.numpy() / np.abs(p.grad).max(), 1e-10)


def test_regression_wants_an_identity_of_n_params_numbers(rng: np.random.Generator) -> None:
    family = transforms.Attention()
    family.identity = np.ones(4)  # type: ignore[misc]
    with pytest.raises(ValueError, match=r"^transform\.identity: expected shape \(3,\), .* \(4,\)"):
        models.regression(5, family, rng)
