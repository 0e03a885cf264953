"""The matrix product on a GPU: every memory order, and what cuBLAS is told of it."""

from __future__ import annotations

import gc
import weakref
from itertools import product
from typing import Any

import numpy as np
import pytest

from stn_np.gpu import matmul as matrix_product
from stn_np.gpu.graph import capture
from stn_np.gpu.matmul import matmul


def test_workspaces_of_the_last_streams_are_kept(gpu: Any) -> None:
    """No more, whatever streams come and go; each with its stream: no address comes again."""
    a = gpu.ones((2, 2))
    kept = matrix_product._WORKSPACES
    streams = [gpu.cuda.Stream(non_blocking=True) for _ in range(6)]
    for stream in streams:
        with stream:
            matmul(a, a)
    assert [stream for stream, _ in kept.values()] == streams[-matrix_product.MOST_WORKSPACES :]
    with streams[2], streams[-1]:
        matmul(a, a)
        (last, workspace) = list(kept.values())[-1]
        assert last is streams[-1] and workspace.nbytes == matrix_product.WORKSPACE
        matmul(a, a)
    assert list(kept.values())[-1][1] is workspace


def test_a_graph_keeps_its_workspace(gpu: Any) -> None:
    a, y = gpu.ones((2, 2)), gpu.zeros((2, 2))
    replay = capture(lambda: matmul(a, a, out=y))
    workspace = weakref.ref(list(matrix_product._WORKSPACES.values())[-1][1])
    for _ in range(matrix_product.MOST_WORKSPACES):
        with gpu.cuda.Stream(non_blocking=True):
            matmul(a, a)
    assert workspace() is not None
    y[...] = 0
    replay()
    assert (y == 2).all()
    del replay
    gc.collect()
    assert workspace() is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "sizes", [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1), (0, 2, 3)]
)
def test_matrix_product_in_any_memory_order(gpu: Any, sizes: tuple[int, ...], dtype: type) -> None:
    n, k, m = sizes
    rng = np.random.default_rng(0)

    def layouts(shape: tuple[int, int]) -> list[Any]:
        x = rng.standard_normal(shape).astype(dtype)
        rows = gpu.asarray(x)
        columns = gpu.asarray(np.ascontiguousarray(x.T)).T
        wide = gpu.zeros((shape[0], shape[1] + 7), dtype)
        wide[:, 3 : 3 + shape[1]] = rows
        every_other = gpu.zeros((shape[0], 2 * shape[1]), dtype)
        every_other[:, ::2] = rows
        return [rows, columns, wide[:, 3 : 3 + shape[1]], every_other[:, ::2]]

    for a, b in product(layouts((n, k)), layouts((k, m))):
        larger = gpu.full((n, m + 4), 7, dtype)
        for y in (matmul(a, b), matmul(a, b, out=larger[:, 2 : 2 + m])):
            expected = gpu.asnumpy(a) @ gpu.asnumpy(b)
            np.testing.assert_allclose(gpu.asnumpy(y), expected, rtol=1e-5, atol=1e-6)
        assert (gpu.asnumpy(larger)[:, [0, 1, -2, -1]] == 7).all()


@pytest.mark.parametrize("flipped", [*product((False, True), repeat=2)])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float16, 1e-3), (np.float64, 1e-12)])
def test_a_long_sum_in_pieces(gpu: Any, flipped: tuple, dtype: type, rtol: float) -> None:
    """a (n, k) may lie column by column; so may b; and `out` be part of a larger array."""
    (n, k, m), rng = (5, 40 * 131, 66), np.random.default_rng(0)
    assert matrix_product._pieces(n, k, m) == 10
    assert matrix_product._pieces(n, 5237, m) == matrix_product._pieces(n, 1000, m) == 1
    assert matrix_product._pieces(64, 102_400, 81) == 128
    x, y = rng.random((n, k)).astype(dtype), rng.random((k, m)).astype(dtype)
    turned = zip((x, y), flipped, strict=True)
    a, b = (gpu.asarray(z.T.copy()).T if f else gpu.asarray(z) for z, f in turned)
    larger = gpu.full((n, m + 2), 7, dtype)
    expected = x.astype(np.float64) @ y.astype(np.float64)
    for found in (matmul(a, b), matmul(a, b, out=larger[:, 1:-1]), larger[:, 1:-1]):
        assert found.dtype == dtype
        np.testing.assert_allclose(gpu.asnumpy(found), expected, rtol=rtol)
    assert (gpu.asnumpy(larger)[:, [0, -1]] == 7).all()


def test_dtypes_may_differ(gpu: Any) -> None:
    a, b = gpu.asarray(np.float32([[1, 2]])), gpu.asarray(np.array([[3.0], [0.1]]))
    y = matmul(a, b)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(gpu.asnumpy(y), [[1 * 3.0 + 2 * 0.1]])


def test_where_cublas_is_not_found_the_library_s_own_product_does(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_product, "cublas", lambda: None)
    a, b = gpu.asarray(np.arange(6.0).reshape(2, 3)), gpu.asarray(np.arange(12.0).reshape(3, 4))
    out = gpu.zeros((2, 6))
    for y in (matmul(a, b), matmul(a, b, out=out[:, 1:5])):
        np.testing.assert_array_equal(gpu.asnumpy(y), gpu.asnumpy(a) @ gpu.asnumpy(b))


def test_what_cublas_reports_is_an_error(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        cublasSetStream_v2 = cublasSetWorkspace_v2 = staticmethod(lambda *_: 0)
        cublasGemmEx_64 = staticmethod(lambda *_: 15)

    monkeypatch.setattr(matrix_product, "cublas", lambda: Failing)
    with pytest.raises(RuntimeError, match="cuBLAS: status 15 .* of sizes 2, 3, 4"):
        matmul(gpu.ones((2, 3)), gpu.ones((3, 4)))
