"""The cells of a table, on any executor; what is finished is not run again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from stn_np.checks import check_choice, check_size
from stn_np.data.dataset import expanded
from stn_np.experiments import by_name
from stn_np.reproduce.job import Job, finished, run, set_aside_what_is_damaged
from stn_np.reproduce.tables import Cell, Table
from stn_np.reproduce.workers import Processes
from stn_np.training.folder import LockedError, RunFolder
from stn_np.training.run import StoppedError

#: Seconds between two looks at what the workers have done.
LOOK = 1.0


@dataclass
class State:
    """How far a sweep has come.

    Attributes
    ----------
    jobs : list of Job
        All of them, in order.
    done : dict of Job to dict
        Those that are finished, with the content of their results.json.
    failed : dict of Job to str
        Those that cannot be finished, and why.
    notes : list of str
        What was damaged or of another version, and is made again.
    """

    jobs: list[Job]
    done: dict[Job, dict[str, Any]] = field(default_factory=dict)
    failed: dict[Job, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def jobs_of(
    table: Table,
    cells: Iterable[Cell],
    preset: str,
    seeds: Iterable[int],
    out: Path,
    *,
    data: str = "mnist",
    data_dir: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> list[Job]:
    """A job for each seed and cell, seed by seed, so that a whole table is there early.

    Parameters
    ----------
    table, cells
        The table, and those of its cells that are wanted.
    preset
        One of the table's.
    seeds
        Whole numbers from 0 on.
    out
        The sweep's folder; each job has one below it.
    data, data_dir
        As in ``stn-np train``.
    device, threads
        As in `Job`.

    Raises
    ------
    ValueError
        For an unknown preset (the nearest one is suggested), or if there are no such data.
    OSError
        If the data cannot be read, or downloaded.
    """
    check_choice("preset", preset, table.presets)
    seeds = dict.fromkeys(check_size("seeds", seed, 0) for seed in seeds)
    given = {"data": data, **table.presets[preset]}
    if data_dir is not None:
        given["data_dir"] = str(expanded(data_dir).absolute())
    cells, out = list(cells), expanded(out).absolute()
    # An experiment looks at its data here, once, and not for each cell.
    begun = {name: by_name(name).create(given) for name in {cell.experiment for cell in cells}}
    return [
        Job(
            cell.name,
            cell.experiment,
            asdict(replace(begun[cell.experiment].settings, **cell.settings, seed=seed)),
            str(out / cell.name / f"seed-{seed}"),
            device,
            threads,
        )
        for seed in seeds
        for cell in cells
    ]


def sweep(
    jobs: Iterable[Job],
    out: Path,
    *,
    executor: Executor | None = None,
    workers: int = 1,
    watch: Callable[[State], None] = lambda state: None,
) -> State:
    """Run what is not finished yet.

    Parameters
    ----------
    jobs
        From `jobs_of`.
    out
        The sweep's folder, which is made. It is locked: a second sweep in it is refused.
    executor
        Of `concurrent.futures`: where jobs are run, in processes or on machines that see `out`. It
        stays open, and what it has begun when this function is stopped goes on.
    workers
        Without an executor: so many processes on this machine. A job whose process dies is begun
        again, and goes on from its last epoch. A script that calls this needs its
        ``if __name__ == "__main__":``, as with every process pool.
    watch
        Called before the first job, now and then, and after each job. An error in it stops the
        sweep.

    Returns
    -------
    State
        Jobs that failed are in it; they do not stop the others.

    Raises
    ------
    ValueError
        If another sweep works in this folder.
    StoppedError
        After Ctrl-C. What was trained is saved, and the same call goes on from there.
    ConnectionError
        If the executor has given up its jobs.
    """
    check_size("workers", workers)
    out.mkdir(parents=True, exist_ok=True)
    state, futures = State(list(jobs)), dict[Future[dict[str, Any]], Job]()
    with _alone_in(out):
        for job in state.jobs:
            _look_at(job, state)
        missing = [job for job in state.jobs if job not in state.done and job not in state.failed]
        watch(state)
        processes = Processes(min(workers, len(missing))) if executor is None else None
        used = processes or executor
        assert used is not None
        try:
            for job in missing:
                futures[used.submit(run, job)] = job
            while futures:
                ended, _ = wait(futures, LOOK, FIRST_COMPLETED)
                for future in ended:
                    _take(state, futures.pop(future), future)
                watch(state)
            if processes is not None:
                processes.shutdown()
        except BaseException as e:
            for future in futures:
                future.cancel()
            if processes is not None:
                with suppress(KeyboardInterrupt):  # a second one: they are killed
                    processes.stop()
            if isinstance(e, KeyboardInterrupt | StoppedError):
                raise StoppedError("what was trained is saved") from e
            raise
    return state


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """A sweep's folder, kept to this sweep."""
    with ExitStack() as stack:
        try:
            stack.enter_context(RunFolder(out).locked())
        except LockedError as e:
            raise LockedError(f"{out}: another sweep works in this folder") from e
        yield


def _look_at(job: Job, state: State) -> None:
    """What is there of a job before it is begun."""
    if (results := finished(job)) is not None:
        state.done[job] = results
        return
    try:
        state.notes += [f"{job.name}: {note}" for note in set_aside_what_is_damaged(job)]
    except (OSError, ValueError, TypeError) as e:
        state.failed[job] = str(e)


def _take(state: State, job: Job, future: Future[dict[str, Any]]) -> None:
    """What came of a job; an error in it does not stop the others."""
    try:
        state.done[job] = future.result()
    except StoppedError:
        raise
    except CancelledError as e:
        raise ConnectionError(f"{job.name}: the executor has given it up; has it ended?") from e
    except Exception as e:
        state.failed[job] = f"{type(e).__name__}: {e}"
