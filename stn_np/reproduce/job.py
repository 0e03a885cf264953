"""One cell with one seed, in a run folder of its own: what is there of it, and its training."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from stn_np import threads
from stn_np.checks import check_number
from stn_np.experiments import by_name, open_run
from stn_np.gpu.devices import choose_device
from stn_np.training import run as training
from stn_np.training.checkpoint import CheckpointError, checkpoints, load_newest
from stn_np.training.folder import LockedError, RunFolder
from stn_np.training.loop import Trainer
from stn_np.training.progress import Progress
from stn_np.training.storage import MOST_TEXT, read_file, read_json, shortened
from stn_np.version import __version__


@dataclass(frozen=True, eq=False)  # as keys
class Job:
    """What a worker is told; it can be sent to another process or machine.

    Attributes
    ----------
    cell : str
        The cell's name.
    experiment : str
        By name.
    settings : dict
        All of the experiment's settings, the seed among them.
    folder : str
        The run folder, an absolute path. All workers see it.
    device : str
        "cpu", "gpu", or "auto": a GPU where the worker has one.
    threads : int or None
        On a CPU; None: one a core.
    """

    cell: str
    experiment: str
    settings: dict[str, Any]
    folder: str
    device: str = "cpu"
    threads: int | None = None

    @property
    def seed(self) -> int:
        """Of everything random."""
        return int(self.settings["seed"])

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.cell}, seed {self.seed}"

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished, by the files that the worker writes."""
        try:
            lines = read_file(RunFolder(Path(self.folder)).metrics, MOST_TEXT).count(b"\n")
            return max(0, lines - 1)
        except (OSError, ValueError):
            return 0

    @property
    def epochs(self) -> int:
        """How many it has."""
        return int(self.settings["epochs"])


class Silent(Progress):
    """Prints nothing: whoever waits for the worker looks at the run's files."""

    def say(self, line: str) -> None:
        """Keep an epoch's line to itself."""


# ------------------------------------------------------------------------ what a worker does


def run(job: Job) -> dict[str, Any]:
    """Train a cell from where it is to its end; one that is finished is only read.

    Parameters
    ----------
    job
        The cell. If another process works on it, that one is waited for.

    Returns
    -------
    dict
        The content of its results.json.

    Raises
    ------
    ValueError
        If the data are others than those of the settings, or the folder has come to hold another
        run.
    CheckpointError
        If there is no sound checkpoint to go on from.
    StoppedError
        After SIGTERM or SIGINT. Everything is saved, and the same call goes on from there.
    DivergedError
        If the training diverges.
    """
    if job.threads:
        threads.set_threads(job.threads)
    kind, (device, _) = by_name(job.experiment), choose_device(job.device)
    experiment, folder = kind(kind.Settings(**job.settings), device), RunFolder(Path(job.folder))
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.locked(wait=True):
        if not folder.config.exists():
            folder.create(experiment.name, experiment.settings)
        _check_same(folder, job)  # another process may have been at work here
        if folder.results.exists():
            if (results := finished(job)) is None:
                raise ValueError(f"{folder.results}: not what this version makes")
            return results
        trainer = Trainer(experiment)
        training.go_on(trainer, folder)
        training.train(trainer, folder, Silent(trainer, bar=False))
        return training.finish(trainer, folder)


# -------------------------------------------------------------------- what is there, beforehand


def finished(job: Job) -> dict[str, Any] | None:
    """The results of a job that was finished by this version with these settings, else None."""
    folder = RunFolder(Path(job.folder))
    try:
        _check_same(folder, job)
        results = read_json(folder.results)
        return results if _version_of(results, job) == __version__ else None
    except (OSError, ValueError, TypeError):
        return None


def set_aside_what_is_damaged(job: Job) -> list[str]:
    """Rename what a worker could not use, or what another version has made.

    Returns
    -------
    list of str
        What to tell the user.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings: that is not ours to move.
    OSError
        If something cannot be read or renamed now.
    """
    folder = RunFolder(Path(job.folder))
    if not folder.path.is_dir():
        return [_set_aside(folder.path, "it is no folder")] if _there(folder.path) else []
    if why := _wrong_kind(folder):
        return [_set_aside(folder.path, why)]
    try:
        with folder.locked():
            return _look_at(folder, job)
    except LockedError:  # a process that works on it, whose parent was killed perhaps
        return [f"another process works on it in {folder.path}: it is waited for"]


