"""Grid generators: theta to sampling grid, one family a file (section 3.2 of the paper)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import NDArray

from stn_np.backend import Array, Backward
from stn_np.checks import check_choice
from stn_np.transforms.affine import Affine, Affine3d, MatrixFamily, affine_grid
from stn_np.transforms.attention import Attention
from stn_np.transforms.flow import Flow
from stn_np.transforms.groups.affine_natural import AffineNatural
from stn_np.transforms.groups.group import Group
from stn_np.transforms.groups.log_scale import LogScale
from stn_np.transforms.linear_basis import LinearBasis, linear_basis_grid
from stn_np.transforms.piecewise_affine import PiecewiseAffine
from stn_np.transforms.polynomial import polynomial
from stn_np.transforms.projective import Projective
from stn_np.transforms.similarity import Similarity
from stn_np.transforms.thin_plate_spline import ThinPlateSpline
from stn_np.transforms.translation import Translation


class Transform(Protocol):
    """What every family of transformations offers.

    `name` is its name on the command line, `n_params` how many numbers theta has, and `identity`
    (n_params,) the theta that leaves the image as it is.
    """

    name: str
    n_params: int
    identity: NDArray[Any]

    def __call__(
        self, theta: Array, out_shape: Any, *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, n_params) to grid (N, H', W', 2); backward(dgrid) returns dtheta.

        out_shape is (H', W') in pixels. `Affine3d` takes (D', H', W'), for (N, D', H', W', 3).
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
    """The family called `name` on the command line, one of `FAMILIES`.

    out_shape is (H', W') of the output, in pixels, for the families that are tied to one.
    ValueError if it is missing, or if there is no such family (the message suggests the nearest).
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
