"""How many sectors of memory a warp touches, for the points' order: counted, not measured.

    python scripts/count_sectors.py

A GPU reads memory in sectors of 32 bytes. Counted for a warp's 32 points and one channel of a
bilinear sample: how many sectors one of its four loads touches, on average; and how many all four
touch together, which is what must come from beyond the first cache. The maps are those of
benchmarks/gpu.py; images are float32, 256 x 256.
"""

from __future__ import annotations

import numpy as np

import stn_np
from stn_np.gpu.sampling import PATCH

SIDE, MAPS = 256, 16


def in_rows(H: int, W: int) -> np.ndarray:
    """The points of each warp (warps, 32), one after the other."""
    return np.arange(H * W).reshape(-1, 32)


def in_patches(H: int, W: int) -> np.ndarray:
    """The same in patches, as `Order` of points.cuh takes them."""
    place = np.arange(H * W)
    patch, inside = place // PATCH**2, place % PATCH**2
    x = patch % (W // PATCH) * PATCH + (inside >> 2 & 8) + (inside & 7)
    y = patch // (W // PATCH) * PATCH + (inside >> 4 & 12) + (inside >> 3 & 3)
    return (y * W + x).reshape(-1, 32)


def sectors(warps: np.ndarray, theta: np.ndarray) -> tuple[float, float]:
    """Sectors a load, and sectors of all four loads together; means over warps and maps."""
    each, together = [], []
    for matrix in theta:
        grid, _ = stn_np.affine_grid(matrix[None], (SIDE, SIDE))
        pixels = (grid.reshape(-1, 2) + 1) * (SIDE - 1) / 2
        corner = np.floor(pixels[warps]).astype(int)  # (warps, 32, 2)
        found = []
        for dy in (0, 1):
            for dx in (0, 1):
                at = np.clip(corner + np.array([dx, dy]), 0, SIDE - 1)
                found.append((at[..., 1] * SIDE + at[..., 0]) * 4 // 32)
        each += [np.mean([_distinct(load) for load in found])]
        together += [_distinct(np.concatenate(found, axis=1))]
    return float(np.mean(each)), float(np.mean(together))


def _distinct(numbers: np.ndarray) -> float:
    """How many different numbers there are in a row; the mean over all rows."""
    ordered = np.sort(numbers, axis=1)
    return float((np.diff(ordered, axis=1) != 0).sum(axis=1).mean()) + 1


def main() -> None:
    """Print both orders beside each other."""
    rng = np.random.default_rng(0)
    theta = np.array([[0.9, 0.3, 0.05], [-0.3, 0.9, -0.1]])
    theta = theta + 0.05 * rng.standard_normal((MAPS, 2, 3))
    print(f"{'order of the points':<24}{'sectors a load':>16}{'of all four loads':>20}")
    for name, order in (("one after the other", in_rows), ("in patches", in_patches)):
        each, together = sectors(order(SIDE, SIDE), theta)
        print(f"{name:<24}{each:>16.1f}{together:>20.1f}")


if __name__ == "__main__":
    main()
