"""What the tests of the core rooms compare with, and the inputs that they share.

Test bodies make their inputs with NumPy, move them with ``xp.asarray``, and hand what the library
returns to `assert_close` or `assert_equal`, which bring it back: so each body runs everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import stn_np
from stn_np import layers
from stn_np.backend import to_numpy
from stn_np.transforms import Affine, Attention

PADDINGS = ("zeros", "border", "reflection")
CORNERS = (True, False)
FLOATS = (np.float32, np.float64)


def assert_equal(actual: Any, expected: Any) -> None:
    """Bit for bit (but 0.0 equals -0.0), shape included."""
    actual, expected = to_numpy(actual), np.asarray(to_numpy(expected))
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Equal shapes; errors up to `tolerance`, relative to the largest number expected."""
    actual, expected = to_numpy(actual), np.asarray(to_numpy(expected))
    assert actual.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def tolerance_of(dtype: Any, float32: float = 2e-5, float64: float = 1e-12) -> float:
    return {np.float32: float32, np.float64: float64}[np.dtype(dtype).type]


def inner(a: Any, b: Any) -> float:
    """<a, b>, summed in float64."""
    a, b = (np.asarray(to_numpy(v), np.float64) for v in (a, b))
    assert a.shape == b.shape
    return float((a * b).sum())


# ---------------------------------------------------------------------------- finite differences


def central_slope(f: Callable[[np.ndarray], float], x: np.ndarray, v: np.ndarray) -> float:
    """df/dx in direction v: central differences of fourth order."""
    h = 1e-3
    near, far = f(x + h * v) - f(x - h * v), f(x + 2 * h * v) - f(x - 2 * h * v)
    return (8 * near - far) / (12 * h)


def right_slope(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One-sided df/dx in direction +v, of second order; v = -e gives minus the left slope."""
    h = 1e-4
    slope: np.ndarray = (4 * f(x + h * v) - f(x + 2 * h * v) - 3 * f(x)) / (2 * h)
    return slope


def unit_direction(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A random direction with entries in [-1, 1] and none near 0."""
    v: np.ndarray = rng.uniform(0.2, 1.0, shape) * rng.choice([-1.0, 1.0], shape)
    return v


# ------------------------------------------------------------------------------- sampling points


def normalised(pixel: Any, size: int, align_corners: bool) -> np.ndarray:
    """Pixel coordinate (centre of pixel j at j) to [-1, 1]."""
    pixel = np.asarray(pixel, np.float64)
    if align_corners:
        return 2 * pixel / max(size - 1, 1) - (size > 1)
    return (2 * pixel + 1) / size - 1


def grid_at(x: Any, y: Any, H: int, W: int, align_corners: bool) -> np.ndarray:
    """Grid (1, 1, P, 2) that reads an (H, W) image at the pixel coordinates (x, y)."""
    x, y = np.broadcast_arrays(normalised(x, W, align_corners), normalised(y, H, align_corners))
    return np.stack([x, y], -1).reshape(1, 1, -1, 2)


def awkward_grid(rng: np.random.Generator, N: int, H: int, W: int, corners: bool) -> np.ndarray:
    """Points (N, 1, P, 2) inside, on the lattice, on +-1, just outside and far outside."""
    on_x, on_y = np.arange(-3, W + 3), np.arange(-3, H + 3)
    lattice = np.array(list(product(normalised(on_x, W, corners), normalised(on_y, H, corners))))
    ends = np.array(list(product((-1.0, 0.0, 1.0), repeat=2)))
    inside = rng.uniform(-1, 1, (25, 2))
    outside = rng.uniform(-4, 4, (25, 2))
    far = rng.choice([-1.0, 1.0], (10, 2)) * rng.uniform(1, 40, (10, 2))
    points = np.concatenate([lattice, ends, inside, outside, far])
    return np.stack([rng.permutation(points) for _ in range(N)])[:, None]


def smooth_pixels(rng: np.random.Generator, size: int, n: int) -> np.ndarray:
    """n pixel coordinates at least 0.1 away from whole and half numbers, where kinks may be."""
    whole = rng.integers(-4, size + 4, n)
    return whole + rng.choice([0.0, 0.5], n) + rng.uniform(0.1, 0.4, n)


def smooth_grid(rng: np.random.Generator, N: int, H: int, W: int, corners: bool) -> np.ndarray:
    """Grid (N, 4, 6, 2) of points inside and outside, none near a kink."""
    x = normalised(smooth_pixels(rng, W, N * 24), W, corners)
    y = normalised(smooth_pixels(rng, H, N * 24), H, corners)
    return np.stack([x, y], -1).reshape(N, 4, 6, 2)


# ------------------------------------------------------- every operation with a pullback, uniformly


class Operation(NamedTuple):
    """A differentiable function of arrays, and shapes of inputs for it."""

    f: Callable[..., tuple[Any, Callable[[Any], Any]]]
    shapes: tuple[tuple[int, ...], ...]
    batched: tuple[bool, ...]  # whether the first axis of that input is the batch

    def inputs(self, seed: int, dtype: Any = np.float64, N: int | None = None) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        out = []
        for shape, batched in zip(self.shapes, self.batched, strict=True):
            if batched and N is not None:
                shape = (N, *shape[1:])
            out.append(rng.uniform(-1, 1, shape).astype(dtype))
        return out


def gradients(dx: Any) -> tuple[Any, ...]:
    """What a pullback returned, as a tuple."""
    return dx if isinstance(dx, tuple) else (dx,)


def _sampler(padding: str, corners: bool) -> Operation:
    return Operation(
        lambda U, grid: stn_np.grid_sample(U, grid, padding_mode=padding, align_corners=corners),
        ((2, 3, 4, 5), (2, 3, 6, 2)),
        (True, True),
    )


IMAGES = ((2, 3, 7, 5),)
ONE = (True,)

OPERATIONS: dict[str, Operation] = {
    "affine_grid": Operation(lambda t: stn_np.affine_grid(t, (3, 4)), ((2, 2, 3),), ONE),
    "Affine": Operation(lambda t: Affine()(t, (3, 4), align_corners=False), ((2, 6),), ONE),
    "Attention": Operation(lambda t: Attention()(t, (3, 4)), ((2, 3),), ONE),
    **{
        f"grid_sample-{padding}-{'aligned' if corners else 'centred'}": _sampler(padding, corners)
        for padding, corners in product(PADDINGS, CORNERS)
    },
    "conv2d": Operation(layers.conv2d, ((2, 3, 6, 5), (4, 3, 3, 2), (4,)), (True, False, False)),
    "linear": Operation(layers.linear, ((3, 5), (4, 5), (4,)), (True, False, False)),
    "relu": Operation(layers.relu, IMAGES, ONE),
    "flatten": Operation(layers.Flatten(), IMAGES, ONE),
    "max_pool2d": Operation(lambda x: layers.max_pool2d(x, 2), IMAGES, ONE),
    "max_pool2d-ceil": Operation(lambda x: layers.max_pool2d(x, 2, ceil_mode=True), IMAGES, ONE),
    "max_pool2d-overlap": Operation(
        lambda x: layers.max_pool2d(x, 3, 2, ceil_mode=True), IMAGES, ONE
    ),
    "avg_pool2d": Operation(lambda x: layers.avg_pool2d(x, 2), IMAGES, ONE),
    "avg_pool2d-ceil": Operation(lambda x: layers.avg_pool2d(x, 2, ceil_mode=True), IMAGES, ONE),
    "avg_pool2d-overlap": Operation(
        lambda x: layers.avg_pool2d(x, 3, 2, ceil_mode=True), IMAGES, ONE
    ),
}
