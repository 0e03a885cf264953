"""``stn-np reproduce``: a table of the paper, our numbers beside its numbers."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from stn_np.checks import check_size
from stn_np.cli.report import printable, table
from stn_np.data.dataset import expanded
from stn_np.gpu.devices import choose_device
from stn_np.reproduce import report
from stn_np.reproduce.job import Job
from stn_np.reproduce.sweep import State, jobs_of, sweep
from stn_np.reproduce.tables import TABLES, Cell, Table
from stn_np.threads import available_cores
from stn_np.training.progress import clock
from stn_np.training.run import StoppedError


def reproduce(options: argparse.Namespace) -> int:
    """Run the cells that are missing, and show the table.

    Parameters
    ----------
    options
        From the parser.

    Returns
    -------
    int
        Exit code: 1 if a cell failed.
    """
    chosen = TABLES[options.table]
    cells = chosen.chosen(options.only)
    if options.list:
        print("\n".join(cell.name for cell in cells))
        return 0
    device, _ = choose_device(options.device)
    workers = check_size("--workers", options.workers)
    at_a_time = f"{workers} at a time" if options.scheduler is None else options.scheduler
    out = options.out or Path("reproduced") / f"{chosen.name}-{options.preset}"
    jobs = jobs_of(
        chosen,
        cells,
        options.preset,
        options.seeds,
        out,
        data=options.data,
        data_dir=str(expanded(options.data_dir).resolve()) if options.data_dir else None,
        device=device,
        threads=options.threads or max(1, available_cores() // workers),
    )
    print(
        f"{chosen.title}, test error in %\n"
        f"preset {options.preset}: {_settings(chosen, options.preset)}\n"
        f"{len(jobs)} cells and seeds, {at_a_time}, on the {device.upper()}, "
        f"in {printable(str(out))}\n",
        flush=True,
    )
    result = out / f"{chosen.name}.json"
    try:
        with (Live if sys.stdout.isatty() else Lines)(chosen, cells) as shown:

            def watch(state: State) -> None:
                if shown(state):
                    report.write(result, chosen, options.preset, state)

            with cluster(options.scheduler) as executor:
                state = sweep(jobs, out, executor=executor, workers=workers, watch=watch)
    except StoppedError as e:
        print(f"\nstopped: {e}; the same command goes on", flush=True)
        return 130
    print(f"\n{_table(chosen, cells, state)}\n")
    print(f"in brackets the paper's; more in {printable(str(result))}")
    for note in state.notes:
        print(f"note: {printable(note)}")
    for job, why in state.failed.items():
        print(f"stn-np reproduce: {job.name}: {printable(why)}", file=sys.stderr)
    return 1 if state.failed else 0


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
    make: Any = distributed.Client
    try:
        client = make(address, timeout=10)
    except (OSError, ValueError) as e:
        raise ValueError(f"--scheduler: no Dask scheduler answers at {address!r}: {e}") from e
    with client:
        yield client.get_executor(pure=False)


def _settings(chosen: Table, preset: str) -> str:
    """A preset in words."""
    return ", ".join(f"{name} {value}" for name, value in chosen.presets[preset].items())


class Lines:
    """A line for each cell that is finished, for files and pipes.

    Parameters
    ----------
    chosen, cells
        The table, and those of its cells that are run.
    """

    def __init__(self, chosen: Table, cells: list[Cell]) -> None:
        self.chosen, self.cells = chosen, cells
        self._told: set[Job] = set()
        self._begun, self._first = time.perf_counter(), -1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, state: State) -> bool:
        """Show how far it is; whether a cell has come to its end since the last call."""
        new = [job for job in (*state.done, *state.failed) if job not in self._told]
        self._told.update(new)
        for job in new:
            self.say(job, state)
        return bool(new)

    def say(self, job: Job, state: State) -> None:
        """A line about a cell that has come to an end."""
        if job in state.failed:
            print(f"{job.name}: failed", flush=True)
            return
        results = state.done[job].results
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
        """The table says it."""

    def __call__(self, state: State) -> bool:
        """Draw the table anew."""
        from rich.table import Table

        head, body = report.figures(self.chosen, self.cells, state)
        drawn = Table(caption=self.left(state), caption_justify="left")
        for i, name in enumerate(head):
            drawn.add_column(name, justify="right" if i else "left")
        for row in body:
            drawn.add_row(*map(printable, row))
        self._live.update(drawn, refresh=True)
        return super().__call__(state)


def _table(chosen: Table, cells: list[Cell], state: State) -> str:
    """As text."""
    return table(*report.figures(chosen, cells, state))
