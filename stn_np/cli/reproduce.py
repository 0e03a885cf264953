"""``stn-np reproduce``: a table of the paper, our numbers beside its numbers."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from stn_np.checks import check_size
from stn_np.cli.report import printable, table
from stn_np.gpu.devices import choose_device
from stn_np.reproduce import report
from stn_np.reproduce.job import Job
from stn_np.reproduce.sweep import State, jobs_of, sweep
from stn_np.reproduce.tables import TABLES, Cell, Table
from stn_np.threads import available_cores
from stn_np.training.progress import clock
from stn_np.training.run import StoppedError
from stn_np.training.storage import read_json, shortened, write_json


def reproduce(options: argparse.Namespace) -> int:
    """Run the cells that are missing, and show the table.

    Parameters
    ----------
    options
        From the parser.

    Returns
    -------
    int
        Exit code: 1 if a cell failed, 130 if it was stopped.
    """
    chosen = TABLES[options.table]
    cells = chosen.chosen(options.only)
    if options.list:
        print("\n".join(cell.name for cell in cells))
        return 0
    workers, device, threads = _machine(options)
    of_data = "" if options.data == "mnist" else f"-{options.data}"
    out = options.out or Path("reproduced") / f"{chosen.name}-{options.preset}{of_data}"
    result = out / f"{chosen.name}.json"
    _check_same_sweep(result, options)

    # All that may be finished in this folder, for the file; what is wanted now is a part of it.
    known = jobs_of(
        chosen,
        chosen.cells,
        options.preset,
        [*options.seeds, *sorted(_seeds_in(out, chosen.cells))],
        out,
        data=options.data,
        data_dir=options.data_dir,
        device=device,
        threads=threads,
    )
    names = {cell.name for cell in cells}
    wanted = [job for job in known if job.cell in names and job.seed in options.seeds]
    many = "1 cell" if len(wanted) == 1 else f"{len(wanted)} cells and seeds"
    where = f"on {options.scheduler}" if options.scheduler else f"{workers} at a time"
    print(
        f"{chosen.title}, test error in %\n"
        f"preset {options.preset}: {_settings(chosen, options.preset)}\n"
        f"{many}, {where}, in {printable(str(out))}\n",
        flush=True,
    )
    try:
        with stopped_by_sigterm(), (Live if sys.stdout.isatty() else Lines)(cells) as shown:

            def watch(state: State) -> None:
                if shown(state):
                    write_json(result, report.records(chosen, options.preset, options.data, known))

            with cluster(options.scheduler) as executor:
                state = sweep(wanted, out, executor=executor, workers=workers, watch=watch)
    except StoppedError as e:
        if sys.stdout.isatty():
            print(f"\n{table(*report.figures(cells, shown.state))}")
        print(f"\nstopped: {e}; the same command goes on", flush=True)
        return 130
    print(f"\n{table(*report.figures(cells, state))}\n")
    beside = "in brackets the paper's; " * any(r["paper_error"] for r in state.done.values())
    print(f"{beside}more in {printable(str(result))}")
    if state.failed:
        print(f"stn-np reproduce: {len(state.failed)} of {len(wanted)} failed", file=sys.stderr)
    return 1 if state.failed else 0


def _machine(options: argparse.Namespace) -> tuple[int, str, int | None]:
    """Workers, device and threads. Of a cluster, its machines know device and threads best."""
    if options.scheduler is not None:
        if options.workers is not None:
            raise ValueError("--workers: expected none beside --scheduler, which has its own")
        return 1, options.device, options.threads
    workers = check_size("--workers", 1 if options.workers is None else options.workers)
    device, note = choose_device(options.device)
    if note:
        print(f"{note}\n")
    return workers, device, options.threads or max(1, available_cores() // workers)


def _check_same_sweep(result: Path, options: argparse.Namespace) -> None:
    """What a folder's file says of another sweep is not overwritten."""
    try:
        found = read_json(result)
    except FileNotFoundError:
        return
    except ValueError:  # damaged: it is made again from the runs
        return
    for name in ("preset", "data"):
        if found.get(name) != (wanted := getattr(options, name)):
            got = shortened(repr(found.get(name)))
            raise ValueError(
                f"{result}: expected a sweep with {name} {wanted!r}, got {got}; "
                "name another folder by --out"
            )


