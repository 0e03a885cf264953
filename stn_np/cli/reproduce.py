"""``stn-np reproduce``: a table of the paper, our numbers beside its numbers."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Iterator
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
from stn_np.training.storage import write_json


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
    workers, device = check_size("--workers", options.workers), choose_device(options.device)[0]
    threads = options.threads  # where there is a cluster, its machines have other cores than this
    if options.scheduler is None:
        threads = threads or max(1, available_cores() // workers)
    of_data = "" if options.data == "mnist" else f"-{options.data}"
    out = options.out or Path("reproduced") / f"{chosen.name}-{options.preset}{of_data}"
    result = out / f"{chosen.name}.json"

    def jobs(cells: list[Cell], seeds: list[int]) -> list[Job]:
        where = {"data": options.data, "data_dir": options.data_dir}
        of = (options.preset, seeds, out)
        return jobs_of(chosen, cells, *of, **where, device=device, threads=threads)

    wanted = jobs(cells, options.seeds)
    print(
        f"{chosen.title}, test error in %\n"
        f"preset {options.preset}: {_settings(chosen, options.preset)}\n"
        f"{len(wanted)} cells and seeds, {options.scheduler or f'{workers} at a time'}, on the "
        f"{device.upper()}, in {printable(str(out))}\n",
        flush=True,
    )
    # The file has all that is finished in this folder, whatever is wanted now.
    known = jobs(list(chosen.cells), sorted({*options.seeds, *_seeds_in(out)}))

    def write() -> None:
        write_json(result, report.records(chosen, options.preset, known))

    try:
        with stopped_by_sigterm(), (Live if sys.stdout.isatty() else Lines)(cells) as shown:

            def watch(state: State) -> None:
                if shown(state):
                    write()

            with cluster(options.scheduler) as executor:
                state = sweep(wanted, out, executor=executor, workers=workers, watch=watch)
    except StoppedError as e:
        print(f"\nstopped: {e}; the same command goes on", flush=True)
        return 130
    write()
    print(f"\n{table(*report.figures(cells, state))}\n")
    print(f"in brackets the paper's; more in {printable(str(result))}")
    if state.failed:
        many = f"{len(state.failed)} of {len(wanted)} failed"
        print(f"stn-np reproduce: {many}; the same command tries again", file=sys.stderr)
    return 1 if state.failed else 0


def _seeds_in(out: Path) -> set[int]:
    """The seeds that have folders in a sweep's folder."""
    numbers = (path.name.removeprefix("seed-") for path in out.glob("*/**/seed-*"))
    return {int(number) for number in numbers if number.isdecimal() and number.isascii()}


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
        self.cells = cells
        self._told: set[Job] = set()
        self._noted, self._calls = 0, 0
        self._begun, self._first = time.perf_counter(), -1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, state: State) -> bool:
        """Show how far it is. True at first, and when a cell has come to its end since."""
        self._calls += 1
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
        return bool(new) or self._calls == 1

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
        total = sum(job.epochs for job in state.jobs)
        share = sum(job.epochs_done for job in state.jobs) / total
        if self._first < 0:
            self._first = share
        ended, spent = len(state.done) + len(state.failed), time.perf_counter() - self._begun
        text = f"{ended} of {len(state.jobs)} finished"
        if self._first < share < 1:
            text += f", about {clock(spent * (1 - share) / (share - self._first))} left"
        return text


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
        from rich.table import Table

        head, body = report.figures(self.cells, state)
        drawn = Table(caption=self.left(state), caption_justify="left")
        for i, name in enumerate(head):
            drawn.add_column(name, justify="right" if i else "left")
        for row in body:
            drawn.add_row(*map(printable, row))
        self._live.update(drawn, refresh=True)
        return super().__call__(state)
