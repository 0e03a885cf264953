"""Bad input: an error that names the argument, or a defined result; never a crash or a warning."""

from __future__ import annotations

import sys
import types
import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
from oracles import CORNERS, GROUPS, assert_close, assert_equal

import stn_np
from stn_np import layers, models
from stn_np.backend import array_module, scatter_add, to_numpy
from stn_np.checks import ALIASES, check_size
from stn_np.layers import cross_entropy
from stn_np.transforms import (
    Affine,
    Affine3d,
    AffineNatural,
    Attention,
    Flow,
    LogScale,
    PiecewiseAffine,
    Projective,
    Similarity,
    ThinPlateSpline,
    Translation,
    by_name,
    linear_basis_grid,
    polynomial,
)

pytestmark = pytest.mark.filterwarnings("error")

IMAGES, GRID = np.ones((2, 3, 4, 5)), np.zeros((2, 3, 4, 2))
NOT_ARRAYS = [[[1.0]], (1.0, 2.0), 1.0, None, "abc", np.float64(1.0)]
NOT_FLOATS = [np.int64, np.uint8, bool, np.complex128, object]


def identity_net() -> layers.Sequential:
    """A localisation net for no particular image size: theta is the identity."""

    class Identity(layers.Module):
        def __call__(self, x: Any, *, needs_dx: bool = True) -> Any:
            return np.stack([Affine.identity] * len(x)), lambda dtheta: np.zeros_like(x)

    return layers.Sequential(identity=Identity())


def group_calls() -> dict[str, tuple[Any, dict[str, np.ndarray]]]:
    """compose and inverse of every group."""
    found: dict[str, tuple[Any, dict[str, np.ndarray]]] = {}
    for group in (*map(by_name, GROUPS), Affine3d()):
        identity = np.stack([group.identity] * 2)
        compose, inverse = (
            lambda *thetas, f=f: f(*thetas, out_shape=(3, 4))
            for f in (group.compose, group.inverse)  # type: ignore[attr-defined]
        )
        found[f"{group.name}, compose"] = compose, {"outer": identity, "inner": identity}
        found[f"{group.name}, inverse"] = inverse, {"theta": identity}
    return found


def calls() -> dict[str, tuple[Any, dict[str, np.ndarray]]]:
    """Every public function of arrays, with good arguments."""
    image = np.ones((2, 3, 6, 5))
    return {
        "affine_grid": (
            lambda theta: stn_np.affine_grid(theta, (3, 4)),
            {"theta": np.ones((2, 2, 3))},
        ),
        "Affine": (lambda theta: Affine()(theta, (3, 4)), {"theta": np.ones((2, 6))}),
        "Attention": (lambda theta: Attention()(theta, (3, 4)), {"theta": np.ones((2, 3))}),
        "affine_grid, volume": (
            lambda theta: stn_np.affine_grid(theta, (2, 3, 4)),
            {"theta": np.ones((2, 3, 4))},
        ),
        "Affine3d": (lambda theta: Affine3d()(theta, (2, 3, 4)), {"theta": np.ones((2, 12))}),
        "Translation": (lambda theta: Translation()(theta, (3, 4)), {"theta": np.ones((2, 2))}),
        "Similarity": (lambda theta: Similarity()(theta, (3, 4)), {"theta": np.ones((2, 4))}),
        "LogScale": (
            lambda theta: LogScale(Attention())(theta, (3, 4)),
            {"theta": np.ones((2, 3))},
        ),
        "AffineNatural": (
            lambda theta: AffineNatural()(theta, (3, 4)),
            {"theta": np.ones((2, 6))},
        ),
        "Projective": (lambda theta: Projective()(theta, (3, 4)), {"theta": np.ones((2, 8))}),
        **{
            f"{group.name}, matrix": (
                lambda theta, group=group: group.matrix(theta, (3, 4)),
                {"theta": np.ones((2, group.n_params))},
            )
            for group in (Affine(), Translation(), Attention(), Similarity(), AffineNatural())
        },
        **group_calls(),
        "ThinPlateSpline": (
            lambda theta: ThinPlateSpline()(theta, (3, 4)),
            {"theta": np.ones((2, 32))},
        ),
        "PiecewiseAffine": (
            lambda theta: PiecewiseAffine()(theta, (3, 4)),
            {"theta": np.ones((2, 32))},
        ),
        "Flow": (lambda theta: Flow((3, 4))(theta, (3, 4)), {"theta": np.ones((2, 24))}),
        "linear_basis_grid": (
            linear_basis_grid,
            {"M": np.ones((2, 2, 5)), "B": np.ones((5, 3, 4))},
        ),
        "LinearBasis": (
            lambda theta: polynomial((3, 4))(theta, (3, 4)),
            {"theta": np.ones((2, 12))},
        ),
        "grid_sample": (stn_np.grid_sample, {"U": IMAGES, "grid": GRID}),
        "conv2d": (
            layers.conv2d,
            {"x": image, "weight": np.ones((4, 3, 3, 2)), "bias": np.ones(4)},
        ),
        "linear": (
            layers.linear,
            {"x": np.ones((2, 5)), "weight": np.ones((4, 5)), "bias": np.ones(4)},
        ),
        "max_pool2d": (lambda x: layers.max_pool2d(x, 2), {"x": image}),
        "avg_pool2d": (lambda x: layers.avg_pool2d(x, 2), {"x": image}),
        "relu": (layers.relu, {"x": image}),
        "cross_entropy": (
            lambda logits: cross_entropy(logits, np.array([0, 1])),
            {"logits": np.ones((2, 3))},
        ),
        "SpatialTransformer": (
            lambda U: stn_np.SpatialTransformer(identity_net(), Affine())(U),
            {"U": image},
        ),
        "Model": (
            lambda x: models.build("cnn", filters=1)(x),
            {"x": np.ones((1, 1, 28, 28), np.float32)},
        ),
    }


