"""Points and boxes through theta, both ways; and theta as OpenCV and scikit-image write it.

A grid says for every pixel of the output where in the input it is read. Here the same map is asked
for single points: where in the input does a point of the output come from (`source_points`), and
where in the output is a point of the input seen (`target_points`).

**Convention.** Points are (x, y). In pixels (0, 0) is the *centre* of the upper left one, under
both corner rules, as in OpenCV, scikit-image and matplotlib. Normalised coordinates run over
[-1, 1], from centre to centre (``align_corners=True``) or from edge to edge.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stn_np.backend import Array, to_numpy
from stn_np.checks import check_array, check_choice, check_flag, check_size_pair, format_shape
from stn_np.transforms import Affine, MatrixFamily, Projective, Transform
from stn_np.transforms.control_points import ControlPointTransform

Float64: TypeAlias = NDArray[Any]
Units: TypeAlias = Literal["pixels", "normalised"]
Size: TypeAlias = tuple[int, int]

#: How near the source of a point that `target_points` finds lies to what was asked, in pixels.
TOLERANCE = 1e-6
#: Newton's steps, and from how many pixels it is tried.
STEPS, STARTS = 30, 9
#: Half the step of a central difference, in normalised coordinates.
EPS = 1e-6


def source_points(
    transform: Transform,
    theta: Array,
    points: Array,
    out_shape: Size,
    in_shape: Size | None = None,
    *,
    units: Units = "pixels",
    align_corners: bool = True,
) -> Float64:
    """Where in the input points of the output are read: T_theta itself.

    Parameters
    ----------
    transform
        The family.
    theta
        (N, n_params).
    points
        (M, 2), the same for all maps, or (N, M, 2): places (x, y) in the output. They may lie
        between pixels, and outside.
    out_shape, in_shape
        (H', W') of the output and (H, W) of the input, in pixels; by default they are equal.
    units
        "pixels" or "normalised", for points and result.
    align_corners
        As in the call that made the grid.

    Returns
    -------
    NDArray of float64
        (N, M, 2), places in the input. NaN behind the horizon of a projective map.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, shape or name.

    Notes
    -----
    At the centres of pixels these are the grid's numbers. Families that are made for one output
    size (flow, linear-basis) are known there only: between four pixels they are interpolated, and
    outside continued from the outermost four.
    """
    task = _Task(transform, theta, out_shape, in_shape, units, align_corners)
    target = task.normalised(task.checked(points), task.out_shape)
    return task.told(task.source(target), task.in_shape)


def target_points(
    transform: Transform,
    theta: Array,
    points: Array,
    out_shape: Size,
    in_shape: Size | None = None,
    *,
    units: Units = "pixels",
    align_corners: bool = True,
) -> Float64:
    """Where in the output points of the input are seen: the inverse of T_theta.

    Parameters
    ----------
    transform, theta, out_shape, in_shape, units, align_corners
        As in `source_points`.
    points
        (M, 2) or (N, M, 2): places (x, y) in the input.

    Returns
    -------
    NDArray of float64
        (N, M, 2), places in the output; outside it for what the output does not show.

    Raises
    ------
    TypeError, ValueError
        As `source_points`; if a map has no inverse; if one folds within the output, so that a point
        may be seen twice; or if no place is found. The message says which.

    Notes
    -----
    Of families with matrices the inverse is a matrix. For the others Newton's method looks for a
    place whose source is less than `TOLERANCE` pixels away from the point, beginning at the pixel
    whose source is nearest, if need be at one of the next.
    """
    task = _Task(transform, theta, out_shape, in_shape, units, align_corners)
    source = task.normalised(task.checked(points), task.in_shape)
    matrices = task.matrices()
    found = task.search(source) if matrices is None else _through(_inverse(matrices), source)
    return task.told(found, task.out_shape)


def source_boxes(
    transform: Transform, theta: Array, boxes: Array, out_shape: Size, *args: Any, **kwargs: Any
) -> Float64:
    """The smallest upright boxes in the input that hold the corners of boxes in the output.

    Parameters
    ----------
    boxes
        (M, 4) or (N, M, 4): x and y of the upper left corner, then of the lower right one.
    transform, theta, out_shape, *args, **kwargs
        As in `source_points`.

    Returns
    -------
    NDArray of float64
        (N, M, 4). All that is in the box lies in it as well, if lines stay lines.
    """
    return _around(source_points(transform, theta, _corners(boxes), out_shape, *args, **kwargs))


def target_boxes(
    transform: Transform, theta: Array, boxes: Array, out_shape: Size, *args: Any, **kwargs: Any
) -> Float64:
    """The same the other way: boxes in the input to boxes in the output. See `target_points`."""
    return _around(target_points(transform, theta, _corners(boxes), out_shape, *args, **kwargs))


def _corners(boxes: Array) -> Float64:
    """(..., M, 4) to the four corners (..., 4 M, 2), once round each."""
    x = np.asarray(to_numpy(boxes) if hasattr(boxes, "dtype") else boxes, np.float64)
    if x.ndim not in (2, 3) or x.shape[-1] != 4:
        raise ValueError(f"boxes: expected (M, 4) or (N, M, 4), got {format_shape(x.shape)}")
    return x[..., [[0, 1], [2, 1], [2, 3], [0, 3]]].reshape(*x.shape[:-2], -1, 2)


def _around(corners: Float64) -> Float64:
    each = corners.reshape(len(corners), -1, 4, 2)
    return np.concatenate([each.min(axis=2), each.max(axis=2)], axis=2)


# ------------------------------------------------------------------- as others write the same map


def pixel_matrix(
    transform: Transform,
    theta: Array,
    out_shape: Size,
    in_shape: Size | None = None,
    *,
    align_corners: bool = True,
) -> Float64:
    """The map from pixels of the output to pixels of the input as matrices (N, 3, 3).

    They go backward, as theta does. OpenCV takes them with ``cv2.WARP_INVERSE_MAP``:
    ``cv2.warpPerspective(image, M, (W', H'), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)``, or
    ``cv2.warpAffine`` with ``M[:2]`` (the last entry of M is 1, unless pixel (0, 0) lies on the
    horizon or behind it); scikit-image as they are: ``skimage.transform.warp(image, M,
    order=1, output_shape=(H', W'))``.

    Raises
    ------
    TypeError, ValueError
        As `source_points`; or if the family has no matrices (tps, piecewise-affine, flow, ...).
    """
    task = _Task(transform, theta, out_shape, in_shape, "pixels", align_corners)
    matrices = task.matrices()
    if matrices is None:
        raise ValueError(f"transform: expected a family with matrices, got {transform.name!r}")
    into, out_of = task.to_pixels(task.in_shape), np.linalg.inv(task.to_pixels(task.out_shape))
    M: Float64 = into @ matrices @ out_of
    last, size = M[:, 2:, 2:], abs(M).max(axis=(1, 2), keepdims=True)
    return M / np.where(last > 1e-6 * size, last, size)


def theta_of_matrix(
    transform: Affine | Projective,
    matrix: Array,
    out_shape: Size,
    in_shape: Size | None = None,
    *,
    align_corners: bool = True,
) -> Float64:
    """The inverse of `pixel_matrix`: theta (N, n_params) for matrices (N, 3, 3), or (N, 2, 3).

    Parameters
    ----------
    transform
        `Affine` or `Projective`.
    matrix
        From pixels of the output to pixels of the input. A matrix that OpenCV takes without
        ``WARP_INVERSE_MAP``, or that is scikit-image's ``tform.params`` of a map from input to
        output, must be inverted before.
    out_shape, in_shape, align_corners
        As in `source_points`.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape; if the family is another one; or if the matrix is
        not affine and the family is, or the middle of the output lies on the horizon.
    """
    if not isinstance(transform, Affine | Projective):
        raise TypeError(f"transform: expected Affine() or Projective(), got {transform!r}")
    M = np.asarray(to_numpy(matrix) if hasattr(matrix, "dtype") else matrix, np.float64)
    if M.ndim != 3 or M.shape[1:] not in ((2, 3), (3, 3)):
        raise ValueError(f"matrix: expected (N, 3, 3) or (N, 2, 3), got {format_shape(M.shape)}")
    if M.shape[1] == 2:
        M = np.concatenate([M, np.broadcast_to([[[0.0, 0, 1]]], (len(M), 1, 3))], axis=1)
    identity = np.tile(transform.identity, (len(M), 1))
    task = _Task(transform, identity, out_shape, in_shape, "pixels", align_corners)
    A = np.linalg.inv(task.to_pixels(task.in_shape)) @ M @ task.to_pixels(task.out_shape)
    last = A[:, 2:, 2:]
    if not (abs(last) > 1e-12 * abs(A).max(axis=(1, 2), keepdims=True)).all():
        raise ValueError("matrix: expected the middle of the output off the horizon")
    A = A / last
    if isinstance(transform, Affine):
        if (bent := abs(A[:, 2, :2]).max(initial=0)) > 1e-9:
            raise ValueError(f"matrix: expected affine maps, got a last row with {bent:.3g}")
        return A[:, :2].reshape(len(A), 6)
    return A.reshape(len(A), 9)[:, :8]


# --------------------------------------------------------------------------------------- inside


class _Task:
    """The arguments that all have in common, checked."""

    def __init__(
        self,
        transform: Transform,
        theta: Array,
        out_shape: Size,
        in_shape: Size | None,
        units: Units,
        align_corners: bool,
    ) -> None:
        check_array("theta", theta, ("N", transform.n_params))
        check_choice("units", units, ("pixels", "normalised"))
        check_flag("align_corners", align_corners)
        self.transform, self.theta = transform, to_numpy(theta).astype(np.float64)
        self.out_shape = check_size_pair("out_shape", out_shape)
        self.in_shape = self.out_shape
        if in_shape is not None:
            self.in_shape = check_size_pair("in_shape", in_shape)
        self.units, self.align_corners = units, align_corners

    def checked(self, points: Array) -> Float64:
        """(N, M, 2)."""
        x = np.asarray(to_numpy(points) if hasattr(points, "dtype") else points)
        N = len(self.theta)
        if x.dtype.kind not in "fiu" or x.shape[-1:] != (2,) or x.ndim not in (2, 3):
            got = f"{x.dtype} {format_shape(x.shape)}"
            raise ValueError(f"points: expected numbers (M, 2) or (N, M, 2), got {got}")
        if x.ndim == 3 and len(x) != N:
            got = format_shape(x.shape)
            raise ValueError(f"points: expected (M, 2) or ({N}, M, 2), as many as theta, got {got}")
        return np.broadcast_to(x.astype(np.float64), (N, *x.shape[-2:]))

    def to_pixels(self, size: Size) -> Float64:
        """The matrix (3, 3) from normalised coordinates to pixels of an image of (H, W)."""
        T = np.eye(3)
        for axis, length in enumerate(reversed(size)):
            T[axis, axis] = max(length - 1, 1) / 2 if self.align_corners else length / 2
            T[axis, 2] = (length - 1) / 2
        return T

    def normalised(self, points: Float64, size: Size) -> Float64:
        """Points in the user's units, in an image of (H, W), to [-1, 1]."""
        if self.units == "normalised":
            return points
        return _through(np.linalg.inv(self.to_pixels(size))[None], points)

    def told(self, points: Float64, size: Size) -> Float64:
        """The reverse."""
        return (
            points if self.units == "normalised" else _through(self.to_pixels(size)[None], points)
        )

    def matrices(self) -> Float64 | None:
        """T_theta as (N, 3, 3), if that is what it is."""
        N = len(self.theta)
        if isinstance(self.transform, MatrixFamily):
            rule = {"align_corners": self.align_corners}
            A, _ = self.transform.matrix(self.theta, self.out_shape, **rule)
            return np.concatenate([A, np.broadcast_to([[[0.0, 0, 1]]], (N, 1, 3))], axis=1)
        if isinstance(self.transform, Projective):
            return np.concatenate([self.theta, np.ones((N, 1))], axis=1).reshape(N, 3, 3)
        return None

    def source(self, t: Float64) -> Float64:
        """T_theta(t), both (N, M, 2) and normalised."""
        if (matrices := self.matrices()) is not None:
            return _through(matrices, t)
        if isinstance(self.transform, ControlPointTransform):
            weights = self.transform.weights(t.reshape(-1, 2)).reshape(-1, *t.shape[:2])
            moved = (self.theta - self.transform.identity).reshape(len(t), -1, 2)
            return t + np.einsum("knm,nkc->nmc", weights, moved)  # type: ignore[no-any-return]
        return self._interpolated(t)

    def grid(self) -> Float64:
        """What the family itself makes, (N, H', W', 2)."""
        grid, _ = self.transform(self.theta, self.out_shape, align_corners=self.align_corners)
        return grid

    def _interpolated(self, t: Float64) -> Float64:
        """Between the four pixels of the grid round each point, or the nearest four."""
        grid, pixels = self.grid(), _through(self.to_pixels(self.out_shape)[None], t)
        n = np.arange(len(t))[:, None]
        last = np.maximum(np.array(self.out_shape[::-1]) - 2, 0)
        corner = np.clip(np.floor(np.nan_to_num(pixels)), 0, last).astype(int)
        share = pixels - corner
        total = np.zeros_like(t)
        for down in (0, 1):
            for right in (0, 1):
                x = np.minimum(corner[..., 0] + right, self.out_shape[1] - 1)
                y = np.minimum(corner[..., 1] + down, self.out_shape[0] - 1)
                weights = (share if right else 1 - share)[..., 0] * (share if down else 1 - share)[
                    ..., 1
                ]
                total += weights[..., None] * grid[n, y, x]
        return total

    def search(self, wanted: Float64) -> Float64:
        """The t with T_theta(t) = wanted, by Newton's method from the pixels read nearest to it."""
        grid = self.grid()
        _refuse_folds(grid)
        per_unit = np.diag(self.to_pixels(self.in_shape))[:2]
        places = self.normalised_centres()
        starts = min(STARTS, len(places))
        nearest = np.empty((*wanted.shape[:2], starts), int)
        for n, m in np.ndindex(wanted.shape[:2]):
            far = (((grid[n].reshape(-1, 2) - wanted[n, m]) * per_unit) ** 2).sum(axis=1)
            nearest[n, m] = far.argsort(kind="stable")[:starts]
        t, miss = places[nearest[..., 0]], np.full(wanted.shape[:2], np.inf)
        for start in np.moveaxis(nearest, -1, 0):
            found = self._newton(places[start], wanted, per_unit)
            now = self._miss(found, wanted, per_unit)
            t, miss = np.where((now < miss)[..., None], found, t), np.minimum(now, miss)
            if (miss < TOLERANCE).all():
                return t
        n, m = divmod(int(miss.argmax()), wanted.shape[1])
        raise ValueError(
            f"points: no place in the output of map {n} is read from point {m}; the nearest that "
            f"was found misses it by {miss[n, m]:.3g} pixels"
        )

    def _newton(self, t: Float64, wanted: Float64, per_unit: Float64) -> Float64:
        """Steps from t, until all have arrived."""
        for _ in range(STEPS):
            if (self._miss(t, wanted, per_unit) < TOLERANCE).all():
                break
            columns = [
                (self.source(t + EPS * unit) - self.source(t - EPS * unit)) / (2 * EPS)
                for unit in np.eye(2)
            ]
            t = t - _solve(np.stack(columns, axis=-1), self.source(t) - wanted)
        return t

    def _miss(self, t: Float64, wanted: Float64, per_unit: Float64) -> Float64:
        """How far T_theta(t) lies from where it should, in pixels (N, M)."""
        off = abs((self.source(t) - wanted) * per_unit).max(axis=2)
        return np.where(np.isfinite(off), off, np.inf)

    def normalised_centres(self) -> Float64:
        """(H' W', 2), row after row."""
        H, W = self.out_shape
        pixels = np.stack(np.meshgrid(np.arange(W), np.arange(H)), axis=-1).reshape(1, -1, 2)
        return _through(np.linalg.inv(self.to_pixels(self.out_shape))[None], pixels * 1.0)[0]  # type: ignore[no-any-return]


