"""Training on a GPU, or its stand-in: the same curve, no waiting, graphs, runs that move."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from stn_np.backend import to_numpy
from stn_np.cli import main
from stn_np.data import Dataset, distort, distorted_size, load_digits
from stn_np.experiments import open_run
from stn_np.experiments.distorted_digits import DistortedDigits, DistortedDigitsSettings
from stn_np.gpu import graph as cuda_graph
from stn_np.gpu.devices import to_device
from stn_np.gpu.graph import CaptureError, capture
from stn_np.layers import cross_entropy
from stn_np.models import build
from stn_np.module import Module
from stn_np.training import checkpoint, loop, run
from stn_np.training.checkpoint import restore, state_of
from stn_np.training.evaluate import evaluate
from stn_np.training.folder import RunFolder
from stn_np.training.loop import DivergedError, Trainer
from stn_np.training.optimizers import (
    OPTIMIZERS,
    Optimizer,
    build_optimizer,
    localisation_factor,
)
from stn_np.training.progress import Progress
from stn_np.training.run import StoppedError
from stn_np.training.schedule import learning_rate
from stn_np.training.step import TrainingStep

STEPS = 50


@pytest.fixture
def cupy(gpu: ModuleType) -> Any:
    """What ``import cupy`` gives: in turn every library that is present for GPUs."""
    return gpu


@pytest.fixture
def counted(stand_in: ModuleType) -> Any:
    """The stand-in only: it counts how often it is waited for, and pretends other machines."""
    return stand_in.cupy


# Steps without a run


def network(name: str, distortion: str, dtype: type, **settings: Any) -> Module:
    shape = (1, *distorted_size(distortion, (28, 28)))
    return build(name, input_shape=shape, distortion=distortion, dtype=dtype, **settings)


def batches(distortion: str, dtype: type, device: str) -> Callable[[int], tuple]:
    """The batch of a step: 8 of 40 digits, distorted afresh where they are."""
    half, _ = load_digits()
    images, labels = (to_device(x[:40], device) for x in (half.images.astype(dtype), half.labels))

    def batch(step: int) -> tuple:
        rng = np.random.default_rng(step)
        rows = to_device(rng.permutation(40)[:8], device)
        return distort(images[rows], distortion, rng), labels[rows]

    return batch


def rate(step: int) -> float:
    return learning_rate("one-cycle", step, STEPS, 3e-3)


def gpu_curve(
    model: Module,
    distortion: str,
    dtype: type,
    steps: int,
    *,
    graph: bool = True,
    name: str = "adamw",
    loss: Any = cross_entropy,
) -> tuple[np.ndarray, Optimizer]:
    """The sums after each step, made where `Trainer` makes them."""
    optimizer = build_optimizer(name, model.to("gpu"), localisation_factor(2.0), average=0.9)
    step = TrainingStep(model, optimizer, loss, graph=graph)
    batch = batches(distortion, dtype, "gpu")
    sums = []
    for k in range(steps):
        step(*batch(k), rate(k))
        sums.append(step.synchronise()[0])
    return np.array(sums), optimizer


def cpu_curve(model: Module, distortion: str, dtype: type, steps: int) -> np.ndarray:
    """The same as the trainer makes them on the CPU."""
    optimizer = build_optimizer("adamw", model, localisation_factor(2.0))
    batch = batches(distortion, dtype, "cpu")
    measured = []
    for k in range(steps):
        images, labels = batch(k)
        model.zero_grad()
        logits, backward = model(images, needs_dx=False)
        loss, backward_loss = cross_entropy(logits, labels)
        backward(backward_loss())
        wrong = (logits.argmax(axis=1) != labels).sum()
        measured.append([float(loss), float(wrong), float(optimizer.gradient_norm())])
        optimizer.step(rate(k))
    return np.cumsum(measured, axis=0)


def numpy_weights(model: Module) -> dict[str, np.ndarray]:
    return {
        name: x if isinstance(x, np.ndarray) else x.get() for name, x in model.state_dict().items()
    }


@pytest.mark.parametrize(
    ("name", "distortion", "settings"),
    [
        ("st-cnn", "R", {"filters": 2}),
        ("st-fcn", "E", {"filters": 32, "transform": "tps"}),
    ],
)
def test_the_same_curve_as_on_the_cpu(
    cupy: Any, name: str, distortion: str, settings: dict
) -> None:
    here, there = (network(name, distortion, np.float64, **settings) for _ in range(2))
    expected = cpu_curve(here, distortion, np.float64, STEPS)
    found, _ = gpu_curve(there, distortion, np.float64, STEPS)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    for parameter, x in numpy_weights(there).items():
        np.testing.assert_allclose(x, numpy_weights(here)[parameter], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("name", "settings"), [("st-fcn", {"filters": 32}), ("st-cnn", {"filters": 2})]
)
def test_a_graph_gives_the_bits_of_single_launches(
    cupy: Any, name: str, settings: dict, optimizer: str
) -> None:
    plain, captured = (network(name, "R", np.float32, **settings) for _ in range(2))
    expected, one = gpu_curve(plain, "R", np.float32, 8, graph=False, name=optimizer)
    found, other = gpu_curve(captured, "R", np.float32, 8, name=optimizer)
    np.testing.assert_array_equal(found, expected)
    for parameter, x in numpy_weights(captured).items():
        np.testing.assert_array_equal(x, numpy_weights(plain)[parameter], err_msg=parameter)
    for key, x in other.state_dict().items():
        np.testing.assert_array_equal(x, one.state_dict()[key], err_msg=key)


@pytest.mark.parametrize("as_graph", [True, False])
def test_no_step_waits_for_the_gpu(counted: Any, as_graph: bool) -> None:
    model = network("st-cnn", "R", np.float32, filters=2).to("gpu")
    step = TrainingStep(model, build_optimizer("adamw", model), graph=as_graph)
    batch = batches("R", np.float32, "gpu")
    step(*batch(0), 0.1)  # to capture is to wait
    counted.synchronisations.clear()
    for k in range(1, 4):
        step(*batch(k), 0.1)
    assert counted.synchronisations == []


def test_all_steps_after_the_first_are_replays(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("st-fcn", "R", np.float32, filters=32).to("gpu")
    step = TrainingStep(model, build_optimizer("adamw", model))
    batch = batches("R", np.float32, "gpu")
    step(*batch(0), 0.1)
    monkeypatch.setattr(TrainingStep, "_work", None)
    for k in range(1, 3):
        step(*batch(k), 0.1)
    assert np.isfinite(step.synchronise()[0]).all()


def test_other_shapes_are_no_replay(cupy: Any) -> None:
    model = network("st-fcn", "R", np.float32, filters=32).to("gpu")
    step = TrainingStep(model, build_optimizer("adamw", model))
    images, labels = batches("R", np.float32, "gpu")(0)
    with pytest.raises(ValueError, match="labels: expected shape"):
        step(images, labels[:1], 0.1)  # a first step that fails says nothing of the next
    step(images, labels, 0.1)
    before = numpy_weights(model)
    as_first = r"expected shape \(8{}\) and {}, as in the first step, got"
    image, label = as_first.format(", 1, 28, 28", "float32"), as_first.format(",", "int64")
    for wrong, error, match in (
        ((images[:7], labels[:7]), ValueError, rf"inputs: {image} \(7, 1, 28, 28\) and float32"),
        ((images.astype(np.float64), labels), ValueError, f"inputs: {image}.* float64"),
        ((images, labels[:1]), ValueError, rf"targets: {label} \(1,\) and int64"),
        ((images, labels + 0.5), ValueError, f"targets: {label}.* float64"),
        ((images, to_numpy(labels)), TypeError, "the first targets in CuPy, targets in NumPy"),
    ):
        with pytest.raises(error, match=match):
            step(*wrong, 0.1)
    assert step._optimizer.n_steps == 2
    for name, x in numpy_weights(model).items():
        np.testing.assert_array_equal(x, before[name])
    step(images, labels, 0.1)


def test_a_step_that_cannot_be_captured_is_made_all_the_same(cupy: Any) -> None:
    def looking(logits: Any, labels: Any) -> tuple:
        float(logits.sum())
        return cross_entropy(logits, labels)

    plain, model = (network("st-fcn", "R", np.float32, filters=32) for _ in range(2))
    expected, _ = gpu_curve(plain, "R", np.float32, 4)
    with pytest.warns(RuntimeWarning, match="no CUDA graph.*StreamCaptureUnsupported"):
        found, _ = gpu_curve(model, "R", np.float32, 4, loss=looking)
    np.testing.assert_array_equal(found, expected)


# capture


def test_capture_carries_out_once_and_then_at_every_replay(cupy: Any) -> None:
    x, y = cupy.zeros(3), cupy.zeros(3)

    def step() -> None:
        y[...] = x + 1
        x[...] = y * 2

    replay = capture(step)
    assert x.get().tolist() == [2, 2, 2]  # once, not twice
    replay()
    assert x.get().tolist() == [6, 6, 6]
    x[...] = 10
    replay()
    assert y.get().tolist() == [11, 11, 11]


def test_an_error_of_the_step_itself_is_no_error_of_the_capture(cupy: Any) -> None:
    def wrong() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        capture(wrong)


def test_a_capture_that_fails_ends(cupy: Any) -> None:
    x = cupy.zeros(3)
    with pytest.raises(CaptureError, match="not permitted when stream is capturing"):
        capture(lambda: x.get() and None if x.ndim == 0 else x.get().sum() and None)
    assert x.get().tolist() == [0, 0, 0]  # allowed again
    capture(lambda: None)()


def test_an_interrupted_capture_ends_too(cupy: Any) -> None:
    calls = []

    def interrupted() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(interrupted)
    x = cupy.zeros(3)
    capture(lambda: cupy.add(x, 1, out=x))()
    assert x.get().tolist() == [2, 2, 2]


def test_threads_do_not_mix_up_the_constants_of_their_graphs(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread reads a constant while another one's step is recorded."""
    kept: list[list[Any]] = []
    recorded = cuda_graph._recorded

    def meanwhile(stream: Any, step: Any) -> Any:
        other = threading.Thread(target=cuda_graph.keep_for_graph, args=("the other's",))
        other.start()
        other.join()
        cuda_graph.keep_for_graph("mine")
        kept.append(list(cuda_graph._capturing.read))
        return recorded(stream, step)

    monkeypatch.setattr(cuda_graph, "_recorded", meanwhile)
    capture(lambda: None)
    assert kept == [["mine"]]


