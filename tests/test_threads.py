"""Threads for the library's own work: order, errors, BLAS, and that bits do not depend on them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
from oracles import assert_equal
from threadpoolctl import threadpool_info, threadpool_limits

import stn_np
from stn_np import layers, models, threads
from stn_np.training.evaluate import measure
from stn_np.training.optimizers import AdamW
from stn_np.training.step import TrainingStep, cut

COUNTS = (1, 2, 5)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = threads.get_threads()
    yield
    threads.set_threads(before)


def blas_threads() -> set[int]:
    """Of NumPy's BLAS; SciPy and PyTorch bring their own."""
    return {x["num_threads"] for x in threadpool_info() if "numpy" in x["filepath"]}


@pytest.mark.parametrize("count", COUNTS)
def test_results_are_in_the_order_of_the_pieces(count: int) -> None:
    threads.set_threads(count)

    def work(k: int) -> int:
        time.sleep(0.01 * (k % 3 == 0))  # the first of three is ready last
        return k * k

    assert threads.share_out(work, range(9)) == [k * k for k in range(9)]
    assert threads.share_out(work, []) == []


def test_pieces_are_worked_on_side_by_side_in_so_many_threads() -> None:
    threads.set_threads(3)
    meeting = threading.Barrier(3, timeout=20)  # passes when three are inside at once
    threads.share_out(lambda _: meeting.wait(), range(3))
    names = set(threads.share_out(lambda _: threading.get_ident(), range(50)))
    assert len(names) <= 3


def test_what_a_piece_runs_stays_in_its_thread() -> None:
    threads.set_threads(3)  # one of them has nothing to do

    def inner(_: int) -> int:
        time.sleep(0.005)
        return threading.get_ident()

    def outer(_: int) -> set[int]:
        return {threading.get_ident(), *threads.share_out(inner, range(5))}

    assert all(len(found) == 1 for found in threads.share_out(outer, range(2)))


@pytest.mark.parametrize("count", COUNTS)
def test_a_piece_that_fails(count: int) -> None:
    threads.set_threads(count)
    begun = []

    def work(k: int) -> None:
        begun.append(k)
        if k == 1:
            raise ArithmeticError("piece 1")
        time.sleep(0.001)

    with pytest.raises(ArithmeticError, match="piece 1"):
        threads.share_out(work, range(1000))
    assert len(begun) < 100  # those not yet begun are left out
    assert threads.share_out(abs, [-1, -2]) == [1, 2]  # and nothing is broken


def test_blas_has_one_thread_while_pieces_are_worked_on_and_its_own_afterwards() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("NumPy's BLAS is not known here, or has one thread only")
        assert threads.share_out(lambda _: blas_threads(), range(2)) == [{1}, {1}]
        assert blas_threads() == {2}
        with threads.one_blas_thread():
            with threads.one_blas_thread():
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == {2}
        with pytest.raises(ZeroDivisionError):
            threads.share_out(lambda k: 1 // k, [0, 0])
        assert blas_threads() == {2}


def test_numpys_error_state_holds_in_every_thread() -> None:
    threads.set_threads(2)
    meeting = threading.Barrier(2, timeout=20)

    def work(_: int) -> str:
        meeting.wait()
        return np.geterr()["over"]

    with np.errstate(over="raise"):
        assert threads.share_out(work, range(2)) == ["raise", "raise"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    threads.set_threads(2)
    assert threads.share_out(abs, [-1, -2]) == [1, 2]
    child = os.fork()
    if not child:
        try:
            meeting = threading.Barrier(2, timeout=10)  # passes when both pieces are worked on
            threads.share_out(lambda _: meeting.wait(), range(2))
            os._exit(0)
        finally:
            os._exit(1)
    for _ in range(400):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        pytest.fail("the forked process waits for threads that it does not have")
    assert status == 0


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)]
)
def test_bad_numbers_of_threads(n: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="threads: expected"):
        threads.set_threads(n)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("0", None), ("", None), ("many", None)])
