"""Everything follows its arrays: on the stand-in for CuPy the same numbers as on NumPy.

The stand-in refuses a NumPy array that gets among its own, and notes each time that the host waits
for the device: in what a training step does that never happens.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from oracles import GROUPS, OPERATIONS, Operation, assert_close, assert_equal, beside, gradients

import stn_np
from stn_np.backend import to_device_of, to_numpy
from stn_np.cli import main
from stn_np.data import Dataset, distort, fixed_test_set, warp
from stn_np.data.distortions import KINDS
from stn_np.data.resample import resample
from stn_np.gpu.constants import remember
from stn_np.gpu.devices import to_device
from stn_np.gpu.graph import capture
from stn_np.gradcheck import GradcheckError, operations, parameters_as_inputs
from stn_np.layers import Conv2d, Linear, Module, Parameter, ReLU, Sequential, cross_entropy
from stn_np.models import NAMES, build, summary
from stn_np.sampling import affine_sample
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import FAMILIES, Affine3d, ThinPlateSpline, affine_grid, by_name, polynomial

GRADCHECK = importlib.import_module("stn_np.gradcheck.operations")

#: These look for maps that have no inverse.
LOOK = tuple(f"{name}-{what}" for name in (*GROUPS, "affine3d") for what in ("inverse", "compose"))


@pytest.fixture
def cupy(stand_in: ModuleType) -> ModuleType:
    return stand_in.cupy


def run(xp: Any, f: Any, inputs: list[np.ndarray], layout: Any = np.ascontiguousarray) -> list[Any]:
    """Value and gradients, for an upstream gradient that is the same everywhere."""
    y, backward = f(*(xp.asarray(layout(x)) for x in inputs))
    dy = np.random.default_rng(3).normal(size=y.shape).astype(y.dtype)
    return [y, *gradients(backward(xp.asarray(layout(dy))))]


def batch_innermost(a: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0)


# ---------------------------------------------------------------------------------- the operations


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_agree(cupy: Any, name: str) -> None:
    """The same to rounding, on the device, and nothing is waited for."""
    for layout in [np.ascontiguousarray, batch_innermost]:
        op: Operation = OPERATIONS[name]
        expected = run(np, op.f, op.inputs(0))
        if name in LOOK:
            got = run(cupy, op.f, op.inputs(0), layout)
        else:
            with cupy.no_synchronisation():
                got = run(cupy, op.f, op.inputs(0), layout)
        for a, b in zip(got, expected, strict=True):
            assert isinstance(a, cupy.ndarray) and a.dtype == b.dtype
            assert_close(a, b, 1e-13)


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", [*FAMILIES, "affine3d", "learned"])
def test_families_agree(cupy: Any, name: str, dtype: Any, corners: bool) -> None:
    """In every precision and under both corner rules; the identity is the target grid exactly."""
    shape: Any = (3, 4, 5) if name == "affine3d" else (4, 5)

    def make() -> Any:
        if name in ("learned", "linear-basis"):
            return polynomial(shape, learned=name == "learned", align_corners=corners)
        return Affine3d() if name == "affine3d" else by_name(name, shape)

    transform = make()
    rng = np.random.default_rng(0)
    theta = np.stack([transform.identity, transform.identity])
    theta[1] += rng.uniform(-0.2, 0.2, transform.n_params)
    theta = theta.astype(dtype)
    expected = run(np, lambda t: transform(t, shape, align_corners=corners), [theta])
    moved = beside(cupy, make())
    with cupy.no_synchronisation():
        got = run(cupy, lambda t: moved(t, shape, align_corners=corners), [theta])
    n = len(shape)
    eye = np.eye(n, n + 1, dtype=dtype)[None]
    assert_equal(got[0][:1], affine_grid(eye, shape, align_corners=corners)[0])
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        assert_close(a, b, {2: 2e-3, 4: 1e-6, 8: 1e-14}[a.dtype.itemsize])
    if name == "learned":
        (there,), (here,) = moved.parameters(), transform.parameters()
        assert_close(there.grad, here.grad, 1e-6 if dtype != np.float64 else 1e-14)


@pytest.mark.parametrize("name", [*GROUPS, "affine3d"])
def test_singular_maps_are_refused_on_the_device_too(cupy: Any, name: str) -> None:
    group: Any = Affine3d() if name == "affine3d" else by_name(name)
    theta = np.stack([group.identity] * 3)
    theta[2] = np.nan
    if name == "translation":
        assert_equal(group.inverse(cupy.asarray(theta))[0], group.inverse(theta)[0])
        return
    messages = []
    for xp in (np, cupy):
        with pytest.raises(ValueError, match="for image 2 of the batch$") as caught:
            group.inverse(xp.asarray(theta), out_shape=(4, 5))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_points_behind_the_horizon(cupy: Any) -> None:
    """The branch of `Projective` that NumPy leaves out where it can see that no point is lost."""
    theta = np.stack([by_name("projective").identity] * 2)
    theta[1, 6] = 1.5
    expected = run(np, lambda t: by_name("projective")(t, (5, 6)), [theta])
    with cupy.no_synchronisation():
        got = run(cupy, lambda t: by_name("projective")(t, (5, 6)), [theta])
    assert (expected[0][1] == -1e6).any() and (expected[0][1] != -1e6).any()
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b, 1e-13)


# ---------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labels_dtype", [np.int64, np.int32, np.uint8, np.int8])
def test_cross_entropy_agrees(cupy: Any, dtype: Any, labels_dtype: Any) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 4)).astype(dtype)
    labels = np.array([3, 0, 1, 3, 2], labels_dtype)
    expected, expected_backward = cross_entropy(logits, labels)
    z = cupy.asarray(logits)
    with cupy.no_synchronisation():
        loss, backward = cross_entropy(z, cupy.asarray(labels))
        dlogits = backward()
        twice = backward(cupy.asarray(2.0))  # a 0-d array, as a pullback further down hands on
    assert loss.shape == () and loss.dtype == dlogits.dtype == dtype
    assert_close(loss, expected, 1e-6)
    assert_close(dlogits, expected_backward(), 1e-7)
    assert_close(twice, 2 * expected_backward(), 1e-7)
    assert_equal(z, logits)


@pytest.mark.parametrize("bad", [-1, 4, 5, 2**31, -(2**40), np.iinfo(np.int64).max])
def test_a_label_out_of_range_is_seen_in_the_loss(cupy: Any, bad: int) -> None:
    """An error on the CPU. On a GPU nobody looks: NaN, in this row only, without waiting."""
    logits = np.random.default_rng(0).normal(size=(3, 4))
    labels = np.array([1, bad, 0])
    with pytest.raises(ValueError, match=r"^labels: expected values in \[0, 4\), got"):
        cross_entropy(logits, labels)
    z, t = cupy.asarray(logits), cupy.asarray(labels)
    with cupy.no_synchronisation():
        loss, backward = cross_entropy(z, t)
        dlogits = backward()
    assert np.isnan(to_numpy(loss)) and np.isnan(to_numpy(dlogits)[1]).all()
    expected = cross_entropy(logits, np.array([1, 2, 0]))[1]()
    assert_close(to_numpy(dlogits)[[0, 2]], expected[[0, 2]], 1e-15)
    assert_equal(z, logits)
    assert_equal(t, labels)


def test_small_labels_of_many_classes(cupy: Any) -> None:
    """The number of classes does not fit into the labels' type."""
    logits, labels = np.random.default_rng(0).normal(size=(2, 300)), np.array([255, 7], np.uint8)
    loss, _ = cross_entropy(cupy.asarray(logits), cupy.asarray(labels))
    assert_close(loss, cross_entropy(logits, labels)[0], 1e-13)
    labels = np.array([2**64 - 1, 0], np.uint64)  # not the last class
    loss, _ = cross_entropy(cupy.asarray(logits), cupy.asarray(labels))
    assert np.isnan(to_numpy(loss))