def _look_at(folder: RunFolder, job: Job) -> list[str]:
    """The settings, then the results; where there are none, the checkpoints."""
    if not folder.config.exists():
        begun = folder.results.exists() or folder.metrics.exists()
        begun = begun or bool(checkpoints(folder.checkpoints))
        return [_set_aside(folder.path, "there is no config.json")] if begun else []
    try:
        open_run(folder.path)
    except (ValueError, TypeError) as e:
        return [_set_aside(folder.path, str(e))]
    _check_same(folder, job)
    if folder.results.exists():
        try:
            version = _version_of(read_json(folder.results), job)
        except (ValueError, TypeError) as e:
            why = f"{folder.results}: not the results of a run: {e}"
            return [_set_aside(folder.results, why), *_look_at(folder, job)]
        return _of_another_version(folder, version)
    if not checkpoints(folder.checkpoints) and not folder.metrics.exists():
        return []  # it has not begun
    try:
        newest = load_newest(folder.checkpoints)
    except CheckpointError as e:
        return [_set_aside(folder.path, str(e))]
    version = shortened(str(newest.arrays.get("version", "0.1")), 20)
    return _of_another_version(folder, version) or newest.notes


def _of_another_version(folder: RunFolder, version: str) -> list[str]:
    """Set aside what this version has not made: its figures may be others."""
    if version == __version__:
        return []
    return [_set_aside(folder.path, f"version {version} of stn_np made it, this is {__version__}")]


def _there(path: Path) -> bool:
    """Whether there is something of this name, be it a link to nowhere."""
    return path.exists() or path.is_symlink()


def _wrong_kind(folder: RunFolder) -> str:
    """Which of a run's files is a folder, a link, or the like; empty if none is."""
    for path in (*folder.files, folder.checkpoints, *checkpoints(folder.checkpoints)):
        if not _there(path):
            continue
        mode = path.lstat().st_mode
        if not (stat.S_ISDIR if path == folder.checkpoints else stat.S_ISREG)(mode):
            return f"{path}: expected a {'folder' if path == folder.checkpoints else 'file'}"
    return ""


def _version_of(results: Mapping[str, Any], job: Job) -> str:
    """The version that made these results; ValueError or TypeError if they are not a job's."""
    machine = results.get("machine")
    if not isinstance(machine, dict):
        raise ValueError(f"machine: expected an object, got {shortened(repr(machine))}")
    for name, wanted in (("experiment", job.experiment), ("epochs", job.epochs)):
        if results.get(name) != wanted:
            got = shortened(repr(results.get(name)))
            raise ValueError(f"{name}: expected {wanted!r}, got {got}")
    check_number("test_error", results.get("test_error"), 0, 100.1)
    check_number("seconds", machine.get("seconds"), 0)
    if results.get("paper_error", "") is not None:
        check_number("paper_error", results.get("paper_error"), 0)
    for name in ("parameters", "steps"):
        check_number(name, results.get(name), 0)
    return shortened(str(machine.get("stn_np", "0.1")), 20)


def _set_aside(path: Path, why: str) -> str:
    """Give a file or folder another name; what to tell the user."""
    other = next(p for n in count(1) if not _there(p := path.with_name(f"{path.name}.aside-{n}")))
    path.rename(other)
    return f"{why}. It is kept as {other.name}, and made again"


def _check_same(folder: RunFolder, job: Job) -> None:
    """A run that is there is the one that the sweep asks for; else ValueError or TypeError."""
    _, kind, settings = open_run(folder.path)
    wanted = by_name(job.experiment).Settings(**job.settings).identity()
    wanted["experiment"] = job.experiment
    got = {**asdict(settings), "experiment": kind.name}
    if others := [name for name in wanted if got.get(name) != wanted[name]]:
        what = ", ".join(f"{name} {got.get(name)!r} instead of {wanted[name]!r}" for name in others)
        raise ValueError(f"{folder.path}: holds a run with {what}; name another folder by --out")
