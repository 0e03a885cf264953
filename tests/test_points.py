"""Points and boxes through theta and back, and the matrices of OpenCV and SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import stn_np
from stn_np import transforms
from stn_np.points import (
    TOLERANCE,
    pixel_matrix,
    source_boxes,
    source_points,
    target_boxes,
    target_points,
    theta_of_matrix,
)

OUT, IN = (7, 9), (11, 6)
#: How far theta may be from the identity so that nothing folds.
SPREAD = {"flow": 0.03, "linear-basis": 0.05, "projective": 0.1, "piecewise-affine": 0.05}


def some(name: str, n: int = 3, seed: int = 0) -> tuple[Any, np.ndarray]:
    """A family, and maps that are not the identity."""
    family = transforms.by_name(name, OUT)
    rng = np.random.default_rng(seed)
    return family, family.identity + SPREAD.get(name, 0.15) * rng.normal(size=(n, family.n_params))


def in_pixels(points: np.ndarray, size: tuple[int, int], corners: bool) -> np.ndarray:
    """[-1, 1] to pixels, written out."""
    size = np.array(size[::-1])
    return (points + 1) * (size - 1) / 2 if corners else ((points + 1) * size - 1) / 2


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("name", transforms.FAMILIES)
def test_at_the_centres_of_pixels_it_is_the_grid(name: str, corners: bool) -> None:
    family, theta = some(name)
    if name == "linear-basis" and not corners:
        family = transforms.polynomial(OUT, align_corners=False)
    grid, _ = family(theta, OUT, align_corners=corners)
    pixels = np.stack(np.meshgrid(np.arange(9), np.arange(7)), axis=-1).reshape(-1, 2)
    found = source_points(family, theta, pixels, OUT, IN, align_corners=corners)
    np.testing.assert_allclose(found, in_pixels(grid, IN, corners).reshape(3, -1, 2), atol=1e-9)


@pytest.mark.parametrize("units", ["pixels", "normalised"])
@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("name", transforms.FAMILIES)
def test_there_and_back(name: str, corners: bool, units: Any) -> None:
    family, theta = some(name)
    if name == "linear-basis" and not corners:
        family = transforms.polynomial(OUT, align_corners=False)
    rules = {"units": units, "align_corners": corners}
    scale = np.array([8, 6]) if units == "pixels" else 2
    points = np.random.default_rng(1).random((3, 20, 2)) * scale - (units != "pixels")
    sources = source_points(family, theta, points, OUT, IN, **rules)
    np.testing.assert_allclose(
        target_points(family, theta, sources, OUT, IN, **rules), points, atol=1e-5
    )
    again = source_points(
        family, theta, target_points(family, theta, sources, OUT, IN, **rules), OUT, IN, **rules
    )
    np.testing.assert_allclose(again, sources, atol=TOLERANCE)


def test_a_digit_is_found_where_the_output_shows_it() -> None:
    """The brightest spot of the input, through theta, is the brightest of the output."""
    y, x = np.indices((28, 20))
    U = np.exp(-((x - 6.3) ** 2 + (y - 17.6) ** 2) / 8)[None, None]
    for name in ("similarity", "projective", "tps"):
        family = transforms.by_name(name)
        theta = family.identity[None] + 0.1 * np.random.default_rng(3).normal(size=family.n_params)
        grid, _ = family(theta, (40, 50))
        V, _ = stn_np.grid_sample(U, grid)
        found = target_points(family, theta, [[6.3, 17.6]], (40, 50), (28, 20))[0, 0]
        brightest = np.unravel_index(V[0, 0].argmax(), (40, 50))[::-1]
        assert np.abs(found - brightest).max() < 1, name


def test_boxes() -> None:
    family = transforms.Affine()
    theta = np.array([[0, -1.0, 0, 1, 0, 0], [0.5, 0, 0.5, 0, 0.5, 0]])  # a quarter turn; zoomed in
    box = [[1, 2, 5, 4.0]]
    found = source_boxes(family, theta, box, (9, 9))
    np.testing.assert_allclose(found[:, 0], [[4, 1, 6, 5], [4.5, 3, 6.5, 4]], atol=1e-12)
    np.testing.assert_allclose(
        target_boxes(family, theta, found, (9, 9))[:, 0], [box[0]] * 2, atol=1e-12
    )
    corners = np.random.default_rng(0).random((4, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1) * 6
    tps, bent = some("tps", 2)
    inside = boxes[:, :2] + np.random.default_rng(1).random((4, 2)) * (boxes[:, 2:] - boxes[:, :2])
    around = source_boxes(tps, bent, boxes, OUT, IN)
    points = source_points(tps, bent, inside, OUT, IN)
    assert around.shape == (2, 4, 4)
    assert (points > around[..., :2] - 0.4).all() and (points < around[..., 2:] + 0.4).all()


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("name", ["affine", "similarity", "attention-log", "projective"])
def test_opencv_reads_the_same_pixels(name: str, corners: bool) -> None:
    cv2 = pytest.importorskip("cv2")
    family, theta = some(name, 2)
    theta = theta.astype(np.float64)
    image = np.random.default_rng(0).random(IN).astype(np.float32)
    M = pixel_matrix(family, theta, OUT, IN, align_corners=corners)
    grid, _ = family(theta, OUT, align_corners=corners)
    V, _ = stn_np.grid_sample(image[None, None].repeat(2, 0), grid, align_corners=corners)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for n in range(2):
        theirs = [cv2.warpPerspective(image, M[n], OUT[::-1], flags=flags)]
        if name != "projective":
            theirs.append(cv2.warpAffine(image, M[n, :2], OUT[::-1], flags=flags))
        for warped in theirs:  # it rounds coordinates to 1/32 pixel
            np.testing.assert_allclose(V[n, 0], warped, atol=0.05)


@pytest.mark.parametrize("name", ["affine", "projective"])
def test_scipy_reads_the_same_pixels(name: str) -> None:
    """Its coordinates are (row, column); the numbers of scikit-image's `warp` are these too."""
    ndimage = pytest.importorskip("scipy.ndimage")
    family, theta = some(name, 1)
    image = np.random.default_rng(0).random(IN)
    M = pixel_matrix(family, theta, OUT, IN)[0]
    y, x = np.indices(OUT)
    s = np.einsum("ij,jhw->ihw", M, np.stack([x, y, np.ones(OUT)]))
    at = [s[1] / s[2], s[0] / s[2]]
    expected = ndimage.map_coordinates(image, at, order=1, mode="grid-constant")
    grid, _ = family(theta, OUT)
    V, _ = stn_np.grid_sample(image[None, None], grid)
    np.testing.assert_allclose(V[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("name", ["affine", "projective"])
def test_matrices_there_and_back(name: str, corners: bool) -> None:
    family, theta = some(name)
    rules = {"align_corners": corners}
    M = pixel_matrix(family, theta, OUT, IN, **rules)
    np.testing.assert_allclose(theta_of_matrix(family, 3 * M, OUT, IN, **rules), theta, atol=1e-12)
    if name == "affine":
        found = theta_of_matrix(family, M[:, :2], OUT, IN, **rules)
        np.testing.assert_allclose(found, theta, atol=1e-12)


def test_behind_the_horizon_there_is_nothing() -> None:
    theta = np.array([[1, 0, 0, 0, 1, 0, 2.0, 0]])
    found = source_points(
        transforms.Projective(), theta, [[-0.9, 0], [0.9, 0]], OUT, units="normalised"
    )
    assert np.isnan(found[0, 0]).all()
    np.testing.assert_allclose(found[0, 1], [0.9 / 2.8, 0])


@pytest.mark.parametrize("tilt", [0.5, 0.8])
def test_a_corner_behind_the_horizon_spoils_nothing_else(tilt: float) -> None:
    """There pixel (0, 0), by which matrices are usually divided, has no place."""
    projective, theta = transforms.Projective(), np.array([[1, 0, 1.5, 0, 1, 0, tilt, tilt]])
    seen = np.array([[4.0, 3], [8, 6], [5, 5]])
    sources = source_points(projective, theta, seen, OUT, IN)
    np.testing.assert_allclose(
        target_points(projective, theta, sources, OUT, IN), seen[None], atol=1e-9
    )
    M = pixel_matrix(projective, theta, OUT, IN)
    assert np.isfinite(M).all()
    for sign in (1, -1):
        np.testing.assert_allclose(theta_of_matrix(projective, sign * M, OUT, IN), theta, atol=1e-9)


def test_what_cannot_be_undone_is_named() -> None:
    affine, points = transforms.Affine(), np.zeros((1, 2))
    flat = np.array([affine.identity, [1, 0, 0, 0, 0, 0]])
    with pytest.raises(ValueError, match="theta: expected maps that can be inverted, got map 1"):
        target_points(affine, flat, points, OUT)
    flow = transforms.Flow(OUT)
    folded = np.array([flow.identity, flow.identity])
    folded[1].reshape(2, *OUT)[0, :, 4] += 0.9
    with pytest.raises(
        ValueError, match=r"do not fold within the output, got map 1, which does at \d"
    ):
        target_points(flow, folded, points, OUT)
    still = np.array([flow.identity])
    far = target_points(flow, still, [[50.0, -20]], OUT)  # continued from the outermost pixels
    np.testing.assert_allclose(far, [[[50, -20]]], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"theta": np.ones((2, 5))}, r"theta: expected shape \(N, 6\), got"),
        (
            {"points": np.ones((3, 3))},
            r"points: expected numbers \(M, 2\) or \(N, M, 2\), got float64",
        ),
        (
            {"points": np.ones((5, 3, 2))},
            r"points: expected \(M, 2\) or \(2, M, 2\), as many as theta",
        ),
        ({"points": [["a", "b"]]}, "points: expected numbers"),
        ({"out_shape": (0, 3)}, "out_shape: expected at least 1"),
        ({"in_shape": 5}, "in_shape: expected a pair"),
        ({"units": "metres"}, "units: expected one of 'pixels', 'normalised', got 'metres'"),
        ({"align_corners": 1}, "align_corners: expected True or False"),
    ],
)
@pytest.mark.parametrize("function", [source_points, target_points])
def test_wrong_arguments(function: Any, change: dict, match: str) -> None:
    given = {"theta": np.tile(transforms.Affine().identity, (2, 1)), "points": np.ones((1, 2))}
    with pytest.raises((TypeError, ValueError), match=match):
        function(transforms.Affine(), **{"out_shape": OUT, **given, **change})