def _seeds_in(out: Path, cells: Iterable[Cell]) -> set[int]:
    """The seeds that have folders in a sweep's folder."""
    paths = (path for cell in cells for path in (out / cell.name).glob("seed-*"))
    numbers = (path.name.removeprefix("seed-") for path in paths)
    return {int(n) for n in numbers if n.isascii() and n.isdecimal() and len(n) < 12}


def _settings(chosen: Table, preset: str) -> str:
    """A preset in words."""
    return ", ".join(f"{name} {value}" for name, value in chosen.presets[preset].items())


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """A SIGTERM, as ``kill`` and clusters send it, does what a Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def cluster(address: str | None) -> Iterator[Executor | None]:
    """The executor of the Dask cluster whose scheduler is there; None without an address."""
    if address is None:
        yield None
        return
    try:
        import distributed
    except ImportError as e:
        raise ValueError(
            f"--scheduler: needs Dask, which is not here ({e}); pip install 'stn-np[cluster]'"
        ) from e
    for name in ("distributed", "distributed.client"):  # what they know, we say
        logging.getLogger(name).setLevel(logging.CRITICAL)
    make: Any = distributed.Client
    try:
        client = make(address, timeout=10)
    except (OSError, ValueError) as e:
        raise ValueError(f"--scheduler: no Dask scheduler answers at {address!r}: {e}") from e
    with client:
        if not client.ncores():
            print(f"no worker has joined yet; to start one: dask worker {address}", flush=True)
        yield client.get_executor(pure=False)


class Lines:
    """A line for each cell that is finished, for files and pipes.

    Parameters
    ----------
    cells
        Those that are run.
    """

    def __init__(self, cells: list[Cell]) -> None:
        self.cells, self.state = cells, State([])
        self._told: set[Job] = set()
        self._noted = 0
        self._begun, self._first = time.perf_counter(), -1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, state: State) -> bool:
        """Show how far it is. True at first, and when a cell has come to its end since."""
        at_first = self._first < 0
        if at_first:
            self._first = _share_done(state)
        self.state = state
        for note in state.notes[self._noted :]:
            print(f"note: {printable(note)}", flush=True)
        self._noted = len(state.notes)
        new = [job for job in (*state.done, *state.failed) if job not in self._told]
        self._told.update(new)
        for job in new:
            if job in state.failed:
                why = printable(state.failed[job])
                print(f"stn-np reproduce: {job.name}: {why}", file=sys.stderr, flush=True)
            else:
                self.say(job, state)
        return bool(new) or at_first

    def say(self, job: Job, state: State) -> None:
        """A line about a cell that is finished."""
        results = state.done[job]
        paper = results["paper_error"]
        print(
            f"{job.name}: {results['test_error']:.2f} %"
            f"{'' if paper is None else f' (the paper: {paper:.1f} %)'}, "
            f"{clock(results['machine']['seconds'])}; {self.left(state)}",
            flush=True,
        )

    def left(self, state: State) -> str:
        """How many cells are finished, and how long the others will take at the speed so far."""
        share, spent = _share_done(state), time.perf_counter() - self._begun
        text = f"{len(state.done) + len(state.failed)} of {len(state.jobs)} finished"
        if self._first < share < 1:
            text += f", about {clock(spent * (1 - share) / (share - self._first))} left"
        return text


def _share_done(state: State) -> float:
    """Of all epochs; those of failed cells will not be trained."""
    done = sum(
        job.epochs if job in state.done or job in state.failed else job.epochs_done
        for job in state.jobs
    )
    return done / max(1, sum(job.epochs for job in state.jobs))


class Live(Lines):
    """The table on a terminal, while it fills."""

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(auto_refresh=False, transient=True)
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def say(self, job: Job, state: State) -> None:
        """The table does."""

    def __call__(self, state: State) -> bool:
        """Draw the table anew."""
        from rich.text import Text

        new = super().__call__(state)
        text = f"{table(*report.figures(self.cells, state))}\n\n{self.left(state)}"
        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
        return new
