"""The affine warp without a grid: against two steps, literal loops, PyTorch and mathematics."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    CORNERS,
    FLOATS,
    PADDINGS,
    assert_close,
    assert_equal,
    central_slope,
    inner,
    padded,
    tolerance_of,
    unit_direction,
)

import stn_np
from stn_np.backend import to_numpy
from stn_np.sampling import sample_reference
from stn_np.sampling.affine_sample import affine_sample

FAST_PADDINGS = (*PADDINGS, "constant")
MODES = [pytest.param(p, c, id=f"{p}-{'aligned' if c else 'centred'}")
         for p, c in product(FAST_PADDINGS, CORNERS)]  # fmt: skip
#: H, W of the input and of the output.
SIZES = [((4, 7), (4, 7)), ((5, 3), (6, 8)), ((1, 4), (3, 1)), ((3, 1), (1, 1)), ((1, 1), (2, 3))]
IDENTITY = np.array([[[1.0, 0, 0], [0, 1, 0]]])
NAN, INF = float("nan"), float("inf")


def warp(
    xp: Any, U: np.ndarray, theta: np.ndarray, out: tuple[int, int], dV: np.ndarray, **options: Any
) -> tuple[Any, Any, Any]:
    """V, dU and dtheta of `affine_sample`."""
    V, backward = affine_sample(xp.asarray(U), xp.asarray(theta), out, **options)
    return V, *backward(xp.asarray(dV))


def two_steps(
    xp: Any, U: np.ndarray, theta: np.ndarray, out: tuple[int, int], dV: np.ndarray, **options: Any
) -> tuple[Any, Any, Any]:
    """The same through a grid."""
    corners = options.get("align_corners", True)
    grid, grid_backward = stn_np.affine_grid(xp.asarray(theta), out, align_corners=corners)
    V, backward = stn_np.grid_sample(xp.asarray(U), grid, **options)
    dU, dgrid = backward(xp.asarray(dV))
    return V, dU, grid_backward(dgrid)


def unit(n: int, corners: bool) -> float:
    """Pixels from 0 to 1 along an axis of n."""
    return (n - 1) / 2 if corners else n / 2


def target(out: Any, corners: bool) -> list[tuple[int, int, list[float]]]:
    """i, j and (x_t, y_t, 1) of every output pixel."""
    H, W = out
    x = [(j - (W - 1) / 2) / (unit(W, corners) or 1) for j in range(W)]
    y = [(i - (H - 1) / 2) / (unit(H, corners) or 1) for i in range(H)]
    return [(i, j, [x[j], y[i], 1.0]) for i, j in product(range(H), range(W))]


def smooth_theta(rng: Any, N: int, size: Any, out: Any, corners: bool) -> np.ndarray:
    """Maps that zoom, turn and shift, and read no point near a kink, by construction.

    In pixels from the centres: steps of eighths, and a shift that is an odd number of 32nds.
    """
    steps = rng.integers(-12, 13, (N, 2, 2)) / 8
    shift = rng.integers(-40, 40, (N, 2, 1)) / 16 + 1 / 32
    A = np.concatenate([steps, shift], axis=2)
    H, W = size
    source = np.array([[unit(W, corners) or 1], [unit(H, corners) or 1]])
    from_target = [unit(out[1], corners) or 1, unit(out[0], corners) or 1, 1.0]
    theta: np.ndarray = A / source * from_target
    return theta


# ------------------------------------------------------------------------------ against two steps


@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
@pytest.mark.parametrize(("padding", "corners"), MODES)
def test_equals_grid_and_sampler(
    xp: Any, rng: Any, padding: str, corners: bool, dtype: Any
) -> None:
    for size, out in SIZES:
        theta = smooth_theta(rng, 3, size, out, corners)
        U, dV = rng.normal(size=(3, 2, *size)), rng.normal(size=(3, 2, *out))
        options = padded(padding) | {"align_corners": corners}
        arrays = [a.astype(dtype) for a in (U, theta, dV)]
        got = warp(xp, arrays[0], arrays[1], out, arrays[2], **options)
        wanted = two_steps(xp, arrays[0], arrays[1], out, arrays[2], **options)
        tolerance = 4e-3 if dtype == np.float16 else tolerance_of(dtype)
        for a, b in zip(got, wanted, strict=True):
            assert a.dtype == dtype
            assert_close(a, b, tolerance)


@pytest.mark.parametrize("U_dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("theta_dtype", [np.float16, np.float32, np.float64])
def test_dtypes_may_differ_and_are_kept(xp: Any, rng: Any, U_dtype: Any, theta_dtype: Any) -> None:
    theta = smooth_theta(rng, 2, (4, 7), (5, 6), True).astype(np.float16).astype(theta_dtype)
    U, dV = (rng.uniform(-1, 1, (2, 2, *s)).astype(U_dtype) for s in ((4, 7), (5, 6)))
    got = warp(xp, U, theta, (5, 6), dV)
    assert [a.dtype for a in got] == [U_dtype, U_dtype, theta_dtype]
    exact = (a.astype(np.float64) for a in (U, theta))
    wanted = two_steps(xp, *exact, (5, 6), dV.astype(np.float64))
    coarse = np.float16 in (U_dtype, theta_dtype)
    for a, b in zip(got, wanted, strict=True):
        assert_close(a, b, 3e-3 if coarse else 2e-5)


@pytest.mark.parametrize("sampler", [warp, two_steps])
def test_long_double_is_accepted(rng: Any, sampler: Any) -> None:
    """Of NumPy alone; coordinates are then float64."""
    U, theta = rng.normal(size=(2, 2, 4, 7)), IDENTITY + rng.uniform(-0.5, 0.5, (2, 2, 3))
    dV = rng.normal(size=(2, 2, 5, 6))
    wanted = two_steps(np, U, theta, (5, 6), dV)
    got = sampler(np, *(a.astype(np.longdouble) for a in (U, theta)), (5, 6), dV)
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == np.longdouble
        assert_close(a.astype(np.float64), b, 1e-12)


@pytest.mark.parametrize(("padding", "corners"), MODES)
@pytest.mark.parametrize("shared", ["U", "theta"])
@pytest.mark.parametrize("channels", [1, 7])
def test_one_image_many_maps_and_many_images_one_map(
    xp: Any, rng: Any, shared: str, padding: str, corners: bool, channels: int
) -> None:
    size, out = (4, 7), (5, 3)
    U, theta = rng.normal(size=(4, channels, *size)), smooth_theta(rng, 4, size, out, corners)
    dV, options = rng.normal(size=(4, channels, *out)), padded(padding) | {"align_corners": corners}
    one = (U[:1], theta) if shared == "U" else (U, theta[:1])
    copies = np.broadcast_to(one[0], U.shape), np.broadcast_to(one[1], theta.shape)
    V, dU, dtheta = warp(xp, *one, out, dV, **options)
    V_copies, dU_copies, dtheta_copies = warp(xp, *copies, out, dV, **options)
    for a, b in ((V, V_copies), (dU, dU_copies), (dtheta, dtheta_copies)):
        assert_close(a, b if a.shape == b.shape else b.sum(axis=0, keepdims=True), 1e-12)
    for a, b in zip((V, dU, dtheta), two_steps(xp, *one, out, dV, **options), strict=True):
        assert_close(a, b, 1e-12)


@pytest.mark.parametrize("padding", ["border", "constant"])
@pytest.mark.parametrize(
    ("U_shape", "out"),
    [
        ((1, 2, 9, 11), (700, 301)),  # an image's points make several blocks
        ((2, 1, 3, 5), (2, 70_000)),  # one row is more than a block
        ((2500, 1, 3, 4), (6, 7)),  # several blocks of many images
        ((2, 3, 6, 5), (200, 290)),  # channels one by one
    ],
)
def test_results_do_not_depend_on_the_blocks(
    rng: Any, U_shape: tuple[int, ...], out: tuple[int, int], padding: str
) -> None:
    theta = IDENTITY + rng.uniform(-0.3, 0.3, (U_shape[0], 2, 3))
    U, dV = rng.normal(size=U_shape), rng.normal(size=(*U_shape[:2], *out))
    got = warp(np, U, theta, out, dV, **padded(padding))
    wanted = two_steps(np, U, theta, out, dV, **padded(padding))
    assert_close(got[0], wanted[0], 1e-11)
    assert_close(got[1], wanted[1], 1e-10)
    assert_close(got[2], wanted[2], 1e-9)
    n = rng.integers(U_shape[0])
    alone = warp(np, U[n : n + 1], theta[n : n + 1], out, dV[n : n + 1], **padded(padding))
    assert_close(got[0][n], alone[0][0], 1e-11)
    assert_close(got[2][n], alone[2][0], 1e-11)


# -------------------------------------------------------------------------- points of the lattice


def check_identity(xp: Any, U: np.ndarray, corners: bool, padding: str = "zeros") -> None:
    """V is U bit for bit, dU is dV, and dtheta holds the right derivatives, all exact."""
    dtype, (H, W) = U.dtype, U.shape[2:]
    dV = (1 + np.arange(U.size) % 5).reshape(U.shape).astype(dtype)
    options = padded(padding) | {"align_corners": corners}
    V, dU, dtheta = warp(xp, U, IDENTITY.astype(dtype), (H, W), dV, **options)
    assert_equal(V, U)
    assert_equal(dU, dV)
    wide = U.astype(np.float64)
    t = [np.arange(n) - (n - 1) / 2 for n in (W, H)]  # in pixels from the centre
    outside = options["padding_value"]
    for k, (axis, n) in enumerate(((3, W), (2, H))):
        slope = np.diff(wide, axis=axis, append=outside)
        if padding in ("border", "reflection"):
            np.moveaxis(slope, axis, 0)[[0, n - 1]] = 0
        unit = [((m - 1) if corners else m) / 2 for m in (W, H)]
        p = (slope * dV).sum(axis=(0, 1)) * unit[k]
        x_t, y_t = (a / (u or 1) for a, u in zip(t, unit, strict=True))
        wanted = [(p * x_t).sum(), (p * y_t[:, None]).sum(), p.sum()]
        assert_close(dtheta[0, k], np.array(wanted), 4e-6 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
def test_identity_at_every_size_up_to_300(xp: Any, rng: Any, corners: bool, dtype: Any) -> None:
    """Every third in float64, where there is less rounding."""
    for n in range(1, 301, 1 if dtype == np.float32 else 3):
        check_identity(xp, rng.integers(-8, 9, (1, 1, 2, n)).astype(dtype), corners)
        check_identity(xp, rng.integers(-8, 9, (1, 1, n, 3)).astype(dtype), corners)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("padding", "corners"), MODES)
def test_identity_under_every_padding(
    xp: Any, rng: Any, padding: str, corners: bool, dtype: Any
) -> None:
    for size in ((1, 1), (1, 5), (5, 1), (28, 42), (64, 23), (3, 250)):
        U = rng.integers(-8, 9, (1, 2, *size)).astype(dtype)
        check_identity(xp, U, corners, padding)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("n", [1023, 4099, 65_537, 300_007, 4_200_000])
def test_identity_at_large_sizes(xp: Any, rng: Any, n: int, corners: bool) -> None:
    """In float32, in which pixel numbers above 2^22 have no fractions any more."""
    U = rng.integers(-8, 9, (1, 1, 1, n)).astype(np.float32)
    theta = xp.asarray(IDENTITY.astype(np.float32))
    V, backward = affine_sample(
        xp.asarray(U), theta, (1, n), align_corners=corners, needs_dtheta=False
    )
    assert_equal(V, U)
    if n < 10**6:
        assert_equal(backward(V)[0], U)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("padding", "corners"), MODES)
def test_flips_and_quarter_turns_are_exact(
    xp: Any, rng: Any, padding: str, corners: bool, dtype: Any
) -> None:
    for H, W in ((1, 6), (14, 23), (64, 31), (90, 117)):
        U = rng.normal(size=(1, 2, H, W)).astype(dtype)
        for a, b, c, d, out, expected in (
            (-1, 0, 0, 1, (H, W), U[:, :, :, ::-1]),
            (1, 0, 0, -1, (H, W), U[:, :, ::-1]),
            (0, 1, -1, 0, (W, H), np.rot90(U, -1, axes=(2, 3))),
            (0, -1, 1, 0, (W, H), np.rot90(U, 1, axes=(2, 3))),
        ):
            theta = np.array([[[a, b, 0], [c, d, 0]]], dtype)
            V, _ = affine_sample(
                xp.asarray(U), xp.asarray(theta), out, align_corners=corners, **padded(padding)
            )
            assert_equal(V, expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize(("H", "W"), [(7, 9), (28, 28), (61, 47)])
def test_whole_pixel_shifts_are_exact(
    xp: Any, rng: Any, H: int, W: int, corners: bool, dtype: Any
) -> None:
    """V and the right derivatives, although theta itself is rounded."""
    U, wide = rng.integers(1, 9, (1, 1, H, W)).astype(dtype), np.zeros((3 * H + 1, 3 * W + 1))
    wide[H : 2 * H, W : 2 * W] = U[0, 0]
    span_x, span_y = (W - 1, H - 1) if corners else (W, H)
    for down, right in product((-5, 0, 1, 3), (-4, -1, 0, 2, 6)):
        theta = np.array([[[1, 0, 2 * right / span_x], [0, 1, 2 * down / span_y]]], dtype)
        i, j = H + down, W + right
        seen = wide[i : i + H, j : j + W]
        V, _, dtheta = warp(xp, U, theta, (H, W), np.ones_like(U), align_corners=corners)
        assert_equal(V[0, 0], seen.astype(dtype))
        slope_x = (wide[i : i + H, j + 1 : j + W + 1] - seen).sum() * span_x / 2
        slope_y = (wide[i + 1 : i + H + 1, j : j + W] - seen).sum() * span_y / 2
        assert_close(dtheta[0, :, 2], np.array([slope_x, slope_y]), 1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_lattice_of_another_size(xp: Any, rng: Any, dtype: Any) -> None:
    """With aligned corners, k (n - 1) + 1 points read n pixels, and the reverse."""
    theta = xp.asarray(IDENTITY.astype(dtype))
    for n, k in product((2, 3, 14, 29, 64, 101), (2, 3, 5)):
        U = rng.integers(-8, 9, (1, 1, 1, n)).astype(dtype)
        finer, _ = affine_sample(xp.asarray(U), theta, (1, k * (n - 1) + 1))
        assert_equal(finer[..., ::k], U)
        back, _ = affine_sample(finer, theta, (1, n))
        assert_equal(back, U)


# ----------------------------------------------------------------------------- independent oracles


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("corners", CORNERS)
def test_equals_the_literal_loops(
    xp: Any, rng: Any, padding: str, corners: bool, dtype: Any
) -> None:
    for size, out in SIZES:
        theta = smooth_theta(rng, 2, size, out, corners)
        U, dV = rng.normal(size=(2, 3, *size)), rng.normal(size=(2, 3, *out))
        grid, dtheta = np.zeros((2, *out, 2)), np.zeros(theta.shape)
        for i, j, t in target(out, corners):
            grid[:, i, j] = theta @ t
        V, dU, dgrid = sample_reference(U, grid, dV, padding_mode=padding, align_corners=corners)
        for i, j, t in target(out, corners):
            dtheta += dgrid[:, i, j, :, None] * t
        options = {"padding_mode": padding, "align_corners": corners}
        got = warp(xp, *(a.astype(dtype) for a in (U, theta)), out, dV.astype(dtype), **options)
        for a, b in zip(got, (V, dU, dtheta), strict=True):
            assert_close(a, b, tolerance_of(dtype))


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")  # PyTorch's, at axes of one pixel
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("corners", CORNERS)
def test_torch(xp: Any, rng: Any, padding: str, corners: bool) -> None:
    sizes = [*SIZES, ((28, 28), (28, 28)), ((13, 42), (20, 9))]
    for (size, out), dtype in product(sizes, FLOATS):
        check_against_torch(xp, rng, size, out, padding, corners, dtype)


def check_against_torch(
    xp: Any, rng: Any, size: Any, out: Any, padding: str, corners: bool, dtype: Any
) -> None:
    torch = pytest.importorskip("torch")
    theta = smooth_theta(rng, 3, size, out, corners).astype(dtype)
    U, dV = (rng.normal(size=(3, 2, *s)).astype(dtype) for s in (size, out))
    U_t, theta_t = (torch.tensor(a, requires_grad=True) for a in (U, theta))
    F = torch.nn.functional
    grid = F.affine_grid(theta_t, (3, 2, *out), corners)
    V_t = F.grid_sample(U_t, grid, "bilinear", padding, corners)
    V_t.backward(torch.tensor(dV))
    got = warp(xp, U, theta, out, dV, padding_mode=padding, align_corners=corners)
    tolerance = 3e-5 if dtype == np.float32 else 1e-12
    for a, b in zip(got, (V_t.detach(), U_t.grad, theta_t.grad), strict=True):
        assert_close(a, b.numpy(), tolerance)


# ------------------------------------------------------------------------------------- mathematics


@pytest.mark.parametrize(("padding", "corners"), MODES)
@pytest.mark.parametrize(("size", "out"), [((4, 7), (4, 7)), ((5, 3), (6, 8)), ((1, 4), (3, 2))])
@pytest.mark.parametrize("channels", [1, 6])  # with slopes kept, and without
def test_central_differences(
    xp: Any, rng: Any, size: Any, out: Any, padding: str, corners: bool, channels: int
) -> None:
    U, theta = rng.normal(size=(2, channels, *size)), smooth_theta(rng, 2, size, out, corners)
    g, options = rng.normal(size=(2, channels, *out)), padded(padding) | {"align_corners": corners}

    def value(U: np.ndarray, theta: np.ndarray) -> float:
        return inner(affine_sample(xp.asarray(U), xp.asarray(theta), out, **options)[0], g)

    _, dU, dtheta = warp(xp, U, theta, out, g, **options)
    for _ in range(3):
        v = unit_direction(rng, U.shape)
        slope = central_slope(lambda x: value(x, theta), U, v)
        assert inner(dU, v) == pytest.approx(slope, rel=1e-8, abs=1e-8)
        v = unit_direction(rng, theta.shape)
        slope = central_slope(lambda x: value(U, x), theta, v)
        assert inner(dtheta, v) == pytest.approx(slope, rel=1e-8, abs=1e-8)


@given(
    N=st.integers(0, 3), C=st.integers(0, 6), size=st.tuples(*[st.integers(1, 6)] * 2),
    out=st.tuples(*[st.integers(1, 6)] * 2), padding=st.sampled_from(PADDINGS),
    corners=st.booleans(), shared=st.sampled_from(["", "U", "theta"]),
    whole=st.booleans(), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_adjoint_in_the_image(
    xp: Any, N: int, C: int, size: Any, out: Any, padding: str, corners: bool, shared: str,
    whole: bool, seed: int,
) -> None:  # fmt: skip
    """<V, g> = <U, dU>, at kinks as well."""
    rng = np.random.default_rng(seed)
    U = rng.normal(size=(min(N, 1) if shared == "U" else N, C, *size))
    theta = rng.uniform(-2, 2, (min(N, 1) if shared == "theta" else N, 2, 3))
    theta = np.round(theta) if whole else theta
    g, options = rng.normal(size=(N, C, *out)), {"padding_mode": padding, "align_corners": corners}
    V, dU, dtheta = warp(xp, U, theta, out, g, **options)
    assert (V.shape, dU.shape, dtheta.shape) == (g.shape, U.shape, theta.shape)
    assert inner(V, g) == pytest.approx(inner(U, dU), rel=1e-12, abs=1e-12)
    if not g.size:
        assert not to_numpy(dtheta).any()


@pytest.mark.parametrize("channels", [1, 4, 5])
@pytest.mark.parametrize("padding", FAST_PADDINGS)
def test_gradients_not_asked_for_are_none(xp: Any, rng: Any, padding: str, channels: int) -> None:
    U, theta = rng.normal(size=(2, channels, 4, 5)), IDENTITY + rng.normal(size=(2, 2, 3)) / 4
    dV = rng.normal(size=(2, channels, 3, 6))
    whole = warp(xp, U, theta, (3, 6), dV, **padded(padding))
    for needs_dU, needs_dtheta in product((True, False), repeat=2):
        V, backward = affine_sample(
            xp.asarray(U), xp.asarray(theta), (3, 6), **padded(padding),
            needs_dU=needs_dU, needs_dtheta=needs_dtheta,
        )  # fmt: skip
        assert_equal(V, whole[0])
        for _ in range(2):  # a pullback may be called again
            dU, dtheta = backward(xp.asarray(dV))
            for needed, got, full in ((needs_dU, dU, whole[1]), (needs_dtheta, dtheta, whole[2])):
                if needed:
                    assert_equal(got, full)
                else:
                    assert got is None


# --------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("padding", "corners"), MODES)
def test_wild_maps_give_finite_numbers(
    xp: Any, rng: Any, padding: str, corners: bool, dtype: Any
) -> None:
    wild = (NAN, -NAN, INF, -INF, 3e38, -3e38, 1e30)
    N = 6 * len(wild)  # each of them at each place of a map
    U = rng.normal(size=(N, 2, 4, 5)).astype(dtype)
    theta = np.repeat(IDENTITY, N, axis=0).astype(dtype)
    for n, (bad, place) in enumerate(product(wild, range(6))):
        theta[n].flat[place] = bad
    dV = rng.normal(size=(N, 2, 3, 6)).astype(dtype)
    options = padded(padding) | {"align_corners": corners}
    for result in warp(xp, U, theta, (3, 6), dV, **options):
        assert np.isfinite(to_numpy(result)).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bad", [NAN, INF, 3e38])
def test_points_nowhere_read_the_padding_and_pass_no_gradient(
    xp: Any, rng: Any, bad: float, sign: int, dtype: Any
) -> None:
    U, dV = (rng.normal(size=(1, 2, 4, 5)).astype(dtype) for _ in range(2))
    for k in range(2):
        theta = IDENTITY.astype(dtype)
        theta[0, k, 2] = np.copysign(dtype(bad), sign)
        V, dU, dtheta = warp(xp, U, theta, (4, 5), dV, **padded("constant", -1.5))
        assert_equal(V, np.full_like(U, -1.5))
        assert_equal(dU, np.zeros_like(U))
        assert_equal(dtheta, np.zeros_like(theta))


def test_what_is_refused() -> None:
    U, theta = np.ones((2, 3, 4, 5)), np.repeat(IDENTITY, 2, axis=0)
    for match, arguments, options in (
        (r"^U: expected a NumPy", ([[1.0]], theta, (3, 4)), {}),
        (r"^U: expected shape \(N, C, H, W\)", (U[0], theta, (3, 4)), {}),
        (r"^U: expected a floating-point", (U.astype(int), theta, (3, 4)), {}),
        (r"^U: expected at least one pixel", (U[:, :, :0], theta, (3, 4)), {}),
        (r"^theta: expected shape \(N, 2, 3\)", (U, np.ones((2, 6)), (3, 4)), {}),
        (r"^theta: expected a floating-point", (U, theta.astype(int), (3, 4)), {}),
        (r"^theta: expected as many maps as images \(2\), or one, got 3",
         (U, np.ones((3, 2, 3)), (3, 4)), {}),
        (r"^theta: expected as many maps", (U, theta[:0], (3, 4)), {}),
        (r"^out_shape: expected a pair", (U, theta, 3), {}),
        (r"^out_shape: expected at least 1", (U, theta, (0, 3)), {}),
        (r"^padding_mode: .*got 'wrap'", (U, theta, (3, 4)), {"padding_mode": "wrap"}),
        (r"^padding_mode: .*did you mean 'zeros'", (U, theta, (3, 4)), {"padding_mode": "zero"}),
        (r"^padding_value: expected 0 unless", (U, theta, (3, 4)), {"padding_value": 1.0}),
        (r"^padding_value: expected a finite", (U, theta, (3, 4)),
         {"padding_mode": "constant", "padding_value": NAN}),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=match):
            affine_sample(*arguments, **options)  # type: ignore[arg-type]
    _, backward = affine_sample(U, theta, (3, 4))
    for bad in (np.ones((2, 3, 4, 3)), np.ones((1, 3, 3, 4)), 1.0):
        with pytest.raises((TypeError, ValueError), match="^dV: expected"):
            backward(bad)  # type: ignore[arg-type]
