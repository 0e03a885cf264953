"""How many sectors of memory a warp touches, for the points' order: counted, not measured.

    python scripts/count_sectors.py

A GPU reads memory in sectors of 32 bytes. Counted for a warp's 32 points and one channel of a
bilinear sample: how many sectors one of its four loads touches, on average; and how many all four
touch together, which is what must come from beyond the first cache. The same for the gradient of
the image, where a warp has 32 pixels and reads dV of all points that read them. The maps are those
of benchmarks/gpu.py; images are float32, 256 x 256.
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


def sectors_of_readers(warps: np.ndarray, theta: np.ndarray) -> float:
    """Sectors of dV that 32 pixels read together; the mean over warps and maps."""
    warp_of = np.empty(SIDE * SIDE, int)
    warp_of[warps] = np.arange(len(warps))[:, None]
    total = 0
    for matrix in theta:
        grid, _ = stn_np.affine_grid(matrix[None], (SIDE, SIDE))
        corner = np.floor((grid.reshape(-1, 2) + 1) * (SIDE - 1) / 2).astype(int)
        pairs = []
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            (points,) = np.nonzero((x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE))
            pairs.append(np.stack([warp_of[y[points] * SIDE + x[points]], points * 4 // 32]))
        total += np.unique(np.concatenate(pairs, axis=1), axis=1).shape[1]
    return total / (len(theta) * len(warps))


def _distinct(numbers: np.ndarray) -> float:
    """How many different numbers there are in a row; the mean over all rows."""
    ordered = np.sort(numbers, axis=1)
    return float((np.diff(ordered, axis=1) != 0).sum(axis=1).mean()) + 1


def main() -> None:
    """Print both orders beside each other."""
    rng = np.random.default_rng(0)
    theta = np.array([[0.9, 0.3, 0.05], [-0.3, 0.9, -0.1]])
    theta = theta + 0.05 * rng.standard_normal((MAPS, 2, 3))
    print(f"{'order':<24}{'one load':>12}{'all four':>12}{'of dV, for dU':>16}")
    for name, order in (("one after the other", in_rows), ("in patches", in_patches)):
        warps = order(SIDE, SIDE)
        each, together = sectors(warps, theta)
        print(f"{name:<24}{each:>12.1f}{together:>12.1f}{sectors_of_readers(warps, theta):>16.1f}")


if __name__ == "__main__":
    main()
