"""What docs/explanation/comparison.md says of SciPy and PyTorch, where no other test shows it.

Values and gradients where all agree are in sampling/test_grid_sample_scipy.py and
sampling/test_grid_sample_torch.py; here are the recipes of that page, as they stand there, and
where the others differ.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import CORNERS, assert_close, assert_equal, grid_of

import stn_np
from stn_np.sampling import kernels

ndimage = pytest.importorskip("scipy.ndimage")

PAGE = Path(__file__).resolve().parents[1] / "docs/explanation/comparison.md"
IN, OUT = (7, 9), (5, 8)


@pytest.fixture(scope="module")
def torch() -> Any:
    """PyTorch, where it is installed."""
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the Python blocks of the page define."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        exec(compile(block, PAGE.name, "exec"), names)
    return names


def random_points(rng: np.random.Generator, reach: float) -> np.ndarray:
    """Points (200, 2) in pixels, (x, y), up to `reach` images away from the middle."""
    middle = np.array(IN[::-1]) / 2
    points: np.ndarray = middle + rng.uniform(-reach, reach, (200, 2)) * IN[::-1]
    return points


# ------------------------------------------------------------------------------------ SciPy


def test_affine_transform_of_scipy_as_a_theta_and_back(page: Any, rng: Any) -> None:
    """With sizes, shears and shifts that tell rows from columns and input from output."""
    U = rng.normal(size=IN)
    for _ in range(5):
        matrix = np.eye(2) + rng.uniform(-0.5, 0.5, (2, 2))
        offset = rng.uniform(-3, 3, 2)
        theta = page["from_scipy"](matrix, offset, IN, OUT)
        grid, _ = stn_np.affine_grid(theta, OUT)
        V, _ = stn_np.grid_sample(U[None, None], grid)
        expected = ndimage.affine_transform(
            U, matrix, offset, OUT, order=1, mode="grid-constant", prefilter=False
        )
        assert_close(V[0, 0], expected, 1e-12)
        again = page["to_scipy"](theta[0], IN, OUT)
        assert_close(again[0], matrix, 1e-14)
        assert_close(again[1], offset, 1e-13)


def test_scipys_default_edge_is_hard_and_ours_is_a_ramp(page: Any, rng: Any) -> None:
    U, points = rng.normal(size=IN), random_points(rng, 0.8)
    grid = grid_of(points, IN, True)[None, None]
    V, _ = stn_np.grid_sample(U[None, None], grid)
    default = ndimage.map_coordinates(U, points.T[::-1], order=1)
    assert np.abs(V.ravel() - default).max() > 0.1
    hard = page["hard_edge"](V, grid)
    assert_close(hard.ravel(), default, 1e-12)
    assert 20 < (hard == 0).sum() < 180

    half_outside = grid_of(np.array([[-0.5, 2.0], [8.5, 2.0]]), IN, True)[None, None]
    ramp, _ = stn_np.grid_sample(U[None, None], half_outside)
    assert_close(ramp.ravel(), U[2, [0, -1]] / 2, 1e-14)


def test_scipys_cubic_is_a_spline_through_the_pixels(page: Any, rng: Any) -> None:
    """Its prefilter and our kernel of the page together; Keys' cubic is something else."""
    U, points = rng.normal(size=IN), random_points(rng, 1.5)
    grid = grid_of(points, IN, True)[None, None]
    default = ndimage.map_coordinates(U, points.T[::-1], mode="mirror")
    C = ndimage.spline_filter(U, 3, mode="mirror")[None, None]
    V, _ = stn_np.grid_sample(C, grid, mode=page["cubic_spline"], padding_mode="reflection")
    assert_close(V.ravel(), default, 1e-12)
    keys, _ = stn_np.grid_sample(U[None, None], grid, mode="bicubic", padding_mode="reflection")
    assert np.abs(keys.ravel() - default).max() > 0.05
    stn_np.gradcheck(
        lambda C, grid: stn_np.grid_sample(C, grid, mode=page["cubic_spline"]), C, grid[:, :, :9]
    )


def test_scipys_wrap_repeats_one_pixel_earlier_than_ours(rng: Any) -> None:
    U = rng.normal(size=IN)
    x = np.array([0.25, 3.5, 7.75])
    y = np.full(3, 2.0)
    here = ndimage.map_coordinates(U, [y, x], order=1)
    for period, mode in ((8, "wrap"), (9, "grid-wrap")):
        assert_close(ndimage.map_coordinates(U, [y, x + period], order=1, mode=mode), here, 1e-12)
    grid = grid_of(np.stack([x + 9, y], -1), IN, True)[None, None]
    assert_close(
        stn_np.grid_sample(U[None, None], grid, padding_mode="wrap")[0].ravel(), here, 1e-12
    )