def test_labels_are_where_the_logits_are(cupy: Any) -> None:
    for z, t in ((cupy.ones((2, 3)), np.zeros(2, int)), (np.ones((2, 3)), cupy.zeros(2, int))):
        with pytest.raises(TypeError, match="^expected all arrays in one library, got logits in"):
            cross_entropy(z, t)


# ---------------------------------------------------------------------------------------- modules


def small_model() -> Sequential:
    rng = np.random.default_rng(0)
    return Sequential(
        hidden=Linear(6, 4, rng=rng, dtype=np.float64),
        relu=ReLU(),
        out=Linear(4, 2, rng=rng, dtype=np.float64),
    )


def places(module: Module) -> set[type]:
    return {type(x) for p in module.parameters() for x in (p.data, p.grad)}


def test_a_module_moves_with_values_and_gradients(cupy: Any) -> None:
    model, x = small_model(), np.random.default_rng(1).normal(size=(3, 6))
    y, backward = model(x)
    backward(y)
    before = [(to_numpy(p.data).copy(), to_numpy(p.grad).copy()) for p in model.parameters()]
    assert model.to("gpu") is model and places(model) == {cupy.ndarray}
    for p, (data, grad) in zip(model.parameters(), before, strict=True):
        assert_equal(p.data, data)
        assert_equal(p.grad, grad)
    arrays = [p.data for p in model.parameters()]
    assert model.to("cuda") is model
    assert all(p.data is a for p, a in zip(model.parameters(), arrays, strict=True))
    with cupy.no_synchronisation():
        there, backward = model(cupy.asarray(x))
        dx = backward(there)
    assert_close(there, y, 1e-15)
    assert isinstance(dx, cupy.ndarray)
    for p, (_, grad) in zip(model.parameters(), before, strict=True):
        assert_close(p.grad, 2 * grad, 1e-14)  # it went on where it was
    model.zero_grad()
    assert all(float(abs(p.grad).max()) == 0 for p in model.parameters())
    assert model.to("cpu") is model and places(model) == {np.ndarray}
    for p, (data, _) in zip(model.parameters(), before, strict=True):
        assert_equal(p.data, data)
    with pytest.raises(ValueError, match=r"^device: expected one of .* got 'gpus'"):
        model.to("gpus")


