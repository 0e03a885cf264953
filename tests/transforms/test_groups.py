"""Composing and inverting: group laws, maps one after the other, gradients, what is refused."""

from __future__ import annotations

import contextlib
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from maps import MAPS, affine3d, extent
from oracles import CORNERS, FLOATS, GROUPS, assert_close, assert_equal, central_slope, inner

import stn_np
from stn_np.backend import to_numpy
from stn_np.transforms import (
    Affine,
    Affine3d,
    Attention,
    LogScale,
    Projective,
    Similarity,
    Translation,
    by_name,
)

SHAPE = (4, 7)
every_group = pytest.mark.parametrize("name", [*GROUPS, "affine3d"])


def group_of(name: str) -> Any:
    return Affine3d() if name == "affine3d" else by_name(name)


def near_identity(rng: np.random.Generator, name: str, N: int = 3) -> np.ndarray:
    group = group_of(name)
    theta: np.ndarray = group.identity + rng.uniform(-0.25, 0.25, (N, group.n_params))
    return theta


def moved(name: str, theta: Any, points: np.ndarray, corners: bool = True) -> np.ndarray:
    """Each map applied to its points (N, P, 2 or 3), by the definition."""
    f = affine3d if name == "affine3d" else MAPS[name]
    size = extent(SHAPE, corners)
    theta = to_numpy(theta)
    return np.array([[f(theta[n], p, size) for p in points[n]] for n in range(len(theta))])


def points_for(rng: np.random.Generator, name: str, N: int = 3) -> np.ndarray:
    points: np.ndarray = rng.uniform(-1, 1, (N, 6, 3 if name == "affine3d" else 2))
    return points


def compose(name: str, outer: Any, inner: Any, corners: bool = True) -> Any:
    return group_of(name).compose(outer, inner, out_shape=SHAPE, align_corners=corners)


def invert(name: str, theta: Any, corners: bool = True) -> Any:
    return group_of(name).inverse(theta, out_shape=SHAPE, align_corners=corners)


@every_group
@given(seed=st.integers(0, 10_000), corners=st.booleans())
def test_a_composition_is_one_map_after_the_other(
    xp: Any, name: str, seed: int, corners: bool
) -> None:
    rng = np.random.default_rng(seed)
    outer, inner_, points = (
        near_identity(rng, name),
        near_identity(rng, name),
        points_for(rng, name),
    )
    theta, _ = compose(name, xp.asarray(outer), xp.asarray(inner_), corners)
    expected = moved(name, outer, moved(name, inner_, points, corners), corners)
    assert_close(moved(name, theta, points, corners), expected, 1e-12)


@every_group
@given(seed=st.integers(0, 10_000), corners=st.booleans())
def test_the_inverse_leads_back(xp: Any, name: str, seed: int, corners: bool) -> None:
    rng = np.random.default_rng(seed)
    theta, points = near_identity(rng, name), points_for(rng, name)
    inverse, _ = invert(name, xp.asarray(theta), corners)
    there = moved(name, theta, points, corners)
    assert_close(moved(name, inverse, there, corners), points, 1e-12)
    back = moved(name, inverse, points, corners)
    assert_close(moved(name, theta, back, corners), points, 1e-12)