ARGUMENTS = [pytest.param(f, a, n, id=f"{name}-{n}")
             for name, (f, a) in calls().items() for n in a]  # fmt: skip


@pytest.mark.parametrize(("f", "arguments", "name"), ARGUMENTS)
def test_what_is_no_array_is_refused(f: Any, arguments: dict[str, Any], name: str) -> None:
    for bad in NOT_ARRAYS:
        with pytest.raises(TypeError, match=f"^{name}: expected a NumPy or CuPy array, got"):
            f(*(arguments | {name: bad}).values())


@pytest.mark.parametrize(("f", "arguments", "name"), ARGUMENTS)
def test_other_dtypes_are_refused(f: Any, arguments: dict[str, Any], name: str) -> None:
    for dtype in NOT_FLOATS:
        bad = arguments[name].astype(dtype)
        with pytest.raises(
            TypeError, match=f"^{name}: expected a floating-point dtype, got {bad.dtype}"
        ):
            f(*(arguments | {name: bad}).values())


@pytest.mark.parametrize(
    ("f", "arguments", "name"),
    # relu takes any; images with an axis more are volumes, see test_grid_sample_bad_input.py;
    # logits with an axis more have several heads, see test_losses_of_heads.py.
    [p for p in ARGUMENTS if p.id not in ("relu-x", "grid_sample-U", "cross_entropy-logits")],
)
def test_other_ranks_are_refused(f: Any, arguments: dict[str, Any], name: str) -> None:
    good = arguments[name]
    for bad in (good[None], np.array(good[0]), np.array(1.0)):
        with pytest.raises(ValueError, match=rf"^{name}: expected shape \(.*\), got \("):
            f(*(arguments | {name: bad}).values())


def test_shapes_that_do_not_fit_together() -> None:
    def refused(match: str, f: Any, *arguments: Any, **options: Any) -> None:
        with pytest.raises(ValueError, match=match):
            f(*arguments, **options)

    grid = r"grid: expected shape \(N, H', W', 2\), got \(2, 3, 4, 3\)"
    refused(grid, stn_np.grid_sample, IMAGES, np.zeros((2, 3, 4, 3)))
    refused(r"^grid: expected as many grids as images \(2\), or one, got 3",
            stn_np.grid_sample, IMAGES, np.zeros((3, 3, 4, 2)))  # fmt: skip
    refused(r"^grid:", stn_np.grid_sample, IMAGES, np.zeros((0, 3, 4, 2)))
    refused(r"^theta: expected shape \(N, 2, 3\), got \(2, 3, 2\)",
            stn_np.affine_grid, np.ones((2, 3, 2)), (3, 4))  # fmt: skip
    refused(r"^theta: expected shape \(N, 6\), got \(2, 3\)", Affine(), np.ones((2, 3)), (3, 4))
    refused(r"^theta: expected shape \(N, 3\), got \(2, 6\)", Attention(), np.ones((2, 6)), (3, 4))
    x = np.ones((2, 3, 6, 5))
    refused(r"^x: expected 2 channels \(as weight\), got 3$",
            layers.conv2d, x, np.ones((4, 2, 3, 3)), np.ones(4))  # fmt: skip
    refused(r"^bias: expected shape \(4,\), got \(3,\)",
            layers.conv2d, x, np.ones((4, 3, 3, 3)), np.ones(3))  # fmt: skip
    refused(r"^x: expected 6 features \(as weight\), got 5",
            layers.linear, np.ones((2, 5)), np.ones((4, 6)), np.ones(4))  # fmt: skip
    refused(r"^bias: expected shape \(4,\), got \(1,\)",
            layers.linear, np.ones((2, 5)), np.ones((4, 5)), np.ones(1))  # fmt: skip


