"""Dropout: what its masks are, that they come again, and that a captured step gets new ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import assert_equal

from stn_np.backend import to_numpy
from stn_np.gpu.graph import capture
from stn_np.gradcheck import gradcheck
from stn_np.layers import Dropout, Training, dropout
from stn_np.layers.dense import random_words

N = 200_000


def mask(step: int, *, p: float = 0.5, seed: int = 0, stream: int = 0, n: int = N) -> np.ndarray:
    """Which elements stay."""
    return dropout(np.ones(n), p, Training(seed, step), stream=stream)[0] > 0


def splitmix64(state: int) -> int:
    """The published generator's next word, in Python's whole numbers."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def test_the_words_are_splitmix64(xp: Any) -> None:
    assert splitmix64(1234567) == 6457827717110365317  # as published, for seed 1234567
    state = 0
    for key in (7, 2**63 + 5, 11):
        state = splitmix64(state ^ key)
    words = to_numpy(random_words(xp, 5, 7, 2**63 + 5, xp.asarray(11)))
    golden = 0x9E3779B97F4A7C15
    assert words.tolist() == [splitmix64((state + i * golden) % 2**64) for i in range(5)]
    assert_equal(random_words(xp, 5, 7, 2**63 + 5, 11), words)


def test_kept_elements_are_scaled_and_the_gradient_likewise(xp: Any, rng: Any) -> None:
    x, dy = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 4, 5))
    y, backward = dropout(xp.asarray(x), 0.2, Training(1, 2), stream=3)
    kept = mask(2, p=0.2, seed=1, stream=3, n=60).reshape(3, 4, 5)
    assert 0 < kept.sum() < 60
    assert_equal(y, np.where(kept, x * (1 / 0.8), 0))
    assert_equal(backward(xp.asarray(dy)), np.where(kept, dy * (1 / 0.8), 0))
    assert gradcheck(lambda x: dropout(x, 0.2, Training(1, 2), stream=3), x)


def test_a_dropped_infinity_is_zero(xp: Any) -> None:
    y, backward = dropout(xp.full(50, np.inf), 0.5, Training(0, 0))
    assert set(to_numpy(y).tolist()) == {0.0, np.inf}
    assert set(to_numpy(backward(xp.full(50, np.nan))).tolist()) >= {0.0}


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.93])
def test_rate(p: float) -> None:
    dropped = 1 - np.mean([mask(step, p=p).mean() for step in range(5)])
    assert abs(dropped - p) <= 4 * np.sqrt(p * (1 - p) / (5 * N))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """In standard deviations of what independent masks would give."""
    return float(np.corrcoef(a, b)[0, 1]) * np.sqrt(len(a))


@pytest.mark.parametrize("lag", [1, 2, 3, 28, 64, 784, 4096])
def test_neighbours_are_independent(lag: int) -> None:
    m = mask(0)
    assert abs(correlation(m[lag:], m[:-lag])) < 4


@pytest.mark.parametrize("other", [{"step": 1}, {"step": 2}, {"step": 2**31}, {"seed": 1},
                                   {"stream": 1}, {"stream": 2**62}])  # fmt: skip
@pytest.mark.parametrize("shift", [0, 1, 7])
def test_steps_seeds_and_layers_are_independent(other: dict[str, int], shift: int) -> None:
    a, b = mask(0), mask(other.pop("step", 0), **other)  # type: ignore[arg-type]
    assert abs(correlation(a[shift:], b[: N - shift])) < 4


def test_keys_do_not_change_places() -> None:
    assert (mask(3, seed=5) != mask(5, seed=3)).any()
    assert (mask(3, stream=5) != mask(5, stream=3)).any()


