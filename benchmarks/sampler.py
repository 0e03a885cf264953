"""The sampler alone against ``torch.nn.functional.grid_sample``: forward and backward.

Bilinear sampling at six sizes, then the other modes, and volumes. Forward is measured without
gradients (``torch.no_grad``, ``needs_dU=needs_dgrid=False``) and as in training, when it also
prepares the backward pass. The last row is a large picture against OpenCV's ``remap``, where OpenCV
is installed. ``stn-np info`` says which path is measured.
Run:  python benchmarks/sampler.py
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import machine, medians

import stn_np
from stn_np.training.memory import keep_freed_memory

#: Mode, shape of U, and (H', W') or (D', H', W').
CASES = [
    ("bilinear", (256, 1, 28, 28), (28, 28)),
    ("bilinear", (256, 1, 60, 60), (28, 28)),
    ("bilinear", (64, 32, 28, 28), (28, 28)),
    ("bilinear", (16, 64, 64, 64), (64, 64)),
    ("bilinear", (8, 3, 224, 224), (224, 224)),
    ("bilinear", (1, 3, 1024, 1024), (1024, 1024)),
    ("nearest", (256, 1, 28, 28), (28, 28)),
    ("nearest", (64, 3, 64, 64), (64, 64)),
    ("bicubic", (256, 1, 28, 28), (28, 28)),
    ("bicubic", (64, 3, 64, 64), (64, 64)),
    ("bilinear", (4, 2, 32, 32, 32), (32, 32, 32)),
    ("nearest", (4, 2, 32, 32, 32), (32, 32, 32)),
]


def inputs(U_shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """An image batch, a mild affine grid for each image (some points fall outside), and dV."""
    rng = np.random.default_rng(0)
    (N, C), n = U_shape[:2], len(out)
    U = rng.random(U_shape, dtype=np.float32)
    theta = np.eye(n, n + 1) * 0.9
    theta[0, 1], theta[1, 0], theta[0, n], theta[1, n] = 0.3, -0.3, 0.05, -0.1
    theta = theta + 0.05 * rng.standard_normal((N, n, n + 1))
    grid, _ = stn_np.affine_grid(theta.astype(np.float32), out)
    return U, grid, rng.standard_normal((N, C, *out), dtype=np.float32)


def compare(mode: str, U_shape: tuple[int, ...], out: tuple[int, ...], rounds: int) -> None:
    """Print the rows of one case."""
    U, grid, dV = inputs(U_shape, out)
    U_t = torch.from_numpy(U).requires_grad_()
    grid_t = torch.from_numpy(np.ascontiguousarray(grid)).requires_grad_()
    dV_t = torch.from_numpy(dV)

    V, backward = stn_np.grid_sample(U, grid, mode=mode)
    V_t = F.grid_sample(U_t, grid_t, mode, align_corners=True)
    same = abs(V - V_t.detach().numpy()) < 1e-3
    assert same.mean() > 0.9999  # the same task; nearest may round the other way

    def torch_without_gradients() -> object:
        with torch.no_grad():
            return F.grid_sample(U_t, grid_t, mode, align_corners=True)

    passes = {
        "forward, no gradients": {
            "ours": lambda: stn_np.grid_sample(
                U, grid, mode=mode, needs_dU=False, needs_dgrid=False
            ),
            "torch": torch_without_gradients,
        },
        "forward": {
            "ours": lambda: stn_np.grid_sample(U, grid, mode=mode),
            "torch": lambda: F.grid_sample(U_t, grid_t, mode, align_corners=True),
        },
        "backward": {
            "ours": lambda: backward(dV),
            "torch": lambda: torch.autograd.grad(V_t, (U_t, grid_t), dV_t, retain_graph=True),
        },
    }
    for name, sides in passes.items():
        t = medians(sides, rounds)
        size = f"{U_shape} to {'x'.join(map(str, out))}"
        print(
            f"| {mode} | {size} | {name} | {1e3 * t['ours']:.2f} | {1e3 * t['torch']:.2f} "
            f"| {t['ours'] / t['torch']:.2f} |",
            flush=True,
        )


def compare_with_opencv(rounds: int) -> None:
    """Print the row of one large picture, read through a map: OpenCV wants (H, W, C) and pixels."""
    try:
        import cv2
    except ImportError:
        return
    U, grid, _ = inputs((1, 3, 2048, 2048), (2048, 2048))
    picture = np.ascontiguousarray(U[0].transpose(1, 2, 0))
    x, y = (np.ascontiguousarray((grid[0, ..., k] + 1) * (2047 / 2)) for k in (0, 1))

    def remap() -> np.ndarray:
        return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def ours() -> np.ndarray:
        return stn_np.grid_sample(U, grid, needs_dU=False, needs_dgrid=False)[0]

    # OpenCV knows points to 1/32 pixel only.
    assert np.quantile(abs(ours()[0].transpose(1, 2, 0) - remap()), 0.99) < 0.05
    t = medians({"ours": ours, "remap": remap}, rounds)
    print(
        f"| bilinear | (1, 3, 2048, 2048), against cv2.remap | forward, no gradients "
        f"| {1e3 * t['ours']:.2f} | {1e3 * t['remap']:.2f} | {t['ours'] / t['remap']:.2f} |"
    )


def main() -> None:
    """Print the table of all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    keep_freed_memory()  # for both: PyTorch's CPU arrays come from the same C library
    print(
        machine(),
        "\n\n| mode | size | pass | stn_np, ms | PyTorch, ms | ratio |\n|---|---|---|---|---|---|",
    )
    for case in CASES:
        compare(*case, rounds)
    compare_with_opencv(min(rounds, 9))


if __name__ == "__main__":
    main()