@pytest.mark.parametrize("shape", [(7, 3), (6, 6), (9, 9)])
def test_an_image_smaller_than_the_kernel(shape: tuple[int, int]) -> None:
    x, w = np.ones((2, 3, 6, 5)), np.ones((4, 3, *shape))
    with pytest.raises(ValueError, match=rf"^x: .*{shape[0]}x{shape[1]} .*got 6x5"):
        layers.conv2d(x, w, np.ones(4))
    with pytest.raises(ValueError, match="^x: expected images of at least 7x7 .*got 6x5"):
        layers.max_pool2d(x, 7)
    with pytest.raises(ValueError, match="^x: expected images of at least 6x6 .*got 6x5"):
        layers.avg_pool2d(x, 6, 1)


@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (0, 0)])
def test_images_without_pixels(shape: tuple[int, int]) -> None:
    x = np.ones((2, 3, *shape))
    with pytest.raises(ValueError, match="^U: expected at least one pixel"):
        stn_np.grid_sample(x, GRID)
    for pool, ceil_mode in product((layers.max_pool2d, layers.avg_pool2d), CORNERS):
        with pytest.raises(ValueError, match="^x: expected images of at least"):
            pool(x, 2, ceil_mode=ceil_mode)
    with pytest.raises(ValueError, match="^x: expected images of at least"):
        layers.conv2d(x, np.ones((4, 3, 1, 1)), np.ones(4))
    with pytest.raises(ValueError, match="^(U|x|out_shape): expected"):
        stn_np.SpatialTransformer(identity_net(), Affine())(x)


def test_a_kernel_without_pixels_and_images_without_channels() -> None:
    with pytest.raises(ValueError, match="^weight: expected"):
        layers.conv2d(np.ones((2, 3, 6, 5)), np.ones((4, 3, 0, 2)), np.ones(4))
    with pytest.raises(ValueError, match="^(x|weight): expected"):
        layers.conv2d(np.ones((2, 0, 6, 5)), np.ones((4, 0, 3, 2)), np.ones(4))
    V, backward = stn_np.grid_sample(np.ones((2, 0, 4, 5)), GRID)
    assert V.shape == (2, 0, 3, 4)
    assert_equal(backward(V)[1], np.zeros(GRID.shape))


def test_arguments_of_different_dtypes() -> None:
    x, w, b = np.ones((2, 5)), np.ones((4, 5), np.float32), np.ones(4)
    with pytest.raises(TypeError, match="one dtype, got x float64, weight float32, bias float64"):
        layers.linear(x, w, b)
    with pytest.raises(TypeError, match="one dtype, got x float32, weight float32, bias float64"):
        layers.conv2d(np.ones((2, 3, 6, 5), np.float32), np.ones((4, 3, 2, 2), np.float32), b)


