"""Learning-rate schedules: by hand, and against PyTorch's one-cycle."""

from __future__ import annotations

import numpy as np
import pytest

from stn_np.training.schedule import SCHEDULES, learning_rate, one_cycle, step_decay


@pytest.mark.parametrize("total", [2, 3, 4, 7, 10, 100, 2340])
def test_one_cycle_is_pytorchs(total: int) -> None:
    torch = pytest.importorskip("torch")
    base = 3e-3
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, base, total_steps=total)
    for step in range(total):
        np.testing.assert_allclose(
            one_cycle(step, total, base), optimizer.param_groups[0]["lr"], rtol=1e-12
        )
        optimizer.step()
        if step < total - 1:
            reference.step()


def test_one_cycle_begins_peaks_and_ends() -> None:
    rates = [one_cycle(step, 100, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates.index(max(rates)) == 29 and rates[29] == pytest.approx(1)
    assert rates[-1] == pytest.approx(1 / 250_000)
    assert one_cycle(0, 1, 1.0) == 1.0  # a single step


def test_step_decay_is_the_papers() -> None:
    boundaries = {0: 1e-2, 49_999: 1e-2, 50_000: 1e-3, 99_999: 1e-3, 100_000: 1e-4, 149_999: 1e-4}
    for step, rate in boundaries.items():
        assert step_decay(step, 150_000, 0.01) == pytest.approx(rate)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 3, 5])
def test_every_rate_is_positive_and_at_most_the_base(name: str, total: int) -> None:
    rates = [learning_rate(name, step, total, 0.5) for step in range(total)]
    assert all(0 < rate <= 0.5 for rate in rates)


def test_constant_is_constant() -> None:
    assert {learning_rate("constant", step, 9, 0.25) for step in range(9)} == {0.25}


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="did you mean 'one-cycle'"):
        learning_rate("onecycle", 0, 1, 1.0)
    with pytest.raises(ValueError, match="step: expected one of 0 to 9, got 10"):
        learning_rate("constant", 10, 10, 1.0)
    with pytest.raises(ValueError, match="step: .*got -1"):
        learning_rate("constant", -1, 10, 1.0)
