"""The samplers as loops, plain and compiled where Numba is, against NumPy's array operations.

All other tests of `tests/sampling` run on the path that is in use, and `.ci/run` runs them on both.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import CORNERS, EVERY_PADDING, FLOATS, assert_close, assert_equal, padded, tolerance_of

import stn_np
from stn_np import threads
from stn_np.sampling import fast
from stn_np.sampling.affine_sample import AFFINE_PADDING_MODES
from stn_np.sampling.kernels import LINEAR
from stn_np.sampling.rules import MODES

NUMBA = importlib.util.find_spec("numba") is not None
#: Compiling takes a minute; whoever turns the loops off does not want it.
TO_COMPILE = NUMBA and os.environ.get(fast.SWITCH) != "0"
PATHS = [
    "python",
    pytest.param("1", id="compiled", marks=pytest.mark.skipif(not TO_COMPILE, reason="no Numba")),
]
PLANES = ((3, 2, 4, 7), (3, 5))
VOLUMES = ((2, 2, 3, 5, 4), (2, 3, 2))


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def along(path: str, sampler: Any, *arguments: Any, dV: Any, **options: Any) -> tuple[Any, ...]:
    """V and both gradients by one path: "0" is NumPy's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(fast.SWITCH, path)
        V, backward = sampler(*arguments, **options)
        return V, *backward(dV)


def agree(path: str, sampler: Any, *arguments: Any, tolerance: float, **options: Any) -> None:
    got = along(path, sampler, *arguments, **options)
    for a, b in zip(got, along("0", sampler, *arguments, **options), strict=True):
        assert a.dtype == b.dtype
        assert_close(a, b, tolerance)


