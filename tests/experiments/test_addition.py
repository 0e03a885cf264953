"""MNIST addition: what is added, the four models and their gradients, and a whole run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stn_np import SpatialTransformer
from stn_np.cli import main
from stn_np.data import Dataset, load_digits
from stn_np.experiments import by_name, load_model, open_run
from stn_np.experiments.addition import BRANCHES, Addition, AdditionSettings, ink_centres
from stn_np.layers import Module, cross_entropy
from stn_np.plots.run_files import read_run
from stn_np.training.loop import Trainer


def few(n: int = 60) -> tuple[Dataset, Dataset]:
    return tuple(replace(d, images=d.images[:n], labels=d.labels[:n]) for d in load_digits())


def addition(**given: object) -> Addition:
    return Addition.create(
        {"data": "digits", "batch_size": 16, "repeats": 1, **given}, halves=few()
    )


def test_each_channel_shows_a_digit_and_the_target_is_their_sum() -> None:
    one = addition()
    inputs, sums = one.batch(0)
    assert inputs.shape == (16, 2, 42, 42) and sums.shape == (16,)
    # With blank pictures for all digits but the sevens, each seven that is seen counts.
    train, test = few()
    seven = (train.labels == 7)[:, None, None, None]
    blank = replace(train, images=train.images * seven, labels=np.where(seven[:, 0, 0, 0], 7, 0))
    sevens = Addition(one.settings, halves=(blank, test))
    for step in range(4):
        inputs, sums = sevens.batch(step)
        seen = (inputs.max(axis=(2, 3)) > 0.1).sum(axis=1)
        np.testing.assert_array_equal(sums, 7 * seen)


def test_batches_are_a_pure_function_of_the_step_and_the_test_set_of_nothing() -> None:
    one, other = addition(seed=3), addition(seed=3)
    later = other.batch(7)
    for found, expected in zip(other.batch(2), one.batch(2), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(later[0], one.batch(2)[0])
    np.testing.assert_array_equal(one.data().inputs, addition(seed=4).data().inputs)


def test_each_digit_stands_on_the_left_so_many_times_in_an_epoch() -> None:
    one = addition(repeats=3, batch_size=20)
    train, test = few()
    names = replace(train, labels=np.arange(60))  # labels that tell the left digits apart
    mine = Addition(one.settings, halves=(names, test))
    assert mine.order.per_epoch == 9
    left = [mine.order[step][0] % 60 for step in range(9)]
    assert np.bincount(np.concatenate(left)).tolist() == [3] * 60
    assert len(mine.batch(8)[0]) == 20


def test_each_test_digit_stands_once_in_either_channel() -> None:
    one = addition()
    _, test = one.halves
    ink = one.data().inputs.sum(axis=(2, 3))
    assert (ink > 0).all()
    np.testing.assert_array_equal(one.data().targets.sum(), 2 * test.labels.sum())


@pytest.mark.parametrize("model", BRANCHES)
def test_models_have_as_many_parameters_and_19_classes(model: str) -> None:
    net = addition(model=model).model()
    assert abs(net.n_parameters() / addition(model="fcn").model().n_parameters() - 1) < 0.1
    inputs, _ = addition().batch(0)
    logits, _ = net(inputs)
    assert logits.shape == (16, 19)
    transformers = addition(model=model).transformers(net)
    assert list(transformers) == list(BRANCHES[model])
    for transformer in transformers.values():
        assert isinstance(transformer, SpatialTransformer)
        np.testing.assert_array_equal(transformer(inputs)[0], inputs)  # it begins at the identity
    if transformers:
        outputs, _ = net.transformers(inputs)
        assert outputs.shape == (16, 2 * len(transformers), 42, 42)


def test_the_cnn_may_be_smaller() -> None:
    assert addition(model="cnn", filters=4).model().conv2.weight.data.shape[0] == 4


def test_too_few_units_for_two_localisation_nets() -> None:
    with pytest.raises(ValueError, match=r"units: expected more, .* of 2xst-fcn .* got 30"):
        addition(units=30).model()


@pytest.mark.parametrize("transform", ["affine", "projective", "tps"])
def test_gradients_reach_both_localisation_nets(transform: str) -> None:
    """Against differences in float64, along a random direction in each parameter."""
    one = addition(transform=transform)
    net, rng = one.model(), np.random.default_rng(0)
    for p in net.parameters():
        p.data, p.grad = p.data.astype(np.float64), p.grad.astype(np.float64)
        p.data += 0.01 * rng.standard_normal(p.data.shape)  # off the kinks at the identity
    inputs, sums = one.batch(0)
    inputs = inputs[:4].astype(np.float64)

    def loss() -> float:
        return float(cross_entropy(net(inputs)[0], sums[:4])[0])

    logits, backward = net(inputs, needs_dx=False)
    backward(cross_entropy(logits, sums[:4])[1]())
    for name, p in net.named_parameters():
        direction = rng.standard_normal(p.data.shape)
        slopes = []
        for sign in (1, -1):
            p.data += sign * 1e-7 * direction
            slopes.append(sign * loss() / 2e-7)
            p.data -= sign * 1e-7 * direction
        expected = (p.grad * direction).sum()
        np.testing.assert_allclose(sum(slopes), expected, rtol=1e-4, atol=1e-7, err_msg=name)
        assert expected != 0, name


def test_the_centre_of_ink() -> None:
    images = np.zeros((1, 3, 5, 7))
    images[0, 0, 1, 6] = 0.3
    images[0, 1, (0, 4), (2, 3)] = 1
    np.testing.assert_array_equal(ink_centres(images)[0], [[6, 1], [2.5, 2], [np.nan, np.nan]])


class Told(Module):
    """A localisation net that knows theta already."""

    def __init__(self, theta: Callable[[np.ndarray], np.ndarray]) -> None:
        self.known = theta

    def __call__(self, U: np.ndarray, *, needs_dx: bool = True) -> tuple:
        return self.known(U).astype(np.float32), None


def test_who_frames_whom() -> None:
    """Networks that are told where the digits are: one follows the left one, one the right one."""
    one = addition(transform="translation")
    net = one.model()
    for channel, name in enumerate(("first", "second")):
        transformer = getattr(net.transformers, name)

        transformer.localisation = Told(
            lambda U, channel=channel: (ink_centres(U)[:, channel] - 20.5) / 20.5
        )
    frames = one.figures(net)["frames"]
    assert frames["first"]["left"] == frames["second"]["right"] == 100
    assert frames["first"]["right"] == frames["second"]["left"] == 0
    net.transformers.first.localisation = Told(lambda U: np.full((len(U), 2), 9.0))
    assert one.figures(net)["frames"]["first"] == {"left": 0, "right": 0}  # off the image
    assert addition(model="cnn").figures(None) == {}


@pytest.mark.parametrize(
    ("model", "affine", "projective", "tps"),
    [
        ("fcn", 47.7, 47.7, 47.7),
        ("cnn", 14.7, 14.7, 14.7),
        ("st-fcn", 22.6, 18.5, 19.1),
        ("2xst-fcn", 9.0, 5.9, 5.8),
    ],
)
def test_the_papers_table(model: str, affine: float, projective: float, tps: float) -> None:
    for transform, error in {"affine": affine, "projective": projective, "tps": tps}.items():
        settings = AdditionSettings(data="mnist", model=model, transform=transform)
        paper = Addition(settings, halves=few()).paper()
        assert paper.error == error and "adamw" in paper.why
        assert addition(model=model, transform=transform).paper().error is None


def test_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--data", "digits", "--epochs", "2", "--batch-size", "200", "--transform", "tps"]
    assert main(["train", "addition", *options]) == 0
    out = capsys.readouterr().out
    run = Path("runs/addition-digits-2xst-fcn-tps-001")
    results = json.loads((run / "results.json").read_text())
    assert results["experiment"] == "addition" and len(results["confusion"]) == 19
    for name, share in results["frames"].items():
        assert f"{name}: left {share['left']:.0f} %, right {share['right']:.0f} %" in out
    frames = read_run(run).frames
    assert frames is not None and list(frames.transformers) == ["first", "second"]
    assert frames.transformers["second"].warped.shape == (3, 20, 2, 42, 42)
    with Image.open(run / "transformer.gif") as picture:
        assert picture.n_frames == 3
    assert open_run(run)[1] is by_name("addition")
    logits, _ = load_model(run)(frames.images)
    np.testing.assert_array_equal(logits.argmax(axis=1), frames.predictions[-1])
    assert main(["eval", str(run)]) == 0
    assert f"{results['test_error']:.2f} %" in capsys.readouterr().out
    assert main(["train", "addition", "--resume", str(run)]) == 0
    assert main(["train", "distorted-digits", "--resume", str(run)]) == 2
    assert "is a run of addition, not of distorted-digits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "2xfcn"], "--model: expected one of .* did you mean '2xst-fcn'"),
        (["--model", "cnn", "--transform", "tps"], "st-fcn or 2xst-fcn has one"),
        (["--units", "0"], "--units: expected at least 1, got 0"),
        (["--distortion", "R"], "stn-np train: error: unknown option --distortion"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    try:
        code = main(["train", "addition", *arguments])
    except SystemExit as e:
        code = e.code
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and re.search(message, error), error


def test_help_shows_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "addition", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--model fcn|cnn|st-fcn|2xst-fcn" in text and "--units N" in text
    assert "--distortion" not in text


def test_the_same_steps_on_a_gpu(stand_in: object) -> None:
    here, there = (
        Trainer(Addition.create({"data": "digits", "batch_size": 8, "repeats": 1}, device, few(40)))
        for device in ("cpu", "gpu")
    )
    for trainer in (here, there):
        for _ in range(5):
            trainer.train_step()
        trainer.end_epoch()
    np.testing.assert_allclose(there.rows, here.rows, rtol=1e-3)
    found, expected = (t.task.results(t.model, t.evaluate()) for t in (there, here))
    assert found["confusion"] == expected["confusion"]
    for name, shares in expected["frames"].items():
        assert found["frames"][name] == pytest.approx(shares)
