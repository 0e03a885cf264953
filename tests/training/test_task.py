"""Training knows nothing of digits: a task of another kind is trained, followed and resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stn_np.backend import Array, array_module
from stn_np.gpu.devices import to_device
from stn_np.layers import Conv2d, Flatten, Linear, Module, Parallel, Sequential, Training
from stn_np.training import SGD, BatchOrder, TrainingStep, checkpoint
from stn_np.training.evaluate import Measured
from stn_np.training.folder import RunFolder
from stn_np.training.frames import Frames
from stn_np.training.loop import Trainer
from stn_np.training.run import finish
from stn_np.training.settings import TrainingSettings, setting
from stn_np.training.task import Data
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import Affine, Translation


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    width: int = setting(5, "channels", minimum=1)


def transformer(channels: int, family: Any, rng: np.random.Generator) -> SpatialTransformer:
    regression = Linear(channels * 36, family.n_params, rng=rng)
    regression.weight.data *= 0.01
    regression.bias.data[...] = family.identity
    return SpatialTransformer(Sequential(flatten=Flatten(), regression=regression), family)


class Brightness:
    """Find two numbers in an image; transformers sit on the feature maps, one behind the other."""

    name = "brightness"

    def __init__(self, settings: Settings, device: str = "cpu") -> None:
        self.settings, self.device = settings, device
        self.order = BatchOrder(40, settings.batch_size, settings.seed, device)
        rng = np.random.default_rng(5)
        self.images = rng.random((60, 1, 8, 8), np.float32)
        self.targets = self.images.reshape(60, 2, 32).mean(axis=2)

    def data(self) -> Data:
        inputs, targets = (to_device(x[40:], self.device) for x in (self.images, self.targets))
        return Data(inputs, targets, np.arange(3))

    def batch(self, step: int) -> tuple[Array, Array]:
        rows, rng = self.order[step]
        images, targets = (to_device(x, self.device)[rows] for x in (self.images, self.targets))
        noise = to_device(rng.random(images.shape, np.float32), self.device)
        return images + noise / 100, targets

    def model(self) -> Sequential:
        rng, width = np.random.default_rng(self.settings.seed), self.settings.width
        return Sequential(
            conv=Conv2d(1, width, 3, rng=rng),
            inner=transformer(width, Affine(), rng),
            deeper=Sequential(wrapped=transformer(width, Translation(), rng)),
            flatten=Flatten(),
            out=Linear(width * 36, 2, rng=rng),
        )

    def loss(self, outputs: Array, targets: Array) -> tuple[Array, Callable[..., Array]]:
        difference = outputs - targets
        return (difference**2).mean(), lambda dloss=1.0: 2 * dloss * difference / difference.size

    def score(self, outputs: Array, targets: Array) -> dict[str, Array]:
        distance = abs(outputs - targets).max(axis=1)
        return {"distance": distance, "far": distance > 0.1}

    def answers(self, outputs: Array) -> Array:
        return outputs

    def transformers(self, model: Any) -> dict[str, SpatialTransformer]:
        return {"inner": model.inner, "wrapped": model.deeper.wrapped}

    def facts(self) -> dict[str, Any]:
        return {"images": 40}

    def results(self, model: Module, tested: Measured) -> dict[str, Any]:
        return {"worst": float(abs(tested.outputs - tested.targets).max())}


def trainer(device: str = "cpu", **settings: Any) -> Trainer:
    few: dict[str, Any] = {"epochs": 3, "batch_size": 8, **settings}
    return Trainer(Brightness(Settings(**few), device))


def trained(t: Trainer, steps: int) -> Trainer:
    for _ in range(steps):
        t.train_step()
        if t.at_end_of_epoch:
            t.end_epoch()
    return t


def test_figures_of_the_tasks_own_are_the_columns() -> None:
    t = trained(trainer(), 15)
    assert t.columns == (
        *("epoch", "step", "lr", "train_loss", "train_distance", "train_far"),
        *("test_loss", "test_distance", "test_far", "grad_norm"),
    )
    row = dict(zip(t.columns, t.rows[-1], strict=True))
    outputs, _ = t.model(t.data.inputs)
    distance = abs(outputs - t.data.targets).max(axis=1)
    np.testing.assert_allclose(row["test_distance"], distance.mean(), rtol=1e-6)
    np.testing.assert_allclose(row["test_far"], 100 * (distance > 0.1).mean())  # a share, in %
    assert t.rows[-1][3] < t.rows[0][3]


def test_transformers_further_in_are_followed_with_what_they_read() -> None:
    t = trained(trainer(), 5)
    record = t.frames.arrays()
    conv, inner = t.model.conv, t.model.inner
    maps, _ = conv(record["images"])
    warped, _ = inner(maps)
    np.testing.assert_array_equal(record["thetas/inner"][-1], inner.theta(maps))
    wrapped = t.model.deeper.wrapped
    np.testing.assert_array_equal(record["thetas/wrapped"][-1], wrapped.theta(warped))
    # Five channels are more than a picture shows: their mean.
    mean = {"read/inner": maps, "warped/inner": warped, "read/wrapped": warped}
    for name, x in mean.items():
        np.testing.assert_allclose(record[name][-1], x.mean(axis=1, keepdims=True), rtol=1e-5)
    assert str(record["transform/inner"]) == "affine"
    assert str(record["transform/wrapped"]) == "translation"
    assert record["predictions"].shape == (2, 3, 2)
    # Watching leaves no trace in the model.
    assert type(t.model.inner) is type(t.model.deeper.wrapped) is SpatialTransformer


def test_transformers_side_by_side_on_an_image_of_two_channels() -> None:
    rng = np.random.default_rng(0)
    model = Sequential(
        both=Parallel(a=transformer(2, Affine(), rng), b=transformer(2, Affine(), rng)),
        flatten=Flatten(),
        out=Linear(4 * 36, 3, rng=rng),
    )
    images = rng.random((4, 2, 6, 6), np.float32)
    frames = Frames(images, np.arange(4), lambda m: {"a": m.both.a, "b": m.both.b})
    frames.record(model)
    record = frames.arrays()
    assert record["warped/a"].shape == record["warped/b"].shape == (1, 4, 2, 6, 6)
    np.testing.assert_array_equal(record["warped/b"][0], model.both.b(images)[0])
    assert not np.array_equal(record["warped/a"], record["warped/b"])
    assert not any(name.startswith("read") for name in record)  # they read the images themselves


def test_it_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    whole, half, rest = trained(trainer(), 15), trained(trainer(), 7), trainer()
    checkpoint.save(tmp_path, 7, checkpoint.state_of(half))
    checkpoint.restore(rest, checkpoint.load_newest(tmp_path).arrays)
    trained(rest, 8)
    expected, found = checkpoint.state_of(whole), checkpoint.state_of(rest)
    assert expected.keys() == found.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name], x, err_msg=name)
    (tmp_path / "run").mkdir()
    results = finish(rest, RunFolder(tmp_path / "run"))
    assert results["experiment"] == "brightness" and results["images"] == 40
    assert results["test_distance"] == rest.rows[-1][7] and results["worst"] > 0
    with pytest.raises(checkpoint.CheckpointError, match="made with width 5, .* says 4"):
        checkpoint.restore(trainer(width=4), expected)


class Counting(Module):
    """Notes which step of training it was called in; anything with a mode does so."""

    uses_mode = True

    def __init__(self, inner: Module, seen: Array) -> None:
        self.inner, self.seen = inner, seen

    def __call__(self, x: Array, *, needs_dx: bool = True, mode: Training | None = None) -> Any:
        if mode is not None:
            assert mode.seed == 3
            array_module(seen=self.seen).add(self.seen * 10, mode.step, out=self.seen)
        return self.inner(x, needs_dx=needs_dx)


@pytest.mark.parametrize("graph", [True, False])
def test_a_model_learns_which_step_it_is_also_in_a_graph(xp: Any, graph: bool) -> None:
    rng = np.random.default_rng(0)
    device = "cpu" if xp is np else "gpu"
    model = Counting(Linear(4, 3, rng=rng).to(device), xp.zeros((), np.int64))
    step = TrainingStep(model, SGD(model), seed=3, graph=graph)
    x, labels = xp.asarray(rng.random((5, 4), np.float32)), xp.asarray(np.arange(5) % 3)
    for expected in ([0], [0, 1], [0, 1, 2], [0, 1, 2, 3]):
        step(x, labels, 0.1)
        # A capture makes the step once and records it once: nothing is counted twice.
        assert int(model.seen) == int("".join(map(str, expected)))
    model(x)  # evaluation is no step
    assert int(model.seen) == 123