def test_sizes() -> None:
    theta, x = np.ones((2, 2, 3)), np.ones((2, 3, 6, 5))
    for bad in (3, (3,), (3, 4, 5), "34", None, {3, 4}):
        with pytest.raises(TypeError, match="^out_shape: expected a pair"):
            stn_np.affine_grid(theta, bad)  # type: ignore[arg-type]
    for bad in ((3.0, 4), (True, 4), (None, 4), ("3", 4)):
        with pytest.raises(TypeError, match="^out_shape: expected a whole number"):
            stn_np.affine_grid(theta, bad)  # type: ignore[arg-type]
        if bad[0] is not None:
            with pytest.raises(TypeError, match="^out_shape: expected a whole number"):
                stn_np.SpatialTransformer(layers.Flatten(), Affine(), bad)  # type: ignore[arg-type]
    for bad in ((0, 4), (3, -1)):
        with pytest.raises(ValueError, match="^out_shape: expected at least 1, got"):
            stn_np.affine_grid(theta, bad)
    for pool in (layers.max_pool2d, layers.avg_pool2d):
        with pytest.raises(ValueError, match="^kernel: expected at least 1, got 0"):
            pool(x, 0)
        with pytest.raises(TypeError, match="^kernel: expected a whole number, got 2.0"):
            pool(x, 2.0)
        with pytest.raises(ValueError, match="^stride: expected at least 1, got 0"):
            pool(x, 2, 0)
        with pytest.raises(TypeError, match="^stride: expected a whole number, got '2'"):
            pool(x, 2, "2")
    check_size("n", np.uint8(3), minimum=3)


def test_unknown_names_suggest_the_nearest() -> None:
    cases: list[tuple[str, Any]] = [
        ("padding_mode: .*got 'zero'; did you mean 'zeros'",
         lambda: stn_np.grid_sample(IMAGES, GRID, padding_mode="zero")),
        ("padding_mode: .*got 'reflect'; did you mean 'reflection'",
         lambda: stn_np.SpatialTransformer(layers.Flatten(), Affine(), padding_mode="reflect")),
        ("mode: .*got 'bilinar'; did you mean 'bilinear'",
         lambda: stn_np.grid_sample(IMAGES, GRID, mode="bilinar")),
        ("padding_mode: .*got None", lambda: stn_np.grid_sample(IMAGES, GRID, padding_mode=None)),  # type: ignore[arg-type]
        ("transform: .*got 'afine'; did you mean 'affine'", lambda: by_name("afine")),
        ("transform: .*got 'attn'; did you mean 'attention'",
         lambda: models.build("st-cnn", transform="attn")),
        ("model: .*got 'stcnn'; did you mean 'st-cnn'", lambda: models.build("stcnn")),
        ("model: .*got 'stn'; did you mean 'st-cnn'", lambda: models.build("stn")),
        ("model: expected one of 'fcn', 'cnn', 'st-fcn', 'st-cnn', got 'xyz'$",
         lambda: models.build("xyz")),
    ]  # fmt: skip
    for match, call in cases:
        with pytest.raises(ValueError, match=f"^{match}"):
            call()


def test_an_unknown_distortion_is_refused() -> None:
    with pytest.raises(ValueError, match="^distortion: .*got 'RST'; did you mean 'RTS'"):
        models.build("st-cnn", distortion="RST")


