"""Under identity theta the image comes back bit for bit, with the right derivative everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import CORNERS, FLOATS, PADDINGS, assert_equal

import stn_np
from stn_np.transforms import Affine, Attention

IDENTITY = np.array([[[1.0, 0, 0], [0, 1, 0]]])


def whole_numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Small whole numbers: then all products and sums below are exact, and must agree exactly."""
    return rng.integers(-8, 9, shape).astype(dtype)


def right_differences(U: np.ndarray, axis: int, padding: str, slope: float) -> np.ndarray:
    """U[j + 1] - U[j] times dx/dg; beyond the image zeros, and 0 on the border of the others."""
    n = U.shape[axis]
    d = np.diff(U.astype(np.float64), axis=axis, append=0)
    if padding != "zeros":
        on_border = [slice(None)] * U.ndim
        on_border[axis] = np.unique([0, n - 1])  # type: ignore[call-overload]
        d[tuple(on_border)] = 0
    return d * slope


def check_identity(xp: Any, U: np.ndarray, padding: str, corners: bool) -> None:
    dtype, (H, W) = U.dtype, U.shape[2:]
    theta = xp.asarray(IDENTITY.astype(dtype))
    grid, _ = stn_np.affine_grid(theta, (H, W), align_corners=corners)
    V, backward = stn_np.grid_sample(
        xp.asarray(U), grid, padding_mode=padding, align_corners=corners
    )
    assert_equal(V, U)
    dV = (1 + np.arange(U.size) % 5).reshape(U.shape).astype(dtype)
    dU, dgrid = backward(xp.asarray(dV))
    assert_equal(dU, dV)
    for k, (axis, n) in enumerate(((3, W), (2, H))):
        slope = (n - 1) / 2 if corners else n / 2
        expected = (dV * right_differences(U, axis, padding, slope)).sum(axis=1)
        assert_equal(dgrid[..., k], expected.astype(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
def test_every_size_up_to_300(xp: Any, rng: Any, corners: bool, dtype: Any) -> None:
    """Every third in float64, where there is less rounding."""
    for n in range(1, 301, 1 if dtype == np.float32 else 3):
        check_identity(xp, whole_numbers(rng, (1, 1, 2, n), dtype), "zeros", corners)
        check_identity(xp, whole_numbers(rng, (1, 1, n, 3), dtype), "zeros", corners)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", PADDINGS)
def test_every_padding_and_non_square_images(
    xp: Any, rng: Any, padding: str, corners: bool, dtype: Any
) -> None:
    sizes = [(1, 1), (1, 5), (5, 1), (28, 42), (64, 23), (101, 60), (3, 250)]
    for H, W in sizes:
        check_identity(xp, whole_numbers(rng, (1, 2, H, W), dtype), padding, corners)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("n", [511, 512, 1023, 1025, 4099, 65_537, 300_007])
def test_large_sizes(xp: Any, rng: Any, n: int, corners: bool, dtype: Any) -> None:
    check_identity(xp, whole_numbers(rng, (1, 1, 1, n), dtype), "zeros", corners)
    if n < 70_000:
        check_identity(xp, whole_numbers(rng, (1, 1, n, 1), dtype), "border", corners)


@pytest.mark.parametrize("transform", [Affine(), Attention()], ids=["affine", "attention"])
@pytest.mark.parametrize("U_dtype", [np.float16, np.float32, np.float64])
def test_any_numbers_and_any_mix_of_dtypes(xp: Any, rng: Any, transform: Any, U_dtype: Any) -> None:
    for theta_dtype in [np.float16, np.float32, np.float64]:
        U = rng.normal(size=(2, 2, 28, 23)).astype(U_dtype)
        theta = xp.asarray(np.stack([transform.identity] * 2).astype(theta_dtype))
        grid, _ = transform(theta, (28, 23))
        V, _ = stn_np.grid_sample(xp.asarray(U), grid)
        assert V.dtype == U_dtype
        assert_equal(V, U)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", PADDINGS)
def test_flips_are_exact(xp: Any, rng: Any, padding: str, corners: bool, dtype: Any) -> None:
    for H, W in ((1, 6), (27, 28), (64, 31), (90, 117)):
        U = rng.normal(size=(1, 1, H, W)).astype(dtype)
        for sx, sy in ((-1, 1), (1, -1), (-1, -1)):
            theta = xp.asarray(np.array([[[sx, 0, 0], [0, sy, 0]]], dtype))
            grid, _ = stn_np.affine_grid(theta, (H, W), align_corners=corners)
            V, _ = stn_np.grid_sample(
                xp.asarray(U), grid, padding_mode=padding, align_corners=corners
            )
            assert_equal(V, U[:, :, ::sy, ::sx])


@pytest.mark.parametrize("dtype", FLOATS)
def test_corners_meet_when_the_output_has_another_size(xp: Any, rng: Any, dtype: Any) -> None:
    """With aligned corners, n pixels read at 2 n - 1 points meet every pixel and every middle."""
    theta = xp.asarray(IDENTITY.astype(dtype))
    for n in (2, 3, 14, 29, 64, 101):
        U = whole_numbers(rng, (1, 1, 1, n), dtype)
        twice, _ = stn_np.grid_sample(xp.asarray(U), stn_np.affine_grid(theta, (1, 2 * n - 1))[0])
        assert_equal(twice[..., ::2], U)
        assert_equal(twice[..., 1::2], (U[..., 1:] + U[..., :-1]) / 2)
        half, _ = stn_np.grid_sample(twice, stn_np.affine_grid(theta, (1, n))[0])
        assert_equal(half, U)