def test_arrays_of_the_wrong_library_are_refused(cupy: Any) -> None:
    model = small_model()
    with pytest.raises(TypeError, match="^expected all arrays in one library, got x in CuPy, w"):
        model(cupy.ones((2, 6)))
    with pytest.raises(TypeError, match="^expected all arrays in one library, got x in NumPy, w"):
        model.to("gpu")(np.ones((2, 6)))
    y, backward = model(cupy.ones((2, 6)))
    with pytest.raises(TypeError, match="^expected all arrays in one library, got dy in NumPy"):
        backward(np.ones(y.shape))


def test_gradients_begin_where_the_values_are(cupy: Any) -> None:
    for xp in (np, cupy):
        p = Parameter(xp.ones((2, 3), np.float32))
        assert type(p.grad) is type(p.data) and p.grad.dtype == np.float32
        assert_equal(p.grad, np.zeros((2, 3)))


def test_a_shared_net_is_moved_once(cupy: Any) -> None:
    shared = Linear(3, 3, rng=np.random.default_rng(0))
    model = Sequential(one=shared, two=ReLU(), three=shared).to("gpu")
    assert len(model.parameters()) == 2 and places(model) == {cupy.ndarray}
    assert model.one.weight is model.three.weight  # type: ignore[attr-defined]


def test_states_go_between_the_libraries(cupy: Any) -> None:
    here, there = small_model(), small_model().to("gpu")
    for p in here.parameters():
        p.data += 1
    there.load_state_dict(here.state_dict())
    assert places(there) == {cupy.ndarray}
    state = there.state_dict()
    assert {type(x) for x in state.values()} == {cupy.ndarray}
    for name, x in here.state_dict().items():
        assert isinstance(x, np.ndarray)
        assert_equal(state[name], x)
    for p in there.parameters():
        p.data += 1  # copies do not change with it
    assert_equal(state["out.bias"], here.state_dict()["out.bias"])
    here.load_state_dict(there.state_dict())
    there.load_state_dict(there.state_dict())
    assert places(here) == {np.ndarray}
    assert_equal(here.state_dict()["out.bias"], np.full(2, 2.0))
    wrong = there.state_dict() | {"out.bias": cupy.ones(3)}
    with pytest.raises(
        ValueError, match=r"^state\['out.bias'\]: expected shape \(2,\), got \(3,\)"
    ):
        here.load_state_dict(wrong)


def test_states_go_between_gpus(cupy: Any) -> None:
    with cupy.cuda.Device(1):
        second = small_model().to("gpu")
        state = small_model().to("gpu").state_dict()
    first = small_model().to("gpu")
    assert first.parameters()[0].data.device.id == 0
    assert second.parameters()[0].data.device.id == 1
    with cupy.cuda.Device(1):
        second.load_state_dict(first.state_dict())
        second.load_state_dict(small_model().state_dict())
    assert second.parameters()[0].data.device.id == 1
    here = small_model().parameters()[0].data
    there = to_device_of(here, second.parameters()[0].data)
    assert there.device.id == 1  # type: ignore[attr-defined]
    assert to_device_of(there, there) is there and to_device_of(here, here) is here
    first.load_state_dict(state)
    assert first.parameters()[0].data.device.id == 0
    assert_equal(first.parameters()[0].data, small_model().parameters()[0].data)


