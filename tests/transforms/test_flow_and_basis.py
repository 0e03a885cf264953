"""Dense flow, T = M B with a fixed and a learned B, and what all linear families promise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import CORNERS, FLOATS, assert_close, assert_equal, beside, inner

import stn_np
from stn_np.backend import to_numpy
from stn_np.gradcheck.parameters import parameters_as_inputs
from stn_np.layers import Flatten, Linear, Parameter, Sequential
from stn_np.transforms import (
    Affine,
    Attention,
    Flow,
    LinearBasis,
    PiecewiseAffine,
    ThinPlateSpline,
    linear_basis_grid,
    polynomial,
)
from stn_np.transforms.target_grid import homogeneous_grid

Shape = tuple[int, int]
LINEAR: dict[str, Callable[[Shape, bool], Any]] = {
    "tps": lambda shape, corners: ThinPlateSpline(),
    "tps of scattered points": lambda shape, corners: ThinPlateSpline(
        np.array([[-0.7, -0.9], [0.8, -0.3], [0.1, 0.1], [-0.4, 0.6], [1 / 3, 0.9]]),
        regularisation=0.1,
    ),
    "piecewise-affine": lambda shape, corners: PiecewiseAffine(5),
    "flow": lambda shape, corners: Flow(shape),
    "linear-basis": lambda shape, corners: polynomial(shape, align_corners=corners),
    "learned basis": lambda shape, corners: polynomial(
        shape, 3, align_corners=corners, learned=True
    ),
}
families = pytest.mark.parametrize("make", LINEAR.values(), ids=LINEAR)


@families
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
def test_identity_is_exact(xp: Any, make: Any, corners: bool, dtype: Any) -> None:
    """Bit for bit the grid of the affine identity, whatever came before in the batch."""
    eye = np.eye(2, 3, dtype=dtype)[None]
    for shape in ((28, 28), (1, 1), (1, 6), (5, 1), (23, 64)):
        family = beside(xp, make(shape, corners))
        theta = np.stack([np.linspace(-2, 2, family.n_params), family.identity]).astype(dtype)
        grid, _ = family(xp.asarray(theta), shape, align_corners=corners)
        expected, _ = stn_np.affine_grid(eye, shape, align_corners=corners)
        assert grid.dtype == expected.dtype
        assert_equal(grid[1:], expected)


@given(
    N=st.integers(0, 4), H=st.integers(1, 9), W=st.integers(1, 9), corners=st.booleans(),
    family=st.sampled_from(sorted(LINEAR)), seed=st.integers(0, 99),
)  # fmt: skip
def test_pullback_is_the_transpose(
    xp: Any, N: int, H: int, W: int, corners: bool, family: str, seed: int
) -> None:
    """All are affine in theta: <s(theta) - s(0), g> = <theta, pullback of g>."""
    rng, transform = np.random.default_rng(seed), beside(xp, LINEAR[family]((H, W), corners))
    theta = rng.normal(size=(N, transform.n_params))
    grid, backward = transform(xp.asarray(theta), (H, W), align_corners=corners)
    assert grid.shape == (N, H, W, 2)
    zero, _ = transform(xp.zeros(theta.shape), (H, W), align_corners=corners)
    g = rng.normal(size=grid.shape)
    dtheta = to_numpy(backward(xp.asarray(g)))
    assert dtheta.shape == theta.shape
    moved = to_numpy(grid) - to_numpy(zero)
    for n in range(N):
        expected = inner(moved[n], g[n])
        assert inner(theta[n], dtheta[n]) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@families
@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
def test_dtypes_and_memory(xp: Any, rng: Any, make: Any, dtype: Any) -> None:
    family = beside(xp, make((5, 7), True))
    theta = (family.identity + 0.1 * rng.normal(size=(2, family.n_params))).astype(dtype)
    grid, backward = family(xp.asarray(theta), (5, 7))
    assert grid.dtype == np.promote_types(dtype, np.float32)
    assert grid.transpose(0, 3, 1, 2).flags.c_contiguous
    g = rng.normal(size=grid.shape).astype(grid.dtype)
    dtheta = backward(xp.asarray(g))
    assert dtheta.dtype == dtype
    exact, exact_backward = family(xp.asarray(theta.astype(np.float64)), (5, 7))
    fresh = beside(xp, make((5, 7), True))(xp.asarray(theta.astype(np.float64)), (5, 7))[0]
    assert_equal(exact, fresh)  # nothing is left of the dtype that came before
    assert_close(grid, exact, 1e-3 if dtype == np.float16 else 1e-5)
    expected = exact_backward(xp.asarray(g.astype(np.float64)))
    assert_close(dtheta, expected, 1e-3 if dtype == np.float16 else 1e-5)


@families
def test_wild_theta_reaches_its_own_image_only(xp: Any, make: Any) -> None:
    for value, dtype in product([np.nan, np.inf, 3e38, -1e30], FLOATS):
        family = beside(xp, make((4, 5), True))
        theta = np.stack([family.identity] * 3).astype(dtype)
        theta[0] = value
        theta[1, 0] = value
        grid, backward = family(xp.asarray(theta), (4, 5))
        assert_equal(grid[2:], stn_np.affine_grid(np.eye(2, 3, dtype=dtype)[None], (4, 5))[0])
        V, sampler_backward = stn_np.grid_sample(xp.ones((3, 1, 4, 5), dtype), grid)
        dgrid = sampler_backward(xp.ones(V.shape, dtype))[1]
        assert np.isfinite(to_numpy(V)).all()
        assert np.isfinite(to_numpy(backward(dgrid))).all()


@families
def test_wrong_arguments_are_named(make: Any) -> None:
    family = make((4, 5), True)
    with pytest.raises(ValueError, match=rf"^theta: expected shape \(N, {family.n_params}\), got"):
        family(np.ones((2, family.n_params + 1)), (4, 5))
    theta = np.ones((2, family.n_params))
    with pytest.raises(TypeError, match="^out_shape: expected a pair"):
        family(theta, 4)
    _, backward = family(theta, [np.int64(4), 5])
    with pytest.raises(ValueError, match=r"^dgrid: expected shape \(2, 4, 5, 2\), got"):
        backward(np.ones((2, 5, 4, 2)))
    with pytest.raises(ValueError, match="read-only"):
        family.identity[0] = 9


# ---------------------------------------------------------------------------------------- flow


def test_flow_by_hand(xp: Any) -> None:
    theta = xp.asarray([[1.0, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60]])
    grid, backward = Flow((2, 3))(theta, (2, 3))
    assert_equal(grid[0, :, :, 0], [[0, 2, 4], [3, 5, 7]])
    assert_equal(grid[0, :, :, 1], [[9, 19, 29], [41, 51, 61]])
    dgrid = np.stack([np.arange(6.0).reshape(1, 2, 3), -np.arange(6.0).reshape(1, 2, 3)], -1)
    assert_equal(backward(xp.asarray(dgrid)), [[0, 1, 2, 3, 4, 5, 0, -1, -2, -3, -4, -5]])
    grid, _ = Flow((2, 4))(xp.zeros((1, 16)), (2, 4), align_corners=False)
    assert_equal(grid[0, 0, :, 0], [-0.75, -0.25, 0.25, 0.75])


@pytest.mark.parametrize("corners", CORNERS)
def test_flow_reads_one_pixel_further(xp: Any, rng: Any, corners: bool) -> None:
    """In normalised units: 2/(W - 1), or 2/W; the picture moves to the left."""
    U = rng.normal(size=(1, 2, 4, 6))
    theta = np.zeros((1, 2, 4, 6))
    theta[:, 0] = 2 / 5 if corners else 2 / 6
    grid, _ = Flow((4, 6))(xp.asarray(theta.reshape(1, 48)), (4, 6), align_corners=corners)
    V, _ = stn_np.grid_sample(xp.asarray(U), grid, align_corners=corners)
    assert_close(V[..., :-1], U[..., 1:], 1e-14)


def test_flow_belongs_to_one_size() -> None:
    flow = Flow((2, 3))
    for other in ((3, 2), (1, 6), (4, 6)):
        with pytest.raises(ValueError, match=r"^out_shape: expected \(2, 3\), the flow's own, got"):
            flow(np.zeros((1, 12)), other)
    for bad in (3, (2.0, 3), "23"):
        with pytest.raises(TypeError, match="^out_shape: expected"):
            Flow(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^out_shape: expected at least 1"):
        Flow((0, 3))


def test_flow_hands_out_a_copy(xp: Any) -> None:
    """The upstream gradient and the gradient hold the same numbers, in separate memory."""
    grid, backward = Flow((2, 3))(xp.zeros((1, 12)), (2, 3))
    g = xp.ones(grid.shape)
    for dgrid in (g, g.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)):
        backward(dgrid)[...] = 5
        assert_equal(dgrid, np.ones(grid.shape))


# ------------------------------------------------------------------------------- T = M B itself


@given(
    N=st.integers(0, 3), K=st.integers(1, 6), H=st.integers(1, 5), W=st.integers(1, 5),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_linear_basis_grid(xp: Any, N: int, K: int, H: int, W: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    M, B, g = (rng.normal(size=s) for s in ((N, 2, K), (K, H, W), (N, H, W, 2)))
    grid, backward = linear_basis_grid(xp.asarray(M), xp.asarray(B))
    assert_close(grid, np.einsum("nck,kij->nijc", M, B), 1e-13)
    dM, dB = backward(xp.asarray(g))
    assert_close(dM, np.einsum("nijc,kij->nck", g, B), 1e-13)
    assert dB is not None
    assert_close(dB, np.einsum("nijc,nck->kij", g, M), 1e-13)
    dM_alone, nothing = linear_basis_grid(xp.asarray(M), xp.asarray(B), needs_dB=False)[1](
        xp.asarray(g)
    )
    assert nothing is None
    assert_equal(dM_alone, dM)


def test_linear_basis_grid_by_finite_differences(xp: Any, rng: Any) -> None:
    M, B = xp.asarray(rng.normal(size=(3, 2, 4))), xp.asarray(rng.normal(size=(4, 5, 3)))
    stn_np.gradcheck(linear_basis_grid, M, B, names=["M", "B"])


def test_gradients_have_the_dtypes_of_what_they_belong_to(xp: Any, rng: Any) -> None:
    M, B = rng.normal(size=(2, 2, 4)).astype(np.float32), rng.normal(size=(4, 3, 5))
    grid, backward = linear_basis_grid(xp.asarray(M), xp.asarray(B))
    assert grid.dtype == np.float32
    dM, dB = backward(xp.ones(grid.shape))
    assert dB is not None
    assert dM.dtype == np.float32
    assert dB.dtype == np.float64


def test_linear_basis_grid_refuses_what_does_not_fit() -> None:
    M, B = np.ones((2, 2, 4)), np.ones((4, 3, 5))
    for bad_M in (np.ones((2, 2, 3)), np.ones((2, 3, 4)), np.ones((2, 8))):
        with pytest.raises(ValueError, match=r"^M: expected shape \(N, 2, 4\), got"):
            linear_basis_grid(bad_M, B)
    with pytest.raises(ValueError, match=r"^B: expected shape \(K, H', W'\), got \(4, 15\)"):
        linear_basis_grid(M, B.reshape(4, 15))
    for shape in ((0, 3, 5), (4, 0, 5), (4, 3, 0)):
        with pytest.raises(ValueError, match="^B: expected at least one"):
            linear_basis_grid(np.ones((2, 2, shape[0])), np.ones(shape))


# ------------------------------------------------------------ the paper's special cases of T = M B


def compare(
    xp: Any, rng: Any, family: Any, B: np.ndarray, M_of: Callable[[Any], Any], corners: bool
) -> None:
    """Grids and gradients; M_of is linear, so its pullback is read off from unit vectors."""
    shape: Shape = B.shape[1:]
    basis = LinearBasis(B, align_corners=corners)
    theta = rng.normal(size=(3, family.n_params))
    grid, backward = family(xp.asarray(theta), shape, align_corners=corners)
    M = M_of(theta).reshape(3, -1)
    general, general_backward = basis(xp.asarray(M), shape, align_corners=corners)
    assert_close(general, grid, 1e-11)
    g = xp.asarray(rng.normal(size=grid.shape))
    dM = to_numpy(general_backward(g))
    origin = M_of(np.zeros((1, family.n_params)))
    columns = (M_of(np.eye(family.n_params)) - origin).reshape(family.n_params, -1)
    assert_close(dM @ columns.T, backward(g), 1e-10)
    assert_close(M_of(family.identity[None]).reshape(-1), basis.identity, 1e-8)


@pytest.mark.parametrize("corners", CORNERS)
def test_affine_and_attention_are_linear_bases(xp: Any, rng: Any, corners: bool) -> None:
    G = homogeneous_grid(np, (5, 7), align_corners=corners, dtype=np.float64).reshape(3, 5, 7)
    compare(xp, rng, Affine(), G, lambda theta: theta.reshape(-1, 2, 3), corners)

    def M_of(theta: np.ndarray) -> np.ndarray:
        s, tx, ty = theta.T
        zero = np.zeros(len(theta))
        return np.array([[s, zero, tx], [zero, s, ty]]).transpose(2, 0, 1)  # eq. (2)

    compare(xp, rng, Attention(), G, M_of, corners)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize(
    "family",
    [ThinPlateSpline(), ThinPlateSpline(3, regularisation=0.2), PiecewiseAffine(3)],
    ids=["tps", "smooth tps", "piecewise"],
)
def test_control_points_are_linear_bases(xp: Any, rng: Any, family: Any, corners: bool) -> None:
    """B = Phi; M is theta itself, x and y apart: the Phi of the control points add up to t."""
    B = family.basis((6, 9), align_corners=corners)
    assert B.shape == (family.n_params // 2, 6, 9)
    compare(xp, rng, family, B, lambda t: t.reshape(len(t), -1, 2).transpose(0, 2, 1), corners)


# -------------------------------------------------------------------------------- LinearBasis


@pytest.mark.parametrize("corners", CORNERS)
def test_polynomial_rows(xp: Any, rng: Any, corners: bool) -> None:
    family = polynomial((4, 6), align_corners=corners)
    t, _ = stn_np.affine_grid(np.eye(2, 3)[None], (4, 6), align_corners=corners)
    x, y = t[0, ..., 0], t[0, ..., 1]
    theta = rng.normal(size=(2, 12))
    grid, _ = family(xp.asarray(theta), (4, 6), align_corners=corners)
    rows = np.stack([np.ones((4, 6)), x, y, x * x, x * y, y * y])
    assert_close(grid, np.einsum("nck,kij->nijc", theta.reshape(2, 2, 6), rows), 1e-14)
    assert_equal(family.identity, [0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])
    assert [polynomial((3, 3), d).n_params for d in (1, 2, 3)] == [6, 12, 20]
    cubes = polynomial((4, 6), 3, align_corners=corners).basis
    assert_close(cubes[6:], np.stack([x**3, x**2 * y, x * y**2, y**3]), 1e-15)  # type: ignore[index]


def test_polynomials_refuse_bad_sizes() -> None:
    with pytest.raises(ValueError, match="^degree: expected at least 1, got 0"):
        polynomial((3, 4), 0)
    for large in (17, np.int8(127), 10**9):
        with pytest.raises(ValueError, match=f"^degree: expected at most 16, got {large}$"):
            polynomial((2, 2), large)  # type: ignore[arg-type]
    assert_equal(polynomial((3, 4), np.int8(15)).basis, polynomial((3, 4), 15).basis)
    assert polynomial((3, 4), 16).n_params == 306
    with pytest.raises(TypeError, match="^degree: expected a whole number"):
        polynomial((3, 4), 2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^out_shape: expected at least 1"):
        polynomial((3, 0))


def test_identity_by_least_squares(xp: Any, rng: Any) -> None:
    """x_t and y_t are mixed into other rows, so no row is either."""
    B = polynomial((5, 6)).basis
    mixed = np.einsum("ab,bij->aij", rng.normal(size=(6, 6)), B)
    family = LinearBasis(mixed)
    grid, _ = family(xp.asarray(family.identity[None]), (5, 6))
    assert_close(grid, stn_np.affine_grid(np.eye(2, 3)[None], (5, 6))[0], 1e-12)


@pytest.mark.parametrize("corners", CORNERS)
def test_identity_on_a_float32_basis(xp: Any, corners: bool) -> None:
    """Its rows are x_t and y_t as float32 can hold them, and so is a float32 grid."""
    B = polynomial((28, 23), align_corners=corners).basis.astype(np.float32)  # type: ignore[union-attr]
    for basis in (B, Parameter(xp.asarray(B))):
        family = LinearBasis(basis, align_corners=corners)
        theta = xp.asarray(family.identity[None].astype(np.float32))
        grid, _ = family(theta, (28, 23), align_corners=corners)
        eye = np.eye(2, 3, dtype=np.float32)[None]
        assert_equal(grid, stn_np.affine_grid(eye, (28, 23), align_corners=corners)[0])


def test_without_an_identity_a_basis_is_refused(rng: Any) -> None:
    x, y, one = homogeneous_grid(np, (4, 5), align_corners=True, dtype=np.float64).reshape(3, 4, 5)
    with pytest.raises(ValueError, match=r"^basis: expected the target grid .* misses it by 1$"):
        LinearBasis(np.stack([one, x, x * x]))  # no y
    with pytest.raises(ValueError, match=r"^basis: .* misses it by [01]\.\d+"):
        LinearBasis(rng.normal(size=(3, 4, 5)))
    with pytest.raises(ValueError, match="^basis: .* misses it by"):  # too coarse to be exact
        LinearBasis(np.stack([x, y, one]).astype(np.float16))
    LinearBasis(np.stack([x, y]).astype(np.float32))


def test_bad_bases() -> None:
    good = np.ones((3, 4, 5))
    with pytest.raises(TypeError, match="^data: expected a NumPy or CuPy array, got list"):
        Parameter([[1.0]])  # type: ignore[arg-type]
    for bad in (None, "basis", [[[1.0]]]):
        with pytest.raises(TypeError, match="^basis: expected a NumPy or CuPy array"):
            LinearBasis(bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^basis: expected a floating-point dtype"):
        LinearBasis(good.astype(int))
    with pytest.raises(ValueError, match=r"^basis: expected shape \(K, H', W'\), got \(3, 20\)"):
        LinearBasis(good.reshape(3, 20))
    for empty in ((0, 4, 5), (3, 0, 5)):
        with pytest.raises(ValueError, match=r"^basis: expected .*, got shape \("):
            LinearBasis(np.ones(empty))
    good[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="^basis: expected finite numbers .* got NaN or infinity"):
        LinearBasis(good)


@pytest.mark.parametrize("learned", [False, True])
def test_a_basis_belongs_to_one_size_and_one_corner_rule(learned: bool) -> None:
    theta = np.ones((1, 12))
    for corners in CORNERS:
        family = polynomial((3, 4), align_corners=corners, learned=learned)
        for other in ((4, 3), (2, 6), (6, 8)):
            with pytest.raises(ValueError, match=r"^out_shape: expected \(3, 4\), the basis's own"):
                family(theta, other, align_corners=corners)
        with pytest.raises(ValueError, match=f"^align_corners: expected {corners}, .* made, got"):
            family(theta, (3, 4), align_corners=not corners)


def test_a_fixed_basis_stays_as_it_was(xp: Any, rng: Any) -> None:
    B = np.stack([*homogeneous_grid(np, (3, 4), align_corners=True, dtype=np.float64)])
    B = B.reshape(3, 3, 4)
    family = LinearBasis(xp.asarray(B))
    theta = xp.asarray(rng.normal(size=(2, 6)))
    before, _ = family(theta, (3, 4))
    B[...] = 0
    assert_equal(family(theta, (3, 4))[0], before)
    assert family.parameters() == []
    with pytest.raises(ValueError, match="read-only"):
        family.basis[0] = 0  # type: ignore[index]


def test_a_learned_basis_collects_its_gradient(xp: Any, rng: Any) -> None:
    family = polynomial((4, 5), learned=True)
    (basis,) = family.parameters()
    basis.data, basis.grad = xp.asarray(basis.data), xp.asarray(basis.grad)
    theta, g = rng.normal(size=(3, 12)), rng.normal(size=(3, 4, 5, 2))
    _, backward = family(xp.asarray(theta), (4, 5))
    once = np.einsum("nijc,nck->kij", g, theta.reshape(3, 2, 6))
    backward(xp.asarray(g))
    assert_close(basis.grad, once, 1e-13)
    backward(xp.asarray(g))
    assert_close(basis.grad, 2 * once, 1e-13)
    basis.data = basis.data * 2  # what the optimiser does is seen at the next call
    doubled, _ = family(xp.asarray(theta), (4, 5))
    expected = polynomial((4, 5))(xp.asarray(2 * theta), (4, 5))[0]
    assert_close(doubled, expected, 1e-14)


def transformer_on(family: LinearBasis, rng: np.random.Generator, dtype: Any) -> Any:
    """A transformer for 2x6x7 images that starts a third of a pixel from the identity."""
    dense = Linear(84, family.n_params, rng=rng, dtype=dtype)
    dense.weight.data[...] = rng.normal(size=dense.weight.data.shape) * 1e-4
    dense.bias.data[...] = family.identity
    dense.bias.data[[0, family.n_params // 2]] += 0.35 * 2 / 6, 0.35 * 2 / 5
    localisation = Sequential(flatten=Flatten(), regression=dense)
    return stn_np.SpatialTransformer(localisation, family)


def test_a_transformer_hands_its_basis_to_the_optimiser(rng: Any) -> None:
    learned = transformer_on(polynomial((6, 7), learned=True), rng, np.float32)
    names = [name for name, _ in learned.named_parameters()]
    assert names == [
        "localisation.regression.weight", "localisation.regression.bias", "transform.basis",
    ]  # fmt: skip
    assert learned.state_dict()["transform.basis"].shape == (6, 6, 7)
    fixed = transformer_on(polynomial((6, 7)), rng, np.float32)
    assert [name for name, _ in fixed.named_parameters()] == names[:2]


def test_gradients_of_a_transformer_with_a_learned_basis(rng: Any) -> None:
    transformer = transformer_on(polynomial((6, 7), learned=True), rng, np.float64)
    f, values = parameters_as_inputs(transformer)
    U = rng.normal(size=(3, 2, 6, 7))
    report = stn_np.gradcheck(f, U, *values.values(), names=["U", *values])
    assert "transform.basis" in str(report)


@pytest.mark.parametrize("learned", [False, True])
def test_the_basis_is_trained_with_the_net(rng: Any, learned: bool) -> None:
    """Gradient descent towards a warp that no polynomial of degree 2 can make."""
    transformer = transformer_on(polynomial((6, 7), learned=learned), rng, np.float64)
    rows, columns = np.mgrid[:6, :7]
    U = np.stack([rows + 2.0 * columns, columns - rows + 1.0])[None] / 10
    target = U + 0.05 * np.sin(2.0 * rows + 3.0 * columns)
    before, losses = transformer.state_dict(), []
    for _ in range(100):
        V, backward = transformer(U, needs_dx=False)
        losses.append(0.5 * ((V - target) ** 2).sum())
        transformer.zero_grad()
        backward(V - target)
        for name, parameter in transformer.named_parameters():
            parameter.data -= (0.1 if name == "transform.basis" else 3e-4) * parameter.grad
    if learned:
        assert losses[-1] < 0.01 * losses[0]
    else:  # what the net alone can reach
        assert 0.02 * losses[0] < losses[-1] < 0.05 * losses[0]
    for name, value in transformer.state_dict().items():
        assert np.abs(value - before[name]).max() > 1e-3, name
