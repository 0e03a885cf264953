"""The loop: what comes when, what a step and an epoch do, what is recorded, and NaN."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stn_np.data import Dataset, load_digits
from stn_np.experiments.classification import choose
from stn_np.experiments.distorted_digits import DistortedDigits, DistortedDigitsSettings
from stn_np.layers import cross_entropy
from stn_np.training.checkpoint import restore, state_of
from stn_np.training.evaluate import Evaluation, evaluate
from stn_np.training.loop import DivergedError, Trainer

SMALL = {"model": "st-fcn", "filters": 32, "epochs": 3, "batch_size": 12}
SMALL |= {"average": 0.0, "label_smoothing": 0.0}


def small_data() -> tuple[Dataset, Dataset]:
    """62 training and 30 test digits: with batches of 12, five steps and two images left over."""
    return tuple(
        replace(half, images=half.images[:n], labels=half.labels[:n])
        for half, n in zip(load_digits(), (62, 30), strict=True)
    )


def experiment(halves: tuple[Dataset, Dataset], **settings: object) -> DistortedDigits:
    settings = {**DistortedDigitsSettings.defaults("digits"), "data": "digits", **settings}
    return DistortedDigits(DistortedDigitsSettings(**settings), halves=halves)


def batches(train: Dataset, size: int, distortion: str, seed: int = 0) -> DistortedDigits:
    return experiment((train, train), batch_size=size, distortion=distortion, seed=seed)


def trainer(**settings: object) -> Trainer:
    return Trainer(experiment(small_data(), **{**SMALL, **settings}))


def run(t: Trainer, steps: int | None = None) -> Trainer:
    for _ in range(t.total_steps if steps is None else steps):
        t.train_step()
        if t.step % t.steps_per_epoch == 0:
            t.end_epoch()
    return t


def weights(t: Trainer) -> np.ndarray:
    return np.concatenate([x.ravel() for x in t.model.state_dict().values()])


def test_batches_are_a_pure_function_of_the_step() -> None:
    train, _ = small_data()
    first, second = (batches(train, 12, "R", seed=4).batch for _ in range(2))
    steps = range(12)
    forwards = [first(s) for s in steps]
    backwards = [second(s) for s in reversed(steps)][::-1]
    for (x, y), (x2, y2) in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)


def test_another_seed_gives_other_batches() -> None:
    train, _ = small_data()
    one, other = (batches(train, 12, "R", seed=seed).batch for seed in (0, 1))
    assert not np.array_equal(one(0)[1], other(0)[1])  # order
    alone = replace(train, images=train.images[:1], labels=train.labels[:1])
    one, other = (batches(alone, 1, "R", seed=seed).batch for seed in (0, 1))
    assert not np.array_equal(one(0)[0], other(0)[0])  # distortion


def test_an_epoch_shows_each_image_at_most_once_and_each_epoch_another_order() -> None:
    train, _ = small_data()
    train = replace(train, labels=np.arange(62))  # labels that tell the images apart
    batch = batches(train, 12, "none").batch
    epochs = [np.concatenate([batch(5 * e + i)[1] for i in range(5)]) for e in range(3)]
    for labels in epochs:
        assert len(set(labels)) == len(labels) == 60
    assert not np.array_equal(epochs[0], epochs[1])
    images, labels = batch(7)
    np.testing.assert_array_equal(images, train.images[labels])


def test_images_are_distorted_afresh_in_every_epoch() -> None:
    train, _ = small_data()
    one = replace(train, images=train.images[:1], labels=train.labels[:1])
    batch = batches(one, 1, "R").batch
    assert not np.array_equal(batch(0)[0], batch(1)[0])
    assert batch(0)[0].shape == (1, 1, 28, 28)
    assert batches(one, 1, "RTS").batch(0)[0].shape == (1, 1, 42, 42)


def test_fewer_images_than_a_batch_make_one_batch() -> None:
    one = batches(small_data()[0], 256, "none")
    assert (one.order.size, one.order.per_epoch) == (62, 1)
    assert len(one.batch(0)[0]) == 62


def test_same_seed_same_bits_other_seed_other_bits() -> None:
    first, again, other = (run(trainer(seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(weights(first), weights(again))
    assert first.rows == again.rows
    for name, x in first.frames.arrays().items():
        np.testing.assert_array_equal(x, again.frames.arrays()[name])
    assert not np.array_equal(weights(first), weights(other))
    # The test set is the same for every seed, so that runs can be compared.
    np.testing.assert_array_equal(first.data.inputs, other.data.inputs)


def test_a_step_is_forward_backward_update() -> None:
    t = trainer(optimizer="sgd", schedule="constant", lr=0.1, loc_lr_factor=1.0)
    twin = trainer()
    images, labels = twin.task.batch(0)
    logits, backward = twin.model(images, needs_dx=False)
    loss, backward_loss = cross_entropy(logits, labels)
    backward(backward_loss())
    t.train_step()
    for (name, p), (_, q) in zip(
        t.model.named_parameters(), twin.model.named_parameters(), strict=True
    ):
        np.testing.assert_allclose(p.data, q.data - 0.1 * q.grad, rtol=1e-6, err_msg=name)
    norm = np.sqrt(sum((q.grad.astype(float) ** 2).sum() for q in twin.model.parameters()))
    wrong = (logits.argmax(1) != labels).sum()
    np.testing.assert_allclose(t.sums, [loss, wrong, norm], rtol=1e-6)
    assert t.running() == (t.sums[0], 100 * wrong / 12)


def test_metrics_of_an_epoch() -> None:
    t = trainer()
    for _ in range(5):
        t.train_step()
    sums = t.sums.copy()
    row = dict(zip(t.columns, t.end_epoch(), strict=True))
    tested = evaluate(t.model, t.data.inputs, t.data.targets)
    assert row["epoch"] == 1 and row["step"] == 5
    assert row["lr"] == t.lr(4)
    np.testing.assert_allclose(row["train_loss"], sums[0] / 5)
    np.testing.assert_allclose(row["train_error"], 100 * sums[1] / 60)
    np.testing.assert_allclose(row["grad_norm"], sums[2] / 5)
    assert (row["test_loss"], row["test_error"]) == (tested.loss, tested.error)
    assert not t.sums.any()


def test_it_learns() -> None:
    t = run(trainer(epochs=20, distortion="none"))
    loss = t.columns.index("train_loss")
    assert t.rows[-1][loss] < 0.2 * t.rows[0][loss]


def test_localisation_factor_zero_freezes_the_localisation_net_only() -> None:
    t = trainer(loc_lr_factor=0.0)
    before = t.model.state_dict()
    assert any("localisation" in name for name in before)
    run(t, 2)
    for name, x in t.model.state_dict().items():
        assert np.array_equal(x, before[name]) == ("localisation" in name), name


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops_before_the_update(poison: float) -> None:
    t = run(trainer(), 7)
    p = t.model.parameters()[-1]
    p.data[...] = poison
    weights_before, state_before = weights(t), t.optimizer.state_dict()
    with pytest.raises(DivergedError, match=r"step 8 \(epoch 2\): loss .* at learning rate .*--lr"):
        t.train_step()
    np.testing.assert_array_equal(weights(t), weights_before)
    for key, x in t.optimizer.state_dict().items():
        np.testing.assert_array_equal(x, state_before[key])
    assert t.step == 7


def test_a_gradient_that_is_no_number_stops_before_the_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    t = trainer()
    monkeypatch.setattr(t.optimizer, "gradient_norm", lambda: np.array(np.inf))
    with pytest.raises(DivergedError, match="gradient norm inf"):
        t.train_step()
    assert t.step == 0


def test_an_infinite_loss_with_finite_gradients_stops_too() -> None:
    def infinite(logits: np.ndarray, labels: np.ndarray) -> tuple:
        loss, backward = cross_entropy(logits, labels)
        return loss + np.float32(np.inf), backward

    t = trainer()
    t._make_step._loss = infinite
    with pytest.raises(DivergedError, match=r"loss inf, gradient norm \d"):
        t.train_step()


@pytest.mark.filterwarnings("error")
def test_a_rate_far_too_high_diverges_without_warnings() -> None:
    t = trainer(lr=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(DivergedError, match="smaller rate"):
        run(t)


def test_frames_follow_the_same_digits_from_the_identity_on() -> None:
    t = run(trainer(transform="affine"))
    frames = t.frames.arrays()
    assert frames["images"].shape == (20, 1, 28, 28)
    assert frames["labels"].shape == (20,)
    assert frames["thetas"].shape == (4, 20, 6)
    assert frames["warped"].shape == (4, 20, 1, 28, 28)
    assert frames["predictions"].shape == (4, 20)
    assert frames["epochs"].tolist() == [0, 1, 2, 3]
    assert str(frames["transform"]) == "affine"
    np.testing.assert_array_equal(frames["thetas"][0], np.tile([1, 0, 0, 0, 1, 0], (20, 1)))
    np.testing.assert_array_equal(frames["warped"][0], frames["images"])
    assert not np.array_equal(frames["thetas"][3], frames["thetas"][0])
    logits, _ = t.model(frames["images"], needs_dx=False)
    np.testing.assert_array_equal(frames["predictions"][3], logits.argmax(1))


def test_no_frames_without_a_transformer() -> None:
    assert run(trainer(model="fcn"), 5).frames is None


def test_followed_digits_are_of_all_classes() -> None:
    labels = np.array([0, 0, 0, 2, 1, 2, 0])
    assert choose(labels, 5).tolist() == [0, 4, 3, 1, 5]
    assert sorted(choose(labels, 50)) == list(range(7))


def test_evaluation_in_blocks() -> None:
    t = run(trainer(), 5)
    whole = evaluate(t.model, t.data.inputs, t.data.targets)
    parts = evaluate(t.model, t.data.inputs, t.data.targets, block=7)
    np.testing.assert_array_equal(parts.predictions, whole.predictions)
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-6)
    with pytest.raises(ValueError, match="images: expected at least one"):
        evaluate(t.model, t.data.inputs[:0], t.data.targets[:0])


def test_the_test_set_is_evaluated_again_after_every_change() -> None:
    t = trainer()
    before = t.evaluate()
    assert t.evaluate() is before
    t.train_step()
    after = t.evaluate()
    assert after.loss != before.loss
    other = trainer()
    other.evaluate()
    restore(other, state_of(t))
    assert other.evaluate().loss == after.loss


def test_confusion_has_the_right_class_in_rows() -> None:
    found = Evaluation(0.0, np.array([0, 0, 1, 2]), np.array([0, 2, 1, 1]))
    assert found.confusion(3).tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]
    assert found.wrong == 2 and found.error == 50


@pytest.mark.parametrize("half", [0, 1])
def test_no_images(half: int) -> None:
    data = list(small_data())
    data[half] = replace(data[half], images=data[half].images[:0], labels=data[half].labels[:0])
    with pytest.raises(ValueError, match="data: expected at least one (training|test) image"):
        Trainer(experiment(tuple(data)))


def test_averaged_weights_are_tested_shown_and_saved_and_the_others_trained() -> None:
    settings = {"average": 0.9, "model": "st-fcn"}
    t, plain = trainer(**settings), trainer(model="st-fcn")
    for _ in range(t.steps_per_epoch):
        t.train_step()
        plain.train_step()
    np.testing.assert_array_equal(weights(t), weights(plain))  # training is the same
    state = state_of(t)
    saved = {name: x for name, x in state.items() if name.startswith("weights/")}
    averaged = t.task.model()
    averaged.load_state_dict({name.removeprefix("weights/"): x for name, x in saved.items()})
    assert not np.allclose(np.concatenate([x.ravel() for x in saved.values()]), weights(t))
    found = evaluate(averaged, t.data.inputs, t.data.targets)
    t.end_epoch()
    assert t.evaluate().loss == found.loss != plain.evaluate().loss
    again = trainer(**settings)
    restore(again, state_of(t))
    np.testing.assert_array_equal(weights(again), weights(plain))
    assert again.evaluate().loss == found.loss


def test_a_run_with_averages_resumes_with_the_same_bits() -> None:
    settings = {"average": 0.9, "label_smoothing": 0.1}
    whole, first, second = (trainer(**settings) for _ in range(3))
    run(whole, 9)
    run(first, 6)
    restore(second, state_of(first))
    run(second, 3)
    for name, x in state_of(whole).items():
        np.testing.assert_array_equal(state_of(second)[name], x, err_msg=name)


def test_label_smoothing_reaches_the_loss() -> None:
    smooth, plain = trainer(label_smoothing=0.5), trainer()
    logits, labels = np.array([[9.0, *[0.0] * 9]]), np.array([0])
    assert smooth.task.loss(logits, labels)[0] > plain.task.loss(logits, labels)[0] + 3


def test_weight_decay_reaches_adamw_alone() -> None:
    decays = [
        getattr(trainer(optimizer=name, weight_decay=0.25).optimizer, "weight_decay", None)
        for name in ("adamw", "adam", "sgd")
    ]
    assert decays == [0.25, 0.0, None]
    assert trainer().optimizer.weight_decay == 0.01


def test_weight_decay_is_refused_beside_an_optimiser_without() -> None:
    given = {"weight_decay": 0.25, "optimizer": "sgd"}
    with pytest.raises(ValueError, match="weight_decay: expected none with optimizer sgd"):
        DistortedDigitsSettings.check_given(given)
    DistortedDigitsSettings.check_given({**given, "optimizer": "adamw"})
