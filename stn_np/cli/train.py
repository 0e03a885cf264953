"""``stn-np train``: a new run, or a stopped one to its end."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stn_np.cli.options import SETTINGS, option_name
from stn_np.cli.report import aligned, draw_pictures, framed, training_summary
from stn_np.gpu.devices import DeviceError, choose_device, explain_gpu_error
from stn_np.training.config import (
    TrainConfig,
    check_settings,
    data_checksum,
    defaults_for,
)
from stn_np.training.folder import (
    RunFolder,
    check_new_folder,
    check_writable,
    default_folder,
    open_run,
)
from stn_np.training.records import read_json

if TYPE_CHECKING:
    from stn_np.data import Dataset
    from stn_np.training.loop import Trainer

#: Where runs go that were given no folder.
RUNS = Path("runs")


def train(options: argparse.Namespace) -> int:
    """Check everything that can be checked without work, then train.

    Parameters
    ----------
    options
        From the parser.

    Returns
    -------
    int
        Exit code.
    """
    given = {name: v for name in SETTINGS if (v := getattr(options, name)) is not None}
    check_settings(given, label=option_name)
    if "transform" in given and not given.get("model", "st-").startswith("st-"):
        raise ValueError(
            f"--transform: expected a model with a spatial transformer, got --model "
            f"{given['model']}; st-{given['model']} has one"
        )
    return _resume(options, given) if options.resume else _new(options, given)


def _new(options: argparse.Namespace, given: dict[str, Any]) -> int:
    """A new run."""
    from stn_np import data
    from stn_np.training.loop import Trainer

    device, note = choose_device(options.device)
    if options.out:
        check_new_folder(options.out)
    else:
        check_writable(RUNS)
    wanted = "auto" if options.data is None else options.data
    train_set, test_set = data.load(wanted, options.data_dir)
    if wanted == "auto":
        wanted = train_set.name
    elif wanted not in data.NAMES:
        wanted = str(Path(wanted).resolve())
    config = TrainConfig(
        data=wanted,
        data_checksum=data_checksum(train_set, test_set),
        data_dir=str(options.data_dir.resolve()) if options.data_dir else None,
        **{**defaults_for(wanted), **given},
    )
    trainer = Trainer(config, train_set, test_set, device)
    folder = _create_folder(options.out, config)
    _announce(trainer, train_set, folder, note)
    return _train(trainer, folder, train_set, options.device)


def _create_folder(out: Path | None, config: TrainConfig) -> RunFolder:
    """The folder of a new run; of two that begin at once each gets its own."""
    while True:
        folder = RunFolder(out or default_folder(config, RUNS))
        try:
            folder.create(config)
            return folder
        except FileExistsError:
            if out:
                raise


def _resume(options: argparse.Namespace, given: dict[str, Any]) -> int:
    """A stopped run, from where it was."""
    from stn_np.training.loop import Trainer
    from stn_np.training.session import go_on

    folder, config = open_run(options.resume)
    _refuse_contradictions(options, given, config)
    device, note = choose_device(options.device)
    if folder.results.is_file():
        print(f"{folder.path} is finished; there is nothing to resume.\n")
        print(training_summary(read_json(folder.results), folder.path))
        return 0
    train_set, test_set = load_run_data(config, options.data_dir)
    trainer = Trainer(config, train_set, test_set, device)
    notes = go_on(trainer, folder)
    _announce(trainer, train_set, folder, note)
    print("\n".join(notes) + "\n", flush=True)
    return _train(trainer, folder, train_set, options.device)


def _refuse_contradictions(
    options: argparse.Namespace, given: dict[str, Any], config: TrainConfig
) -> None:
    """A resumed run keeps its settings: nothing else may be asked for."""
    if options.out is not None:
        raise ValueError(
            f"--out: a resumed run goes on in its own folder {options.resume}; leave --out away"
        )
    if options.data not in (None, "auto"):
        from stn_np import data

        known = options.data in data.NAMES
        given = {"data": options.data if known else str(Path(options.data).resolve()), **given}
    for name, value in given.items():
        if value != getattr(config, name):
            raise ValueError(
                f"{option_name(name)}: this run has {getattr(config, name)!r}, got {value!r}; "
                "a resumed run keeps its settings, so leave the option away or begin a new run"
            )


def load_run_data(config: TrainConfig, data_dir: Path | None) -> tuple[Dataset, Dataset]:
    """The data that a run was begun with.

    Parameters
    ----------
    config
        Of the run.
    data_dir
        Where to look instead of where the run found it.

    Raises
    ------
    ValueError
        If the data are others now.
    """
    from stn_np import data

    train_set, test_set = data.load(config.data, data_dir or config.data_dir)
    found = data_checksum(train_set, test_set)
    if found != config.data_checksum:
        raise ValueError(
            f"data: the run was begun with data of checksum {config.data_checksum}, "
            f"but {config.data} now has {found}: images were changed, added or removed"
        )
    return train_set, test_set


def _announce(trainer: Trainer, data: Dataset, folder: RunFolder, note: str) -> None:
    """What is about to be trained, on what; `note` is about the device."""
    from stn_np import models

    config = trainer.config
    if data.note:
        print(framed(data.note))
    print(models.summary(trainer.model))
    print(
        f"\n{len(data.images):,} training and {len(trainer.test.images):,} test images, "
        f"distortion {config.distortion}\n"
        f"{config.epochs} epochs of {trainer.batches.per_epoch} steps of {trainer.batches.size} "
        f"images, {config.optimizer}, {config.schedule}, learning rate {config.lr:g}\n"
        f"on the {trainer.device.upper()}, run folder {folder.path}\n",
        *([f"{note}\n"] if note else []),
        sep="\n",
        flush=True,
    )


def _train(trainer: Trainer, folder: RunFolder, data: Dataset, device: str) -> int:
    """Train to the end; whatever stops it, say how to go on."""
    from stn_np.training import session
    from stn_np.training.loop import DivergedError
    from stn_np.training.progress import Progress
    from stn_np.training.results import finish

    resume = f"stn-np train --resume {shlex.quote(str(folder.path))}"
    # The run itself remembers no device.
    command = resume if device == "auto" else f"{resume} --device {device}"
    progress = Progress(trainer)
    try:
        with folder.locked():
            session.train(trainer, folder, progress)
            progress.close()
            results = finish(trainer, folder, data)
    except session.StoppedError as e:
        progress.close()
        print(f"\nstopped: {e}\nto go on:\n  {command}", flush=True)
        return 130
    except KeyboardInterrupt:
        progress.close()
        print(f"\nstopped at once; to go on from the last checkpoint:\n  {command}", flush=True)
        return 130
    except DivergedError as e:
        progress.close()
        print(f"stn-np train: error: training diverged at {e}", file=sys.stderr)
        print(f"The last checkpoint is kept in {folder.checkpoints}", file=sys.stderr)
        return 1
    except OSError as e:
        progress.close()
        raise OSError(e.errno, f"{e.strerror or e}. When that is mended, go on: {command}") from e
    except Exception as e:
        progress.close()
        if (on_gpu := explain_gpu_error(e, resume)) is None:
            raise
        raise DeviceError(on_gpu) from e
    print("\n" + training_summary(results, folder.path), flush=True)
    pictures = draw_pictures(folder.path)  # after the summary: whatever happens here, it is seen
    if pictures:
        label = "pictures".ljust(len("paper's error"))  # in line with the rows of the summary
        print(aligned([(label, "\n".join(map(str, pictures)))]))
    return 0