def _through(matrices: Float64, points: Float64) -> Float64:
    """Points (N, M, 2) by matrices (N or 1, 3, 3); NaN behind the horizon."""
    with np.errstate(all="ignore"):
        s = points @ matrices[:, :2, :2].swapaxes(1, 2) + matrices[:, None, :2, 2]
        w = points @ matrices[:, 2, :2, None] + matrices[:, 2, 2, None, None]
        return np.where(w > 0, s / w, np.nan)


def _inverse(matrices: Float64) -> Float64:
    """Of (N, 3, 3), refused where rounding would be all that is left."""
    with np.errstate(all="ignore"):
        lost = ~(np.linalg.cond(matrices) < 1e14)
    if lost.any():
        which = int(np.flatnonzero(lost)[0])
        raise ValueError(
            f"theta: expected maps that can be inverted, got map {which}, which cannot"
        )
    return np.linalg.inv(matrices)  # its last row gives 1 / w: what lies in front stays in front


def _refuse_folds(grid: Float64) -> None:
    """The grid must keep one orientation: else some places of the input are read more than once."""
    right, down = np.diff(grid, axis=2)[:, :-1], np.diff(grid, axis=1)[:, :, :-1]
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    if not area.size:
        return
    usual = np.sign(np.median(area, axis=(1, 2), keepdims=True))
    against = (np.sign(area) != usual).sum(axis=(1, 2))
    if against.any():
        n = int(against.argmax())
        raise ValueError(
            f"theta: expected maps that do not fold within the output, got map {n}, which does at "
            f"{against[n]} of {area[n].size} pixels"
        )


def _solve(J: Float64, right: Float64) -> Float64:
    """J^-1 right for (N, M, 2, 2); where J is singular, nothing."""
    det = J[..., 0, 0] * J[..., 1, 1] - J[..., 0, 1] * J[..., 1, 0]
    x = J[..., 1, 1] * right[..., 0] - J[..., 0, 1] * right[..., 1]
    y = J[..., 0, 0] * right[..., 1] - J[..., 1, 0] * right[..., 0]
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.stack([x, y], axis=-1) / det[..., None], posinf=0, neginf=0)  # type: ignore[no-any-return]