@pytest.mark.parametrize("name", NAMES)
def test_models_agree(cupy: Any, name: str) -> None:
    """Forward and backward through the whole network: nothing is waited for."""
    rng = np.random.default_rng(0)
    model = build(name, filters=24, dtype=np.float64)
    if model.transformer is not None:  # the identity reads exactly at the pixels, where kinks are
        model.transformer.localisation.regression.bias.data += 0.013  # type: ignore[attr-defined]
    x, labels = rng.uniform(size=(2, 1, 28, 28)), np.array([3, 7])

    def step(xp: Any) -> list[Any]:
        model.zero_grad()
        logits, backward = model(xp.asarray(x))
        loss, loss_backward = cross_entropy(logits, xp.asarray(labels))
        dx = backward(loss_backward())
        return [logits, loss, dx, *(p.grad.copy() for p in model.parameters())]

    text = summary(model)
    expected = step(np)
    model.to("gpu")
    with cupy.no_synchronisation():
        got = step(cupy)
    for a, b in zip(got, expected, strict=True):
        assert isinstance(a, cupy.ndarray)
        assert_close(a, b, 1e-12)
    assert summary(model) == text


@pytest.mark.parametrize("name", [*FAMILIES, "learned", "affine3d"])
def test_transformers_agree(cupy: Any, name: str) -> None:
    shape: Any = (4, 5, 6) if name == "affine3d" else (6, 7)
    transform: Any = Affine3d() if name == "affine3d" else None
    transform = transform or (
        polynomial(shape, learned=True) if name == "learned" else by_name(name, shape)
    )
    rng = np.random.default_rng(0)
    U = rng.normal(size=(2, 3, *shape))
    dense = Linear(U[0].size, transform.n_params, rng=rng, dtype=np.float64)
    dense.weight.data *= 1e-3
    dense.bias.data[...] = transform.identity + rng.uniform(0.01, 0.05, transform.n_params)
    localisation = Sequential(flatten=stn_np.layers.Flatten(), regression=dense)
    transformer = SpatialTransformer(localisation, transform)
    expected = run(np, transformer, [U])
    grads = [p.grad.copy() for p in transformer.parameters()]
    transformer.to("gpu").zero_grad()
    with cupy.no_synchronisation():
        got = run(cupy, transformer, [U])
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b, 1e-12)
    for p, grad in zip(transformer.parameters(), grads, strict=True):
        assert isinstance(p.data, cupy.ndarray)
        assert_close(p.grad, grad, 1e-12)
    assert isinstance(transformer.theta(cupy.asarray(U)), cupy.ndarray)


# -------------------------------------------------------------------------------------- constants


