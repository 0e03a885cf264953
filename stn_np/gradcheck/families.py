"""The families of transformations as operations to check: grids, groups, and in a transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stn_np.backend import Array
from stn_np.gradcheck.inputs import read_between_pixels
from stn_np.gradcheck.operation import Operation
from stn_np.gradcheck.parameters import parameters_as_inputs
from stn_np.layers import Flatten, Linear, Sequential
from stn_np.transformer import SpatialTransformer
from stn_np.transforms import FAMILIES, Affine3d, affine_grid, by_name, linear_basis_grid


def grids(rng: np.random.Generator) -> Iterator[Operation]:
    """Theta to grid: eqs (1) and (10), every family, and a basis that is learned."""
    for corners in (True, False):
        for title, shape in (("affine_grid", (5, 3)), ("affine_grid, volume", (3, 5, 4))):

            def grid(
                theta: Array, shape: tuple[int, ...] = shape, corners: bool = corners
            ) -> tuple[Array, Callable[..., Any]]:
                return affine_grid(theta, shape, align_corners=corners)

            n = len(shape)
            rule = "corners aligned" if corners else "corners not aligned"
            yield Operation(f"{title}, {rule}", grid, {"theta": rng.normal(size=(2, n, n + 1))})
    for name, transform, out_shape in _families((5, 3), (3, 5, 4)):
        yield Operation(
            f"transform {name}",
            lambda theta, f=transform, shape=out_shape: f(theta, shape),
            {"theta": _near_identity(rng, transform)},
        )
    basis = {"M": rng.normal(size=(2, 2, 4)), "B": rng.normal(size=(4, 5, 3))}
    yield Operation("linear_basis_grid", linear_basis_grid, basis)


def groups(rng: np.random.Generator) -> Iterator[Operation]:
    """Compositions and inverses of the families that have them."""
    for name, transform, out_shape in _families((5, 3), (3, 5, 4)):
        if not hasattr(transform, "compose"):
            continue
        yield Operation(
            f"compose, {name}",
            lambda outer, inner, f=transform.compose, shape=out_shape: f(
                outer, inner, out_shape=shape
            ),
            {"outer": _near_identity(rng, transform), "inner": _near_identity(rng, transform)},
        )
        yield Operation(
            f"inverse, {name}",
            lambda theta, f=transform.inverse, shape=out_shape: f(theta, out_shape=shape),
            {"theta": _near_identity(rng, transform)},
        )


def transformers(rng: np.random.Generator) -> Iterator[Operation]:
    """The whole spatial transformer with each family."""
    for name, transform, shape in _families((6, 7), (3, 5, 4)):
        U = rng.normal(size=(3, 2, *shape))
        dense = Linear(U[0].size, transform.n_params, rng=rng, dtype=np.float64)
        localisation = Sequential(flatten=Flatten(), regression=dense)
        transformer = SpatialTransformer(localisation, transform)
        read_between_pixels(transformer, rng, U)
        f, values = parameters_as_inputs(transformer)
        yield Operation(f"SpatialTransformer, {name}", f, {"U": U} | values)


def _families(
    image: tuple[int, int], volume: tuple[int, int, int]
) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    """Name, transform and shape of the output."""
    for name in FAMILIES:
        yield name, by_name(name, image), image
    yield Affine3d.name, Affine3d(), volume


def _near_identity(rng: np.random.Generator, transform: Any) -> Array:
    """Theta (2, n_params) that moves things clearly, but nowhere near a horizon or a scale of 0."""
    theta: Array = transform.identity + rng.uniform(-0.2, 0.2, (2, transform.n_params))
    return theta
