"""The gradient checker: every broken backward is caught, every kink named, no sound one blamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracles import GROUPS

from stn_np.gradcheck import (
    GradcheckError,
    Report,
    gradcheck,
    operations,
    parameters_as_inputs,
    table,
)
from stn_np.layers import Linear
from stn_np.transforms import FAMILIES

Function = Callable[..., Any]
SEEDS = range(100)


def check(f: Function, *inputs: np.ndarray, **options: Any) -> Report:
    return gradcheck(f, *inputs, raise_exception=False, **options)


def affine(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> Any:
    """A sound function of three inputs, one of them broadcast."""
    return x @ w + b, lambda dy: (dy @ w.T, x.T @ dy, dy.sum(0))


def affine_inputs(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)


def elementwise(value: Function, derivative: Function) -> Function:
    return lambda x: (value(x), lambda dy: dy * derivative(x))


def one_element(dx: np.ndarray, index: tuple[int, ...], change: float) -> np.ndarray:
    out = dx.copy()
    out[index] += change
    return out


# What is wrong with the backward of `affine`; the input whose gradient it is.
BROKEN: dict[str, tuple[int, Function]] = {
    "factor 2": (1, lambda x, w, b, dy: 2 * x.T @ dy),
    "factor 1 + 1e-5": (1, lambda x, w, b, dy: (1 + 1e-5) * x.T @ dy),
    "sign": (0, lambda x, w, b, dy: -dy @ w.T),
    "transposed": (1, lambda x, w, b, dy: dy.T @ x),
    "weights not transposed": (0, lambda x, w, b, dy: dy @ w),
    "one element": (1, lambda x, w, b, dy: one_element(x.T @ dy, (2, 1), 1e-4)),
    "one element zero": (0, lambda x, w, b, dy: (dy @ w.T) * (np.arange(12) != 7).reshape(4, 3)),
    "one sample missing": (2, lambda x, w, b, dy: dy[1:].sum(0)),
    "mean for sum": (2, lambda x, w, b, dy: dy.mean(0)),
    "zero": (0, lambda x, w, b, dy: 0 * x),
    "upstream gradient ignored": (2, lambda x, w, b, dy: np.full(3, 4.0)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_backward_is_caught_with_every_seed(name: str) -> None:
    k, wrong = BROKEN[name]

    def f(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> Any:
        y, backward = affine(x, w, b)
        return y, lambda dy: tuple(
            wrong(x, w, b, dy) if i == k else dx for i, dx in enumerate(backward(dy))
        )

    for seed in SEEDS:
        report = check(f, *affine_inputs(seed), seed=seed)
        statuses = [r.status for r in report.inputs]
        assert statuses == ["wrong" if i == k else "ok" for i in range(3)], (seed, str(report))
        assert report.ok is False and not report


def test_a_sound_backward_passes_with_every_seed() -> None:
    for seed in SEEDS:
        report = check(affine, *affine_inputs(seed), seed=seed)
        assert report.ok is True and report.max_error < 1e-8, (seed, str(report))


STEEP = {
    "exp(20 x)": elementwise(lambda x: np.exp(20 * x), lambda x: 20 * np.exp(20 * x)),
    "x**5": elementwise(lambda x: x**5, lambda x: 5 * x**4),
    "sin(30 x)": elementwise(lambda x: np.sin(30 * x), lambda x: 30 * np.cos(30 * x)),
    "sin(1000 x)": elementwise(lambda x: np.sin(1000 * x), lambda x: 1000 * np.cos(1000 * x)),
    "tanh(50 x)": elementwise(lambda x: np.tanh(50 * x), lambda x: 50 / np.cosh(50 * x) ** 2),
    "1e8 x": elementwise(lambda x: 1e8 * x, lambda x: 1e8 + 0 * x),
    "1e-9 x": elementwise(lambda x: 1e-9 * x, lambda x: 1e-9 + 0 * x),
    "constant": elementwise(lambda x: 3 + 0 * x, lambda x: 0 * x),
    "mean of squares": lambda x: (np.mean(x**2), lambda dy: dy * 2 * x / x.size),
}


@pytest.mark.parametrize("name", STEEP)
def test_steep_but_smooth_passes(name: str) -> None:
    for seed in SEEDS:
        x = np.random.default_rng(seed).uniform(-1, 1, (20, 5))
        report = check(STEEP[name], x, seed=seed)
        assert report.ok is True and report.max_error <= 1e-7, (seed, str(report))


@pytest.mark.parametrize("name", [n for n in STEEP if n != "constant"])
def test_steep_smooth_and_wrong_is_wrong_not_a_kink(name: str) -> None:
    f = STEEP[name]
    for seed in SEEDS:
        x = np.random.default_rng(seed).uniform(-1, 1, (20, 5))

        def broken(x: np.ndarray) -> Any:
            y, backward = f(x)
            return y, lambda dy: 1.001 * backward(dy)

        assert check(broken, x, seed=seed).status == "wrong", seed


relu = elementwise(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0)
absolute = elementwise(np.abs, np.sign)
floor = elementwise(lambda x: np.floor(x) + x, lambda x: 1 + 0 * x)


def max_of_pairs(x: np.ndarray) -> Any:
    """Max pooling of neighbours."""
    pairs = x.reshape(-1, 2)
    first = np.eye(2)[pairs.argmax(1)]
    return pairs.max(1), lambda dy: (first * dy[:, None]).reshape(x.shape)


def interpolate(t: np.ndarray) -> Any:
    """Linear interpolation of a table, as the bilinear sampler along one axis."""
    table = np.array([0.0, 1.0, -0.5, 2.0, 0.3])
    k = np.floor(t).astype(int)
    rise = table[k + 1] - table[k]
    return table[k] + (t - k) * rise, lambda dy: dy * rise


KINKS: dict[str, tuple[Function, list[float], str]] = {
    "ReLU at 0": (relu, [1.0, 0.0, -2.0], "kink"),
    "ReLU just above 0": (relu, [1.0, 2e-6, -2.0], "kink"),
    "ReLU just below 0": (relu, [1.0, -4e-6, -2.0], "kink"),
    "|x| at 0, where central differences agree": (absolute, [0.0, 1.0], "kink"),
    "|x| near 0": (absolute, [3e-6, 1.0], "kink"),
    "a tie in a max pooling": (max_of_pairs, [1.0, 2.0, 3.0, 3.0], "kink"),
    "a sample on a pixel": (interpolate, [0.5, 2.0], "kink"),
    "a sample near a pixel": (interpolate, [0.5, 1.999997], "kink"),
    "floor": (floor, [0.5, 2.0], "jump"),
    "floor, beside": (floor, [0.5, 2.000003], "jump"),
    "log": (elementwise(np.log, lambda x: 1 / x), [1.0, 1e-6], "NaN or infinite"),
}


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_kink_is_named_with_every_seed(name: str) -> None:
    f, x, word = KINKS[name]
    for seed in SEEDS:
        report = check(f, np.array(x), seed=seed)
        assert report.status == "kink" and report.ok is None and not report, (seed, str(report))
        assert word in str(report) and "input 0" in str(report) and "move" in str(report).lower()


def test_a_kink_anywhere_within_the_step_never_looks_like_a_wrong_gradient() -> None:
    found = 0
    for offset in np.linspace(-1.3e-5, 1.3e-5, 1041):
        for f in (relu, absolute, floor):
            report = check(f, np.array([offset, 0.4]), n_directions=1)
            assert report.status in ("ok", "kink"), (offset, str(report))
            found += report.status == "kink"
            # Moved by at least half of eps: nearer than that it must be found.
            assert report.status == "kink" or abs(offset) > 4.9e-6, offset
    assert found > 1500


def test_one_kink_among_many_elements_is_found_and_located() -> None:
    x = np.random.default_rng(0).normal(size=(40, 50))
    x[np.abs(x) < 1e-4] = 0.5
    assert check(relu, x).ok
    x[17, 23] = 0.0
    report = check(relu, x)
    assert report.status == "kink" and "y[17, 23]" in str(report)


def test_a_kink_deep_inside_a_scalar_is_found() -> None:
    def loss(x: np.ndarray) -> Any:
        y = np.maximum(x, 0)
        return (y**3).sum() + y.sum(), lambda dy: dy * (3 * y**2 + 1) * (x > 0)

    x = np.random.default_rng(1).normal(size=300)
    assert check(loss, x).ok
    x[77] = 1e-6
    assert check(loss, x).status == "kink"


def test_both_slopes_at_a_kink_are_told() -> None:
    two_slopes = elementwise(
        lambda x: np.where(x > 0, 3 * x, -x), lambda x: np.where(x > 0, 3.0, -1)
    )
    report = check(two_slopes, np.array([0.0]), seed=3, n_directions=1)
    v = np.random.default_rng(3)
    v.choice([-1.0, 1.0], (1,)), v.uniform(0.5, 1.0, (1,))  # The upstream gradient is drawn first.
    speed = (v.choice([-1.0, 1.0], (1,)) * v.uniform(0.5, 1.0, (1,)))[0]
    before, after = (-1 * speed, 3 * speed) if speed > 0 else (3 * speed, -1 * speed)
    assert f"{before:.6g} before and {after:.6g} after" in str(report)


def test_a_jump_of_the_curvature_is_no_wrong_gradient() -> None:
    f = elementwise(lambda x: x * np.abs(x), lambda x: 2 * np.abs(x))
    for seed in SEEDS:
        for at in (0.0, 2e-6):
            assert check(f, np.array([at, 1.0]), seed=seed).status in ("ok", "unclear")
        assert check(f, np.array([1.0, -1.0]), seed=seed).ok


def test_too_steep_for_eps_is_unclear_and_a_smaller_eps_settles_it() -> None:
    f = elementwise(lambda x: np.sin(1e5 * x), lambda x: 1e5 * np.cos(1e5 * x))
    x = np.array([0.3, 0.7])
    assert check(f, x).ok is None
    assert check(f, x, eps=1e-7).ok


def test_a_function_that_rounds_to_float32_inside_is_named() -> None:
    report = check(lambda x: (np.float32(x).astype(float), lambda dy: dy), np.array([0.3, 0.7]))
    assert report.status == "kink" and "float32" in str(report)


def test_both_numbers_and_the_worst_element_are_told() -> None:
    def f(x: np.ndarray) -> Any:
        return 3 * x, lambda dy: one_element(3 * dy, (4, 31), 0.25)

    report = check(f, np.zeros((6, 50)), names=["image"])
    text = str(report)
    assert "image: wrong" in text and "[4, 31]: expected" in text
    result = report.inputs[0]
    assert f"{result.expected:.12g}" in text and f"{result.actual:.12g}" in text
    first = text.split("[4, 31]: expected")[1].split("\n")[0].split(", actual")
    assert float(first[1]) - float(first[0]) == pytest.approx(0.25, rel=1e-6)


def test_the_report_is_raised_unless_one_asks_not_to() -> None:
    with pytest.raises(GradcheckError, match="input 0: wrong") as caught:
        gradcheck(lambda x: (x**2, lambda dy: x * dy), np.array([1.0, 2.0]))
    assert caught.value.report.ok is False
    with pytest.raises(GradcheckError, match="kink"):
        gradcheck(relu, np.zeros(2))


# Rules that hold whatever the numbers are.


def test_a_wrong_shape_or_dtype_or_nan_from_backward_is_named() -> None:
    x = np.ones((2, 3))
    cases = {
        r"shape \(3,\), expected \(2, 3\)": lambda dy: dy.sum(0),
        r"shape \(3, 2\), expected \(2, 3\)": lambda dy: dy.T,
        "float32 array": lambda dy: dy.astype(np.float32),
        "returned nan at": lambda dy: dy * np.nan,
    }
    for pattern, backward in cases.items():
        with pytest.raises(GradcheckError, match=pattern):
            gradcheck(lambda x, b=backward: (x + 0, b), x)  # type: ignore[misc]


def test_a_forgotten_sum_over_a_broadcast_axis_is_named() -> None:
    with pytest.raises(GradcheckError, match=r"input 1: wrong\n.*shape \(4, 3\), expected \(3,\)"):
        gradcheck(lambda x, b: (x + b, lambda dy: (dy, dy)), np.ones((4, 3)), np.ones(3))


def test_a_backward_that_is_wrong_only_in_its_second_call_is_named() -> None:
    def f(x: np.ndarray) -> Any:
        calls = []

        def backward(dy: np.ndarray) -> np.ndarray:
            calls.append(1)
            return dy * len(calls)

        return x + 0, backward

    with pytest.raises(GradcheckError, match="another gradient of input 0 when called again"):
        gradcheck(f, np.ones(2), n_directions=1)


def test_a_workspace_shared_by_two_calls_is_named() -> None:
    workspace = np.empty(3)

    def f(x: np.ndarray) -> Any:
        workspace[...] = x
        return x**2, lambda dy: 2 * workspace * dy

    with pytest.raises(GradcheckError, match="when called again, after more calls of f"):
        gradcheck(f, np.array([1.0, 2.0, 3.0]))


def test_a_backward_may_return_its_own_buffer_twice() -> None:
    buffer = np.empty(3)
    f = lambda x: (x * 3, lambda dy: np.multiply(dy, 3, out=buffer))  # noqa: E731
    assert check(f, np.ones(3)).ok


def test_arguments_changed_in_place_are_named_and_the_callers_stay() -> None:
    def spoils_x(x: np.ndarray) -> Any:
        x *= 2
        return x + 0, lambda dy: 2 * dy

    def spoils_dy(x: np.ndarray) -> Any:
        return 2 * x, lambda dy: np.multiply(dy, 2, out=dy)

    x = np.array([1.0, 2.0])
    with pytest.raises(GradcheckError, match="f changed its argument x in place"):
        gradcheck(spoils_x, x, names=["x"])
    with pytest.raises(GradcheckError, match="backward changed its argument dy in place"):
        gradcheck(spoils_dy, x)
    assert x.tolist() == [1.0, 2.0]


def test_a_forward_with_noise_is_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(GradcheckError, match="f gave another result when called again"):
        gradcheck(lambda x: (x + 1e-9 * rng.normal(), lambda dy: dy), np.ones(2))


def test_an_input_without_gradient_is_skipped() -> None:
    report = gradcheck(lambda x, w: (x * w, lambda dy: (None, dy * x)), np.ones(2), np.ones(2))
    assert [r.status for r in report.inputs] == ["skipped", "ok"] and report.ok


# Use that makes no sense.


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.complex128])
def test_other_dtypes_are_refused(dtype: type) -> None:
    with pytest.raises(TypeError, match="input 1: expected float64, got " + np.dtype(dtype).name):
        gradcheck(lambda x, w: (x, lambda dy: (dy, None)), np.ones(2), np.ones(2, dtype))


def test_float32_is_refused_with_the_reason() -> None:
    with pytest.raises(TypeError, match="about 3 of float32.*cannot tell.*astype"):
        gradcheck(lambda x: (x, lambda dy: dy), np.ones(2, np.float32))


@pytest.mark.parametrize(
    ("f", "error", "pattern"),
    [
        (
            lambda x: x,
            TypeError,
            r"f: expected .*\(y, backward\), got float64 array of shape \(2,\)",
        ),
        (lambda x: (x, x), TypeError, r"f: expected .*\(y, backward\), got a tuple of 2"),
        (lambda x: None, TypeError, "got None"),
        (lambda x: (np.float32(x), lambda dy: dy), TypeError, "float64 y .* got float32"),
        (
            lambda x: (x, lambda dy: (dy, dy)),
            TypeError,
            "backward: expected 1 gradient.*tuple of 2",
        ),
        (lambda x: (x, lambda dy: None), ValueError, "got None for all"),
        (lambda x: (x * np.nan, lambda dy: dy), ValueError, "f: expected a finite value"),
    ],
)
def test_functions_of_the_wrong_form_are_refused(f: Function, error: type, pattern: str) -> None:
    with pytest.raises(error, match=pattern):
        gradcheck(f, np.ones(2))


def test_calls_of_the_wrong_form_are_refused() -> None:
    f = elementwise(np.exp, np.exp)
    x = np.ones(2)
    with pytest.raises(ValueError, match="inputs: expected at least one"):
        gradcheck(f)
    with pytest.raises(TypeError, match=r"expected gradcheck\(f, x, w\), got a tuple"):
        gradcheck(f, (x, x))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="input 0: expected a NumPy or CuPy array, got list"):
        gradcheck(f, [1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="input 0: expected finite numbers, got an empty"):
        gradcheck(f, np.ones(0))
    with pytest.raises(ValueError, match="input 0: expected finite numbers, got NaN"):
        gradcheck(f, np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="names: expected 1"):
        gradcheck(f, x, names=["a", "b"])
    with pytest.raises(ValueError, match="eps and rtol"):
        gradcheck(f, x, eps=0.0)
    with pytest.raises(ValueError, match="n_directions: expected at least 1"):
        gradcheck(f, x, n_directions=0)


# The library's own operations.


def test_every_operation_of_the_library_is_right() -> None:
    rows = table()
    assert len(rows) >= 29
    for row in rows:
        assert row.ok and row.relative_error <= 1e-7 and row.message == "", row


def test_every_family_and_group_is_listed() -> None:
    names = [operation.name for operation in operations(np.random.default_rng(0))]
    assert len(set(names)) == len(names)
    for family in (*FAMILIES, "affine3d"):
        assert {f"transform {family}", f"SpatialTransformer, {family}"} <= set(names)
    for group in (*GROUPS, "affine3d"):
        assert {f"compose, {group}", f"inverse, {group}"} <= set(names)


def test_a_small_error_in_any_gradient_of_any_operation_is_noticed() -> None:
    for operation in operations(np.random.default_rng(1)):

        def broken(*inputs: np.ndarray, f: Function = operation.f) -> Any:
            y, backward = f(*inputs)

            def wrong(dy: np.ndarray) -> Any:
                gradients = backward(dy)
                gradients = gradients if isinstance(gradients, tuple) else (gradients,)
                return tuple(1.001 * dx for dx in gradients)

            return y, wrong

        inputs = operation.inputs
        report = check(
            broken, *inputs.values(), names=list(inputs), eps=operation.eps, n_directions=1
        )
        for result in report.inputs:
            nothing = result.name == "grid" and "nearest" in operation.name  # 1.001 times 0
            assert result.status == ("ok" if nothing else "wrong"), (operation.name, str(report))


def test_parameters_as_inputs_leaves_the_module_alone_and_finds_a_wrong_gradient() -> None:
    rng = np.random.default_rng(0)
    layer = Linear(3, 4, rng=rng, dtype=np.float64)
    before = layer.state_dict()
    f, values = parameters_as_inputs(layer)
    x = rng.normal(size=(2, 3))
    assert gradcheck(f, x, *values.values()).ok
    for name, value in layer.state_dict().items():
        assert np.array_equal(value, before[name])
    assert all(not p.grad.any() for p in layer.parameters())

    class Forgetful(Linear):
        def __call__(self, x: np.ndarray, *, needs_dx: bool = True) -> Any:
            y, backward = super().__call__(x, needs_dx=needs_dx)

            def halved(dy: np.ndarray) -> Any:
                dx = backward(dy)
                self.bias.grad *= 0.5
                return dx

            return y, halved

    f, values = parameters_as_inputs(Forgetful(3, 4, rng=rng, dtype=np.float64))
    report = check(f, x, *values.values(), names=["x", *values])
    assert [r.status for r in report.inputs] == ["ok", "ok", "wrong"]
    assert "bias: wrong" in str(report)


@pytest.mark.parametrize(
    ("f", "x", "options"),
    [
        (lambda x: (x * 1.0, lambda d: -d), [3e9, -3.3e9, 2.1e9], {}),
        (lambda x: (x * 1.0, lambda d: 1.1 * d), [1e8, -1.3e8], {}),
        (lambda x: (x + 1e10, lambda d: 3 * d), [0.3, 0.9], {}),
        (lambda x: (2 * x, lambda d: -5 * d), [0.3, 0.9], {"eps": 1e-16}),
    ],
)
def test_what_rounding_hides_is_not_called_right(f: Any, x: Any, options: Any) -> None:
    report = gradcheck(f, np.array(x), raise_exception=False, **options)
    assert report.ok is not True
    assert "rounding hides" in str(report)