# Optimisers


def test_parameters_share_one_piece_of_memory(cupy: Any) -> None:
    model = network("st-fcn", "R", np.float32, filters=32)
    before, given = numpy_weights(model), np.random.default_rng(0)
    gradients = {n: given.standard_normal(p.data.shape) for n, p in model.named_parameters()}
    model.to("gpu")
    for name, p in model.named_parameters():
        p.grad[...] = cupy.asarray(gradients[name])
    optimizer = build_optimizer("adam", model, localisation_factor(0.5))
    assert len(optimizer._flat) == 1 and len(optimizer._flat[0].parts) == 2
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.data.get(), before[name])
        np.testing.assert_array_equal(p.grad.get(), gradients[name].astype(np.float32))
        for x in (p.data, p.grad):  # views, each as well aligned as memory of its own
            assert (x.data.ptr - x.base.data.ptr) % 256 == 0
    whole = np.concatenate([g.ravel() for g in gradients.values()])
    np.testing.assert_allclose(optimizer.gradient_norm().get(), np.linalg.norm(whole), rtol=1e-6)
    optimizer.zero_grad()
    assert not any(p.grad.get().any() for p in model.parameters())


@pytest.mark.parametrize(("name", "kernel"), [("sgd", "sgd"), ("adam", "adam"), ("adamw", "adam")])
def test_an_update_is_one_launch_for_each_rate(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, name: str, kernel: str
) -> None:
    model = network("st-fcn", "R", np.float32, filters=32).to("gpu")
    optimizer = build_optimizer(name, model, localisation_factor(2.0))
    launched = []
    monkeypatch.setattr("stn_np.gpu.optimizers.launch", lambda *what: launched.append(what[1:4]))
    optimizer.update(optimizer.advance(0.1))
    sizes = [part.data.size for part in optimizer._flat[0].parts]
    assert launched == [(kernel, ("float32",), size) for size in sizes] and len(sizes) == 2


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernel_of_an_update_is_its_array_operations(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, name: str, dtype: type
) -> None:
    """Also without them: for float16, and for an optimiser of one's own."""

    def stepped() -> dict[str, np.ndarray]:
        model = network("fcn", "R", dtype, filters=32).to("gpu")
        optimizer = build_optimizer(name, model)
        for k in range(4):
            for i, p in enumerate(model.parameters()):
                gradient = np.random.default_rng([k, i]).standard_normal(p.data.shape)
                p.grad[...] = cupy.asarray(gradient.astype(dtype))
            optimizer.step(0.01)
        return {**numpy_weights(model), **optimizer.state_dict()}

    found = stepped()
    monkeypatch.setattr(OPTIMIZERS[name], "_kernel", Optimizer._kernel)
    bound = 8 * np.finfo(dtype).eps
    for key, x in stepped().items():
        np.testing.assert_allclose(found[key], x, rtol=bound, atol=bound, err_msg=key)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_goes_from_device_to_device(cupy: Any, name: str) -> None:
    def stepped(device: str, state: dict | None, weights: dict | None) -> tuple:
        model = network("st-fcn", "R", np.float64, filters=32).to(device)
        optimizer = build_optimizer(name, model, localisation_factor(2.0), average=0.9)
        if state is not None:
            optimizer.load_state_dict(state)
            model.load_state_dict(weights)
        for k in range(3):
            for i, p in enumerate(model.parameters()):
                gradient = np.random.default_rng([k, i]).standard_normal(p.data.shape)
                p.grad[...] = to_device(gradient, device)
            optimizer.step(0.01)
        return optimizer.state_dict(), numpy_weights(model)

    expected = stepped("cpu", *stepped("cpu", None, None))
    for devices_ in (("cpu", "gpu"), ("gpu", "cpu"), ("gpu", "gpu")):
        first = stepped(devices_[0], None, None)
        assert all(isinstance(x, np.ndarray) for x in first[0].values())
        found = stepped(devices_[1], *first)
        for got, want in zip(found, expected, strict=True):
            assert list(got) == list(want)
            for key, x in got.items():
                np.testing.assert_allclose(x, want[key], rtol=1e-13, atol=1e-15, err_msg=key)


