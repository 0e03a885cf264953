"""The optimisers against PyTorch's, and what is theirs alone: rate factors, saved state."""

from __future__ import annotations

import numpy as np
import pytest

from stn_np.module import Module, Parameter
from stn_np.training.optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    build_optimizer,
    localisation_factor,
)

SHAPES = {"weight": (3, 5), "bias": (7,), "scalar": ()}


class Holder(Module):
    """Parameters and nothing else."""

    def __init__(self, dtype: type = np.float64, prefix: str = "") -> None:
        rng = np.random.default_rng(0)
        for name, shape in SHAPES.items():
            setattr(self, prefix + name, Parameter(rng.standard_normal(shape).astype(dtype)))


def set_gradients(model: Module, rng: np.random.Generator) -> None:
    for p in model.parameters():
        p.grad[...] = rng.standard_normal(p.data.shape) * 10 ** rng.uniform(-4, 2)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (SGD, "SGD", {"momentum": 0.9}),
        (SGD, "SGD", {"momentum": 0.0}),
        (Adam, "Adam", {}),
        (Adam, "Adam", {"betas": (0.7, 0.95), "eps": 1e-3}),
        (AdamW, "AdamW", {}),
        (AdamW, "AdamW", {"weight_decay": 0.3}),
    ],
)
def test_same_steps_as_pytorch(ours: type, theirs: str, options: dict) -> None:
    torch = pytest.importorskip("torch")
    model = Holder()
    tensors = [torch.tensor(p.data.copy(), requires_grad=True) for p in model.parameters()]
    optimizer = ours(model, **options)
    reference = getattr(torch.optim, theirs)(tensors, lr=1.0, **options)
    rng = np.random.default_rng(1)
    for step in range(300):
        lr = 0.01 * (1 + step % 7)
        set_gradients(model, rng)
        for p, t in zip(model.parameters(), tensors, strict=True):
            t.grad = torch.tensor(p.grad.copy())
        reference.param_groups[0]["lr"] = lr
        reference.step()
        optimizer.step(lr)
        for p, t in zip(model.parameters(), tensors, strict=True):
            np.testing.assert_allclose(p.data, t.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_sgd_by_hand() -> None:
    model = Holder()
    before = model.weight.data.copy()
    optimizer = SGD(model, momentum=0.5)
    model.weight.grad[...] = 2
    optimizer.step(0.1)
    optimizer.step(0.1)  # momentum: 2, then 0.5 * 2 + 2 = 3
    np.testing.assert_allclose(model.weight.data, before - 0.1 * (2 + 3), rtol=1e-15)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_changes_in_place_keeping_dtype_and_gradients(name: str) -> None:
    model = Holder(np.float32)
    set_gradients(model, np.random.default_rng(0))
    arrays = [p.data for p in model.parameters()]
    gradients = [p.grad.copy() for p in model.parameters()]
    optimizer = build_optimizer(name, model)
    optimizer.step(0.1)
    for p, x, g in zip(model.parameters(), arrays, gradients, strict=True):
        assert p.data is x
        np.testing.assert_array_equal(p.grad, g)
    state = [x for key, x in optimizer.state_dict().items() if key != "n_steps"]
    assert {x.dtype for x in state} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_goes_on_with_the_same_bits_from_saved_state(name: str) -> None:
    first, second = Holder(np.float32), Holder(np.float32)
    one, other = build_optimizer(name, first), build_optimizer(name, second)
    rng = np.random.default_rng(3)
    for _ in range(5):
        set_gradients(first, rng)
        one.step(0.01)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(one.state_dict())
    for _ in range(5):
        set_gradients(first, rng)
        for p, q in zip(first.parameters(), second.parameters(), strict=True):
            q.grad[...] = p.grad
        one.step(0.01)
        other.step(0.01)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_saved_state_is_a_copy() -> None:
    model = Holder()
    optimizer = SGD(model)
    saved = optimizer.state_dict()
    set_gradients(model, np.random.default_rng(0))
    optimizer.step(0.1)
    assert saved["n_steps"] == 0
    assert not saved["momentum/weight"].any()


def test_wrong_state_is_refused_and_changes_nothing() -> None:
    optimizer = Adam(Holder())
    good = optimizer.state_dict()
    with pytest.raises(ValueError, match="missing mean/weight"):
        optimizer.load_state_dict({k: v for k, v in good.items() if k != "mean/weight"})
    bad = {**good, "mean/weight": np.ones(3), "n_steps": np.array(9)}
    with pytest.raises(ValueError, match=r"'mean/weight'.*expected shape \(3, 5\), got \(3,\)"):
        optimizer.load_state_dict(bad)
    assert optimizer.n_steps == 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_localisation_factor_only_touches_localisation(name: str) -> None:
    class Net(Module):
        def __init__(self) -> None:
            self.localisation = Holder()
            self.classifier = Holder()

    def moved(factor: float) -> tuple[np.ndarray, np.ndarray]:
        net = Net()
        start = net.localisation.weight.data.copy(), net.classifier.weight.data.copy()
        set_gradients(net, np.random.default_rng(0))
        build_optimizer(name, net, localisation_factor(factor)).step(0.1)
        return (
            net.localisation.weight.data - start[0],
            net.classifier.weight.data - start[1],
        )

    full, tenth, frozen = moved(1.0), moved(0.1), moved(0.0)
    np.testing.assert_allclose(tenth[0], 0.1 * full[0], rtol=1e-10)
    assert not frozen[0].any()
    for result in (tenth, frozen):
        np.testing.assert_array_equal(result[1], full[1])
    assert full[0].all()


def test_gradient_norm() -> None:
    model = Holder()
    set_gradients(model, np.random.default_rng(5))
    whole = np.concatenate([p.grad.ravel() for p in model.parameters()])
    norm = SGD(model).gradient_norm()
    assert norm.shape == () and norm.dtype == np.float64
    np.testing.assert_allclose(norm, np.linalg.norm(whole), rtol=1e-14)
    model.bias.grad[2] = np.nan
    assert np.isnan(SGD(model).gradient_norm())


def test_no_parameters() -> None:
    with pytest.raises(ValueError, match="model: expected at least one parameter"):
        SGD(Module())


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="optimizer: .*did you mean 'adamw'"):
        build_optimizer("adam-w", Holder())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_average_follows_the_weights_and_can_take_their_place(name: str) -> None:
    """a <- d a + (1 - d) p with d = min(decay, (1 + t) / (10 + t)), t = 1, 2, ..."""
    model, rng = Holder(), np.random.default_rng(1)
    optimizer = build_optimizer(name, model, average=0.6)
    averages = [p.data.copy() for p in model.parameters()]
    for t in range(1, 30):
        set_gradients(model, rng)
        optimizer.step(0.01)
        d = min(0.6, (1 + t) / (10 + t))
        averages = [
            d * a + (1 - d) * p.data for a, p in zip(averages, model.parameters(), strict=True)
        ]
    arrays, trained = (
        [p.data for p in model.parameters()],
        [p.data.copy() for p in model.parameters()],
    )
    with optimizer.averaged():
        for p, x, average in zip(model.parameters(), arrays, averages, strict=True):
            assert p.data is x
            np.testing.assert_allclose(x, average, rtol=1e-13)
    for x, before in zip(arrays, trained, strict=True):
        np.testing.assert_array_equal(x, before)