@pytest.mark.parametrize("name", ["tps", "piecewise-affine", "linear-basis", "projective", "flow"])
def test_constants_are_moved_once(cupy: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    transform = by_name(name, (5, 6))
    theta = cupy.asarray(np.stack([transform.identity] * 2))
    transform(theta, (5, 6))
    with monkeypatch.context() as m:
        m.setattr(cupy, "asarray", None)  # whoever moves something now gets no further
        m.setattr(cupy, "array", None)
        transform(theta, (5, 6))
    with cupy.cuda.Device(1):  # and once more for another GPU
        second = cupy.asarray(np.stack([transform.identity] * 2))
        grid, backward = transform(second, (5, 6))
        dtheta = backward(grid)
    assert grid.device.id == dtheta.device.id == 1
    assert transform(theta, (5, 6))[0].device.id == 0
    here, _ = transform(to_numpy(theta), (5, 6))
    assert isinstance(here, np.ndarray)
    assert_equal(grid, here)


def test_nobody_can_mix_up_the_grids_of_different_rules(cupy: Any) -> None:
    """Made once for each size, precision and corner rule, in any order of calls."""
    eye = np.eye(2, 3)[None]
    cases = [
        (shape, corners, dtype)
        for shape in ((4, 5), (5, 4), (2, 10))
        for corners in (True, False, np.bool_(False))
        for dtype in (np.float16, np.float32, np.float64)
    ]
    for shape, corners, dtype in cases * 2:
        theta = eye.astype(dtype)
        there, _ = affine_grid(cupy.asarray(theta), shape, align_corners=bool(corners))
        here, _ = affine_grid(theta, shape, align_corners=bool(corners))
        assert there.dtype == here.dtype
        assert_equal(there, here)
    for bad in ("False", 0, None):
        for good in (True, False):  # both are remembered
            affine_grid(cupy.asarray(eye), (4, 5), align_corners=good)
        with pytest.raises(TypeError, match="^align_corners: expected True or False"):
            affine_grid(cupy.asarray(eye), (4, 5), align_corners=bad)  # type: ignore[arg-type]


def test_a_graph_keeps_the_constants_that_it_reads(cupy: Any) -> None:
    """They may be dropped to make room for others; the graph knows their addresses only."""
    transform = ThinPlateSpline()
    theta = cupy.asarray(np.stack([transform.identity] * 2) * 1.1)
    transform(theta, (5, 6))  # the weights are there before, in memory that is not the graph's
    affine_grid(cupy.asarray(np.eye(2, 3)[None]), (5, 6))
    total = cupy.zeros((2, 5, 6, 2))

    def step() -> None:
        grid, _ = transform(theta, (5, 6))
        plain, _ = affine_grid(theta[:, :6].reshape(2, 2, 3), (5, 6))
        cupy.add(total, grid, out=total)
        cupy.add(total, plain, out=total)

    replay = capture(step)
    once = to_numpy(total).copy()
    for size in range(7, 20):  # more than are remembered
        transform(theta, (size, 6))
        affine_grid(cupy.asarray(np.eye(2, 3)[None]), (size, 6))
    replay()
    assert_close(total, 2 * once, 1e-14)


def test_a_graph_keeps_the_constants_of_affine_sample(cupy: Any) -> None:
    U, theta = cupy.asarray(np.ones((1, 1, 5, 6))), cupy.asarray(np.eye(2, 3)[None])
    affine_sample(U, theta, (5, 6))  # the constant is there before, in memory not the graph's
    total = cupy.zeros((1, 1, 5, 6))

    def step() -> None:
        V, _ = affine_sample(U, theta, (5, 6))
        cupy.add(total, V, out=total)

    replay = capture(step)
    for width in range(7, 80):  # more than are remembered
        affine_sample(U, theta, (5, width))
    replay()
    assert_close(total, 2 * np.ones((1, 1, 5, 6)), 1e-14)


def test_remembering() -> None:
    cache: dict[Any, Any] = {}
    assert [remember(cache, k % 3, lambda k=k: k) for k in range(6)] == [0, 1, 2, 0, 1, 2]
    for k in range(100):
        remember(cache, k, lambda k=k: k)
        assert len(cache) <= 8


# ---------------------------------------------------------------------------------------- the data


@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (3, 2, 20, 31), (1, 1, 28, 28), (0, 1, 28, 28)])
@pytest.mark.parametrize("kind", KINDS)
def test_distortions_agree(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, kind: str, shape: tuple[int, ...]
) -> None:
    """The same random maps; "TC" copies pixels, so there the bits are the same."""
    monkeypatch.setenv("STN_NP_FAST", "0")  # compiled loops round a coordinate in one step, not two
    images = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    expected = distort(images, kind, np.random.default_rng(1))
    for layout in (np.ascontiguousarray, batch_innermost):
        there, rng = cupy.asarray(layout(images)), np.random.default_rng(1)
        with cupy.no_synchronisation():
            got = distort(there, kind, rng)
        assert isinstance(got, cupy.ndarray) and got.dtype == np.float32
        assert_equal(there, images)
        if kind in ("none", "TC"):
            assert_equal(got, expected)
        else:
            assert_close(got, expected, 2e-6)
    after = np.random.default_rng(1)
    distort(images, kind, after)
    assert rng.bit_generator.state == after.bit_generator.state  # so the next batch is the same