def test_a_model_moved_after_its_optimiser_was_made(cupy: Any) -> None:
    model = network("fcn", "R", np.float32, filters=32).to("gpu")
    optimizer = build_optimizer("sgd", model)
    optimizer.step(0.1)
    model.to("cpu")
    with pytest.raises(
        ValueError, match=r"hidden1\.weight: it was moved .* make the optimiser then"
    ):
        optimizer.step(0.1)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("as_graph", [None, False, True])
def test_an_optimiser_made_before_its_model_moved_to_the_gpu(
    cupy: Any, name: str, as_graph: bool | None
) -> None:
    model = network("fcn", "R", np.float32, filters=32)
    optimizer = build_optimizer(name, model)
    optimizer.step(0.1)
    model.to("gpu")
    before = numpy_weights(model)
    with pytest.raises(
        ValueError, match=r"hidden1\.weight: it was moved .* make the optimiser then"
    ):
        if as_graph is None:
            optimizer.step(0.1)
        else:
            images, labels = cupy.zeros((2, 1, 28, 28), np.float32), cupy.asarray([0, 1])
            TrainingStep(model, optimizer, graph=as_graph)(images, labels, 0.1)
    for key, x in numpy_weights(model).items():
        np.testing.assert_array_equal(x, before[key])


def test_an_optimiser_takes_its_state_from_either_library(cupy: Any) -> None:
    optimizer = build_optimizer("adam", network("fcn", "R", np.float32, filters=32))
    state = optimizer.state_dict()
    optimizer.load_state_dict({key: cupy.asarray(x + 1) for key, x in state.items()})
    for key, x in optimizer.state_dict().items():
        np.testing.assert_array_equal(x, state[key] + 1)