def test_omp_num_threads(monkeypatch: pytest.MonkeyPatch, text: str, count: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert threads.usual_threads() == (count or threads.available_cores())


# ------------------------------------------------------------------ the same bits with any number


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize(
    ("U_shape", "n_grids", "out"),
    [
        ((500, 1, 9, 11), 500, (28, 28)),  # several images a block
        ((1, 2, 40, 50), 1, (700, 500)),  # one image cut into several blocks
        ((1, 2, 30, 20), 20, (100, 130)),  # one image for all grids
        ((5, 3, 30, 20), 1, (200, 210)),  # one grid for all images
    ],
)
def test_the_sampler(rng: np.random.Generator, mode, U_shape, n_grids, out) -> None:
    U = rng.normal(size=U_shape).astype(np.float32)
    grid = rng.uniform(-1.2, 1.2, (n_grids, *out, 2)).astype(np.float32)
    dV = rng.normal(size=(max(len(U), n_grids), U_shape[1], *out)).astype(np.float32)

    def sampled() -> tuple[np.ndarray, ...]:
        V, backward = stn_np.grid_sample(U, grid, mode=mode)
        return V, *backward(dV)

    all_alike(sampled)


@pytest.mark.parametrize("shape", [(300, 1, 9, 11), (1, 2, 40, 50)])
def test_the_affine_sampler(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    U, out = rng.normal(size=shape).astype(np.float32), (28 if shape[0] > 1 else 600, 300)
    theta = rng.normal(size=(shape[0], 2, 3)).astype(np.float32)
    dV = rng.normal(size=(*shape[:2], *out)).astype(np.float32)

    def sampled() -> tuple[np.ndarray, ...]:
        V, backward = stn_np.affine_sample(U, theta, out)
        return V, *backward(dV)

    all_alike(sampled)


def test_a_training_step_and_an_evaluation(rng: np.random.Generator) -> None:
    images = rng.random((200, 1, 28, 28), dtype=np.float32)
    labels = rng.integers(0, 10, 200)

    def trained() -> list[np.ndarray]:
        model = models.build("st-cnn", filters=4)
        step = TrainingStep(model, AdamW(model), parts=3)
        assert len(cut(images.shape, 3)) == 3
        for _ in range(3):
            step(images, labels, 1e-3)
        measured = measure(model, images, labels, block=60)
        return [*model.state_dict().values(), step.sums, measured.outputs]

    all_alike(trained)


def all_alike(compute) -> None:
    found = []
    for count in COUNTS:
        threads.set_threads(count)
        with mock.patch.object(
            threads._Pool, "submit", autospec=True, wraps=threads._Pool.submit
        ) as submit:
            found.append(compute())
        assert submit.called == (count > 1)  # the work was shared out, or the test says nothing
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            assert_equal(x, y)


# ------------------------------------------------------------------------ batches in parts


def a_model(rng: np.random.Generator) -> layers.Sequential:
    wide = {"rng": rng, "dtype": np.float64}
    return layers.Sequential(
        conv=layers.Conv2d(2, 3, 3, **wide),
        relu=layers.ReLU(),
        dropout=layers.Dropout(0.3, rng=rng),
        flatten=layers.Flatten(),
        classifier=layers.Linear(3 * 4 * 5, 4, **wide),
    )


class Recorder(AdamW):
    """Keeps the gradients of each update."""

    def update(self, coefficients) -> None:
        self.seen = [p.grad.copy() for _, p in self._named]
        super().update(coefficients)


def test_parts_add_up_to_the_gradient_of_the_whole_batch(rng: np.random.Generator) -> None:
    """With dropout: an image's mask does not depend on the part that it is in."""
    images, labels = rng.normal(size=(193, 2, 6, 7)), rng.integers(0, 4, 193)
    model = a_model(rng)
    optimizer = Recorder(model)
    step = TrainingStep(model, optimizer, seed=5, parts=3)
    step(images, labels, 0.0)
    loss_before, wrong_before = step.sums[:2].copy()
    step(images, labels, 0.0)  # nothing is left of the step before
    logits, backward = model(images, needs_dx=False, mode=layers.Training(5, 1))
    loss, loss_backward = layers.cross_entropy(logits, labels)
    model.zero_grad()
    backward(loss_backward())
    np.testing.assert_allclose(step.sums[0] - loss_before, loss, rtol=1e-12)
    assert step.sums[1] - wrong_before == (logits.argmax(1) != labels).sum()
    for seen, p in zip(optimizer.seen, model.parameters(), strict=True):
        np.testing.assert_allclose(seen, p.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("N", "parts", "sizes"),
    [
        (256, 2, [128, 128]),
        (127, 2, [127]),
        (129, 2, [64, 65]),
        (1000, 3, [333, 333, 334]),
        (1, 8, [1]),
        (0, 2, [0]),
    ],
)
def test_how_a_batch_is_cut(N: int, parts: int, sizes: list[int]) -> None:
    pieces = cut((N, 1, 28, 28), parts)
    assert cut((N, 9), parts) == pieces
    assert [part.stop - part.start for part in pieces] == sizes
    assert np.array_equal(np.concatenate([np.arange(N)[part] for part in pieces]), np.arange(N))


def test_batches_whose_images_depend_on_each_other_are_not_cut(rng: np.random.Generator) -> None:
    images, labels = rng.normal(size=(200, 3)), rng.integers(0, 4, 200)
    model = layers.Sequential(
        norm=layers.BatchNorm1d(3, dtype=np.float64),
        classifier=layers.Linear(3, 4, rng=rng, dtype=np.float64),
    )
    assert not model.by_image
    TrainingStep(model, AdamW(model), parts=2)(images, labels, 1e-3)
    np.testing.assert_allclose(model.norm.running_mean.data, 0.1 * images.mean(0), rtol=1e-12)


def test_a_twin_has_the_weights_and_gradients_of_its_own(rng: np.random.Generator) -> None:
    model = a_model(rng)
    twin = model.twin()
    names = [name for name, _ in model.named_parameters()]
    assert [name for name, _ in twin.named_parameters()] == names
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert p.data is q.data
        assert not np.shares_memory(p.grad, q.grad)


def test_a_step_goes_on_with_weights_that_were_put_elsewhere(rng: np.random.Generator) -> None:
    images, labels = rng.normal(size=(128, 2, 6, 7)), rng.integers(0, 4, 128)
    model = a_model(rng)
    optimizer = Recorder(model)
    step = TrainingStep(model, optimizer, parts=2)
    step(images, labels, 0.0)
    first = optimizer.seen
    for p in model.parameters():
        p.data = p.data * 0 + 0.01
    step(images, labels, 0.0)
    assert not np.allclose(first[0], optimizer.seen[0])
    whole = Recorder(model)
    again = TrainingStep(model, whole, parts=1)
    whole.n_steps = 1
    again(images, labels, 0.0)
    np.testing.assert_allclose(optimizer.seen[-2], whole.seen[-2], rtol=1e-9, atol=1e-13)


# ------------------------------------------------------------------------ what may come in between


def test_work_is_done_where_no_thread_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.set_threads(3)

    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert threads.share_out(abs, [-1, -2, -3]) == [1, 2, 3]


def test_training_goes_on_in_a_thread_when_the_main_script_has_ended() -> None:
    script = """
import threading, time
from stn_np import threads
threads.set_threads(2)
def work():
    time.sleep(0.5)
    print(threads.share_out(abs, [-1, -2, -3]))
threading.Thread(target=work).start()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[1, 2, 3]\n", "")


def test_the_number_of_threads_may_change_while_others_work() -> None:
    threads.set_threads(4)
    stop, errors = threading.Event(), []

    def work() -> None:
        while not stop.is_set():
            try:
                assert threads.share_out(abs, [-1, -2, -3, -4]) == [1, 2, 3, 4]
            except Exception as error:
                errors.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    for k in range(400):
        threads.set_threads(1 + 3 * (k % 2))
    stop.set()
    worker.join()
    assert errors == []


def test_an_interrupt_gives_blas_its_threads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = threads._pool

    class Interrupted:
        num_threads = 2

        def set_num_threads(self, n: int) -> None:
            self.num_threads = n
            if n == 1:
                raise KeyboardInterrupt

    blas = Interrupted()
    monkeypatch.setattr(pool, "blas", [blas])
    with pytest.raises(KeyboardInterrupt), threads.one_blas_thread():
        pytest.fail("the interrupt was lost")
    assert blas.num_threads == 2
    assert not pool.holders


@pytest.mark.parametrize(
    ("parts", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), (None, TypeError)]
)
def test_bad_parts(rng: np.random.Generator, parts: object, error: type[Exception]) -> None:
    model = a_model(rng)
    with pytest.raises(error, match="parts: expected"):
        TrainingStep(model, AdamW(model), parts=parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [127, 129, 400])
def test_as_many_targets_as_inputs(rng: np.random.Generator, count: int) -> None:
    images, labels = rng.normal(size=(128, 2, 6, 7)), rng.integers(0, 4, count)
    model = a_model(rng)
    with pytest.raises(ValueError, match=f"targets: expected 128, one for each input, got {count}"):
        TrainingStep(model, AdamW(model), parts=2)(images, labels, 1e-3)


def test_a_step_that_is_refused_is_not_summed_up(rng: np.random.Generator) -> None:
    images, labels = rng.normal(size=(128, 2, 6, 7)), rng.integers(0, 4, 128)
    model = a_model(rng)
    step = TrainingStep(model, AdamW(model))
    with pytest.raises(ValueError, match="lr: expected"):
        step(images, labels, -1.0)
    assert not step.sums.any()


def test_large_images_are_cut_into_fewer() -> None:
    assert len(cut((64, 1, 56, 56), 4)) == 4  # 16 images each
    assert len(cut((3, 1, 500, 500), 8)) == 3
    assert len(cut((64, 1, 8, 8), 4)) == 1


def test_a_step_follows_whatever_is_changed_in_the_model(rng: np.random.Generator) -> None:
    images, labels = rng.normal(size=(128, 2, 6, 7)), rng.integers(0, 4, 128)
    seen = []
    for parts in (1, 2):
        model = a_model(np.random.default_rng(3))
        optimizer = Recorder(model)
        step = TrainingStep(model, optimizer, parts=parts)
        step(images, labels, 1e-3)
        model.dropout.p = 0.0
        step(images, labels, 1e-3)
        seen.append(optimizer.seen)
    for x, y in zip(*seen, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-13)


class Own(layers.Module):
    """A layer of somebody's own, with memory to work in and a parameter in a closure."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.linear = layers.Linear(9, 4, rng=rng, dtype=np.float64)
        linear = self.linear
        self.call, self.room = lambda x, **needs: linear(x, **needs), np.empty((500, 9))
        self.callers: set[int] = set()

    def __call__(self, x, *, needs_dx=True):
        self.callers.add(threading.get_ident())
        time.sleep(0.002)
        return self.call(np.tanh(x, out=self.room[: len(x)]).copy(), needs_dx=needs_dx)


@pytest.mark.parametrize("wrapped", [False, True])
def test_modules_of_ones_own_are_called_by_one_thread_with_the_whole_batch(
    rng: np.random.Generator, wrapped: bool
) -> None:
    own = model = Own(rng)
    if wrapped:
        model = layers.Sequential(own=own)
    assert not model.by_image
    threads.set_threads(3)
    images, labels = rng.normal(size=(400, 9)), rng.integers(0, 4, 400)
    with mock.patch.object(
        type(model), "__call__", autospec=True, side_effect=type(model).__call__
    ) as call:
        TrainingStep(model, AdamW(model), parts=3)(images, labels, 1e-3)
        assert call.call_count == 1
        measure(model, images, labels, block=50)
    assert call.call_count == 1 + 8
    assert own.callers == {threading.get_ident()}


def test_a_module_of_ones_own_may_say_that_it_can_be_cut(rng: np.random.Generator) -> None:
    class Doubled(layers.ReLU):
        by_image = True

    model = layers.Sequential(own=Doubled(), last=layers.Linear(9, 4, rng=rng))
    assert model.by_image


def test_one_piece_may_share_out_its_own_work() -> None:
    threads.set_threads(2)
    meeting = threading.Barrier(2, timeout=20)
    threads.share_out(lambda _: threads.share_out(lambda _: meeting.wait(), range(2)), [0])


def test_nobody_waits_for_the_work_of_another_caller() -> None:
    threads.set_threads(2)
    begun, end = threading.Event(), threading.Event()

    def long(k: int) -> None:
        begun.set()
        end.wait(20)

    other = threading.Thread(target=lambda: threads.share_out(long, range(2)))
    other.start()
    begun.wait(20)
    try:
        assert threads.share_out(abs, [-1, -2]) == [1, 2]
        assert other.is_alive()
    finally:
        end.set()
        other.join()
