"""What the tests of the core rooms compare with, and the inputs that they share.

Test bodies make their inputs with NumPy, move them with ``xp.asarray``, and hand what the library
returns to `assert_close` or `assert_equal`, which bring it back: so each body runs everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import literal
import numpy as np

import stn_np
from stn_np import layers
from stn_np.backend import to_device_of, to_numpy
from stn_np.sampling import kernels
from stn_np.transforms import (
    Affine,
    Affine3d,
    AffineNatural,
    Attention,
    Flow,
    LogScale,
    PiecewiseAffine,
    Projective,
    Similarity,
    ThinPlateSpline,
    Translation,
    by_name,
    linear_basis_grid,
    polynomial,
)

PADDINGS = ("zeros", "border", "reflection")
EVERY_PADDING = (*PADDINGS, "constant", "wrap")
CORNERS = (True, False)
#: Two sizes of image, [D,] H, W, no two axes alike.
SIZES = {2: (4, 7), 3: (3, 5, 4)}
FLOATS = (np.float32, np.float64)
#: What `grid_sample` is given as mode, and the formula that it must follow. All kinks lie at whole
#: and half pixels.
KERNELS: dict[str, tuple[Any, literal.Formula]] = {
    "nearest": ("nearest", literal.NEAREST),
    "bilinear": ("bilinear", literal.LINEAR),
    "bicubic": ("bicubic", literal.CUBIC),
    "gaussian": (kernels.gaussian(), literal.gaussian(0.5)),
    "lanczos": (kernels.lanczos(2), literal.lanczos(2)),
    "area": (kernels.area(2.5), literal.area(2.5)),
    "lopsided": (kernels.Kernel(*literal.LOPSIDED[:3]), literal.LOPSIDED),
}


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


def grid_of(points: np.ndarray, size: tuple[int, ...], align_corners: bool) -> np.ndarray:
    """Grid that reads images of `size`, [D,] H, W, at the pixels points (..., (x, y[, z]))."""
    axes = zip(np.moveaxis(points, -1, 0), reversed(size), strict=True)
    return np.stack([normalised(x, n, align_corners) for x, n in axes], -1)


def smooth_points(
    rng: np.random.Generator, shape: tuple[int, ...], size: tuple[int, ...], corners: bool
) -> np.ndarray:
    """Points (*shape, 2 or 3) in pixels inside and outside, none near a kink."""
    count = int(np.prod(shape))
    x = [
        np.zeros(count) if n == 1 and corners else smooth_pixels(rng, n, count)
        for n in reversed(size)
    ]
    return np.stack(x, -1).reshape(*shape, len(size))


def padded(padding: str, value: float = 0.75) -> dict[str, Any]:
    """Arguments of `grid_sample`; the value goes with "constant" only."""
    return {"padding_mode": padding, "padding_value": value if padding == "constant" else 0.0}


def sampled(
    xp: Any, U: np.ndarray, grid: np.ndarray, dV: np.ndarray, **options: Any
) -> tuple[Any, Any, Any]:
    """V, dU and dgrid of `stn_np.grid_sample`."""
    V, backward = stn_np.grid_sample(xp.asarray(U), xp.asarray(grid), **options)
    return V, *backward(xp.asarray(dV))


def value(xp: Any, U: np.ndarray, grid: np.ndarray, **options: Any) -> Any:
    """V alone: finite differences ask for it often."""
    return stn_np.grid_sample(xp.asarray(U), xp.asarray(grid), **options)[0]


def target_points(shape: tuple[int, ...], corners: bool) -> np.ndarray:
    """Normalised (x_t, y_t[, z_t]) of every output pixel, one at a time: ([D,] H, W, 2 or 3)."""
    points = np.zeros((*shape, len(shape)))
    for index in np.ndindex(*shape):
        for k, (i, n) in enumerate(zip(reversed(index), reversed(shape), strict=True)):
            points[(*index, k)] = (2 * i - (n - 1)) / (max(n - 1, 1) if corners else n)
    return points


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


def beside(xp: Any, transform: Any) -> Any:
    """A family whose parameters, if it has some, are where xp's arrays are."""
    return transform.to("cpu" if xp is np else "gpu") if hasattr(transform, "to") else transform


def _sampler(padding: str, corners: bool) -> Operation:
    return Operation(
        lambda U, grid: stn_np.grid_sample(U, grid, padding_mode=padding, align_corners=corners),
        ((2, 3, 4, 5), (2, 3, 6, 2)),
        (True, True),
    )