def test_an_element_over_the_steps_is_independent_too() -> None:
    m = np.array([mask(step, n=20) for step in range(4000)])
    for element in m.T:
        assert abs(element.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
        assert abs(correlation(element[1:], element[:-1])) < 4


def test_the_same_bits_everywhere_and_in_any_memory_order(xp: Any, rng: Any) -> None:
    x = rng.normal(size=(4, 3, 5, 6)).astype(np.float32)
    expected, _ = dropout(x, 0.3, Training(2, 9), stream=4)
    stored = xp.asarray(np.ascontiguousarray(x.transpose(2, 1, 3, 0))).transpose(3, 1, 0, 2)
    for given in (xp.asarray(x), stored):
        for step in (9, np.int64(9), xp.asarray(9), xp.asarray(9, dtype=xp.uint32)):
            y, backward = dropout(given, 0.3, Training(2, step), stream=4)
            assert y.dtype == np.float32
            assert y.strides == given.strides
            assert_equal(y, expected)
            assert_equal(backward(given), expected)


def test_the_pullback_keeps_its_mask_when_the_step_moves_on(xp: Any, rng: Any) -> None:
    step, x = xp.asarray(4), xp.asarray(rng.normal(size=(5, 6)))
    y, backward = dropout(x, 0.5, Training(0, step))
    step[...] = 5
    assert_equal(backward(x), y)


def test_evaluation_changes_nothing(xp: Any, rng: Any) -> None:
    x = xp.asarray(rng.normal(size=(5, 6)))
    y, backward = Dropout(0.5, rng=rng)(x)
    assert_equal(y, x)
    assert_equal(backward(2 * x), 2 * x)


def test_two_layers_of_a_network_have_other_masks_and_a_second_build_the_same() -> None:
    def layers() -> list[Dropout]:
        rng = np.random.default_rng(3)
        return [Dropout(0.5, rng=rng), Dropout(0.5, rng=rng)]

    x, mode = np.ones((50, 40)), Training(0, 17)
    (first, second), (again, _) = layers(), layers()
    assert (first(x, mode=mode)[0] != second(x, mode=mode)[0]).any()
    assert_equal(first(x, mode=mode)[0], again(x, mode=mode)[0])


def test_a_captured_step_gets_new_masks_and_nothing_is_read_back(stand_in: Any, rng: Any) -> None:
    cupy, layer = stand_in.cupy, Dropout(0.4, rng=rng)
    with stand_in.installed():
        x, step = cupy.ones((30, 20)), cupy.asarray(0)
        y, dx = cupy.zeros((30, 20)), cupy.zeros((30, 20))

        def work() -> None:
            out, backward = layer(x, mode=Training(8, step))
            y[...] = out
            dx[...] = backward(x)

        replay = capture(work)
        cupy.synchronisations.clear()
        found = []
        for k in (0, 1, 2):
            step[...] = k
            replay()
            found.append((y.copy(), dx.copy()))
        assert cupy.synchronisations == []
    for k, arrays in enumerate(found):
        expected, _ = layer(np.ones((30, 20)), mode=Training(8, k))
        for array in arrays:
            assert_equal(array, expected)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_probabilities_out_of_range(p: float, rng: Any) -> None:
    with pytest.raises(ValueError, match=r"^p: expected a probability in \[0, 1\)"):
        Dropout(p, rng=rng)
    with pytest.raises(ValueError, match="^p: "):
        dropout(np.ones(3), p)


def test_bad_input(rng: Any) -> None:
    x = np.ones((2, 3))
    with pytest.raises(TypeError, match="^p: expected one number"):
        Dropout("0.5", rng=rng)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^rng: expected a numpy.random.Generator"):
        Dropout(0.5, rng=0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^x: expected a floating-point"):
        dropout(np.ones(3, int), 0.5)
    with pytest.raises(TypeError, match=r"^mode: expected None .evaluation. or Training"):
        dropout(x, 0.5, True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^dy: expected shape \(2, 3\), got \(3, 2\)"):
        dropout(x, 0.5, Training(0, 0))[1](x.T)
    for seed, step, error, match in (
        (-1, 0, ValueError, "seed: expected at least 0"),
        (0, -1, ValueError, "step: expected at least 0"),
        (0, 1.5, TypeError, "step: expected a whole number"),
        (0, np.zeros(2, int), TypeError, r"step: expected one whole number, got shape \(2,\)"),
        (0, np.zeros(()), TypeError, "step: expected one whole number, got .* float64"),
    ):
        with pytest.raises(error, match=match):
            Training(seed, step)  # type: ignore[arg-type]
