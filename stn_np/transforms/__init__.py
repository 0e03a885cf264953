"""Grid generators: theta to sampling grid, one family a file (section 3.2 of the paper)."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from stn_np.backend import Array, Backward
from stn_np.checks import check_choice
from stn_np.transforms.affine import Affine, affine_grid
from stn_np.transforms.attention import Attention


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
        self, theta: Array, out_shape: tuple[int, int], *, align_corners: bool = True
    ) -> tuple[Array, Backward]:
        """Theta (N, n_params) to grid (N, H', W', 2); backward(dgrid) returns dtheta."""
        ...


FAMILIES: dict[str, type[Transform]] = {"affine": Affine, "attention": Attention}


def by_name(name: str) -> Transform:
    """The family called `name` on the command line.

    Raises
    ------
    ValueError
        If there is none; the message suggests the nearest.
    """
    check_choice("transform", name, FAMILIES)
    return FAMILIES[name]()


__all__ = ["FAMILIES", "Affine", "Attention", "Transform", "affine_grid", "by_name"]
