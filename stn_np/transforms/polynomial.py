"""Polynomial warps: the linear basis of all monomials up to a degree."""

from __future__ import annotations

import numpy as np

from stn_np.checks import check_flag, check_size, check_size_pair
from stn_np.module import Parameter
from stn_np.transforms.linear_basis import LinearBasis
from stn_np.transforms.target_grid import homogeneous_grid

#: There are 153 monomials up to this degree, and those of one parity hardly differ any more.
MAX_DEGREE = 16


def polynomial(
    out_shape: tuple[int, int],
    degree: int = 2,
    *,
    align_corners: bool = True,
    learned: bool = False,
) -> LinearBasis:
    """Make a linear basis of all monomials in x_t and y_t up to a degree.

    Parameters
    ----------
    out_shape : tuple of int
        (H', W') of the output, in pixels.
    degree : int
        The highest total degree, from 1 to 16. Degree 2: the rows are 1, x, y, x^2, xy, y^2.
    align_corners : bool
        The corner rule of the target grid; calls have to use the same.
    learned : bool
        Whether the basis is a parameter that is trained, or stays as it is.

    Returns
    -------
    LinearBasis
        With (degree + 1)(degree + 2) numbers in theta; the basis is float64.

    Raises
    ------
    TypeError, ValueError
        If degree or a size is no whole number, or is below 1, or degree above 16.
    """
    H, W = check_size_pair("out_shape", out_shape)
    check_flag("learned", learned)
    check_size("degree", degree)
    degree = int(degree)  # a NumPy integer may overflow below
    if degree > MAX_DEGREE:
        raise ValueError(f"degree: expected at most {MAX_DEGREE}, got {degree}")
    x, y, _ = homogeneous_grid(np, (H, W), align_corners=align_corners, dtype=np.float64)
    rows = [x ** (n - j) * y**j for n in range(degree + 1) for j in range(n + 1)]
    B = np.stack(rows).reshape(-1, H, W)
    return LinearBasis(Parameter(B) if learned else B, align_corners=align_corners)