def random_points(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Inside and outside, up to a size and a half away."""
    points: np.ndarray = rng.uniform(-2.5, 2.5, shape)
    return points


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", EVERY_PADDING)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape", "out"), [PLANES, VOLUMES])
def test_a_grid(
    path: str, rng: Any, shape: Any, out: Any, mode: str, padding: str, corners: bool
) -> None:
    for dtype in FLOATS:
        U, dV = (rng.normal(size=s).astype(dtype) for s in (shape, (*shape[:2], *out)))
        grid = random_points(rng, (shape[0], *out, len(out))).astype(dtype)
        options = {"mode": mode, "align_corners": corners, **padded(padding)}
        tolerance = tolerance_of(dtype, float32=1e-4)
        agree(path, stn_np.grid_sample, U, grid, dV=dV, tolerance=tolerance, **options)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("padding", AFFINE_PADDING_MODES)
def test_maps(path: str, rng: Any, padding: str, corners: bool) -> None:
    shape, out = PLANES
    for dtype, N_U, N in product(FLOATS, (1, 3), (1, 3)):
        U = rng.normal(size=(N_U, *shape[1:])).astype(dtype)
        theta = rng.normal(size=(N, 2, 3)).astype(dtype)
        dV = rng.normal(size=(max(N, N_U), 2, *out)).astype(dtype)
        options = {"align_corners": corners, **padded(padding)}
        tolerance = tolerance_of(dtype, float32=1e-4)
        agree(path, stn_np.affine_sample, U, theta, out, dV=dV, tolerance=tolerance, **options)


@pytest.mark.parametrize(("N_U", "N"), [(1, 40), (40, 1), (1, 1)])
@pytest.mark.parametrize("mode", MODES)
def test_sharing(path: str, rng: Any, mode: str, N_U: int, N: int) -> None:
    U, grid = rng.normal(size=(N_U, 2, 4, 3)), random_points(rng, (N, 2, 3, 2))
    dV = rng.normal(size=(max(N, N_U), 2, 2, 3))
    agree(path, stn_np.grid_sample, U, grid, dV=dV, mode=mode, tolerance=1e-12)


@pytest.mark.parametrize("U_dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("grid_dtype", [np.float16, np.float32, np.float64])
def test_dtypes(path: str, rng: Any, U_dtype: Any, grid_dtype: Any) -> None:
    U, grid = rng.normal(size=(2, 2, 5, 4)), random_points(rng, (2, 3, 4, 2))
    dV = rng.normal(size=(2, 2, 3, 4)).astype(U_dtype)
    arguments, coarse = (U.astype(U_dtype), grid.astype(grid_dtype)), np.float16 in (U_dtype,)
    tolerance = 3e-3 if coarse or grid_dtype == np.float16 else 2e-5
    agree(path, stn_np.grid_sample, *arguments, dV=dV, tolerance=tolerance)


@pytest.mark.parametrize("corners", CORNERS)
@pytest.mark.parametrize("grid_dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("U_dtype", FLOATS)
def test_the_identity_is_exact(
    path: str, rng: Any, U_dtype: Any, grid_dtype: Any, corners: bool
) -> None:
    """Also float32 points of float64 images, which the loops locate in float64."""
    U, theta = rng.normal(size=(1, 1, 3, 28)).astype(U_dtype), np.eye(2, 3)[None].astype(grid_dtype)
    grid, _ = stn_np.affine_grid(theta, (3, 28), align_corners=corners)
    for sampler, points in (
        (stn_np.grid_sample, (grid,)),
        (stn_np.affine_sample, (theta, (3, 28))),
    ):
        V, dU, _ = along(path, sampler, U, *points, dV=-U, align_corners=corners)
        assert_equal(V, U)
        assert_equal(dU, -U)


@pytest.mark.parametrize("padding", EVERY_PADDING)
@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_read_or_written_out_of_bounds(rng: Any, mode: str, padding: str) -> None:
    """As plain Python the loops themselves would notice; compiled they are the same lines."""
    wild = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e5, -1e5, 2.0**31, 1e-45, -1, 1, 0.3])
    for size, dtype in product([(1, 1), (3, 4), (2, 1, 3)], FLOATS):
        values = wild[[0, 1, 2, 6, -1]] if len(size) == 3 else wild
        grid = np.stack(np.meshgrid(*[values] * len(size)), -1)[None].astype(dtype)
        U, dV = rng.uniform(1, 2, (1, 1, *size)), rng.normal(size=(1, 1, *grid.shape[1:-1]))
        options = {"mode": mode, **padded(padding)}
        arguments = U.astype(dtype), grid
        tolerance = tolerance_of(dtype, float32=1e-3, float64=1e-9)
        agree("python", stn_np.grid_sample, *arguments, dV=dV.astype(dtype), tolerance=tolerance,
              **options)  # fmt: skip


@pytest.mark.parametrize("axis", [1, 2, 3, 4, None])
def test_grids_in_any_order_of_memory(path: str, rng: Any, axis: int | None) -> None:
    """None: neither of the orders that are read without a copy."""
    U, dV = rng.normal(size=(2, 1, 3, 4, 5)), rng.normal(size=(2, 1, 2, 3, 2))
    grid = rng.uniform(-1.2, 1.2, (2, 2, 3, 2, 3))
    if axis is None:
        other = np.repeat(grid, 2, axis=3)[:, :, :, ::2]
    else:
        other = np.moveaxis(np.ascontiguousarray(np.moveaxis(grid, -1, axis - 1)), axis - 1, -1)
    got = along(path, stn_np.grid_sample, U, other, dV=dV)
    for a, b in zip(got, along(path, stn_np.grid_sample, U, grid, dV=dV), strict=True):
        assert_equal(a, b)


# ------------------------------------------------------------------------- compiled: large problems


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    if not TO_COMPILE:
        pytest.skip("no Numba")
    monkeypatch.setenv(fast.SWITCH, "1")


@pytest.mark.parametrize(
    ("U_shape", "N", "out"),
    [((40, 2, 9, 11), 40, (30, 40)), ((1, 3, 50, 60), 1, (211, 190)), ((3, 2, 9, 8), 3, (90, 80)),
     ((1, 2, 20, 30), 50, (31, 30)), ((50, 1, 20, 30), 1, (31, 30))],
)  # fmt: skip
@pytest.mark.parametrize("sampler", [stn_np.grid_sample, stn_np.affine_sample])
def test_threads_change_no_bit(
    compiled: None, rng: Any, sampler: Any, U_shape: Any, N: int, out: Any
) -> None:
    theta = np.eye(2, 3) + rng.normal(size=(N, 2, 3)) / 4
    U, dV = rng.normal(size=U_shape), rng.normal(size=(max(N, U_shape[0]), U_shape[1], *out))
    grid = stn_np.affine_grid(theta, out)[0]
    arguments = (U, theta, out) if sampler is stn_np.affine_sample else (U, grid)
    before, results = threads.get_threads(), []
    try:
        for n in (1, 2, 5):
            threads.set_threads(n)
            results.append(along("1", sampler, *arguments, dV=dV))
    finally:
        threads.set_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_equal(a, b)
    for a, b in zip(results[0], along("0", sampler, *arguments, dV=dV), strict=True):
        assert_close(a, b, 1e-10)


@pytest.mark.parametrize("shared", [False, True])
def test_inputs_may_change_before_the_pullback(path: str, rng: Any, shared: bool) -> None:
    for sampler in (stn_np.grid_sample, stn_np.affine_sample):
        U = rng.normal(size=(1 if shared else 3, 2, 5, 6))
        points = rng.normal(size=(3, 2, 3)) if sampler is stn_np.affine_sample else (
            random_points(rng, (3, 4, 3, 2)))  # fmt: skip
        out = ((4, 3),) if sampler is stn_np.affine_sample else ()
        dV = rng.normal(size=(3, 2, 4, 3))
        wanted = along(path, sampler, U, points, *out, dV=dV)[1:]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(fast.SWITCH, path)
            V, backward = sampler(U, points, *out)
            V[:], U[:], points[:] = 1, 2, 3
            for _ in range(2):
                for a, b in zip(backward(dV), wanted, strict=True):
                    assert_equal(a, b)


# ------------------------------------------------------------------------------ which path is used


def chosen(U: np.ndarray, grid: np.ndarray, **options: Any) -> Any:
    return fast.loops_for(U, grid, stn_np.sampling.rules.Rules(**options))


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    U, grid = np.ones((1, 1, 2, 2)), np.zeros((1, 1, 1, 2))
    monkeypatch.setenv(fast.SWITCH, "0")
    assert chosen(U, grid) is None and fast.path_in_use() == "NumPy (STN_NP_FAST=0)"
    monkeypatch.setenv(fast.SWITCH, "python")
    assert chosen(U, grid) is fast.loops and "plain Python" in fast.path_in_use()
    monkeypatch.delenv(fast.SWITCH)
    assert (chosen(U, grid) is not None) == NUMBA
    assert fast.path_in_use().startswith("loops compiled" if NUMBA else "NumPy (Numba is not")


def test_what_the_loops_leave_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    U, grid = np.ones((1, 1, 2, 2)), np.zeros((1, 1, 1, 2))
    monkeypatch.setenv(fast.SWITCH, "python")
    assert chosen(U, grid, mode=LINEAR) is None
    assert chosen(U.astype(np.longdouble), grid) is None
    assert chosen(U, grid.astype(">f8")) is None
    assert chosen(U[:, :0], grid) is None and chosen(U, grid[:, :0]) is None
    large = np.broadcast_to(np.float32(0), (1, 1, 50_000, 50_000))
    assert chosen(large, grid) is None and chosen(large[..., :42_000], grid) is not None


@pytest.mark.parametrize("error", [None, ImportError("Numba needs NumPy 1.0 or less")])
def test_without_numba(monkeypatch: pytest.MonkeyPatch, rng: Any, error: Any) -> None:
    """None: it is not installed. Else it does not fit."""
    monkeypatch.delenv(fast.SWITCH, raising=False)

    class Finder:
        def find_spec(self, name: str, *rest: object) -> None:
            if name == "numba":
                raise error or ModuleNotFoundError("No module named 'numba'", name="numba")

    for name in [m for m in sys.modules if m.split(".")[0] == "numba"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    fast.compiled.cache_clear()
    try:
        says = fast.path_in_use()
        assert says.startswith("NumPy (Numba ") and ("1.0 or less" in says) == bool(error)
        V, _ = stn_np.grid_sample(np.ones((1, 1, 2, 2)), np.zeros((1, 1, 1, 2)))
        assert V == 1
    finally:
        fast.compiled.cache_clear()


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")
    njit, asked = numba.njit, []

    def without_cache(cache: bool = False, **options: Any) -> Any:
        asked.append(cache)
        if cache:
            return lambda function: (_ for _ in ()).throw(RuntimeError("no locator available"))
        return njit(**options)

    monkeypatch.setattr(numba, "njit", without_cache)
    fast.compiled.cache_clear()
    try:
        found: Any = fast.compiled()
        rule = fast.rule_of((3, 4), np.dtype(np.float64), np.dtype(np.float64), "nearest", "zeros",
                            0.0, True)  # fmt: skip
        assert found.is_near(1e4, rule.axes[0]) and not found.is_near(1e6, rule.axes[0])
        assert True in asked and False in asked
    finally:
        fast.compiled.cache_clear()


def run_with(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """A program that samples, with its cache of compiled loops in a folder."""
    script = "\n".join(
        [
            "import numpy as np, stn_np",
            *lines,
            "U, grid = np.ones((1, 1, 4, 5), np.float32), np.zeros((1, 2, 3, 2), np.float32)",
            "V, backward = stn_np.grid_sample(U, grid)",
            "print(float(V.sum()), float(backward(V)[0].sum()))",
        ]
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), fast.SWITCH: "1"}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )


def test_a_damaged_cache_is_done_without(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    assert run_with(tmp_path).stdout.split() == ["6.0", "6.0"]
    for damage in (b"", b"garbage"):
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        for path in files:
            path.write_bytes(damage)
        again = run_with(tmp_path)
        assert again.stdout.split() == ["6.0", "6.0"], again.stderr


@pytest.mark.parametrize("error", ["RuntimeError", "SystemError", "ImportError"])
def test_a_broken_numba_is_done_without(tmp_path: Path, error: str) -> None:
    (tmp_path / "numba.py").write_text(f"raise {error}('broken')\n")
    lines = "import sys", f"sys.path.insert(0, {str(tmp_path)!r})"
    done = run_with(tmp_path, *lines)
    assert done.stdout.split() == ["6.0", "6.0"], done.stderr


@pytest.mark.parametrize("word", ["0", "no", "False", " off "])
def test_words_for_off(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv(fast.SWITCH, word)
    assert fast.path_in_use() == f"NumPy (STN_NP_FAST={word})"
