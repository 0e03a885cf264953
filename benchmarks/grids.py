"""Grid generators against each other, and affine warps with and without a grid; 256 of 28x28.

ThinPlateSpline is also put beside the bare matrix product of its shape, which is all that its
forward pass has to do. The warps are of one channel, as a transformer on the input image; without
dU is how such a transformer calls them. All of it with the threads of BLAS, and with one, as in a
training step.
Run:  python benchmarks/grids.py
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
from side_by_side import arguments, medians, report
from speed_tables import Row

import stn_np
from stn_np.sampling.affine_sample import affine_sample
from stn_np.threads import one_blas_thread
from stn_np.transforms import Affine, Projective, ThinPlateSpline, Transform

N, SIZE = 256, (28, 28)
Sides = dict[str, Callable[[], object]]


def near_identity(transform: Transform) -> np.ndarray:
    """Theta (N, n_params), float32: the identity and a little noise."""
    noise = 0.05 * np.random.default_rng(0).standard_normal((N, transform.n_params))
    return (transform.identity + noise).astype(np.float32)


def grids() -> tuple[Sides, Sides]:
    """Forward and backward of the families, and the product alone, for 16 control points."""
    rng = np.random.default_rng(1)
    forward: Sides = {}
    backward: Sides = {}
    for transform in (Affine(), Projective(), ThinPlateSpline()):
        theta = near_identity(transform)
        grid, pull_back = transform(theta, SIZE)
        dgrid = np.empty_like(grid)  # planar in memory, as the sampler hands it over
        dgrid[...] = rng.standard_normal(grid.shape)
        forward[transform.name] = lambda f=transform, theta=theta: f(theta, SIZE)
        backward[transform.name] = lambda f=pull_back, dgrid=dgrid: f(dgrid)
    M, B, ds = (
        rng.standard_normal(shape, dtype=np.float32)
        for shape in ((2 * N, 18), (18, SIZE[0] * SIZE[1]), (2 * N, SIZE[0] * SIZE[1]))
    )
    forward["matrix product"] = lambda: M @ B
    backward["matrix product"] = lambda: ds @ B[:16].T
    return forward, backward


def warps(needs_dU: bool) -> tuple[Sides, Sides]:
    """The affine warp in two steps and in one."""
    rng = np.random.default_rng(2)
    U = rng.random((N, 1, *SIZE), dtype=np.float32)
    dV = rng.standard_normal(U.shape, dtype=np.float32)
    theta = near_identity(Affine()).reshape(N, 2, 3)

    def two_steps() -> Callable[[], object]:
        grid, grid_backward = stn_np.affine_grid(theta, SIZE)
        _, backward = stn_np.grid_sample(U, grid, needs_dU=needs_dU)
        return lambda: grid_backward(backward(dV)[1])

    def one_step() -> Callable[[], object]:
        _, backward = affine_sample(U, theta, SIZE, needs_dU=needs_dU)
        return lambda: backward(dV)

    forward: Sides = {"affine_grid + grid_sample": two_steps, "affine_sample": one_step}
    backward: Sides = {name: step() for name, step in forward.items()}  # type: ignore[misc]
    return forward, backward


def compare(what: str, passes: tuple[Sides, Sides], rounds: int) -> list[Row]:
    """Rows of the forward pass, the backward pass and both; ratios to the first of the sides."""
    seconds = [medians(sides, rounds) for sides in passes]
    seconds.append({side: seconds[0][side] + seconds[1][side] for side in seconds[0]})
    return [
        {
            "what": what,
            "pass": name,
            "side": side,
            "ms": 1e3 * s,
            "ratio": s / next(iter(t.values())),
        }
        for name, t in zip(("forward", "backward", "both"), seconds, strict=True)
        for side, s in t.items()
    ]


def rows(rounds: int) -> list[Row]:
    """All comparisons, with the threads of BLAS and with one."""
    found = []
    for threads, context in (("all", nullcontext), ("one", one_blas_thread)):
        with context():
            some = compare("grid", grids(), rounds)
            for needs_dU, which in ((False, "warp, without dU"), (True, "warp, with dU")):
                some += compare(which, warps(needs_dU), rounds)
        found += [{**row, "threads": threads} for row in some]
    return found


def main() -> None:
    """Print the tables."""
    report("grids", rows, arguments(__doc__, rounds=51))


if __name__ == "__main__":
    main()