def test_scipy_has_no_float16_and_we_have() -> None:
    U = np.ones(IN, np.float16)
    with pytest.raises(RuntimeError, match="not supported"):
        ndimage.map_coordinates(U, [[1.5], [2.5]], order=1)
    V, _ = stn_np.grid_sample(U[None, None], np.zeros((1, 1, 1, 2), np.float32))
    assert V.dtype == np.float16
    assert_equal(V, np.ones((1, 1, 1, 1)))


# ---------------------------------------------------------------------------------- PyTorch


def identity_of_torch(
    torch: Any, U: np.ndarray, dV: np.ndarray, corners: bool
) -> tuple[np.ndarray, np.ndarray]:
    """V and dgrid under the identity."""
    theta = torch.eye(2, 3, dtype=torch.from_numpy(U).dtype)[None]
    F, size = torch.nn.functional, (1, 1, *U.shape[2:])
    grid = F.affine_grid(theta, size, align_corners=corners).requires_grad_()
    V = F.grid_sample(torch.from_numpy(U), grid, align_corners=corners)
    V.backward(torch.from_numpy(dV))
    return V.detach().numpy(), grid.grad.numpy()


def our_identity(U: np.ndarray, dV: np.ndarray, corners: bool) -> tuple[np.ndarray, np.ndarray]:
    """The same, here."""
    theta = np.eye(2, 3, dtype=U.dtype)[None]
    grid, _ = stn_np.affine_grid(theta, U.shape[2:], align_corners=corners)
    V, backward = stn_np.grid_sample(U, grid, align_corners=corners)
    dgrid = backward(dV)[1]
    assert dgrid is not None
    return V, dgrid


def right_slopes(U: np.ndarray, dV: np.ndarray, corners: bool) -> np.ndarray:
    """Eq. (7) at the pixels, with the derivative to the right: differences of neighbours."""
    after = np.pad(U[0, 0].astype(np.float64), ((0, 1), (0, 1)))
    steps = np.stack([after[:-1, 1:], after[1:, :-1]], -1) - after[:-1, :-1, None]
    pixels = np.array([n - 1 if corners else n for n in U.shape[:1:-1]]) / 2
    return steps * dV[0, 0, ..., None] * pixels


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("side", [28, 60, 224])
def test_how_many_slopes_the_identity_gets_wrong(
    torch: Any, rng: Any, side: int, corners: bool
) -> None:
    """Ours none; PyTorch's more than a tenth (measured: 16 to 30 %, see the page)."""
    U, dV = (rng.normal(size=(1, 1, side, side)).astype(np.float32) for _ in range(2))
    expected = right_slopes(U, dV, corners)
    share = []
    for V, dgrid in (our_identity(U, dV, corners), identity_of_torch(torch, U, dV, corners)):
        other = np.abs(dgrid[0] - expected) > 1e-3 * np.abs(expected).max()
        share.append(((V != U).mean(), other.any(axis=-1).mean()))
    assert share[0] == (0, 0)
    assert min(share[1]) > 0.1


def test_the_corner_rule_by_default_is_the_other_one(torch: Any, rng: Any) -> None:
    U, theta = rng.normal(size=(2, 3, *IN)), rng.normal(size=(2, 2, 3))
    F = torch.nn.functional
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where nothing is said, it says what it takes
        grid = F.affine_grid(torch.from_numpy(theta), (2, 3, *OUT))
        theirs = F.grid_sample(torch.from_numpy(U), grid).numpy()
    for corners in CORNERS:
        grid, _ = stn_np.affine_grid(theta, OUT, align_corners=corners)
        V, _ = stn_np.grid_sample(U, grid, align_corners=corners)
        assert np.allclose(V, theirs, rtol=0, atol=1e-12) == (not corners)


