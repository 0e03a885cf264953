"""The affine grid generator against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import CORNERS, FLOATS, assert_close

import stn_np


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")  # PyTorch's, at axes of one pixel
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("corners", CORNERS)
def test_values_and_gradient(xp: Any, rng: Any, corners: bool, dtype: Any) -> None:
    for shape in [(1, 1), (1, 5), (4, 1), (6, 9), (28, 42)]:
        torch = pytest.importorskip("torch")
        theta = rng.normal(size=(3, 2, 3)).astype(dtype)
        grid, backward = stn_np.affine_grid(xp.asarray(theta), shape, align_corners=corners)
        leaf = torch.tensor(theta, requires_grad=True)
        expected = torch.nn.functional.affine_grid(leaf, (3, 1, *shape), corners)
        tolerance = 2e-6 if dtype == np.float32 else 1e-14
        assert_close(grid, expected.detach().numpy(), tolerance)
        dgrid = rng.normal(size=grid.shape).astype(dtype)
        expected.backward(torch.tensor(dgrid))
        assert_close(backward(xp.asarray(dgrid)), leaf.grad.numpy(), tolerance)