def test_models_refuse_what_they_cannot_build() -> None:
    with pytest.raises(ValueError, match="^input_shape: .*at least 28x28, got"):
        models.build("cnn", input_shape=(1, 27, 40))
    with pytest.raises(ValueError, match="^filters: expected at least 1"):
        models.build("cnn", filters=0)
    with pytest.raises(TypeError, match="^filters: expected a whole number"):
        models.build("cnn", filters=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [("input_shape", (28, 28)), ("input_shape", (1, 28, 28.0)), ("input_shape", (0, 28, 28)),
     ("n_classes", 0), ("n_classes", 2.5), ("dtype", np.int64)],
)  # fmt: skip
def test_models_name_the_argument_that_is_wrong(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
        models.build("cnn", **{name: value})


def test_labels() -> None:
    logits = np.zeros((2, 3))
    for bad in (np.array([0.0, 1.0]), np.array([True, False]), np.array(["0", "1"])):
        with pytest.raises(TypeError, match="^labels: expected an integer dtype, got"):
            cross_entropy(logits, bad)
    with pytest.raises(TypeError, match="^labels: expected a NumPy or CuPy array, got list"):
        cross_entropy(logits, [0, 1])  # type: ignore[arg-type]
    for bad in (np.array([0, 1, 2]), np.array([[0], [1]]), np.array(1)):
        with pytest.raises(ValueError, match=r"^labels: expected shape \(2,\), got"):
            cross_entropy(logits, bad)
    for bad in ([0, 3], [-1, 2]):
        with pytest.raises(ValueError, match=r"^labels: expected values in \[0, 3\), got"):
            cross_entropy(logits, np.array(bad))
    with pytest.raises(ValueError, match="^logits: expected at least one row"):
        cross_entropy(np.zeros((0, 3)), np.zeros(0, int))


def test_the_upstream_gradient_of_a_loss_is_one_number() -> None:
    _, backward = cross_entropy(np.zeros((2, 3)), np.array([0, 1]))
    for bad in (np.ones(3), np.ones((2, 1)), np.ones((2, 3))):  # would broadcast over dlogits
        with pytest.raises(ValueError, match="^dloss: expected"):
            backward(bad)
    for bad in ("1", None, 1j):
        with pytest.raises(TypeError, match="^dloss: expected"):
            backward(bad)
    for good in (2, np.float32(2), np.array(2.0)):
        assert_equal(backward(good), 2 * backward())


# ---------------------------------------------------------------- hints at what may have been meant


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: stn_np.grid_sample(IMAGES, GRID[0]), "a batch of one is grid[None]"),
        (lambda: stn_np.grid_sample(IMAGES, np.ones((2, 6))), ""),
        (lambda: stn_np.grid_sample(IMAGES, np.ones((3, 4, 3))), ""),
        *[
            (lambda U=U, theta=theta: stn_np.grid_sample(U, theta),
             "this looks like theta: affine_grid makes a grid of it")
            for U, theta in product((IMAGES, IMAGES[None]), (np.ones((2, 3)), np.ones((2, 3, 4))))
        ],
        (lambda: stn_np.affine_grid(np.ones((2, 3)), (3, 4)), "a batch of one is theta[None]"),
        (lambda: stn_np.affine_grid(np.ones((5, 6)), (3, 4)), "use theta.reshape(-1, 2, 3)"),
        (lambda: stn_np.affine_grid(np.ones(6), (3, 4)), "use theta.reshape(-1, 2, 3)"),
        (lambda: stn_np.affine_grid(np.ones((5, 12)), (2, 3, 4)), "use theta.reshape(-1, 3, 4)"),
        (lambda: stn_np.affine_grid(np.ones((5, 3, 2)), (3, 4)), ""),  # would mix its numbers up
        (lambda: Affine()(np.ones((5, 2, 3)), (3, 4)), "use theta.reshape(-1, 6)"),
        (lambda: Affine()(np.ones(6), (3, 4)), "a batch of one is theta[None]"),
        (lambda: Attention()(np.ones((5, 2, 3)), (3, 4)), ""),
        (lambda: stn_np.grid_sample(np.ones((9, 8, 3)), GRID),
         "channels come first: U.transpose(2, 0, 1)[None]"),
        (lambda: stn_np.grid_sample(np.ones((9, 8, 4)), GRID),
         "channels come first: U.transpose(2, 0, 1)[None]"),
        (lambda: stn_np.grid_sample(np.ones((3, 9, 3)), GRID), "a batch of one is U[None]"),
        (lambda: stn_np.grid_sample(np.ones((9, 8)), GRID),
         "a batch of one, with one channel, is U[None, None]"),
        (lambda: layers.linear(np.ones((2, 3, 4, 5)), np.ones((7, 60)), np.ones(7)),
         "put a Flatten before it"),
        (lambda: layers.linear(np.ones(60), np.ones((7, 60)), np.ones(7)),
         "a batch of one is x[None]"),
    ],
)  # fmt: skip
def test_a_wrong_shape_hints_at_what_was_meant(call: Any, hint: str) -> None:
    with pytest.raises(ValueError, match="^(U|x|grid|theta): expected shape") as error:
        call()
    assert str(error.value).partition("; ")[2] == hint


@pytest.mark.parametrize(
    ("shape", "hint"),
    [((2, 3, 36, 32), "that is the model's input_shape, an argument of models.build"),
     ((3, 32, 36), "a batch of one is x[None]"),
     ((32, 36, 3), "channels come first: x.transpose(2, 0, 1)[None]"),
     ((7, 3 * 32 * 36), "use x.reshape(-1, 3, 32, 36)"),
     ((32, 36), "that is the model's input_shape, an argument of models.build")],
)  # fmt: skip
@pytest.mark.parametrize("name", models.NAMES)
def test_a_model_names_the_images_that_it_was_built_for(
    name: str, shape: tuple[int, ...], hint: str
) -> None:
    model = models.build(name, input_shape=(3, 32, 36))
    with pytest.raises(ValueError, match="^x: expected shape") as error:
        model(np.ones(shape, np.float32))
    assert str(error.value) == (f"x: expected shape (N, 3, 32, 36), got {shape}; {hint}")


