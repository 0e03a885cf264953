"""Rows of `benchmarks/gpu.py`: copies, the bilinear sampler, and affine warps without a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from gpu_machine import Machine, Row, copies, in_turn, relative_error

import stn_np
from stn_np.sampling.affine_sample import affine_sample

Shape = tuple[int, int, int, int]

#: The largest relative error of V and dU that is rounding. Of dgrid it is larger: a point next to a
#: pixel's centre may fall on either side of it, and the slopes there differ.
ROUNDING, ROUNDING_OF_DGRID = 1e-3, 0.1


class Warp(NamedTuple):
    """The arrays of one warp, all on the device."""

    U: Any
    theta: Any
    grid: Any
    dV: Any


def warps(machine: Machine, shape: Shape) -> list[Warp]:
    """Images, mild affine maps (some points fall outside) and dV, as often as is rotated."""
    rng = np.random.default_rng(0)
    N, _, H, W = shape
    theta = np.array([[0.9, 0.3, 0.05], [-0.3, 0.9, -0.1]]) + 0.05 * rng.standard_normal((N, 2, 3))
    host = (
        rng.random(shape, dtype=np.float32),
        theta.astype(np.float32),
        rng.standard_normal(shape, dtype=np.float32),
    )
    bytes_of_one = 2 * host[0].nbytes + 8 * N * H * W
    made = []
    for _ in range(copies(machine, bytes_of_one)):
        U, theta_there, dV = (machine.xp.asarray(x) for x in host)
        grid, _ = stn_np.affine_grid(theta_there, (H, W))
        made.append(Warp(U, theta_there, machine.xp.ascontiguousarray(grid), dV))
    return made


def bandwidth(machine: Machine, size: int, repeat: int) -> Row:
    """Bytes read and written a second by a copy on the device."""
    source = machine.xp.zeros(size, dtype=np.uint8)
    target = machine.xp.empty_like(source)
    seconds = machine.kernel_seconds({"copy": lambda: machine.copy(target, source)}, repeat)
    figure = "GB/s, read and written"
    value = 2 * size / seconds["copy"] / 1e9
    return Row(f"copy of {size / 1e6:g} MB", figure, value, ours=seconds["copy"])


def sampler(
    machine: Machine, shape: Shape, repeat: int, copy_rate: float, goals: bool
) -> Iterator[Row]:
    """The rows of one size: forward, and backward to image and grid."""
    made = warps(machine, shape)
    yield from _forward(machine, made, repeat, copy_rate, goals)
    yield from _backward(machine, made, repeat, goals)


#: PyTorch's two samplers: cuDNN's, which it takes for these settings, and its own.
THEIRS = {"grid_sample, cuDNN": True, "grid_sample, PyTorch's own": False}


def _torch_sample(U: torch.Tensor, grid: torch.Tensor, cudnn: bool = True) -> torch.Tensor:
    """The same by PyTorch, whose backward pass goes the same way."""
    with torch.backends.cudnn.flags(enabled=cudnn):
        return F.grid_sample(U, grid, align_corners=True)


def _forward(
    machine: Machine, made: list[Warp], repeat: int, copy_rate: float, goals: bool
) -> Iterator[Row]:
    """Without gradients: against PyTorch, and against the bytes that must move."""
    ours = [
        partial(stn_np.grid_sample, w.U, w.grid, needs_dU=False, needs_dgrid=False) for w in made
    ]
    sides: dict[str, Callable[[], Any]] = {"ours": in_turn(ours)}
    errors = {}
    for name, cudnn in THEIRS.items():
        theirs = [
            partial(_torch_sample, machine.tensor(w.U), machine.tensor(w.grid), cudnn) for w in made
        ]
        errors[name] = relative_error(machine.tensor(ours[0]()[0]), theirs[0]())
        same_task("V", errors[name], ROUNDING)
        sides[name] = in_turn(theirs)
    t = machine.kernel_seconds(sides, repeat)
    what = f"forward, {made[0].U.shape}"
    moved = 2 * made[0].U.nbytes + made[0].grid.nbytes
    share = moved / t["ours"] / 1e9 / copy_rate
    yield Row(
        what, "of a copy's bytes a second", share, 0.8 if goals else None, True, ours=t["ours"]
    )
    for name in THEIRS:
        yield Row(
            what,
            f"÷ {name}",
            t["ours"] / t[name],
            0.8 if goals else None,
            ours=t["ours"],
            beside=t[name],
            error=errors[name],
        )


def _backward(machine: Machine, made: list[Warp], repeat: int, goals: bool) -> Iterator[Row]:
    """To image and grid, in both versions, against PyTorch's, which is atomic."""
    sides: dict[str, Callable[[], Any]] = {}
    for method in ("atomic", "deterministic"):
        pullbacks = [stn_np.grid_sample(w.U, w.grid, dU_method=method)[1] for w in made]
        sides[method] = in_turn(
            [partial(backward, w.dV) for backward, w in zip(pullbacks, made, strict=True)]
        )
    for name, cudnn in THEIRS.items():
        sides[name] = in_turn([_torch_backward(machine, w, cudnn) for w in made])
    wanted = sides[next(iter(THEIRS))]()
    errors = {}
    for method in ("atomic", "deterministic"):
        dU, dgrid = (machine.tensor(machine.xp.ascontiguousarray(d)) for d in sides[method]())
        errors[method] = relative_error(dU, wanted[0])
        same_task("dU", errors[method], ROUNDING)
        same_task("dgrid", relative_error(dgrid, wanted[1]), ROUNDING_OF_DGRID)
    what = f"backward, {made[0].U.shape}"
    yield _same_bits(what, machine, made[0])
    t = machine.kernel_seconds(sides, repeat)
    for (method, goal), name in product((("atomic", 0.8), ("deterministic", 1.0)), THEIRS):
        yield Row(
            f"{what}, {method}",
            f"÷ {name}",
            t[method] / t[name],
            goal if goals else None,
            ours=t[method],
            beside=t[name],
            error=errors[method],
        )


