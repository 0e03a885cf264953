"""The commands besides ``train``."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
import textwrap
from typing import Any

from stn_np.cli.report import aligned, evaluation, printable, remarks, table, without_display
from stn_np.cli.train import elsewhere
from stn_np.experiments import open_run
from stn_np.gpu.devices import choose_device, describe_gpu
from stn_np.threads import get_threads
from stn_np.training.folder import check_writable

#: More, Windows does not wait for at a time.
MOST_PROCESSES = 61


def evaluate(options: argparse.Namespace) -> int:
    """Test error and confusion matrix of a run's newest model. Writes nothing."""
    from stn_np.training import checkpoint
    from stn_np.training.loop import Trainer
    from stn_np.training.run import outcome

    folder, kind, settings = open_run(options.run)
    device, device_note = choose_device(options.device)
    experiment = kind(elsewhere(settings, options.data, options.data_dir), device)
    newest = checkpoint.newest_of(folder, experiment) or checkpoint.load_newest(folder.checkpoints)
    trainer = Trainer(experiment)
    checkpoint.restore(trainer, newest.arrays)
    if device_note:
        print(device_note + "\n")
    for note in newest.notes:
        print(note, file=sys.stderr)
    steps = f"step {trainer.step:,} of {trainer.total_steps:,}"
    if not trainer.finished:
        steps += ": training is not finished"
    title = [("run folder", str(folder.path)), ("checkpoint", f"{newest.path.name}, {steps}")]
    print(evaluation(kind, outcome(trainer), title))
    return 0


def plot(options: argparse.Namespace) -> int:
    """Draw the pictures of a run again."""
    without_display()
    from stn_np import plots

    folder, _, _ = open_run(options.run)
    for path in plots.draw_run(folder.path):
        print(printable(str(path)))
    if told := remarks(folder.path):
        print(told)
    return 0


def predict(options: argparse.Namespace) -> int:
    """Class, probability and theta of pictures, and a sheet with what the transformer does."""
    without_display()
    from matplotlib.backend_bases import FigureCanvasBase

    from stn_np.experiments.prediction import predict as ask

    if options.out and options.out.suffix[1:].lower() not in {"", *FigureCanvasBase.filetypes}:
        raise ValueError(f"--out: expected a picture such as sheet.png, got {options.out}")
    found = ask(options.run, options.pictures)
    rows = []
    for i, path in enumerate(options.pictures):
        k = int(found.classes[i])
        row = [str(path), found.class_names[k], f"{100 * found.probabilities[i, k]:.1f} %"]
        if found.theta is not None:
            row.append(_numbers(found.theta[i]))
        rows.append(row)
    head = ["picture", "class", "probability", "theta"][: len(rows[0])]
    print(table(head, rows, left=(0, 1, 3)))
    if found.frames is not None:
        from stn_np import plots

        out = options.out or options.run / "prediction.png"
        print(f"\n{printable(str(plots.draw_prediction(options.run, found.frames, out)))}")
        if told := remarks(options.run):
            print(told)
        if len(rows) > plots.MOST_PREDICTIONS:
            print(f"it shows the first {plots.MOST_PREDICTIONS} of {len(rows)}")
    else:
        print("\nno sheet is drawn: this model has no transformer")
    return 0


def _numbers(theta: Any) -> str:
    """At most eight of them."""
    text = " ".join(f"{x:.3f}" for x in theta[:8])
    return text if len(theta) <= 8 else f"{text} ... ({len(theta)} numbers)"


def gallery(options: argparse.Namespace) -> int:
    """Draw what the transformations, the kernels and the paddings do."""
    without_display()
    from stn_np import plots

    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out: expected a folder, but {options.out} is a file")
    check_writable(options.out)
    for path in plots.draw_gallery(options.out):
        print(path)
    return 0


def gradcheck(options: argparse.Namespace) -> int:
    """Every operation's backward against finite differences; 1 if one fails."""
    from stn_np.gradcheck import table as check_all

    device, note = choose_device(options.device)
    if note:
        print(note, flush=True)
    rows = list(check_all(device=device))
    cells = [[name, f"{error:.1e}", "ok" if ok else "FAILED"] for name, error, ok, _ in rows]
    print(table(["operation", "relative error", ""], cells, left=(0, 2)))
    failed = [(name, message) for name, _, ok, message in rows if not ok]
    for name, message in failed:
        print(f"\n{name}: {message}")
    print(f"\n{len(rows) - len(failed)} of {len(rows)} are right")
    return 1 if failed else 0


def warm_up(options: argparse.Namespace) -> int:
    """Compile the kernels for this machine's GPU; 1 if one fails."""
    from tqdm import tqdm

    from stn_np.gpu import variants
    from stn_np.gpu.warm_up import compile_ahead, usual
    from stn_np.sampling.padding import PADDINGS

    jobs = options.jobs if options.jobs is not None else min(os.cpu_count() or 1, MOST_PROCESSES)
    if not 1 <= jobs <= MOST_PROCESSES:
        raise ValueError(f"--jobs: expected 1 to {MOST_PROCESSES}, got {jobs}")
    choose_device("gpu")
    neighbours = {p.cuda: p.neighbours for p in PADDINGS.values()}
    everything = sorted({*variants.layers(), *variants.sampling(neighbours)}, key=repr)
    wanted = everything if options.all else usual(everything)
    complaints = []
    with tqdm(total=len(wanted), unit="kernel", disable=None) as bar:
        for count, failed in compile_ahead(wanted, jobs):
            complaints += failed
            bar.update(count)
    print("\n".join(complaints), end="\n" * bool(complaints))
    done = len(wanted) - len(complaints)
    print(f"{done} of {len(wanted)} kernels are compiled, by CuPy {describe_gpu()}")
    return 1 if complaints else 0


def info(options: argparse.Namespace) -> int:
    """Versions, BLAS, GPU, cores and data of this machine, and what samples images."""
    import numpy as np

    from stn_np.sampling.fast import path_in_use

    rows = [
        ("stn_np", _version("stn-np")),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("numpy", np.__version__),
        ("BLAS", _blas()),
        ("cores", _cores()),
        ("threads", f"{get_threads()} (--threads, or OMP_NUM_THREADS)"),
        ("sampler", path_in_use()),
        ("CuPy", textwrap.fill(describe_gpu(), 72, break_long_words=False)),
        ("MNIST", _mnist()),
        ("digits", "embedded: 1,797 handwritten digits, always there"),
    ]
    print(aligned(rows))
    return 0


def _version(distribution: str) -> str:
    """An installed distribution's version."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package (run from its source)"


def _blas() -> str:
    """NumPy's matrix library, and the limits on its threads."""
    import numpy as np

    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    name = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    settings = blas.get("openblas configuration", "")
    most = [word for word in settings.split() if word.startswith("MAX_THREADS")]
    limits = [
        f"{variable}={os.environ[variable]}"
        for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        if variable in os.environ
    ]
    return ", ".join([name, *most, *limits])


def _cores() -> str:
    """Those of the machine, and those that this process may use where that differs."""
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    return str(total) if usable == total else f"{usable} of {total}"


def _mnist() -> str:
    """Where the MNIST files are, checked, without going to the network."""
    from stn_np.data import DataError, load_mnist

    try:
        train, _ = load_mnist(download=False)
    except DataError as e:
        why = f"none: {str(e).removeprefix('MNIST: ')}"
        return textwrap.fill(why, 72, break_long_words=False, break_on_hyphens=False)
    return train.note