def test_what_torch_refuses(torch: Any, rng: Any) -> None:
    """Another dtype for the grid, one image for many grids, cubic kernels in volumes."""
    F, F16 = torch.nn.functional, np.float16
    U, grid = rng.normal(size=(1, 2, *IN)), rng.uniform(-1, 1, (3, *OUT, 2))
    volume, points = rng.normal(size=(1, 1, 3, 4, 5)), rng.uniform(-1, 1, (1, 2, 2, 2, 3))
    refused: list[tuple[np.ndarray, np.ndarray, str]] = [
        (U.astype(F16), grid[:1].astype(np.float32), "bilinear"),
        (U, grid, "bilinear"),
        (volume, points, "bicubic"),
    ]
    for image, where, mode in refused:
        with pytest.raises(RuntimeError):
            F.grid_sample(*map(torch.from_numpy, (image, where)), mode, align_corners=True)
        V, backward = stn_np.grid_sample(image, where, mode=mode)
        dU, dgrid = backward(V)
        assert dU is not None and dgrid is not None
        assert (dU.shape, dgrid.shape) == (image.shape, where.shape)
        assert (V.dtype, dgrid.dtype) == (image.dtype, where.dtype)


def test_infinite_points_are_outside_where_torch_returns_nan(torch: Any, rng: Any) -> None:
    U = rng.normal(size=(1, 1, *IN))
    for infinite in (np.inf, -np.inf):
        where = np.array([[[[infinite, 0.0]]]])
        theirs = torch.nn.functional.grid_sample(
            *map(torch.from_numpy, (U, where)), align_corners=True
        )
        assert np.isnan(theirs.numpy()).all()
        V, backward = stn_np.grid_sample(U, where)
        assert_equal(V, np.zeros((1, 1, 1, 1)))
        assert_equal(backward(np.ones_like(V))[1], np.zeros_like(where))


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_an_axis_of_one_pixel_is_read_wherever_a_point_is(
    torch: Any, rng: Any, padding: str
) -> None:
    """In both libraries, with aligned corners; and it has no slope."""
    U = rng.normal(size=(1, 1, 1, 9))
    where = np.array([[[[0.3, y] for y in (-7.0, -1.0, 0.0, 2.5)]]])
    V, backward = stn_np.grid_sample(U, where, padding_mode=padding)
    dgrid = backward(np.ones_like(V))[1]
    leaf = torch.from_numpy(where).requires_grad_()
    theirs = torch.nn.functional.grid_sample(
        torch.from_numpy(U), leaf, padding_mode=padding, align_corners=True
    )
    theirs.sum().backward()
    assert_close(V, theirs.detach().numpy(), 1e-14)
    assert_close(dgrid, leaf.grad.numpy(), 1e-14)
    assert dgrid is not None
    assert (dgrid[..., 1] == 0).all() and (dgrid[..., 0] != 0).all()


def test_float16_images_with_float32_grids_keep_the_identity(rng: Any) -> None:
    for side in (28, 128, 600):
        U = rng.random((1, 1, side, side)).astype(np.float16)
        grid, _ = stn_np.affine_grid(np.eye(2, 3, dtype=np.float32)[None], (side, side))
        assert_equal(stn_np.grid_sample(U, grid)[0], U)


def test_area_kernels_are_torchs_antialiasing_inside(torch: Any, rng: Any) -> None:
    U, out = rng.normal(size=(2, 3, 24, 36)), (7, 11)
    grid, _ = stn_np.affine_grid(np.eye(2, 3)[None], out, align_corners=False)
    steps = kernels.reduction(grid, (24, 36), align_corners=False)
    V, _ = stn_np.grid_sample(
        U, grid, mode=tuple(map(kernels.area, steps)), padding_mode="border", align_corners=False
    )
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(U), out, mode="bilinear", antialias=True
    ).numpy()
    inside = (..., slice(1, -1), slice(1, -1))
    assert_close(V[inside], theirs[inside], 1e-13)
    assert np.abs(V - theirs).max() > 1e-3  # another edge
    plain, _ = stn_np.grid_sample(U, grid, align_corners=False)
    assert np.abs(plain - theirs)[inside].max() > 0.3


def test_torch_can_differentiate_twice(torch: Any, rng: Any) -> None:
    """Which we cannot."""
    U, where = rng.normal(size=(1, 1, *IN)), rng.uniform(-1, 1, (1, *OUT, 2))
    image, grid = (torch.from_numpy(a).requires_grad_() for a in (U, where))
    V = torch.nn.functional.grid_sample(image, grid, align_corners=True)
    (slope,) = torch.autograd.grad((V**2).sum(), grid, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), image)
    assert np.abs(second.numpy()).max() > 0.1
