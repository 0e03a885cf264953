"""The sampler alone against ``torch.nn.functional.grid_sample``: forward and backward.

Bilinear sampling at six sizes, then the other modes, and volumes. Forward is measured without
gradients (``torch.no_grad``, ``needs_dU=needs_dgrid=False``) and as in training, when it also
prepares the backward pass. The last row is a large picture against OpenCV's ``remap``, where OpenCV
is installed. `all.py` measures NumPy's path and, where Numba is installed, the compiled loops.
Run:  python benchmarks/sampler.py
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import arguments, medians, report
from speed_tables import Row

import stn_np

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


def compare(mode: str, U_shape: tuple[int, ...], out: tuple[int, ...], rounds: int) -> list[Row]:
    """The rows of one case: one for each pass."""
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
    group = "bilinear" if (mode, len(out)) == ("bilinear", 2) else "others"
    size = f"{U_shape} to {'x'.join(map(str, out))}"
    found: list[Row] = []
    for name, sides in passes.items():
        t = medians(sides, rounds)
        row = {"group": group, "mode": mode, "size": size, "pass": name}
        row |= {f"{side}_ms": 1e3 * seconds for side, seconds in t.items()}
        found.append({**row, "ratio": t["ours"] / t["torch"]})
    return found


def compare_with_opencv(rounds: int) -> list[Row]:
    """The row of one large picture, read through a map: OpenCV wants (H, W, C) and pixels."""
    try:
        import cv2
    except ImportError:
        return []
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
    row = {"group": "opencv", "mode": "bilinear", "size": "(1, 3, 2048, 2048) to 2048x2048"}
    row |= {
        "pass": "forward, no gradients",
        "ours_ms": 1e3 * t["ours"],
        "remap_ms": 1e3 * t["remap"],
    }
    return [{**row, "ratio": t["ours"] / t["remap"]}]


def rows(rounds: int) -> list[Row]:
    """The rows of all cases."""
    found = [row for case in CASES for row in compare(*case, rounds)]
    return found + compare_with_opencv(min(rounds, 9))


def main() -> None:
    """Print the tables."""
    report("sampler", rows, arguments(__doc__, rounds=31))


if __name__ == "__main__":
    main()
