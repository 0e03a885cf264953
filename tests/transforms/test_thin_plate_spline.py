"""Thin plate splines against SciPy, their definition, and points that determine none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import CORNERS, assert_close, assert_equal, normalised

import stn_np
from stn_np.backend import to_numpy
from stn_np.transforms import ThinPlateSpline
from stn_np.transforms.thin_plate_spline import _inverse


def target_points(H: int, W: int, corners: bool) -> np.ndarray:
    """(x_t, y_t) of all pixels, row after row: (H W, 2)."""
    x, y = normalised(np.arange(W), W, corners), normalised(np.arange(H), H, corners)
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def scattered(rng: np.random.Generator, K: int) -> np.ndarray:
    """K points, some outside the image."""
    return rng.uniform(-1.3, 1.3, (K, 2))


def scipy_grid(c: np.ndarray, theta: np.ndarray, t: np.ndarray, smoothing: float) -> np.ndarray:
    """Each image's spline at the points t: (N, P, 2)."""
    interpolate = pytest.importorskip("scipy.interpolate")
    return np.stack(
        [
            interpolate.RBFInterpolator(
                c, source, kernel="thin_plate_spline", degree=1, smoothing=smoothing
            )(t)
            for source in theta.reshape(len(theta), -1, 2)
        ]
    )


@pytest.mark.parametrize("regularisation", [0.0, 0.03, 2.5])
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("K", [3, 4, 9, 16, 40])
def test_equals_scipy_between_the_control_points(
    xp: Any, rng: Any, K: int, corners: bool, regularisation: float
) -> None:
    """SciPy's phi is half of ours, so the same lambda is half as much smoothing."""
    c = scattered(rng, K)
    tps = ThinPlateSpline(xp.asarray(c), regularisation=regularisation)
    theta = c.ravel() + rng.normal(size=(2, 2 * K)) * 0.3
    grid, _ = tps(xp.asarray(theta), (6, 9), align_corners=corners)
    t = target_points(6, 9, corners)
    assert np.abs(t[:, None] - c).max(-1).min() > 1e-3  # off the control points
    expected = scipy_grid(c, theta, t, regularisation / 2)
    assert_close(grid, expected.reshape(2, 6, 9, 2), 1e-9)


@pytest.mark.parametrize("k", [2, 3, 4, 7])
def test_equals_scipy_on_the_regular_grid(xp: Any, rng: Any, k: int) -> None:
    tps = ThinPlateSpline(k)
    assert tps.n_params == 2 * k * k
    theta = tps.identity + rng.normal(size=(2, tps.n_params)) * 0.2
    grid, _ = tps(xp.asarray(theta), (8, 5))
    line = np.linspace(-1, 1, k)
    c = np.array([(x, y) for y in line for x in line])  # row after row
    expected = scipy_grid(c, theta, target_points(8, 5, True), 0)
    assert_close(grid, expected.reshape(2, 8, 5, 2), 1e-9)


def test_the_control_points_go_where_theta_says(xp: Any, rng: Any) -> None:
    """Every second pixel of every third row is a control point."""
    tps = ThinPlateSpline()
    theta = rng.normal(size=(3, 32))
    grid, _ = tps(xp.asarray(theta), (10, 7))
    assert_close(grid[:, ::3, ::2], theta.reshape(3, 4, 4, 2), 1e-12)


def test_with_regularisation_they_are_springs(xp: Any, rng: Any) -> None:
    """s(c) + lambda w = theta, where sum w = 0 and sum w c = 0."""
    weight = 0.4
    tps = ThinPlateSpline(regularisation=weight)
    theta = rng.normal(size=(1, 32))
    grid, _ = tps(xp.asarray(theta), (4, 4))
    w = (theta - to_numpy(grid).reshape(1, 32)).reshape(16, 2) / weight
    assert np.abs(w).min() > 1e-4
    assert_close(w.sum(0), np.zeros(2), 1e-12)
    assert_close(w.T @ tps.identity.reshape(16, 2), np.zeros((2, 2)), 1e-12)


