"""The run folder: what lies where in it, and the checks before anything is written."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from stn_np.training.settings import TrainingSettings
from stn_np.training.storage import MOST_TEXT, read_file, read_json, write_atomic

S = TypeVar("S", bound=TrainingSettings)


class LockedError(ValueError):
    """Another process works on a run."""


@dataclass(frozen=True)
class RunFolder:
    """A run's files by name.

    Attributes
    ----------
    path : Path
        The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The settings."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One row after each epoch; the same bits for the same settings."""
        return self.path / "metrics.csv"

    @property
    def timings(self) -> Path:
        """What depends on the machine and the day: seconds and images per second."""
        return self.path / "timings.csv"

    @property
    def frames(self) -> Path:
        """What the transformers did with some test examples, after each epoch."""
        return self.path / "frames.npz"

    @property
    def results(self) -> Path:
        """The final figures. A run that has them is finished."""
        return self.path / "results.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def lock(self) -> Path:
        """Locked by the process that trains the run."""
        return self.path / ".lock"

    @property
    def files(self) -> tuple[Path, ...]:
        """All of these but the folder of the checkpoints."""
        own = (self.config, self.metrics, self.timings, self.frames, self.results)
        return (*own, self.lock)

    def create(self, experiment: str, settings: TrainingSettings) -> None:
        """Make the folder with its settings.

        Raises
        ------
        FileExistsError
            If there is a run in it, even one that began at this very moment.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        content = {"experiment": experiment, **asdict(settings)}
        text = json.dumps(content, indent=2) + "\n"
        write_atomic(self.config, text.encode(), new=True)  # we make it, or somebody else did
        self.checkpoints.mkdir(exist_ok=True)

    def keep(self, experiment: str, settings: TrainingSettings) -> None:
        """Write down what may change in a run: more epochs, and where its data are."""
        content = (
            json.dumps({"experiment": experiment, **asdict(settings)}, indent=2) + "\n"
        ).encode()
        if content != read_file(self.config, MOST_TEXT):
            write_atomic(self.config, content)

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Keep the run to this process. The system opens the lock when the process ends or dies.

        Parameters
        ----------
        wait
            For another process that is training this run. (Not noticed on Windows.)

        Raises
        ------
        LockedError
            If there is one, and it is not to be waited for.
        OSError
            If the file cannot be opened, or is a link.
        """
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(self.lock, flags, 0o666)
        except OSError as e:
            what = "it is a link" if e.errno == errno.ELOOP else e.strerror
            raise OSError(e.errno, f"cannot lock {self.lock}: {what}") from e
        with os.fdopen(fd, "rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise LockedError(f"{self.path} is being trained by another process") from None
            yield


def find_run(path: Path) -> tuple[RunFolder, dict[str, Any]]:
    """An existing run folder with the content of its config.json.

    Raises
    ------
    ValueError
        If it is no run folder, or its settings are no JSON object.
    """
    folder = RunFolder(path)
    if not path.is_dir():
        raise ValueError(f"RUN: expected the folder of a run, but {path} is no folder")
    if not folder.config.is_file():
        raise ValueError(f"RUN: expected the folder of a run, but {path} holds no config.json")
    return folder, read_json(folder.config)


def check_new_folder(path: Path) -> None:
    """Check that a run may be written here: the folder is new or empty, and writable.

    Raises
    ------
    ValueError
        If there is something at this path already.
    OSError
        If the folder could not be written.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"--out: expected a new or empty folder, but {path} is a file")
    if path.is_dir() and any(p for p in path.iterdir() if not p.match(".*.tmp")):
        raise ValueError(
            f"--out: expected a new or empty folder, but {path} holds files already; "
            "name another, or go on with that run by --resume"
        )
    check_writable(path)


def check_writable(path: Path) -> None:
    """Check, by trying, that a folder can be made or filled here.

    Parameters
    ----------
    path
        A folder, or what shall become one.

    Raises
    ------
    OSError
        If nothing can be written there. Nothing is left behind in either case.
    """
    above = path.absolute()
    while not above.exists():
        above = above.parent
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".stn-np-", dir=above))
    except OSError as e:
        raise OSError(e.errno, f"--out: cannot write to {path}: {above}: {e.strerror}") from e


def free_folder(parent: Path, stem: str) -> Path:
    """The first name <stem>-<number> below `parent` that is not taken."""
    stem = re.sub(r"[^\w.-]+", "_", stem)
    number = 1
    while (parent / f"{stem}-{number:03d}").exists():
        number += 1
    return parent / f"{stem}-{number:03d}"


def read_settings(path: Path, found: dict[str, Any], kind: type[S]) -> S:
    """The settings in the content of a config.json.

    Parameters
    ----------
    path
        The file, for messages.
    found
        Its content, without the experiment's name.
    kind
        Of settings.

    Raises
    ------
    ValueError, TypeError
        If they are not these settings; the message says what is wrong with them.
    """
    names = {item.name: item.metadata.get("since_0_1", True) for item in fields(kind)}
    missing = {name for name, required in names.items() if required and name not in found}
    if missing or found.keys() - names.keys():
        expected, got = ", ".join(sorted(names)), ", ".join(sorted(found))
        raise ValueError(f"{path}: expected the settings {expected}; got {got}")
    try:
        return kind(**found)
    except (TypeError, ValueError) as e:
        raise type(e)(f"{path}: {e}") from e
