"""The bilinear sampler alone against ``torch.nn.functional.grid_sample``: forward and backward.

Forward is measured twice: without gradients (``torch.no_grad``, ``needs_dU=needs_dgrid=False``),
and as in training, when it also prepares the backward pass.
Run:  python benchmarks/sampler.py
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import machine, medians

import stn_np
from stn_np.backend import keep_freed_memory

SIZES = [
    ((256, 1, 28, 28), (28, 28)),
    ((256, 1, 60, 60), (28, 28)),
    ((64, 32, 28, 28), (28, 28)),
    ((16, 64, 64, 64), (64, 64)),
    ((8, 3, 224, 224), (224, 224)),
    ((1, 3, 1024, 1024), (1024, 1024)),
]


def inputs(U_shape: tuple[int, ...], out: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """An image batch, a mild affine grid for each image (some points fall outside), and dV."""
    rng = np.random.default_rng(0)
    N, C = U_shape[:2]
    U = rng.random(U_shape, dtype=np.float32)
    theta = np.array([[0.9, 0.3, 0.05], [-0.3, 0.9, -0.1]]) + 0.05 * rng.standard_normal((N, 2, 3))
    grid, _ = stn_np.affine_grid(theta.astype(np.float32), out)
    return U, grid, rng.standard_normal((N, C, *out), dtype=np.float32)


def compare(U_shape: tuple[int, ...], out: tuple[int, int], rounds: int) -> None:
    """Print the rows of one size."""
    U, grid, dV = inputs(U_shape, out)
    U_t = torch.from_numpy(U).requires_grad_()
    grid_t = torch.from_numpy(np.ascontiguousarray(grid)).requires_grad_()
    dV_t = torch.from_numpy(dV)

    V, backward = stn_np.grid_sample(U, grid)
    V_t = F.grid_sample(U_t, grid_t, align_corners=True)
    np.testing.assert_allclose(V, V_t.detach().numpy(), atol=1e-3)  # the same task

    def torch_without_gradients() -> object:
        with torch.no_grad():
            return F.grid_sample(U_t, grid_t, align_corners=True)

    passes = {
        "forward, no gradients": {
            "ours": lambda: stn_np.grid_sample(U, grid, needs_dU=False, needs_dgrid=False),
            "torch": torch_without_gradients,
        },
        "forward": {
            "ours": lambda: stn_np.grid_sample(U, grid),
            "torch": lambda: F.grid_sample(U_t, grid_t, align_corners=True),
        },
        "backward": {
            "ours": lambda: backward(dV),
            "torch": lambda: torch.autograd.grad(V_t, (U_t, grid_t), dV_t, retain_graph=True),
        },
    }
    for name, sides in passes.items():
        t = medians(sides, rounds)
        size = f"{U_shape} to {out[0]}x{out[1]}"
        print(
            f"| {size} | {name} | {1e3 * t['ours']:.2f} | {1e3 * t['torch']:.2f} "
            f"| {t['ours'] / t['torch']:.2f} |",
            flush=True,
        )


def main() -> None:
    """Print the table of all sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    keep_freed_memory()  # for both: PyTorch's CPU arrays come from the same C library
    print(
        machine(), "\n\n| size | pass | stn_np, ms | PyTorch, ms | ratio |\n|---|---|---|---|---|"
    )
    for U_shape, out in SIZES:
        compare(U_shape, out, rounds)


if __name__ == "__main__":
    main()
