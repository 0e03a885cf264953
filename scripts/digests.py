"""Record what the library computes, to show that a refactoring changes no bit of it.

Before the change, then after each step of it, on the same machine::

    python scripts/digests.py --out before.json
    python scripts/digests.py --check before.json

The first writes a digest of every result: 16 hexadecimal digits of SHA-256 over dtype, shape and
bytes, where all NaN count as one. The second computes again and lists what differs, with exit code
1. Entries that are only in the file are missing, which is a failure too; entries that the file does
not know are named, and are none. ``--only sampler,layers`` does some parts only:

sampler
    200 seeded cases of `grid_sample` and `affine_sample`: V and both gradients.
transforms
    Every family's grid and its gradient; `compose` and `inverse` of those that are groups.
layers
    Every layer and the loss, forwards and backwards.
distortions
    The embedded digits, and every kind of distortion of them.
gradcheck
    The table of ``stn-np gradcheck``, as it stands there, with two digits of each error.
training
    Short runs of ``stn-np train`` on the digits: each model and family, then each distortion and
    optimiser. Metrics, results, the last checkpoint, the frames that the pictures are drawn from,
    and what the network says that `load_model` builds. ``--runs FOLDER`` keeps the run folders.

It computes with the tree that it lies in, on the CPU, with one thread, so that no sum depends on
how many there are. Other machines and other versions of NumPy may have other bits. All settings
are stated here: other defaults change nothing. It takes about a minute.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.update(
    dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
)
os.environ["STN_NP_FAST"] = "0"  # compiled loops round differently
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import contextlib
import csv
import io
import json
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from digest_cases import Entry, all_layers, digest, distortions, families, sampler

import stn_np
from stn_np import cli, data, transforms
from stn_np.training import load_model


def gradcheck() -> Iterator[Entry]:
    """The table, read from what is printed."""
    for line in command("gradcheck", "--device", "cpu").splitlines():
        if row := re.fullmatch(r"(\S.*?)  +(\d\S+)  (ok|FAILED)", line.rstrip()):
            yield row[1], f"{row[2]} {row[3]}"


def command(*arguments: str) -> str:
    """Run ``stn-np`` with these arguments; what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main(arguments)
    if code != 0:
        raise SystemExit(f"stn-np {' '.join(arguments)}: exit code {code}\n{printed.getvalue()}")
    return printed.getvalue()


def training(runs: Path) -> Iterator[Entry]:
    """Short runs; their folders go below `runs`."""
    plain: dict[str, Any] = {
        "data": "digits", "distortion": "R", "filters": 8, "epochs": 3, "batch-size": 64,
        "optimizer": "adamw", "lr": 0.003, "loc-lr-factor": 2, "schedule": "one-cycle", "seed": 3,
        "device": "cpu",
    }  # fmt: skip
    stn = {"model": "st-cnn", "transform": "affine"}
    changes: list[dict[str, Any]] = [{"model": "fcn"}, {"model": "cnn"}]
    changes += [{**stn, "model": "st-fcn", "filters": 20}]  # it cannot be as small as the others
    changes += [{**stn, "transform": name} for name in transforms.FAMILIES]
    changes += [{**stn, "distortion": kind, "epochs": 1} for kind in ("RTS", "P", "E", "TC")]
    changes += [{**stn, "optimizer": "sgd", "schedule": "step", "epochs": 1}]
    changes += [{**stn, "optimizer": "adam", "schedule": "constant", "epochs": 1}]
    for change in changes:
        settings = {**plain, **change}
        parts = ("distortion", "model", "transform", "optimizer")
        name = "-".join(settings[part] for part in parts if part in settings)
        options = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
        command("train", *options, "--out", str(runs / name))
        yield from _run_folder(name, runs / name, settings["distortion"])


def _run_folder(name: str, folder: Path, distortion: str) -> Iterator[Entry]:
    """What a run wrote, but for what depends on the day, and the network that comes out of it."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for column in rows[0]:
        yield f"{name}/metrics/{column}", digest("\n".join(row[column] for row in rows).encode())
    for key, value in json.loads((folder / "results.json").read_text()).items():
        if key != "machine":
            yield f"{name}/results/{key}", digest(json.dumps(value).encode())
    files = {"checkpoint": max((folder / "checkpoints").glob("checkpoint-*.npz"))}
    if (folder / "frames.npz").exists():
        files["frames.npz"] = folder / "frames.npz"
    for kind, path in files.items():
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                if key != "config":  # the settings themselves, which may be kept otherwise
                    yield f"{name}/{kind}/{key}", digest(arrays[key])
    test = data.fixed_test_set(data.load_digits()[1], distortion, 0)
    logits, _ = load_model(folder)(test.images[:50])
    yield f"{name}/load_model/logits", digest(logits)


def compute(names: list[str], runs: Path) -> dict[str, dict[str, str]]:
    """The parts that were asked for."""
    parts: dict[str, Callable[[], Iterator[Entry]]] = {
        "sampler": sampler,
        "transforms": families,
        "layers": all_layers,
        "distortions": distortions,
        "gradcheck": gradcheck,
        "training": lambda: training(runs),
    }
    if unknown := set(names) - set(parts):
        raise SystemExit(f"--only: expected some of {', '.join(parts)}, got {', '.join(unknown)}")
    found = {}
    for name in names or parts:
        begin = time.perf_counter()
        entries = list(parts[name]())
        found[name] = dict(entries)
        if len(found[name]) < max(len(entries), 1):
            raise SystemExit(f"{name}: expected entries with names of their own")
        print(
            f"{name:12} {len(entries):5} entries, {time.perf_counter() - begin:.0f} s", flush=True
        )
    return found


def report(before: dict[str, str], now: dict[str, str]) -> tuple[list[str], bool]:
    """One line for each entry that is not as before, and whether that is a failure."""
    lines, failed = [], False
    for name in [*before, *(name for name in now if name not in before)]:
        old, new = before.get(name), now.get(name)
        if old != new:
            what = "new" if old is None else "missing" if new is None else "differs"
            lines.append(f"  {what:8} {name}" + f": {old} -> {new}" * (what == "differs"))
            failed = failed or what != "new"
    return lines, failed


def main() -> int:
    """Compute, then write or compare."""
    parser = argparse.ArgumentParser(description="Record what the library computes, or compare.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FILE.json", help="write the digests")
    what.add_argument("--check", type=Path, metavar="FILE.json", help="compare with a file")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these parts only")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="keep the run folders here")
    options = parser.parse_args()
    about = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "on": platform.platform(),
    }
    print(f"{Path(stn_np.__file__).parent}, {about}", flush=True)
    recorded = json.loads(options.check.read_text()) if options.check else {}
    with tempfile.TemporaryDirectory() as temporary:
        found = compute([n for n in options.only.split(",") if n], options.runs or Path(temporary))
    if options.out:
        options.out.write_text(json.dumps({"about": about, **found}, indent=1) + "\n")
        return 0
    if recorded["about"] != about:
        print(f"recorded under {recorded['about']}: the bits may differ for that")
    failures = []
    for part, entries in found.items():
        lines, failed = report(recorded.get(part, {}), entries)
        failures += [part] * failed
        print("\n".join([f"{part}: {'not as before' if lines else 'the same'}", *lines]))
    print(f"\nDIFFERENT: {', '.join(failures)}" if failures else "\nnothing has changed")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