def _near_identity(transform: Any, f: Any, n_inputs: int = 1) -> Operation:
    """F of thetas that lie near the identity, where there is an inverse."""

    def shifted(*inputs: Any) -> Any:
        identity = transform.identity.astype(inputs[0].dtype)
        y, backward = f(*(x / 8 + to_device_of(identity, x) for x in inputs))
        return y, lambda dy: tuple(dx / 8 for dx in gradients(backward(dy)))

    return Operation(shifted, ((2, transform.n_params),) * n_inputs, (True,) * n_inputs)


def _groups() -> dict[str, Operation]:
    operations = {}
    for group in (*map(by_name, GROUPS), Affine3d()):
        compose, inverse = (
            lambda *thetas, f=f: f(*thetas, out_shape=(3, 4))
            for f in (group.compose, group.inverse)  # type: ignore[attr-defined]
        )
        operations[f"{group.name}-compose"] = _near_identity(group, compose, 2)
        operations[f"{group.name}-inverse"] = _near_identity(group, inverse)
    return operations


#: The families with compose and inverse; Affine3d is the one more.
GROUPS = (
    "translation", "attention", "attention-log", "similarity", "similarity-log", "affine",
    "affine-natural", "projective",
)  # fmt: skip
IMAGES = ((2, 3, 7, 5),)
ONE = (True,)

OPERATIONS: dict[str, Operation] = {
    "affine_grid": Operation(lambda t: stn_np.affine_grid(t, (3, 4)), ((2, 2, 3),), ONE),
    "Affine": Operation(lambda t: Affine()(t, (3, 4), align_corners=False), ((2, 6),), ONE),
    "Attention": Operation(lambda t: Attention()(t, (3, 4)), ((2, 3),), ONE),
    "affine_grid-volume": Operation(lambda t: stn_np.affine_grid(t, (2, 3, 4)), ((2, 3, 4),), ONE),
    "Affine3d": Operation(lambda t: Affine3d()(t, (2, 3, 4)), ((2, 12),), ONE),
    "Translation": Operation(lambda t: Translation()(t, (3, 4)), ((2, 2),), ONE),
    "Similarity": Operation(lambda t: Similarity()(t, (3, 4)), ((2, 4),), ONE),
    "LogScale": Operation(lambda t: LogScale(Similarity())(t, (3, 4)), ((2, 4),), ONE),
    "AffineNatural": Operation(lambda t: AffineNatural()(t, (3, 4)), ((2, 6),), ONE),
    "Affine-matrix": Operation(lambda t: Affine().matrix(t, (3, 4)), ((2, 6),), ONE),
    "Similarity-matrix": Operation(lambda t: Similarity().matrix(t, (3, 4)), ((2, 4),), ONE),
    "Projective": Operation(lambda t: Projective()(t, (3, 4)), ((2, 8),), ONE),
    "Projective-no-horizon": _near_identity(Projective(), lambda t: Projective()(t, (3, 4))),
    **_groups(),
    "ThinPlateSpline": Operation(lambda t: ThinPlateSpline(3)(t, (3, 4)), ((2, 18),), ONE),
    "PiecewiseAffine": Operation(lambda t: PiecewiseAffine(3)(t, (3, 4)), ((2, 18),), ONE),
    "Flow": Operation(lambda t: Flow((3, 4))(t, (3, 4)), ((2, 24),), ONE),
    "linear_basis_grid": Operation(linear_basis_grid, ((2, 2, 5), (5, 3, 4)), (True, False)),
    "LinearBasis": Operation(lambda t: polynomial((3, 4))(t, (3, 4)), ((2, 12),), ONE),
    **{
        f"grid_sample-{padding}-{'aligned' if corners else 'centred'}": _sampler(padding, corners)
        for padding, corners in product(PADDINGS, CORNERS)
    },
    "grid_sample-bicubic-wrap": Operation(
        lambda U, grid: stn_np.grid_sample(U, grid, mode="bicubic", padding_mode="wrap"),
        ((2, 3, 4, 5), (2, 3, 6, 2)),
        (True, True),
    ),
    "grid_sample-volume": Operation(
        stn_np.grid_sample, ((2, 3, 3, 4, 5), (2, 2, 3, 6, 3)), (True, True)
    ),
    "affine_sample": Operation(
        lambda U, theta: stn_np.affine_sample(U, theta, (3, 6)),
        ((2, 3, 4, 5), (2, 2, 3)),
        (True, True),
    ),
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
