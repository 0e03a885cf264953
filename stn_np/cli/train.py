"""``stn-np train``: a new run, or a stopped one to its end."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stn_np.cli.options import option_name
from stn_np.cli.report import (
    aligned,
    draw_pictures,
    framed,
    path_argument,
    printable,
    remarks,
    training_summary,
)
from stn_np.data.dataset import expanded
from stn_np.experiments import DEFAULT, Experiment, by_name, open_run
from stn_np.gpu.devices import DeviceError, choose_device, explain_gpu_error
from stn_np.training.folder import RunFolder, check_new_folder, check_writable, free_folder
from stn_np.training.ranks import Ranks, launched
from stn_np.training.storage import damaged, read_json

if TYPE_CHECKING:
    from stn_np.training.loop import Trainer

#: Where runs go that were given no folder.
RUNS = Path("runs")

#: Before a training on a GPU.
FIRST_STEP = (
    "the first step compiles kernels for this GPU, which may take half a minute; CuPy (from 14.2 "
    "on) keeps them, and stn-np warm-up compiles them ahead\n"
)


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
    kind = by_name(options.experiment or DEFAULT)
    names = [item.name for item in kind.Settings.options()]
    given = {name: v for name in names if (v := getattr(options, name)) is not None}
    kind.Settings.check_given(given, label=option_name)
    ranks = launched()
    if ranks.size == 1:
        return _begin(options, kind, given, ranks)
    try:
        code = _begin(options, kind, given, ranks)
    except BaseException as e:  # the other processes would wait for this one
        why = printable(" ".join(str(e).split()))
        print(f"stn-np train: process {ranks.rank}: {type(e).__name__}: {why}", file=sys.stderr)
        sys.stderr.flush()
        time.sleep(0.5)  # the launcher has to pass that on before it is told to end all
        ranks.end_all(2)
        raise
    if ranks.rank == 0 and code not in (0, 130):
        ranks.end_all(code)
    return code


def _begin(
    options: argparse.Namespace, kind: type[Experiment], given: dict[str, Any], ranks: Ranks
) -> int:
    """In each process that was launched: a new run, or one that goes on."""
    if ranks.size > 1 and options.device not in ("auto", "cpu"):
        raise ValueError("--device: several processes train on CPUs, so far")
    device, note = choose_device(options.device if ranks.size == 1 else "cpu")
    if options.resume:
        return _resume(options, given, device, note, ranks)
    return _new(options, kind, given, device, note, ranks)


def _along(trainer: Trainer) -> int:
    """What a process beside the first one does: the same steps, without a word or a file."""
    from stn_np.training import run
    from stn_np.training.loop import DivergedError

    try:
        run.train_along(trainer)
    except run.StoppedError:
        return 130
    except DivergedError:  # the first process says so
        return 1
    return 0


def _new(
    options: argparse.Namespace,
    kind: type[Experiment],
    given: dict[str, Any],
    device: str,
    note: str,
    ranks: Ranks,
) -> int:
    """A new run. Of several processes each has a batch as it is given, or the default."""
    from stn_np.training.loop import Trainer

    if ranks.rank == 0 and options.out:
        check_new_folder(options.out)
    elif ranks.rank == 0:
        check_writable(RUNS)
    if given.get("data_dir"):
        given["data_dir"] = str(expanded(given["data_dir"]).resolve())
    experiment = kind.create(given, device)
    if ranks.size > 1:
        total = experiment.settings.batch_size * ranks.size
        experiment = kind.create({**given, "batch_size": total}, device)
    trainer = Trainer(experiment, ranks)
    if ranks.rank:
        return _along(trainer)
    folder = _create_folder(options.out, experiment)
    with folder.locked():
        _announce(trainer, experiment, folder, note)
        return _train(trainer, kind, folder, options.device)


def _create_folder(out: Path | None, experiment: Experiment) -> RunFolder:
    """The folder of a new run; of two that begin at once each gets its own."""
    while True:
        folder = RunFolder(out or free_folder(RUNS, experiment.stem()))
        try:
            folder.create(experiment.name, experiment.settings)
            return folder
        except FileExistsError:
            if out:
                raise


def _resume(
    options: argparse.Namespace, given: dict[str, Any], device: str, note: str, ranks: Ranks
) -> int:
    """A stopped run, from where it was. Nothing that was seen before the lock is relied on."""
    folder, _, _ = open_run(options.resume)
    if ranks.size > 1 and "batch_size" in given:
        given["batch_size"] *= ranks.size  # each process's is given, the run has the whole
    with nullcontext() if ranks.rank else folder.locked():
        ranks.meet()
        folder, kind, settings = open_run(options.resume)
        _refuse_contradictions(options, given, kind, settings)
        if given.get("epochs", 0) > settings.epochs:
            settings = replace(settings, epochs=given["epochs"])
        if folder.results.is_file():
            summary = _summary(kind, folder, settings.epochs)
            if summary:
                return 0 if ranks.rank else _finished(folder, summary)
        settings = elsewhere(settings, given.get("data"), given.get("data_dir"))
        return _go_on(kind(settings, device), folder, note, options.device, ranks)


def _go_on(experiment: Experiment, folder: RunFolder, note: str, device: str, ranks: Ranks) -> int:
    """A run that is not finished, from its newest sound checkpoint."""
    from stn_np.training import checkpoint
    from stn_np.training.loop import Trainer
    from stn_np.training.run import go_on

    found = checkpoint.newest_of(folder, experiment)  # before a network is built from its settings
    trainer = Trainer(experiment, ranks)
    notes = go_on(trainer, folder, found)
    ranks.meet()  # all have read what the first one will write
    if ranks.rank:
        return _along(trainer)
    folder.keep(experiment.name, experiment.settings)  # now that they are known to fit
    _announce(trainer, experiment, folder, note)
    print("\n".join(notes) + "\n", flush=True)
    return _train(trainer, type(experiment), folder, device)


def _summary(kind: type[Experiment], folder: RunFolder, epochs: int) -> str:
    """What results.json says; nothing if it is of fewer epochs or damaged, to be made again."""
    try:
        results = read_json(folder.results)
        if results["epochs"] < epochs:
            return ""
        return training_summary(kind, results, folder.path)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
        what = damaged(folder.results, "the figures of a finished run", repr(e))
        print(f"stn-np train: {what}; they are made again", file=sys.stderr)
        return ""


def _finished(folder: RunFolder, summary: str) -> int:
    """Nothing is left but pictures, if the run was killed while it drew them."""
    print(f"{printable(str(folder.path))} is finished; there is nothing to resume.\n\n{summary}")
    pictures = [folder.path / "curves.png"]
    if folder.frames.exists():
        pictures += [folder.path / "transformer.png", folder.path / "transformer.gif"]
    if not all(path.is_file() for path in pictures):
        _show(draw_pictures(folder.path), folder)
    return 0


def _refuse_contradictions(
    options: argparse.Namespace, given: dict[str, Any], kind: type[Experiment], settings: Any
) -> None:
    """A resumed run keeps its settings: nothing else may be asked for."""
    if options.out is not None:
        raise ValueError(
            f"--out: a resumed run goes on in its own folder {options.resume}; leave --out away"
        )
    if options.experiment not in (None, kind.name):
        raise ValueError(
            f"--resume: {options.resume} is a run of {kind.name}, not of {options.experiment}"
        )
    kept = settings.identity()
    for name, value in given.items():
        if name not in kept and hasattr(settings, name):
            continue  # where things are, not what they are
        if name == "epochs" and value > settings.epochs:
            continue  # to train longer
        if name == "data":
            from stn_np import data

            if value == "auto" or not {value, kept[name]} & {*data.NAMES}:
                continue  # another place; the checksum decides whether they are the same data
        if name not in kept:
            raise ValueError(f"{option_name(name)}: {kind.name} has no such setting")
        if value != kept[name]:
            raise ValueError(
                f"{option_name(name)}: this run has {kept[name]!r}, got {value!r}; "
                "a resumed run keeps its settings, so leave the option away or begin a new run"
            )


def elsewhere(settings: Any, name: str | None, data_dir: str | Path | None) -> Any:
    """The settings of a run whose data are in another folder now.

    A name that is no place, such as mnist, must be the one that the run has.
    """
    from stn_np import data

    if name not in (None, "auto"):
        found = data.full_name(name)
        if found != settings.data and {found, settings.data} & {*data.NAMES}:
            raise ValueError(f"--data: this run has {settings.data!r}, got {name!r}")
        if found not in data.NAMES:
            data_dir = data_dir or found.removeprefix(data.IDX)
    if data_dir is not None:
        settings = replace(settings, data_dir=str(expanded(data_dir).resolve()))
    return settings


def _announce(trainer: Trainer, experiment: Experiment, folder: RunFolder, note: str) -> None:
    """What is about to be trained, on what; `note` is about the device."""
    from stn_np import models

    settings, count = trainer.settings, trainer.ranks.size
    shared = f" shared by {count} processes" if count > 1 else ""
    if trainer.data.note:
        print(framed(trainer.data.note))
    print(models.summary(trainer.model, trainer.data.inputs.shape[1:]))
    print(
        f"\n{printable(experiment.headline())}\n"
        f"{settings.epochs} epochs of {trainer.steps_per_epoch} steps of {trainer.batch_size} "
        f"images{shared}, {settings.optimizer}, {settings.schedule}, "
        f"learning rate {settings.lr:g}\n"
        f"on the {experiment.device.upper()}, run folder {printable(str(folder.path))}\n",
        *([f"{note}\n"] if note else []),
        *([FIRST_STEP] if experiment.device == "gpu" else []),
        sep="\n",
        flush=True,
    )


def _train(trainer: Trainer, kind: type[Experiment], folder: RunFolder, device: str) -> int:
    """Train to the end; whatever stops it, say how to go on."""
    from stn_np.training import run
    from stn_np.training.loop import DivergedError
    from stn_np.training.progress import Progress

    resume = f"stn-np train --resume {path_argument(folder.path)}"
    # The run itself remembers no device.
    command = resume if device == "auto" else f"{resume} --device {device}"
    progress = Progress(trainer)
    try:
        run.train(trainer, folder, progress)
        progress.close()
        results = run.finish(trainer, folder)
    except run.StoppedError as e:
        progress.close()
        print(f"\nstopped: {e}\nto go on:\n  {command}", flush=True)
        return 130
    except KeyboardInterrupt:
        progress.close()
        print(f"\nstopped at once; to go on from the last checkpoint:\n  {command}", flush=True)
        trainer.ranks.end_all(130)  # the other processes would wait for the step to end
        return 130
    except DivergedError as e:
        progress.close()
        print(f"stn-np train: error: training diverged at {e}", file=sys.stderr)
        print(f"The last checkpoint is kept in {folder.checkpoints}", file=sys.stderr)
        return 1
    except OSError as e:
        progress.close()
        where = f"{e.filename}: " if e.filename is not None else ""
        what = f"{where}{e.strerror or e}. When that is mended, go on: {command}"
        raise OSError(e.errno, what) from e
    except Exception as e:
        progress.close()
        if (on_gpu := explain_gpu_error(e, resume)) is None:
            raise
        raise DeviceError(on_gpu) from e
    print("\n" + training_summary(kind, results, folder.path), flush=True)
    _show(draw_pictures(folder.path), folder)  # after the summary, which is seen whatever happens
    return 0


def _show(pictures: list[Path], folder: RunFolder) -> None:
    """Where the pictures are, in line with the rows of the summary."""
    if not pictures:
        return
    width = len("paper's error")
    print(aligned([("pictures".ljust(width), "\n".join(map(str, pictures)))]))
    if told := remarks(folder.path):
        print(aligned([("in them".ljust(width), told)]))
