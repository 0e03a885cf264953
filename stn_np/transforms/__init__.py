"""Grid generators: theta to sampling grid, one family a file (section 3.2 of the paper)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import NDArray

from stn_np.backend import Array, Backward
from stn_np.checks import check_choice
from stn_np.transforms.affine import Affine, MatrixFamily, affine_grid
from stn_np.transforms.affine3d import Affine3d
from stn_np.transforms.affine_natural import AffineNatural
from stn_np.transforms.attention import Attention
from stn_np.transforms.flow import Flow
from stn_np.transforms.groups import PairBackward
from stn_np.transforms.linear_basis import LinearBasis, linear_basis_grid
from stn_np.transforms.log_scale import LogScale
from stn_np.transforms.piecewise_affine import PiecewiseAffine
from stn_np.transforms.polynomial import polynomial
from stn_np.transforms.projective import Projective
from stn_np.transforms.similarity import Similarity
from stn_np.transforms.thin_plate_spline import ThinPlateSpline
from stn_np.transforms.translation import Translation


class Transform(Protocol):
    """What every family of transformations offers.

    Attributes
    ----------
    name : str
        The name on the command line.
    n_params : int
        How many numbers theta has.
    identity : NDArray
        (n_params,) The theta that leaves the image as it is.
    """

    name: str
    n_params: int
    identity: NDArray[Any]

    def __call__(
        self, theta: Array, out_shape: Any, *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, n_params) to grid (N, H', W', 2); backward(dgrid) returns dtheta.

        out_shape is (H', W'), in pixels; for `Affine3d`, whose grid is (N, D', H', W', 3), it is
        (D', H', W').
        """
        ...


class Group(Protocol):
    """What families of maps offer besides that can be composed and inverted within the family.

    They are `Translation`, `Attention`, `Similarity` (both also with `LogScale`), `Affine`,
    `AffineNatural`, `Projective` and `Affine3d`.

    Where a map may have no inverse, or a composition no theta, they look at the numbers: on a GPU
    these calls wait for the result. Nothing in a training step makes them.
    """

    def compose(
        self,
        outer: Array,
        inner: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
    ) -> tuple[Array, PairBackward]:
        """The theta of the map T_outer(T_inner(t)).

        Parameters
        ----------
        outer, inner : Array
            (N, n_params), of one dtype.
        out_shape, align_corners
            As in the call. Only `Similarity` and `AffineNatural` look at them, whose maps depend on
            the image's proportions; they need out_shape unless they were built with in_shape.

        Returns
        -------
        theta : Array
            (N, n_params), in the same dtype.
        backward : callable
            backward(dtheta) returns (douter, dinner).

        Raises
        ------
        TypeError, ValueError
            If outer and inner are no such arrays. `Projective`: if the middle of the target does
            not lie in front of the horizon of the product, whose last entry then cannot be 1.
        """
        ...

    def inverse(
        self,
        theta: Array,
        *,
        out_shape: tuple[int, int] | None = None,
        align_corners: bool = True,
    ) -> tuple[Array, Backward]:
        """The theta of the inverse map: where T_theta reads t, it leads back from there to t.

        Parameters
        ----------
        theta : Array
            (N, n_params).
        out_shape, align_corners
            As in `compose`.

        Returns
        -------
        inverse : Array
            (N, n_params), in the same dtype.
        backward : callable
            backward(dinverse) returns dtheta.

        Raises
        ------
        TypeError
            If theta is no floating-point array.
        ValueError
            If its shape does not fit, or a map has no inverse: the message names its place in the
            batch, and its scale, determinant or condition number. `Projective`: as for `compose`.
        """
        ...


#: From the name on the command line to what makes the family.
FAMILIES: dict[str, Callable[..., Transform]] = {
    "affine": Affine,
    "translation": Translation,
    "attention": Attention,
    "attention-log": lambda: LogScale(Attention()),
    "similarity": Similarity,
    "similarity-log": lambda: LogScale(Similarity()),
    "affine-natural": AffineNatural,
    "projective": Projective,
    "tps": ThinPlateSpline,
    "piecewise-affine": PiecewiseAffine,
    "flow": Flow,
    "linear-basis": polynomial,
}

#: The names of those that are made for one output size, and so with out_shape.
FOR_ONE_SIZE = ("flow", "linear-basis")


def by_name(name: str, out_shape: tuple[int, int] | None = None) -> Transform:
    """The family called `name` on the command line.

    Parameters
    ----------
    name
        One of `FAMILIES`.
    out_shape
        (H', W') of the output, in pixels. Needed for the families that are tied to one.

    Raises
    ------
    ValueError
        If there is no such family (the message suggests the nearest), or out_shape is missing.
    """
    if name == Affine3d.name:
        raise ValueError(f"transform: expected a family for images, got {name!r}: use Affine3d()")
    check_choice("transform", name, FAMILIES)
    if name not in FOR_ONE_SIZE:
        return FAMILIES[name]()
    if out_shape is None:
        raise ValueError(f"out_shape: expected (height, width), which {name!r} needs, got None")
    return FAMILIES[name](out_shape)


__all__ = [
    "FAMILIES",
    "Affine",
    "Affine3d",
    "AffineNatural",
    "Attention",
    "Flow",
    "Group",
    "LinearBasis",
    "LogScale",
    "MatrixFamily",
    "PiecewiseAffine",
    "Projective",
    "Similarity",
    "ThinPlateSpline",
    "Transform",
    "Translation",
    "affine_grid",
    "by_name",
    "linear_basis_grid",
    "polynomial",
]
