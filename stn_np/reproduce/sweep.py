"""The cells of a table, on any executor; what is finished is not run again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from stn_np.checks import check_choice, check_size
from stn_np.reproduce.job import Done, Job, finished, run
from stn_np.reproduce.tables import Cell, Table
from stn_np.reproduce.workers import Processes
from stn_np.training.folder import RunFolder
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
    done : dict of Job to Done
        Those that are finished.
    failed : dict of Job to str
        Those that cannot be finished, and why.
    notes : list of str
        What happened on the way.
    """

    jobs: list[Job]
    done: dict[Job, Done] = field(default_factory=dict)
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
        For an unknown preset; the nearest one is suggested.
    """
    check_choice("preset", preset, table.presets)
    where = {} if data_dir is None else {"data_dir": data_dir}
    cells = list(cells)
    return [
        Job(
            cell.name,
            check_size("seeds", seed, 0),
            cell.experiment,
            {"data": data, **where, **table.presets[preset], **cell.settings, "seed": seed},
            str(out / cell.name / f"seed-{seed}"),
            device,
            threads,
        )
        for seed in dict.fromkeys(seeds)
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
        Of `concurrent.futures`: where jobs are run, in processes that see `out`.
    workers
        Without an executor: so many processes on this machine. A job whose process dies is begun
        again, and goes on from its last epoch.
    watch
        Called now and then, and after each job.

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
    """
    out.mkdir(parents=True, exist_ok=True)
    state = State(list(jobs))
    processes = Processes(check_size("workers", workers))
    with RunFolder(out).locked(), processes:
        used = processes if executor is None else executor
        state.done = {job: done for job in state.jobs if (done := finished(job))}
        futures = {used.submit(run, job): job for job in state.jobs if job not in state.done}
        try:
            watch(state)
            while futures:
                ended, _ = wait(futures, LOOK, FIRST_COMPLETED)
                for future in ended:
                    _take(state, futures.pop(future), future)
                watch(state)
        except (KeyboardInterrupt, StoppedError) as e:
            for future in futures:
                future.cancel()
            processes.stop()
            raise StoppedError("what was trained is saved") from e
    return state


def _take(state: State, job: Job, future: Future[Done]) -> None:
    """What came of a job; an error in it does not stop the others."""
    try:
        done = future.result()
    except StoppedError:
        raise
    except Exception as e:
        state.failed[job] = f"{type(e).__name__}: {e}"
    else:
        state.done[job] = done
        state.notes += [f"{job.name}: {note}" for note in done.notes]