def test_parameters_of_two_dtypes(cupy: Any) -> None:
    model = network("fcn", "R", np.float32, filters=32)
    for p in model.parameters()[::2]:
        p.data, p.grad = p.data.astype(np.float64), p.grad.astype(np.float64)
    model.to("gpu")
    before = numpy_weights(model)
    optimizer = build_optimizer("sgd", model)
    for p in model.parameters():
        p.grad[...] = 1
    optimizer.step(0.5)
    for name, x in numpy_weights(model).items():
        assert x.dtype == before[name].dtype
        np.testing.assert_array_equal(x, before[name] - x.dtype.type(0.5))
    np.testing.assert_allclose(optimizer.gradient_norm().get(), np.sqrt(model.n_parameters()))


# The trainer


def small_data() -> tuple[Dataset, Dataset]:
    return tuple(
        replace(half, images=half.images[:n], labels=half.labels[:n])
        for half, n in zip(load_digits(), (62, 30), strict=True)
    )


def config(**settings: Any) -> DistortedDigitsSettings:
    small = {"model": "st-fcn", "filters": 32, "epochs": 3, "batch_size": 12}
    settings = {**DistortedDigitsSettings.defaults("digits"), **small, **settings}
    return DistortedDigitsSettings(data="digits", **settings)


def trainer(device: str = "gpu", **settings: Any) -> Trainer:
    return Trainer(DistortedDigits(config(**settings), device, small_data()))