def test_hints_are_calls_that_work() -> None:
    photo, theta = np.ones((9, 8, 3), np.uint8), np.ones((5, 6))
    U = photo.transpose(2, 0, 1)[None].astype(np.float32) / 255
    grid, _ = stn_np.affine_grid(theta.reshape(-1, 2, 3), U.shape[2:])
    assert_equal(grid, Affine()(theta, U.shape[2:])[0])
    V, _ = stn_np.grid_sample(U, grid.astype(np.float32))
    assert V.shape == (5, 3, 9, 8)


def test_whole_numbers_and_what_holds_an_array() -> None:
    class Image:
        """As Pillow's."""

        __array_interface__: Any = {}

    for dtype, scale in ((np.uint8, " / 255 for values in [0, 1]"), (np.int64, ""), (bool, "")):
        with pytest.raises(TypeError) as error:
            stn_np.grid_sample(IMAGES.astype(dtype), GRID)
        assert str(error.value).endswith(f"; use U.astype(np.float32){scale}")
    for bad in (Image(), [[1.0]], (1.0,), np.float64(1)):
        with pytest.raises(TypeError, match=rf"got {type(bad).__name__}; use np\.asarray\(x\)$"):
            stn_np.grid_sample(bad, GRID)  # type: ignore[arg-type]
    for bad in (None, 1.0, "U", np.ma.masked_array([1.0])):  # as an array it would lose its mask
        with pytest.raises(TypeError, match=f"got {type(bad).__name__}$"):
            stn_np.grid_sample(bad, GRID)  # type: ignore[arg-type]


def test_the_size_that_pytorch_takes() -> None:
    image, volume = np.ones((2, 2, 3)), np.ones((2, 3, 4))
    hint = r"; PyTorch's \(N, C, H, W\) is \(H, W\) here: U\.shape\[2:\]$"
    for call in (
        lambda: stn_np.affine_grid(image, IMAGES.shape),
        lambda: Affine()(image.reshape(2, 6), list(IMAGES.shape)),  # type: ignore[arg-type]
        lambda: ThinPlateSpline()(np.ones((2, 32)), IMAGES.shape),  # type: ignore[arg-type]
        lambda: Flow(IMAGES.shape),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=r"^out_shape: .*got [(\[]2, 3, 4, 5[)\]]" + hint):
            call()
    with pytest.raises(TypeError, match=r"\(N, C, D, H, W\) is \(D, H, W\) here: U\.shape\[2:\]$"):
        stn_np.affine_grid(volume, (2, 1, 3, 4, 5))
    with pytest.raises(TypeError, match=r"got \(3, 4, 5\)$"):
        stn_np.affine_grid(image, (3, 4, 5))


def test_networks_are_made_of_modules() -> None:
    def function(U: Any) -> Any:
        return U

    for bad, got in ((function, "function"), (layers.ReLU, "the class ReLU"), (None, "NoneType")):
        with pytest.raises(TypeError, match=rf"^localisation: expected a Module, .*, got {got}$"):
            stn_np.SpatialTransformer(bad, Affine())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="^a: expected a layer, got"):
            layers.Sequential(a=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "alias"), [(n, a) for n in ALIASES for a in ALIASES[n]])
def test_names_from_elsewhere(name: str, alias: str) -> None:
    call = models.build if name in models.NAMES else by_name
    with pytest.raises(ValueError, match=f"got '{alias}'; did you mean '{name}'\\?$"):
        call(alias)


# ----------------------------------------------------------------------------- libraries that mix


class OtherArray:
    """Stands in for cupy.ndarray where there is no GPU."""

    device = types.SimpleNamespace(id=0)