def test_very_stiff_plates_stay_flat(xp: Any, rng: Any) -> None:
    """They tend to the affine map of least squares."""
    c, theta = scattered(rng, 12), rng.normal(size=(12, 2))
    tps = ThinPlateSpline(c, regularisation=1e6)
    grid, _ = tps(xp.asarray(theta.reshape(1, 24)), (5, 6))
    A = np.linalg.lstsq(np.column_stack([c, np.ones(12)]), theta, rcond=None)[0].T
    expected, _ = stn_np.affine_grid(A[None], (5, 6))
    assert_close(grid, expected, 1e-4)
    loose, _ = ThinPlateSpline(c)(xp.asarray(theta.reshape(1, 24)), (5, 6))
    assert np.abs(to_numpy(loose) - expected).max() > 0.1


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("regularisation", [0.0, 0.5])
def test_affine_maps_need_no_bending(
    xp: Any, rng: Any, corners: bool, regularisation: float
) -> None:
    for points in (4, scattered(rng, 11)):
        tps = ThinPlateSpline(points, regularisation=regularisation)
        A = rng.normal(size=(3, 2, 3))
        c = tps.identity.reshape(-1, 2)
        theta = np.concatenate([c, np.ones((len(c), 1))], -1) @ A.transpose(0, 2, 1)
        grid, _ = tps(xp.asarray(theta.reshape(3, -1)), (5, 8), align_corners=corners)
        expected, _ = stn_np.affine_grid(A, (5, 8), align_corners=corners)
        assert_close(grid, expected, 1e-11)


@given(
    K=st.integers(3, 20), H=st.integers(1, 7), W=st.integers(1, 7), corners=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_pullback_is_the_transpose_of_scipys_map(
    K: int, H: int, W: int, corners: bool, seed: int
) -> None:
    """The map is affine in theta: <s(theta) - s(0), g> = <theta, pullback of g>."""
    rng = np.random.default_rng(seed)
    c = scattered(rng, K)
    tps = ThinPlateSpline(c)
    theta, g = rng.normal(size=(2, 2 * K)), rng.normal(size=(2, H, W, 2))
    dtheta = tps(theta, (H, W), align_corners=corners)[1](g)
    s = scipy_grid(c, theta, target_points(H, W, corners), 0)
    for n in range(2):  # each image by itself
        expected = float((s[n] * g[n].reshape(-1, 2)).sum())
        assert float(theta[n] @ dtheta[n]) == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_gradient_by_finite_differences(xp: Any, rng: Any) -> None:
    tps = ThinPlateSpline(scattered(rng, 7), regularisation=0.1)
    theta = xp.asarray(rng.normal(size=(3, 14)))
    stn_np.gradcheck(lambda t: tps(t, (5, 4)), theta)


CONDITION = r"got coordinates .* and a system with condition number (inf|\d\.\de\+\d\d)$"
LINE = np.linspace(-1, 1, 6)


@pytest.mark.parametrize(
    "points",
    [np.stack([LINE, 0.5 - 2 * LINE], -1), np.stack([LINE, 0 * LINE], -1),
     np.stack([LINE, 0.3 * LINE + 1e-8 * LINE**2], -1), np.zeros((5, 2)),
     np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.5]]), np.zeros((0, 2))],
    ids=["line", "horizontal", "nearly a line", "one place", "one", "two", "none"],
)  # fmt: skip
@pytest.mark.parametrize("regularisation", [0.0, 1.0])
def test_points_on_a_line_are_refused(points: np.ndarray, regularisation: float) -> None:
    with pytest.raises(ValueError, match=f"^control_points: expected at least 3 .*{CONDITION}"):
        ThinPlateSpline(points, regularisation=regularisation)


def test_two_points_in_one_place_are_refused(rng: Any) -> None:
    c = scattered(rng, 8)
    for distance in (0, 1e-7):
        c[5] = c[2] + distance
        with pytest.raises(ValueError, match=f"^control_points: .*distinct.*{CONDITION}"):
            ThinPlateSpline(c)
    c[5] = c[2]  # two springs in one place determine a spline
    theta = rng.normal(size=(1, 16))
    grid, _ = ThinPlateSpline(c, regularisation=0.2)(theta, (4, 5))
    swapped = theta.copy()
    swapped[0, [4, 5, 10, 11]] = theta[0, [10, 11, 4, 5]]
    assert_close(ThinPlateSpline(c, regularisation=0.2)(swapped, (4, 5))[0], grid, 1e-12)