def test_averages_go_away_when_an_error_does() -> None:
    model = Holder()
    optimizer = build_optimizer("sgd", model, average=0.6)
    set_gradients(model, np.random.default_rng(1))
    optimizer.step(0.01)
    before = model.state_dict()
    with pytest.raises(ArithmeticError), optimizer.averaged():
        raise ArithmeticError
    for key, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[key])


def test_without_averaging_there_is_no_state_for_it_and_the_weights_stay() -> None:
    model = Holder()
    optimizer = build_optimizer("adam", model)
    assert not any("other" in key for key in optimizer.state_dict())
    before = model.state_dict()
    with optimizer.averaged():
        for key, x in model.state_dict().items():
            np.testing.assert_array_equal(x, before[key])


@pytest.mark.parametrize("average", [1.0, -0.1, float("nan")])
def test_bad_averages(average: float) -> None:
    with pytest.raises(ValueError, match="average: expected"):
        build_optimizer("sgd", Holder(), average=average)


def test_an_interrupt_leaves_all_weights_trained_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Holder()
    optimizer = build_optimizer("sgd", model, average=0.6)
    set_gradients(model, np.random.default_rng(1))
    optimizer.step(0.01)
    before, parts = model.state_dict(), list(optimizer._parts())

    def interrupted():
        yield parts[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(optimizer, "_parts", interrupted)
    with pytest.raises(KeyboardInterrupt), optimizer.averaged():
        pytest.fail("the interrupt was lost")
    for key, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[key])