def test_test_sets_on_a_gpu(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STN_NP_FAST", "0")  # compiled loops round a coordinate in one step, not two
    images = np.random.default_rng(0).uniform(size=(6, 1, 28, 28)).astype(np.float32)
    labels = np.arange(6)
    here = Dataset("x", images, labels, tuple("abcdef"))
    there = Dataset("x", cupy.asarray(images), cupy.asarray(labels), tuple("abcdef"))
    assert len(there) == 6
    for kind in ("TC", "RTS", "none"):
        got = fixed_test_set(there, kind, 3)
        assert isinstance(got.images, cupy.ndarray)
        assert_close(got.images, fixed_test_set(here, kind, 3).images, 2e-6)


def test_resampling_agrees(cupy: Any) -> None:
    images = np.random.default_rng(0).uniform(size=(2, 3, 11, 17)).astype(np.float32)
    for size, step in (((28, 28), 0.5), ((4, 5), 3.7), ((6, 6), 1.0)):
        got = resample(cupy.asarray(images), size, step)
        assert isinstance(got, cupy.ndarray)
        assert_close(got, resample(images, size, step), 1e-6)
    theta = np.random.default_rng(1).normal(size=(2, 2, 3)).astype(np.float32)
    expected = warp(images, theta, (5, 6))
    assert_close(warp(cupy.asarray(images), cupy.asarray(theta), (5, 6)), expected, 2e-6)
    with pytest.raises(TypeError, match="^expected all arrays in one library"):
        warp(cupy.asarray(images), theta, (5, 6))


# ---------------------------------------------------------------------------------- gradient checks


def test_gradcheck_on_arrays_of_the_gpu(cupy: Any) -> None:
    x = cupy.asarray(np.array([1.0, 2.0, 3.0]))

    def cube(x: Any) -> Any:
        assert isinstance(x, cupy.ndarray)
        return x**3, lambda dy: 3 * x**2 * dy

    report = stn_np.gradcheck(cube, x)
    assert report.ok and report.max_error < 1e-9
    with pytest.raises(GradcheckError, match=r"\[2\]: expected  24\.\d+, actual  48\.9") as caught:
        stn_np.gradcheck(lambda x: (x**3, lambda dy: 3 * x**2 * dy * cupy.asarray([1.0, 1, 2])), x)
    assert caught.value.report.inputs[0].status == "wrong"
    with pytest.raises(GradcheckError, match="kink in y"):
        stn_np.gradcheck(stn_np.layers.relu, cupy.zeros((2, 2)))
    with pytest.raises(ValueError, match="expected finite numbers, got NaN"):
        stn_np.gradcheck(cube, cupy.asarray([1.0, np.nan]))
    with pytest.raises(TypeError, match="expected float64, got float32"):
        stn_np.gradcheck(cube, cupy.ones(2, np.float32))
    with pytest.raises(TypeError, match="got input 0 in CuPy, input 1 in NumPy"):
        stn_np.gradcheck(lambda x, y: (x * y, None), x, to_numpy(x))
    assert_equal(x, np.array([1.0, 2.0, 3.0]))


def test_gradcheck_of_a_module_on_the_gpu(cupy: Any) -> None:
    rng = np.random.default_rng(0)
    layer = Conv2d(2, 3, 3, rng=rng, dtype=np.float64).to("gpu")
    f, values = parameters_as_inputs(layer)
    assert all(isinstance(x, cupy.ndarray) for x in values.values())
    x = cupy.asarray(rng.normal(size=(2, 2, 5, 6)))
    assert stn_np.gradcheck(f, x, *values.values(), names=["x", *values]).ok
    assert float(abs(layer.weight.grad).max()) == 0  # it was a copy that was worked on
    moved, values = parameters_as_inputs(layer.to("cpu"))  # the values decide where
    there = [to_device(v, "gpu") for v in (to_numpy(x), *values.values())]
    assert stn_np.gradcheck(moved, *there).ok


def test_the_table_of_operations_runs_on_the_gpu(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those whose names say something of each part of it, by the command as well."""
    chosen = (
        "affine_grid, corners aligned", "affine_grid, volume, corners not aligned",
        "transform projective", "transform tps", "transform flow", "compose, affine-natural",
        "inverse, affine3d", "inverse, projective", "linear_basis_grid", "conv2d",
        "max_pool2d, overlapping", "avg_pool2d", "linear", "relu", "cross_entropy",
        "grid_sample, bilinear, zeros, corners aligned", "grid_sample, linearised, on a plane",
        "affine_sample, zeros", "SpatialTransformer, tps", "SpatialTransformer, linear-basis",
        "model st-cnn, R",
    )  # fmt: skip
    few = [op for op in operations(np.random.default_rng(0)) if op.name in chosen]
    assert len(few) == len(chosen)
    seen: set[type] = set()

    def watched(op: Any) -> Any:
        def f(*inputs: Any) -> Any:
            seen.update(map(type, inputs))
            y, backward = op.f(*inputs)
            seen.add(type(y))
            return y, backward

        return op._replace(f=f)

    monkeypatch.setattr(GRADCHECK, "operations", lambda rng: map(watched, few))
    assert main(["gradcheck", "--device", "gpu"]) == 0
    out = capsys.readouterr().out
    assert f"{len(chosen)} of {len(chosen)} are right" in out
    assert seen == {cupy.ndarray}