@pytest.mark.parametrize(
    "points, size",
    [(540 * (1 + ThinPlateSpline().control_points), r"1\.1e\+03"),
     (1e-6 * ThinPlateSpline().control_points, r"1\.0e-06")],
    ids=["pixels", "tiny"],
)  # fmt: skip
def test_points_in_another_unit_are_told_so(points: np.ndarray, size: str) -> None:
    message = rf"in normalised coordinates \(-1 to 1 .*, got coordinates of size up to {size} and"
    with pytest.raises(ValueError, match=message):
        ThinPlateSpline(points)


def test_the_condition_number_is_the_systems(rng: Any) -> None:
    """In the 1-norm, which is NumPy's of the same matrix; the inverse is its inverse."""
    L = rng.normal(size=(6, 6))
    inverse, condition = _inverse(L)
    assert_close(L @ inverse, np.eye(6), 1e-12)
    assert condition == pytest.approx(np.linalg.cond(L, 1), rel=1e-10)
    for singular in (np.zeros((3, 3)), np.full((3, 3), np.inf), np.full((3, 3), np.nan)):
        assert _inverse(singular)[1] == np.inf


def test_bad_control_points() -> None:
    for bad in ("4", None, 4.0, [[0, 0], [1, 0], [0, 1]]):
        with pytest.raises(TypeError, match="^control_points: expected a NumPy or CuPy array"):
            ThinPlateSpline(bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^control_points: expected a whole number, got True"):
        ThinPlateSpline(True)
    with pytest.raises(TypeError, match="^control_points: expected a floating-point dtype"):
        ThinPlateSpline(np.eye(3, 2, dtype=int))
    for few in (1, 0, -4):
        with pytest.raises(ValueError, match="^control_points: expected at least 2, got"):
            ThinPlateSpline(few)
    for shape in ((4, 3), (8,), (2, 4, 2)):
        with pytest.raises(ValueError, match=r"^control_points: expected shape \(K, 2\), got"):
            ThinPlateSpline(np.ones(shape))
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="^control_points: expected finite numbers"):
            ThinPlateSpline(np.array([[0, 0], [1, 0], [0, value]]))
    with pytest.raises(ValueError, match="^control_points: .* condition number"):
        ThinPlateSpline(np.array([[0, 0], [1e200, 0], [0, 1e200]]))  # r^2 overflows
    assert ThinPlateSpline(np.int8(3)).n_params == 18


def test_bad_regularisation() -> None:
    for bad in ("1", None):
        with pytest.raises(TypeError, match="^regularisation: expected one number"):
            ThinPlateSpline(regularisation=bad)  # type: ignore[arg-type]
    for value in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="^regularisation: expected"):
            ThinPlateSpline(regularisation=value)


def test_the_control_points_cannot_be_changed_afterwards(rng: Any) -> None:
    c = scattered(rng, 5)
    tps = ThinPlateSpline(c)
    theta = rng.normal(size=(1, 10))
    before, _ = tps(theta, (3, 4))
    c[...] = 0
    assert_equal(tps(theta, (3, 4))[0], before)
    assert_equal(tps(theta, (4, 4))[0], tps(theta, (4, 4))[0])
    for array in (tps.identity, tps.control_points):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_weights_are_made_once_for_a_size_and_never_handed_out(monkeypatch: Any, rng: Any) -> None:
    tps, made = ThinPlateSpline(), []
    weights = ThinPlateSpline.weights

    def count(self: Any, points: Any) -> Any:
        made.append(len(points))
        return weights(self, points)

    monkeypatch.setattr(ThinPlateSpline, "weights", count)
    theta = rng.normal(size=(1, 32))
    first, _ = tps(theta, (3, 4))
    expected = first.copy()
    first[...] = 7
    assert_equal(tps(theta, (3, 4))[0], expected)
    assert made == [12]
    centred, _ = tps(theta, (3, 4), align_corners=False)
    tps(theta.astype(np.float32), (3, 4))
    transposed, _ = tps(theta, (4, 3))
    assert made == [12] * 4
    assert np.abs(centred - expected).max() > 1e-3
    assert transposed.shape == (1, 4, 3, 2)
    for n in range(1, 40):  # few are kept
        tps(theta, (1, n))
    assert len(tps._constants) < 10
    assert_equal(tps(theta, (3, 4))[0], expected)