@pytest.fixture
def fake_cupy(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    cupy = types.ModuleType("cupy")
    cupy.ndarray = OtherArray  # type: ignore[attr-defined]
    current = types.SimpleNamespace(Device=lambda: OtherArray.device)
    cupy.cuda = current  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


def test_numpy_and_cupy_do_not_mix(fake_cupy: types.ModuleType) -> None:
    gpu = OtherArray()
    with pytest.raises(TypeError, match=r"got U in NumPy, grid in CuPy; move them with cupy\."):
        stn_np.grid_sample(IMAGES, gpu)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got U in CuPy, grid in NumPy"):
        stn_np.grid_sample(gpu, GRID)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got x in NumPy, weight in CuPy, bias in NumPy"):
        layers.linear(np.ones((2, 5)), gpu, np.ones(4))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got x in NumPy, weight in NumPy, bias in CuPy"):
        layers.conv2d(np.ones((2, 3, 6, 5)), np.ones((4, 3, 2, 2)), gpu)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got logits in NumPy, labels in CuPy"):
        cross_entropy(np.ones((2, 3)), gpu)  # type: ignore[arg-type]
    for f, arguments in calls().values():
        y, backward = f(*arguments.values())
        if y.ndim:
            with pytest.raises(TypeError, match="expected all arrays in one library, got d"):
                backward(gpu)


def test_the_module_follows_the_arrays(fake_cupy: types.ModuleType) -> None:
    assert array_module(a=OtherArray(), b=OtherArray()) is fake_cupy
    assert array_module(a=np.ones(1), b=np.ones(2)) is np
    with pytest.raises(TypeError, match="^b: expected a NumPy or CuPy array, got list"):
        array_module(a=OtherArray(), b=[1])


def test_without_cupy_only_numpy_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert array_module(a=np.ones(1)) is np
    with pytest.raises(TypeError, match="^a: expected a NumPy or CuPy array, got OtherArray"):
        array_module(a=OtherArray())


def test_scatter_add_and_to_numpy(xp: Any) -> None:
    target = xp.zeros(4)
    scatter_add(target, xp.asarray([1, 3, 1, 1]), xp.asarray([1.0, 2, 4, 8]))
    assert_equal(target, [0, 13, 0, 2])
    assert isinstance(to_numpy(target), np.ndarray)
    assert isinstance(target, np.ndarray) == (to_numpy(target) is target)


# -------------------------------------------------------------------- NaN, one pixel, subclasses

NAN, INF = float("nan"), float("inf")


def test_a_single_pixel_through_the_whole_transformer() -> None:
    st = stn_np.SpatialTransformer(identity_net(), Affine())
    for shape in ((1, 1), (1, 7), (6, 1)):
        U = np.random.default_rng(0).normal(size=(2, 3, *shape))
        V, backward = st(U)
        assert_equal(V, U)
        assert_close(backward(U), U, 1e-15)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_layers_pass_bad_numbers_on(xp: Any, value: float) -> None:
    """A layer hides no NaN: it shows up in the loss, where training looks for it."""
    x = np.ones((1, 1, 4, 4))
    x[0, 0, 1, 1] = value
    x = xp.asarray(x)
    y, _ = layers.max_pool2d(x, 2)
    assert_equal(y[0, 0], [[1 if value == -INF else value, 1], [1, 1]])
    assert not np.isfinite(to_numpy(layers.avg_pool2d(x, 2)[0])[0, 0, 0, 0])
    assert_equal(layers.relu(x)[0][0, 0, 1, 1], np.array(max(value, 0.0)))


def test_matrices_and_masked_arrays_are_refused() -> None:
    from stn_np.layers import relu

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # NumPy's own
        matrix = np.matrix([[1.0, 2.0]])
    for x in (matrix, np.ma.masked_array([[1.0, 2.0]], mask=[[0, 1]])):
        with pytest.raises(
            TypeError, match="^x: expected a NumPy or CuPy array, got (matrix|Masked)"
        ):
            relu(x)


def test_a_number_as_an_array() -> None:
    from stn_np.layers import relu

    y, backward = relu(np.array(2.0))
    assert y == 2.0
    assert backward(np.array(3.0)) == 3.0
    with pytest.raises(ValueError, match=r"^dy: expected shape \(\), got \(1,\)$"):
        backward(np.ones(1))


def test_sizes_may_be_narrow_integers() -> None:
    theta = np.eye(2, 3)[None]
    shape = (np.int8(100), np.int8(120))
    grid, _ = stn_np.affine_grid(theta, shape)
    np.testing.assert_array_equal(grid, stn_np.affine_grid(theta, (100, 120))[0])


def test_the_identity_cannot_be_changed_for_everyone() -> None:
    with pytest.raises(ValueError, match="read-only"):
        stn_np.transforms.by_name("affine").identity[0] = 9