def test_wrong_matrices() -> None:
    tps, theta = some("tps")
    with pytest.raises(ValueError, match="expected a family with matrices, got 'tps'"):
        pixel_matrix(tps, theta, OUT)
    with pytest.raises(TypeError, match=r"expected Affine\(\) or Projective\(\), got ThinPlate"):
        theta_of_matrix(tps, np.eye(3)[None], OUT)
    for shape in ((3, 3), (1, 2, 2), (1, 4, 4)):
        with pytest.raises(ValueError, match="matrix: expected"):
            theta_of_matrix(transforms.Affine(), np.ones(shape), OUT)
    bent = np.eye(3)[None] + [[[0, 0, 0], [0, 0, 0], [0.01, 0, 0]]]
    with pytest.raises(ValueError, match="expected affine maps, got a last row with"):
        theta_of_matrix(transforms.Affine(), bent, OUT)
    with pytest.raises(ValueError, match="the middle of the output off the horizon"):
        theta_of_matrix(transforms.Projective(), np.diag([1.0, 1, 0])[None], OUT)
    with pytest.raises(ValueError, match="boxes: expected"):
        source_boxes(transforms.Affine(), np.ones((1, 6)), [[1, 2, 3]], OUT)


@pytest.mark.parametrize(
    ("name", "spread", "seed"),
    [("piecewise-affine", 0.15, 147), ("flow", 0.08, 122), ("flow", 0.08, 123)],
)
def test_from_the_nearest_pixel_newton_may_go_in_circles(
    name: str, spread: float, seed: int
) -> None:
    """These bent maps need another start."""
    rng, family = np.random.default_rng(seed), transforms.by_name(name, OUT)
    theta = family.identity + spread * rng.normal(size=(1, family.n_params))
    points = rng.random((1, 10, 2)) * [8, 6]
    sources = source_points(family, theta, points, OUT)
    found = target_points(family, theta, sources, OUT)
    np.testing.assert_allclose(source_points(family, theta, found, OUT), sources, atol=TOLERANCE)