def _torch_backward(machine: Machine, w: Warp, cudnn: bool) -> Callable[[], object]:
    """PyTorch's backward pass of one warp."""
    U, grid = (machine.tensor(x).detach().requires_grad_() for x in (w.U, w.grid))
    V, dV = _torch_sample(U, grid, cudnn), machine.tensor(w.dV)
    return lambda: torch.autograd.grad(V, (U, grid), dV, retain_graph=True)


def _same_bits(what: str, machine: Machine, w: Warp) -> Row:
    """How many numbers of two deterministic runs differ."""
    _, backward = stn_np.grid_sample(w.U, w.grid)
    first, second = backward(w.dV), backward(w.dV)
    differing = sum(int((a != b).sum()) for a, b in zip(first, second, strict=True))
    return Row(f"{what}, deterministic, twice", "numbers that differ", differing, 0)


def same_task(name: str, error: float, bound: float) -> None:
    """Nothing is timed before both sides computed the same."""
    if not error <= bound:
        raise SystemExit(f"{name}: relative error {error:.1e} against the other side")


def fused(machine: Machine, shape: Shape, repeat: int) -> Iterator[Row]:
    """`affine_sample` against `affine_grid` and `grid_sample`.

    The grid, two numbers a point, is written and read again: of 2 C + 4 numbers a point 2 C are
    left. With many channels there is nothing to gain, and no goal.
    """
    goal = 0.7 if shape[1] <= 3 else None
    made = warps(machine, shape)
    versions = (("θ", False, "deterministic"), ("θ and U", True, "deterministic"))
    for to, needs_dU, method in (*versions, ("θ and U, atomic", True, "atomic")):
        options = {"needs_dU": needs_dU, "dU_method": method}
        one = [partial(_one_step, w, options) for w in made]
        two = [partial(_two_steps, w, options) for w in made]
        if not needs_dU:
            yield _ratio(machine, f"affine forward, {shape}", one, two, repeat, goal)
        backwards = [[step()[1] for step in steps] for steps in (one, two)]
        yield _ratio(machine, f"affine backward to {to}, {shape}", *backwards, repeat, goal)


def _ratio(
    machine: Machine, what: str, one: list[Any], two: list[Any], repeat: int, goal: float | None
) -> Row:
    """A row of the fused path."""
    results = [step()[0] for step in (one[0], two[0])]
    error = relative_error(*(machine.tensor(r) for r in results))
    same_task(what, error, ROUNDING_OF_DGRID)
    t = machine.kernel_seconds({"one": in_turn(one), "two": in_turn(two)}, repeat)
    figure = "÷ in two steps"
    return Row(what, figure, t["one"] / t["two"], goal, False, t["one"], t["two"], error)


def _one_step(w: Warp, options: dict[str, Any]) -> tuple[Any, Callable[[], tuple[Any, ...]]]:
    """V, and what gives dθ and dU, without a grid."""
    V, backward = affine_sample(w.U, w.theta, w.dV.shape[2:], **options)
    return V, lambda: backward(w.dV)[::-1]


def _two_steps(w: Warp, options: dict[str, Any]) -> tuple[Any, Callable[[], tuple[Any, ...]]]:
    """The same with one."""
    grid, grid_backward = stn_np.affine_grid(w.theta, w.dV.shape[2:])
    V, sample_backward = stn_np.grid_sample(w.U, grid, **options)

    def backward() -> tuple[Any, ...]:
        dU, dgrid = sample_backward(w.dV)
        return grid_backward(dgrid), dU

    return V, backward
