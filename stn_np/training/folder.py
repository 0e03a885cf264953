"""The run folder: what lies where in it, and the checks before anything is written."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stn_np.training.config import COMMON_DEFAULTS, TrainConfig, load_config


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
        """What the transformer did with some test digits, after each epoch."""
        return self.path / "frames.npz"

    @property
    def results(self) -> Path:
        """The final figures. A run that has them is finished."""
        return self.path / "results.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def create(self, config: TrainConfig) -> None:
        """Make the folder with its settings.

        Raises
        ------
        FileExistsError
            If there is a run in it, even one that began at this very moment.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        config.save(self.config, new=True)  # either we make it or somebody else did
        self.checkpoints.mkdir(exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the run to this process. The system opens the lock when the process ends or dies.

        Raises
        ------
        ValueError
            If another process is training this run. (Not noticed on Windows.)
        """
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.path} is being trained by another process") from None
            yield


def open_run(path: Path) -> tuple[RunFolder, TrainConfig]:
    """An existing run folder with its settings.

    Raises
    ------
    ValueError
        If it is no run folder, or its settings cannot be understood.
    """
    folder = RunFolder(path)
    if not path.is_dir():
        raise ValueError(f"RUN: expected the folder of a run, but {path} is no folder")
    if not folder.config.is_file():
        raise ValueError(f"RUN: expected the folder of a run, but {path} holds no config.json")
    return folder, load_config(folder.config)


def check_new_folder(path: Path) -> None:
    """A run may be written here: the folder is new or empty, and may be written. Changes nothing.

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
    """A folder could be made or filled here. Tried out, not guessed from permissions.

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


def default_folder(config: TrainConfig, parent: Path) -> Path:
    """The first name <data>-<distortion>-<model>-<number> below `parent` that is not taken.

    Where there is a transformer of another than the default family, that follows the model.
    """
    data = re.sub(r"[^\w.-]+", "_", Path(config.data).name)
    stem = f"{data}-{config.distortion}-{config.model}"
    if config.model.startswith("st-") and config.transform != COMMON_DEFAULTS["transform"]:
        stem += f"-{config.transform}"
    number = 1
    while (parent / f"{stem}-{number:03d}").exists():
        number += 1
    return parent / f"{stem}-{number:03d}"