def test_batches_show_the_same_images_on_both(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STN_NP_FAST", "0")  # compiled loops round a coordinate in one step, not two
    here, there = (trainer(device, distortion="RTS", model="fcn") for device in ("cpu", "gpu"))
    for step in (0, 7):
        (x, y), (x2, y2) = here.task.batch(step), there.task.batch(step)
        np.testing.assert_allclose(x2.get(), x, atol=1e-6)
        np.testing.assert_array_equal(y2.get(), y)
    np.testing.assert_array_equal(there.data.inputs.get(), here.data.inputs)


def test_an_epoch_reads_back_at_its_end_only(counted: Any) -> None:
    t = trainer()
    t.train_step()
    counted.synchronisations.clear()
    for _ in range(4):
        t.train_step()
    assert t.at_end_of_epoch and counted.synchronisations == []
    assert t.measured == 0  # nothing to show yet, and nobody waits for it
    row = t.end_epoch()
    assert 0 < len(counted.synchronisations) < 10
    assert np.isfinite(row).all() and t.measured == 5


def test_it_looks_after_so_many_steps(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOOK_EVERY", 2)
    t = trainer()
    measured = []
    for _ in range(5):
        t.train_step()
        measured.append(t.measured)
    assert measured == [0, 2, 2, 4, 4]
    cpu = trainer("cpu")
    for _ in range(4):
        cpu.train_step()
    np.testing.assert_allclose(t.running(), cpu.running(), rtol=1e-3)


def test_the_progress_bar_does_not_wait(counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stn_np.training.progress.REFRESH", 0)
    t = trainer()
    progress = Progress(t, bar=True)
    t.train_step()
    counted.synchronisations.clear()
    for _ in range(3):
        t.train_step()
        progress.step()
    assert counted.synchronisations == []
    progress.close()


def test_metrics_as_on_the_cpu(cupy: Any) -> None:
    here, there = (trainer(device, model="cnn", filters=2, epochs=1) for device in ("cpu", "gpu"))
    for t in (here, there):
        for _ in range(5):
            t.train_step()
        t.end_epoch()
    np.testing.assert_allclose(there.rows, here.rows, rtol=1e-4)
    found, expected = there.evaluate(), here.evaluate()
    assert type(found.outputs) is type(found.targets) is np.ndarray
    np.testing.assert_array_equal(found.targets, expected.targets)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-4)


def test_evaluation_waits_once_at_its_end(counted: Any) -> None:
    t = trainer()
    counted.synchronisations.clear()
    evaluate(t.model, t.data.inputs, t.data.targets, block=3)
    assert len(counted.synchronisations) == 3  # sums, outputs, labels: not once a block


@pytest.mark.parametrize(("begin", "end"), [("cpu", "gpu"), ("gpu", "cpu")])
def test_the_state_moves_without_a_change(cupy: Any, begin: str, end: str) -> None:
    first, second = trainer(begin), trainer(end)
    for _ in range(5):
        first.train_step()
    first.end_epoch()
    for _ in range(2):
        first.train_step()
    saved = state_of(first)
    assert all(type(x) is np.ndarray for x in saved.values())
    restore(second, saved)
    assert second.measured == 2
    moved = state_of(second)
    assert moved.keys() == saved.keys()
    for name, x in saved.items():
        assert moved[name].dtype == x.dtype
        np.testing.assert_array_equal(moved[name], x, err_msg=name)
    np.testing.assert_allclose(second.running(), first.running())


# Whole runs


class StopAt(Progress):
    """Shows nothing, and sends this process a signal after one step."""

    def __init__(self, trainer: Trainer, stop: int | None) -> None:
        super().__init__(trainer, bar=False)
        self._stop = stop

    def step(self) -> None:
        if self._trainer.step == self._stop:
            signal.raise_signal(signal.SIGINT)

    def say(self, line: str) -> None:
        pass


def begin(path: Path, **settings: Any) -> RunFolder:
    folder = RunFolder(path)
    folder.create("distorted-digits", config(**settings))
    return folder


def sit(folder: RunFolder, device: str, stop: int | None = None) -> None:
    """One sitting on a device: from where the run is to its end, or to a signal."""
    _, kind, settings = open_run(folder.path)
    t = Trainer(kind(settings, device, small_data()))
    run.go_on(t, folder)
    run.train(t, folder, StopAt(t, stop))
    run.finish(t, folder)


def outcome(folder: RunFolder) -> dict[str, bytes]:
    """The bytes of all that must not depend on stops."""
    files = [folder.metrics, folder.frames, *checkpoint.checkpoints(folder.checkpoints)[:1]]
    return {p.name: p.read_bytes() for p in files}


def test_a_run_on_the_gpu_that_is_stopped_has_the_same_bits(cupy: Any, tmp_path: Path) -> None:
    one, other = begin(tmp_path / "one"), begin(tmp_path / "other")
    sit(one, "gpu")
    for stop in (2, 8):
        with pytest.raises(StoppedError):
            sit(other, "gpu", stop)
    sit(other, "gpu")
    assert outcome(other) == outcome(one)
    machine = json.loads(one.results.read_text())["machine"]
    assert machine["device"].startswith("gpu: CuPy 1")


@pytest.mark.parametrize("places", [("cpu", "gpu", "cpu"), ("gpu", "cpu", "gpu")])
def test_a_run_moves_to_and_fro(cupy: Any, tmp_path: Path, places: tuple[str, ...]) -> None:
    moved, still = begin(tmp_path / "moved", model="fcn"), begin(tmp_path / "still", model="fcn")
    for place, stop in zip(places, (3, 9, None), strict=True):
        if stop is None:
            sit(moved, place)
        else:
            with pytest.raises(StoppedError):
                sit(moved, place, stop)
    sit(still, "cpu")
    found, expected = (np.loadtxt(f.metrics, delimiter=",", skiprows=1) for f in (moved, still))
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert moved.config.read_bytes() == still.config.read_bytes()
    assert "device" not in moved.config.read_text()


def test_divergence_leaves_the_last_checkpoint_sound(cupy: Any, tmp_path: Path) -> None:
    folder = begin(tmp_path / "run", lr=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(
        DivergedError,
        match=r"one of the steps 1 to 5 \(epoch 1\): .*rates from 1e\+30 .*--lr 3e\+29",
    ):
        sit(folder, "gpu")
    newest = checkpoint.load_newest(folder.checkpoints)
    assert newest.arrays["step"] == 0
    assert all(np.isfinite(x).all() for name, x in newest.arrays.items() if "weights/" in name)


def test_an_infinite_loss_with_finite_weights_is_seen(cupy: Any) -> None:
    def infinite(logits: Any, labels: Any) -> tuple:
        loss, backward = cross_entropy(logits, labels)
        return loss + np.float32(np.inf), backward

    t = trainer()
    t._make_step._loss = infinite
    t.train_step()
    with pytest.raises(
        DivergedError, match=r"steps 1 to 1 \(epoch 1\): a loss, gradient or weight"
    ):
        t.synchronise()


@pytest.mark.parametrize("stop", [6, 7])
def test_weights_ruined_just_before_a_stop_are_not_saved(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    folder = begin(tmp_path / "run")
    train_step = Trainer.train_step

    def ruined(t: Trainer) -> None:
        train_step(t)
        if t.step == 6:
            t.model.parameters()[0].data[0, 0] = np.inf  # no loss has seen it when stopped here

    monkeypatch.setattr(Trainer, "train_step", ruined)
    with pytest.raises(DivergedError, match=rf"one of the steps 6 to {stop} \(epoch 2\)"):
        sit(folder, "gpu", stop)
    newest = checkpoint.load_newest(folder.checkpoints)
    assert newest.arrays["step"] == 5
    assert all(np.isfinite(x).all() for name, x in newest.arrays.items() if "weights/" in name)


# The command line

SHORT = ["--data", "digits", "--model", "fcn", "--filters", "40", "--epochs", "1"]
SHORT += ["--batch-size", "256", "--distortion", "none"]


def test_no_gpu_is_one_line(
    counted: Any, stand_in: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stand_in.pretend(devices=0):
        code = main(["train", *SHORT, "--out", str(tmp_path / "run"), "--device", "gpu"])
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1 and error.startswith("stn-np train: error: ")
    assert not (tmp_path / "run").exists()


def test_auto_says_why_it_takes_the_cpu(
    counted: Any, stand_in: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stand_in.pretend(devices=0):
        assert main(["train", *SHORT, "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr()
    assert "--device auto: running on the CPU, since" in shown.out
    assert "on the CPU, run folder" in shown.out
    assert json.loads((tmp_path / "run/results.json").read_text())["machine"]["device"] == "cpu"


def test_auto_takes_the_gpu_and_eval_follows(
    counted: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SHORT, "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr()
    assert "on the GPU, run folder" in shown.out and "--device auto" not in shown.out
    errors = []
    for device in ("cpu", "gpu"):
        counted.synchronisations.clear()
        assert main(["eval", str(tmp_path / "run"), "--device", device]) == 0
        errors += [line for line in capsys.readouterr().out.splitlines() if "test error" in line]
        assert bool(counted.synchronisations) == (device == "gpu")
    assert len(errors) == 2 and errors[0] == errors[1]


def test_how_to_go_on_names_a_device_that_was_given(
    cupy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Progress, "step", lambda self: signal.raise_signal(signal.SIGINT))
    settings = [*SHORT, "--out", str(tmp_path / "run"), "--device", "gpu"]
    assert main(["train", *settings]) == 130
    assert f"--resume {tmp_path / 'run'} --device gpu" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(["train", "--resume", str(tmp_path / "run"), "--device", "cpu"]) == 0


@pytest.mark.parametrize("step", [0, 3, 7])
def test_memory_that_runs_out_in_the_middle_loses_nothing(
    counted: Any,
    stand_in: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: int,
) -> None:
    run, train_step = tmp_path / "run", Trainer.train_step

    def short_of_memory(t: Trainer) -> None:
        with stand_in.pretend(memory=0 if t.step == step else 2**36):
            train_step(t)

    monkeypatch.setattr(Trainer, "train_step", short_of_memory)
    settings = [*SHORT, "--epochs", "2"]
    assert main(["train", *settings, "--out", str(run), "--device", "gpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the GPU's memory is full (Out of memory allocating" in error
    command = f"stn-np train --resume {run} --device cpu"
    assert f"to go on without it: {command}; or begin a new run with a smaller" in error
    assert checkpoint.load_newest(run / "checkpoints").arrays["step"] == step // 5 * 5
    monkeypatch.undo()
    assert main(command.split()[1:]) == 0