@every_group
@given(seed=st.integers(0, 10_000))
def test_group_laws(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = (near_identity(rng, name) for _ in range(3))
    e = np.stack([group_of(name).identity] * 3)

    def of(outer: Any, inner_: Any) -> Any:
        return compose(name, outer, inner_)[0]

    def inv(theta: Any) -> Any:
        return invert(name, theta)[0]

    assert_close(of(of(a, b), c), of(a, of(b, c)), 1e-12)
    assert_close(of(a, e), a, 1e-15)
    assert_close(of(e, a), a, 1e-15)
    assert_close(of(a, inv(a)), e, 1e-12)
    assert_close(of(inv(a), a), e, 1e-12)
    assert_close(inv(of(a, b)), of(inv(b), inv(a)), 1e-12)
    assert_equal(inv(e), e)
    assert_equal(of(e, e), e)


@pytest.mark.parametrize("corners", CORNERS)
@every_group
def test_gradients_are_slopes(rng: Any, name: str, corners: bool) -> None:
    """Number by number, for a random upstream gradient."""
    outer, inner_ = near_identity(rng, name, 2), near_identity(rng, name, 2)
    g = rng.normal(size=outer.shape)
    douter, dinner = compose(name, outer, inner_, corners)[1](g)
    dtheta = invert(name, outer, corners)[1](g)
    for index in np.ndindex(outer.shape):
        v = np.zeros(outer.shape)
        v[index] = 1
        cases = [
            (douter, lambda t: compose(name, t, inner_, corners), outer),
            (dinner, lambda t: compose(name, outer, t, corners), inner_),
            (dtheta, lambda t: invert(name, t, corners), outer),
        ]
        for gradient, f, theta in cases:
            slope = central_slope(lambda t, f=f: inner(f(t)[0], g), theta, v)
            assert gradient[index] == pytest.approx(slope, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
@every_group
def test_dtypes_are_kept_and_nothing_is_shared(xp: Any, rng: Any, name: str, dtype: Any) -> None:
    a, b = (xp.asarray(near_identity(rng, name).astype(dtype)) for _ in range(2))
    before = [to_numpy(x).copy() for x in (a, b)]
    theta, backward = compose(name, a, b)
    inverse, inverse_backward = invert(name, a)
    g = xp.asarray(rng.normal(size=a.shape).astype(dtype))
    results = [theta, *backward(g), inverse, inverse_backward(g)]
    assert {r.dtype for r in results} == {np.dtype(dtype)}
    wide, _ = compose(name, *(xp.asarray(x.astype(np.float64)) for x in before))
    assert_close(to_numpy(theta).astype(np.float64), to_numpy(wide), 8 * np.finfo(dtype).eps)
    g_before, values = to_numpy(g).copy(), [to_numpy(r).copy() for r in results]
    for result, value in zip(results, values, strict=True):
        assert_equal(result, value)
        result += 1
    for x, value in zip((a, b, g), (*before, g_before), strict=True):
        assert_equal(x, value)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("name", GROUPS)
def test_an_image_warped_there_and_back(xp: Any, rng: Any, name: str, corners: bool) -> None:
    """Two smooth spots well inside a non-square image, asymmetrically placed."""
    H, W = 48, 64
    y, x = np.mgrid[:H, :W]
    U = np.exp(-((x - 27) ** 2 + (y - 21) ** 2) / 50) + np.exp(
        -((x - 38) ** 2 + (y - 28) ** 2) / 40
    )
    U = U[None, None]
    group = group_of(name)
    theta = group.identity + 0.15 * np.where(np.arange(group.n_params) % 2, -1, 1)
    theta = xp.asarray(theta[None])
    back, _ = group.inverse(theta, out_shape=(H, W), align_corners=corners)
    V = xp.asarray(U)
    for t in (theta, back):
        grid, _ = group(t, (H, W), align_corners=corners)
        V, _ = stn_np.grid_sample(V, grid, align_corners=corners)
        if t is theta:
            assert np.abs(to_numpy(V) - U).max() > 0.4
    # Linear interpolation misses by up to an eighth of the second differences, in both passes; in
    # the second they may be 1.5 times as large, since the image may have shrunk.
    bend = sum(np.abs(np.diff(U, 2, axis=axis)).max() for axis in (2, 3))
    assert np.abs(to_numpy(V) - U).max() < 2.5 * bend / 8


def test_an_image_warped_twice_is_warped_by_the_composition(xp: Any) -> None:
    """By shifts of whole pixels and a quarter turn: no interpolation, so exactly."""
    U = np.zeros((1, 1, 7, 9))
    U[0, 0, 2:4, 3:6] = np.arange(1, 7).reshape(2, 3)
    similarity = Similarity(in_shape=(7, 9))
    outer = xp.asarray([[np.pi / 2, 1, 0, 0]])
    inner_ = xp.asarray([[0, 1, 2 / 8, -2 / 6]])  # one pixel right, one up
    V = xp.asarray(U)
    for theta in (outer, inner_):
        V, _ = stn_np.grid_sample(V, similarity(theta, (7, 9))[0])
    both, _ = similarity.compose(outer, inner_)
    assert_equal(stn_np.grid_sample(xp.asarray(U), similarity(both, (7, 9))[0])[0], to_numpy(V))
    other, _ = similarity.compose(inner_, outer)
    assert np.abs(to_numpy(other) - to_numpy(both)).max() > 0.1


# --------------------------------------------------------------------------------- what is refused


def test_singular_maps_are_refused_by_their_place_and_determinant() -> None:
    expected = "^theta: expected maps that can be inverted{}, got {} for image {} of the batch"
    good = np.stack([Affine.identity] * 4)
    for bad, why in (
        ([0, 0, 0.3, 0, 0, 0.1], "determinant 0"),
        ([1, 2, 0, 2, 4, 0], "determinant 0"),
        (
            [0.5, 0.6, 0, 1.5, 3 * 0.6, 0],
            r"condition number \d.*e\+1[67]",
        ),  # rounding keeps it from 0
        ([np.nan, 0, 0, 0, 1, 0], "condition number nan"),
        ([np.inf, 0, 0, 0, 1, 0], "condition number (nan|inf)"),
    ):
        theta = good.copy()
        theta[2] = bad
        where = " in float64" if why.startswith("condition") else ""
        with pytest.raises(ValueError, match=expected.format(where, why, 2)):
            Affine().inverse(theta)
    theta = np.stack([Affine3d.identity] * 2)
    theta[1, 4:8] = 0
    with pytest.raises(ValueError, match=expected.format("", "determinant 0", 1)):
        Affine3d().inverse(theta)
    theta = np.stack([Projective.identity] * 2)
    theta[0, 3:6] = 0
    with pytest.raises(ValueError, match=expected.format("", "determinant 0", 0)):
        Projective().inverse(theta)
    for s in (0.0, np.nan, np.inf, 1e-310):
        for group, theta in ((Attention(), [[1, 0, 0], [s, 0, 0]]),
                             (Similarity((3, 4)), [[0, 1, 0, 0], [0, s, 0, 0]])):  # fmt: skip
            with pytest.raises(ValueError, match=expected.format("", r"scale \S+", 1)):
                group.inverse(np.array(theta))  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", FLOATS)
def test_small_large_and_far_maps_have_inverses(dtype: Any) -> None:
    for theta in ([1e-4, 0, 0, 0, 1e-4, 0], [1e4, 0, 3, 0, 1e-4, -2], [1, 0, 2e3, 0, 1, -3e3],
                  [0, 1, 0, -1, 0, 0], [-1, 0, 0, 0, 1, 0]):  # fmt: skip
        t = np.array([theta], dtype)
        inverse, _ = Affine().inverse(t)
        assert_close(Affine().compose(t, inverse)[0], Affine.identity[None], 1e-3)
    assert_equal(Attention().inverse(np.array([[-0.5, 0.25, 0]], dtype))[0], [[-2, 0.5, 0]])
    # A shift of any length, and a scale whose square is 0 in float32; both in volumes, too.
    for s, t in ((1, 3e7), (0.5, 2.0**60), (2.0**-83, 0.5)):
        for family in (Affine(), Affine3d()):
            theta = s * family.identity
            theta[family.n_rows - 1] = t
            inverse, _ = family.inverse(theta[None].astype(dtype))
            expected = family.identity / s
            expected[family.n_rows - 1] = -t / s
            assert_close(inverse[0] / abs(expected).max(), expected / abs(expected).max(), 1e-6)
    with pytest.raises(ValueError, match="in float32, got condition number (inf|nan) for"):
        Affine().inverse(np.float32(1e-42) * Affine.identity[None].astype(np.float32))


@pytest.mark.parametrize("group", [LogScale(Attention()), LogScale(Similarity(SHAPE))])
def test_no_log_scale_is_singular(group: Any) -> None:
    for log_s in (-1e30, -500.0, 80.0, 1e30):
        theta = np.zeros((1, group.n_params), np.float32)
        theta[0, group.family.scale_column] = log_s
        inverse, backward = group.inverse(theta)
        assert_equal(inverse, -theta)
        both, _ = group.compose(theta, theta)
        assert_equal(both, 2 * theta)
        assert np.isfinite(backward(np.ones_like(theta))).all()


def test_a_middle_behind_the_horizon_is_refused() -> None:
    """There the last entry of the product is 0 or negative, and cannot be made 1."""
    projective = Projective()
    outer = np.array([[1, 0, 0, 0, 1, 0, -0.5, 0]] * 2)  # its horizon is x = 2
    for tx in (2.0, 2 + 1e-16, 3.0):
        inner_ = np.stack([Projective.identity] * 2)
        inner_[1, 2] = tx
        with pytest.raises(ValueError, match="in front of the horizon, got last entry .* image 1"):
            projective.compose(outer, inner_)
    inner_[1, 2] = 1.9
    assert_close(projective.compose(outer, inner_)[0][1, 2], np.array(38.0), 1e-12)
    theta = np.array([[1, 0, 2.5, 0, 1, 0, 0.5, 0.0]])  # it reads the source's middle from behind
    with pytest.raises(ValueError, match="in front of the horizon, got last entry"):
        projective.inverse(theta)


@pytest.mark.parametrize("name", ["affine", "affine3d"])
def test_infinite_affine_maps_are_composed(name: str) -> None:
    """They have no horizon: nothing is refused, and the linear part stays as it is."""
    identity = group_of(name).identity
    k = 3 if name == "affine3d" else 2
    far = identity.copy()
    far[k] = np.inf  # t_x
    theta, backward = compose(name, identity[None], far[None])
    linear = np.arange(identity.size) % (k + 1) != k
    assert_equal(theta[0][linear], identity[linear])
    assert theta[0][k] == np.inf
    assert_equal(backward(np.ones_like(theta))[1], np.ones_like(theta))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, -3e38, 1e-45])
