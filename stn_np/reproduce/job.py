"""One cell with one seed, trained in a run folder of its own: what a worker does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from stn_np import __version__, threads
from stn_np.checks import check_number
from stn_np.experiments import Experiment, by_name, open_run
from stn_np.training import run as training
from stn_np.training.checkpoint import CheckpointError
from stn_np.training.folder import RunFolder
from stn_np.training.loop import Trainer
from stn_np.training.progress import Progress
from stn_np.training.storage import read_json


@dataclass(frozen=True, eq=False)  # as keys
class Job:
    """What a worker is told; it can be sent to another process or machine.

    Attributes
    ----------
    cell : str
        The cell's name.
    seed : int
        Of everything random.
    experiment : str
        By name.
    settings : dict
        As a user would give them, with the seed and where the data are.
    folder : str
        The run folder. All workers see it.
    device : str
        "cpu" or "gpu".
    threads : int or None
        On a CPU; None: one a core.
    """

    cell: str
    seed: int
    experiment: str
    settings: dict[str, Any]
    folder: str
    device: str = "cpu"
    threads: int | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.cell}, seed {self.seed}"

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished, by the files that the worker writes."""
        try:
            return (Path(self.folder) / "metrics.csv").read_bytes().count(b"\n") - 1
        except OSError:
            return 0

    @property
    def epochs(self) -> int:
        """How many it has."""
        return int(self.settings["epochs"])


@dataclass(frozen=True)
class Done:
    """What came of a job.

    Attributes
    ----------
    results : dict
        The content of its results.json.
    notes : list of str
        What was damaged or of another version, and is made again.
    """

    results: dict[str, Any]
    notes: list[str]


class Silent(Progress):
    """Prints nothing: whoever waits for the worker looks at the run's files."""

    def say(self, line: str) -> None:
        """Nothing."""


def finished(job: Job) -> Done | None:
    """What a job has come to, if its run is finished, by this version and with these settings."""
    folder = RunFolder(Path(job.folder))
    try:
        config, results = read_json(folder.config), read_json(folder.results)
        sound = _version_of(results) == __version__
    except (OSError, KeyError, TypeError, ValueError):
        return None
    same = all(config.get(k) == v for k, v in job.settings.items() if k != "data_dir")
    return Done(results, []) if sound and same else None


def run(job: Job) -> Done:
    """Train a cell from where it is to its end; one that is finished is only read.

    Parameters
    ----------
    job
        The cell.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings, or another process works on it.
    StoppedError
        After SIGTERM or SIGINT. Everything is saved, and the same call goes on from there.
    DivergedError
        If the training diverges.
    """
    if job.threads:
        threads.set_threads(job.threads)
    experiment = by_name(job.experiment).create(job.settings, job.device)
    folder, notes = RunFolder(Path(job.folder)), []
    if folder.path.exists():
        with folder.locked():
            notes += _set_aside_what_is_damaged(folder, experiment)
    try:
        return Done(_train(experiment, folder), notes)
    except CheckpointError as e:
        notes.append(_set_aside(folder.path, str(e)))
        return Done(_train(experiment, folder), notes)


def _train(experiment: Experiment, folder: RunFolder) -> dict[str, Any]:
    """A new run, or what is left of one."""
    if not folder.config.exists():
        folder.create(experiment.name, experiment.settings)
    with folder.locked():
        if folder.results.exists():
            return read_json(folder.results)
        trainer = Trainer(experiment)
        training.go_on(trainer, folder)
        training.train(trainer, folder, Silent(trainer, bar=False))
        return training.finish(trainer, folder)


def _set_aside_what_is_damaged(folder: RunFolder, experiment: Experiment) -> list[str]:
    """Rename what cannot be used, and say so. Results are made again from the last checkpoint."""
    if not folder.config.exists():
        return []
    try:
        _, _, settings = open_run(folder.path)
    except (ValueError, TypeError) as e:
        return [_set_aside(folder.path, str(e))]
    _check_same(folder.path, asdict(settings), asdict(experiment.settings), experiment)
    if not folder.results.exists():
        return []
    try:
        version = _version_of(read_json(folder.results))
    except (KeyError, TypeError, ValueError) as e:
        return [_set_aside(folder.results, f"not the results of a run: {e!r}")]
    if version != __version__:
        return [_set_aside(folder.path, f"version {version} of stn_np made it")]
    return []


def _version_of(results: dict[str, Any]) -> str:
    """The version that made these results; they must have what a table needs."""
    check_number("test_error", results["test_error"], 0)
    check_number("seconds", results["machine"]["seconds"], 0)
    for name in ("parameters", "epochs", "steps"):
        check_number(name, results[name], 0)
    return str(results["machine"]["stn_np"])


def _set_aside(path: Path, why: str) -> str:
    """Give a file or folder another name; what to tell the user."""
    other = next(
        p for n in count(1) if not (p := path.with_name(f"{path.name}.aside-{n}")).exists()
    )
    path.rename(other)
    return f"{why}. It is kept as {other.name}, and made again"


def _check_same(
    path: Path, found: dict[str, Any], wanted: dict[str, Any], experiment: Experiment
) -> None:
    """A run that is there has the settings that the sweep asks for."""
    decisive = experiment.settings.identity()
    others = [name for name in decisive if found.get(name) != wanted[name]]
    if others:
        what = ", ".join(
            f"{name} {found.get(name)!r} instead of {wanted[name]!r}" for name in others
        )
        raise ValueError(f"{path}: holds a run with {what}; name another folder by --out")