@every_group
def test_wild_numbers_are_refused_or_stay_where_they_are(rng: Any, name: str, value: float) -> None:
    """No warning and no other error; the images beside it do not feel it."""
    theta = near_identity(rng, name, 2).astype(np.float32)
    good = theta[1:].copy()
    for k in range(theta.shape[1]):
        wild = theta.copy()
        wild[0, k] = value
        for f in (
            lambda t: compose(name, t, t)[0],
            lambda t: compose(name, t, theta[: len(t)])[0],
            lambda t: invert(name, t)[0],
        ):
            try:
                result = f(wild)
            except ValueError as error:
                assert "image 0 of the batch" in str(error)
            else:
                beside = np.concatenate([good, wild[1:]])
                assert_close(result[1], f(beside)[1], 1e-6)


@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
@pytest.mark.parametrize("log_group", [False, True])
@pytest.mark.parametrize("family", [Attention(), Similarity(SHAPE)])
def test_extreme_scales_make_no_warning(family: Any, log_group: bool, dtype: Any) -> None:
    """The smallest and the largest that can be inverted; gradients overflow to infinity."""
    info = np.finfo(dtype)
    group = LogScale(family) if log_group else family
    theta = np.full((6, group.n_params), 2, dtype)
    theta[:, family.scale_column] = info.tiny, -info.tiny, info.max, info.min, 12, -12
    for upstream in (1, info.max):
        g = np.full(theta.shape, upstream, dtype)
        for result, backward in (group.inverse(theta), group.compose(theta, theta[::-1].copy())):
            assert result.dtype == dtype
            backward(g)
    if dtype == np.float64 and not log_group:
        theta = np.full((1, group.n_params), 0.0)
        theta[0, family.scale_column] = 2.0**-600  # its square is 0
        dtheta = group.inverse(theta)[1](np.full(theta.shape, 2.0**-1000))
        assert dtheta[0, family.scale_column] == -(2.0**200)


@every_group
def test_large_gradients_make_no_warning(rng: Any, name: str) -> None:
    for value, dtype in product([1, 1e4, 1e30, np.inf, np.nan], [np.float16, *FLOATS]):
        theta = near_identity(rng, name, 2).astype(dtype)
        with np.errstate(over="ignore"):
            g = (rng.choice([-1, 1], theta.shape) * value).astype(dtype)
        g[1] = 1  # the image beside it does not feel it
        for f in (lambda t: compose(name, t, t[::-1].copy()), lambda t: invert(name, t)):
            _, backward = f(theta)
            gradients = backward(g)
            for d in gradients if isinstance(gradients, tuple) else (gradients,):
                assert d.dtype == dtype
                assert np.isfinite(d[1]).all()
            if value == 1e4 and dtype == np.float16:  # float64 gradients of float16 thetas
                backward(np.full(theta.shape, 1e300))
        if dtype == np.float16:  # neither product nor inverse can be held
            theta[:, 0] = 6e4
            compose(name, theta, theta)
            theta[...] = group_of(name).identity * np.float16(1e-4)
            with contextlib.suppress(ValueError):
                invert(name, theta)


@every_group
def test_pairs_that_do_not_fit(name: str) -> None:
    group = group_of(name)
    theta = np.stack([group.identity] * 2)
    n = group.n_params
    with pytest.raises(ValueError, match=rf"^inner: expected shape \(2, {n}\), got \(3, {n}\)"):
        compose(name, theta, np.stack([group.identity] * 3))
    with pytest.raises(TypeError, match="one dtype, got outer float64, inner float32"):
        compose(name, theta, theta.astype(np.float32))
    with pytest.raises(ValueError, match=rf"^outer: expected shape \(N, {n}\), got"):
        compose(name, theta[:, 1:], theta[:, 1:])


def test_a_rotation_needs_the_proportions() -> None:
    theta = np.array([[0.1, 1.0, 0.2, 0.3]])
    for group in (Similarity(), LogScale(Similarity())):
        for call in (lambda g=group: g.compose(theta, theta), lambda g=group: g.inverse(theta)):
            with pytest.raises(ValueError, match=r"^out_shape: expected \(height, width\), since"):
                call()
    own, _ = Similarity(SHAPE).compose(theta, theta)
    assert_equal(own, Similarity().compose(theta, theta, out_shape=SHAPE)[0])
    assert Translation().compose(theta[:, 2:], theta[:, 2:])[0].tolist() == [[0.4, 0.6]]
