"""Damaged files, odd arguments and kills, at random: nothing may crash, hang, or change a result.

    python scripts/attack.py files --many 300     # run folders and data, damaged in some way
    python scripts/attack.py pictures --many 5    # small files that are large in memory
    python scripts/attack.py calls --many 2000    # the public functions with odd arguments
    python scripts/attack.py kills --many 100     # kill -9 at any moment, also while drawing

Each prints what went wrong and ends with 1 if something did. `--seed` repeats one. What a command
may do with a damaged file: succeed, or end with 1 or 2 and one line of at most 300 printable
characters (the file's path not counted), within 10 seconds and 1.5 GB.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

import stn_np
from stn_np import data, layers, transforms
from stn_np.cli import main as stn_np_command
from stn_np.experiments import load_model
from stn_np.training import optimizers
from stn_np.training.schedule import learning_rate

#: The most seconds and bytes that a command may take.
SECONDS, BYTES = 10, 1.5e9

SMALL = ["--data", "digits", "--model", "st-cnn", "--filters", "2", "--batch-size", "256"]

# ---------------------------------------------------------------------------------- damaged files

NUMBERS = ["-1", "0", "1e308", "1e999", "NaN", "-Infinity", "9" * 400, "null", '"x"', "true", "[]"]


def damage(path: Path, rng: np.random.Generator) -> str:
    """Damage a file in one way, and say which."""
    content = path.read_bytes() if path.is_file() else b""
    ways: dict[str, Callable[[], bytes | None]] = {
        "empty": lambda: b"",
        "cut": lambda: content[: int(rng.integers(0, max(len(content), 1)))],
        "flipped": lambda: _flipped(content, rng),
        "zeros": lambda: bytes(len(content)),
        "noise": lambda: rng.bytes(len(content)),
        "twice": lambda: content + content,
        "nested": lambda: b"[" * 100_000,
        "text": lambda: "word, 圆\n\x1b[2J".encode(),
        "a long line": lambda: b"epoch," + b"x" * 200_000,
        "a bomb": _bomb,
        "strange arrays": lambda: _strange_arrays(rng),
        "a number": lambda: _other_number(content, rng),
        "a folder": lambda: _replaced(path, lambda: path.mkdir()),
        "a pipe": lambda: _replaced(path, lambda: os.mkfifo(path)),
        "a link to nothing": lambda: _replaced(path, lambda: path.symlink_to("nowhere")),
        "a link to itself": lambda: _replaced(path, lambda: path.symlink_to(path)),
        "an endless device": lambda: _replaced(path, lambda: path.symlink_to("/dev/zero")),
        "gone": lambda: _replaced(path, lambda: None),
    }
    way = str(rng.choice(list(ways)))
    if (new := ways[way]()) is not None:
        path.write_bytes(new)
    return way


def _replaced(path: Path, make: Callable[[], object]) -> None:
    path.unlink()
    make()


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for at in rng.integers(0, max(len(changed), 1), 3) if changed else ():
        changed[at] ^= int(rng.integers(1, 256))
    return bytes(changed)


def _other_number(content: bytes, rng: np.random.Generator) -> bytes:
    """A text with one of its numbers replaced."""
    parts = content.decode("latin-1").replace(":", " : ").split(" ")
    places = [i for i, part in enumerate(parts) if part[:1].isdigit()]
    if places:
        i = int(rng.choice(places))
        parts[i] = str(rng.choice(NUMBERS)) + ("," if parts[i].endswith(",") else "")
    return " ".join(parts).encode("latin-1")


def _bomb() -> bytes:
    """An .npz file of a few KB whose one array has 4 GB."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1073741824,)}".ljust(117)
            with archive.open("images.npy", "w", force_zip64=True) as member:
                member.write(
                    b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.encode() + b"\n"
                )
                member.write(bytes(2**24))
        file.seek(0)
        return file.read()


def _strange_arrays(rng: np.random.Generator) -> bytes:
    """A whole .npz file of arrays of other kinds."""
    kinds = [
        np.zeros(3, complex), np.array(["a", "b"]), np.zeros(2, "datetime64[D]"), np.zeros((0, 3)),
        np.zeros(2, [("a", "f4")]), np.array(1e308), np.array(True), np.full((2, 2), np.nan),
    ]  # fmt: skip
    names = ["images", "labels", "predictions", "epochs", "thetas", "warped", "transform", "step"]
    with tempfile.TemporaryFile() as file:
        np.savez(file, **{name: kinds[rng.integers(len(kinds))] for name in names})
        file.seek(0)
        return file.read()


def attack_files(many: int, seed: int, folder: Path) -> Iterator[str]:
    """What goes wrong where a file of a run, or of data, is damaged."""
    with redirect_stdout(StringIO()):
        stn_np_command(["train", *SMALL, "--epochs", "2", "--out", str(folder / "finished")])
    shutil.copytree(folder / "finished", folder / "stopped")
    (folder / "stopped" / "results.json").unlink()
    _write_data(folder)
    for number in range(many):
        rng = np.random.default_rng([seed, number])
        kind = str(rng.choice(["finished", "stopped", "pictures", "idx"]))
        copy = folder / f"{number}"
        shutil.copytree(folder / kind, copy, symlinks=True)
        files = sorted(p for p in copy.rglob("*") if p.is_file())
        file = files[rng.integers(len(files))]
        way = damage(file, rng)
        command = {
            "finished": [str(rng.choice(["eval", "plot"])), str(copy)],
            "stopped": ["train", "--resume", str(copy)],
            "pictures": ["train", *SMALL, "--epochs", "1", "--data", str(copy)],
            "idx": ["train", *SMALL, "--epochs", "1", "--data", f"idx:{copy}"],
        }[kind]
        if command[0] == "train" and "--resume" not in command:
            command += ["--out", str(copy) + "-run"]
        for complaint in _complaints(command, copy):
            yield f"{number}: {file.relative_to(copy)} {way}: {' '.join(command[:2])}: {complaint}"
        shutil.rmtree(copy)
        shutil.rmtree(str(copy) + "-run", ignore_errors=True)


def _write_data(folder: Path) -> None:
    """A folder of pictures, and four IDX files."""
    from PIL import Image

    rng = np.random.default_rng(0)
    suffixes = ("png", "jpg", "tif", "webp", "gif", "bmp")
    for name in "ab":
        (folder / "pictures" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (40, 50), np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{i}.{suffixes[i]}")
    (folder / "idx").mkdir()
    for half, n in (("train", 20), ("t10k", 10)):
        for what, values in (
            ("images-idx3", rng.integers(0, 256, (n, 28, 28))),
            ("labels-idx1", np.arange(n) % 5),
        ):
            head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            content = head + values.astype(np.uint8).tobytes()
            zipped = gzip.compress(content) if n == 10 else content
            (folder / "idx" / f"{half}-{what}-ubyte{'.gz' * (n == 10)}").write_bytes(zipped)


def _complaints(command: list[str], folder: Path) -> Iterator[str]:
    """Run a command in a process of its own."""
    told = folder.with_suffix(".told")
    started, pid = time.monotonic(), os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        signal.alarm(2 * SECONDS)
        code = 99
        try:
            code = stn_np_command(command)
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 98
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status, used = os.wait4(pid, 0)
    errors = told.read_text(errors="replace").strip()
    told.unlink()
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1, 2):
        yield f"exit code {code}: {errors[-300:]!r}"
    elif "Traceback" in errors:
        yield f"a traceback: {errors[-300:]!r}"
    elif code:
        last = errors.splitlines()[-1] if errors else ""
        plain = last.replace(str(folder), "RUN")
        if not plain or len(plain) > 300 or not plain.isprintable():
            yield f"a message of {len(plain)} characters: {plain[:400]!r}"
    if (seconds := time.monotonic() - started) > SECONDS:
        yield f"{seconds:.1f} s"
    if used.ru_maxrss * 1024 > BYTES:
        yield f"{used.ru_maxrss * 1024 / 1e9:.2f} GB"


#: Width, height and mode of pictures that are small as files and large in memory.
LARGE = (
    (100_000, 1, "L"),
    (1, 3_000_000, "L"),
    (60_000_000, 1, "L"),
    (1, 60_000_000, "1"),
    (8192, 8192, "RGBA"),
)


def attack_pictures(many: int, seed: int, folder: Path) -> Iterator[str]:
    """What goes wrong where a folder has pictures of such sizes."""
    from PIL import Image

    for number in range(many):
        width, height, mode = LARGE[(seed + number) % len(LARGE)]
        pictures = folder / f"{number}"
        for name in "ab":
            (pictures / name).mkdir(parents=True)
            Image.new(mode, (width, height)).save(pictures / name / "0.png")
            for i in range(1, 5):
                Image.new("L", (28, 28), 9 * i).save(pictures / name / f"{i}.png")
        command = ["train", *SMALL, "--epochs", "1", "--data", str(pictures)]
        for complaint in _complaints([*command, "--out", str(pictures) + "-run"], pictures):
            yield f"{width} x {height}, {mode}: {complaint}"
        shutil.rmtree(pictures)


# ---------------------------------------------------------------------------------- odd arguments

ODD = (
    None, True, "False", "x", b"x", 0, -1, 3, 10**30, 1.5, float("nan"), float("inf"), -1e308,
    (), [], (1, 2), (0, 3), (3, -1), (2, 3, 4), ("a", 2), {}, object(), lambda x: x,
    np.float32(2), np.int64(3), np.zeros(()), np.zeros((0, 2, 3)), np.ones((1, 2, 3)),
    np.ones((2, 2, 3), np.float16), np.ones((1, 6), np.longdouble), np.ones((1, 6)),
    np.full((1, 2, 3), np.nan), np.ones((1, 1, 4, 5)), np.ones((1, 1, 4, 5), np.float32),
    np.ones((2, 3, 4, 5), np.uint8), np.ones((1, 4, 5, 2)), np.ones((1, 4, 5, 2), np.float32),
    np.ones((1, 4, 5, 2), complex), np.array(["a"]), np.ones((1, 1, 3, 4, 5)),
    np.array([object()]), np.ma.ones((1, 6)), [[1.0, 0, 0], [0, 1, 0]],
)  # fmt: skip


def _functions() -> dict[str, Callable[..., object]]:
    """What is public, by name."""
    rng = np.random.default_rng(0)
    model = layers.Linear(2, 3, rng=rng)
    found: dict[str, Callable[..., object]] = {
        name: getattr(stn_np, name) for name in stn_np.__all__ if callable(getattr(stn_np, name))
    }
    for module in (layers, transforms):
        for name in module.__all__:
            if callable(value := getattr(module, name)) and name not in ("Module", "Transform"):
                found[f"{module.__name__}.{name}"] = value
    for name, make in transforms.FAMILIES.items():
        family = make((4, 5)) if name in transforms.FOR_ONE_SIZE else make()
        found[f"{name}()"] = family
        for method in ("compose", "inverse", "matrix"):
            if hasattr(family, method):
                found[f"{name}.{method}"] = getattr(family, method)
    found |= {f"optimizers.{n}": lambda *a, o=o, **k: o(model, *a, **k).step(0.1)
              for n, o in optimizers.OPTIMIZERS.items()}  # fmt: skip
    found["step"] = lambda *a: optimizers.SGD(model).step(*a)
    found["learning_rate"], found["load"], found["load_model"] = (
        learning_rate,
        data.load,
        load_model,
    )
    found["load_folder"], found["load_idx"] = data.load_folder, data.load_idx
    return found


KEYWORDS = (
    "align_corners", "mode", "padding_mode", "needs_dx", "needs_dU", "needs_dgrid", "out_shape",
    "rng", "dtype", "stride", "padding", "ceil_mode", "learned", "momentum", "betas", "eps",
    "weight_decay", "rate_factor", "raise_exception", "names", "n_directions", "in_shape", "degree",
)  # fmt: skip


def attack_calls(many: int, seed: int, folder: Path) -> Iterator[str]:
    """What goes wrong where a public function gets odd arguments."""
    found = _functions()
    names = sorted(found)
    os.chdir(folder)  # for relative paths
    os.environ["STN_NP_DATA"] = ""
    for variable in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        os.environ[variable] = "http://127.0.0.1:1"  # nothing is downloaded
    for number in range(many):
        rng = np.random.default_rng([seed, number])
        name = names[rng.integers(len(names))]
        arguments = [ODD[rng.integers(len(ODD))] for _ in range(rng.integers(0, 4))]
        some = rng.choice(KEYWORDS, rng.integers(0, 2), replace=False)
        keywords = {str(k): ODD[rng.integers(len(ODD))] for k in some}
        if rng.random() < 0.5 and "rng" not in keywords and name[:13] == "stn_np.layers":
            keywords["rng"] = np.random.default_rng(0)
        told = f"{name}(*{arguments!r:.200}, **{keywords!r:.100})"
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(SECONDS)
        try:
            with np.errstate(all="ignore"):
                result = found[name](*arguments, **keywords)
                if isinstance(result, tuple) and len(result) == 2 and callable(result[1]):
                    result[1](None)
                    yield f"{number}: {told}: backward(None) was taken"
        except (TypeError, ValueError) as e:
            if not str(e).strip() or len(str(e)) > 1000:
                yield f"{number}: {told}: {type(e).__name__} says {str(e)[:100]!r}"
        except (NotImplementedError, MemoryError, stn_np.GradcheckError, OSError):
            pass
        except Exception as e:
            yield f"{number}: {told}: {type(e).__name__}: {str(e)[:200]}"
        finally:
            signal.alarm(0)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > BYTES:
            yield f"{number}: {told}: more than {BYTES / 1e9} GB"
            return


def _too_long(*_: object) -> None:
    raise RuntimeError(f"more than {SECONDS} s")


# ---------------------------------------------------------------------------------- kills

BESIDE = {"timings.csv", ".lock"}  # what depends on the day


def attack_kills(many: int, seed: int, folder: Path) -> Iterator[str]:
    """What differs in runs that were killed again and again, from one that was not."""
    command = [sys.executable, "-m", "stn_np", "train"]
    rng = np.random.default_rng(seed)
    whole, kills = folder / "whole", 0
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    settings = [*SMALL, "--epochs", "4"]
    started = time.monotonic()
    subprocess.run([*command, *settings, "--out", str(whole)], check=True, **quiet)
    seconds, expected = time.monotonic() - started, _content(whole)
    while kills < many:
        run = folder / f"run-{kills}"
        arguments = [*settings, "--out", str(run)]
        while kills < many:
            with subprocess.Popen([*command, *arguments], **quiet) as process:
                try:
                    process.wait(rng.uniform(0.1, 1.1) * seconds)
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    kills += 1
            if (run / "config.json").exists():
                arguments = ["--resume", str(run)]
        done = subprocess.run([*command, *arguments], check=False, **quiet)
        if done.returncode and "--resume" in arguments:  # a new run's folder is there already
            yield f"{run.name}: exit code {done.returncode}: {done.stderr[-300:]}"
        if (found := _content(run)) != expected:
            names = [n for n in {*found, *expected} if found.get(n) != expected.get(n)]
            yield f"{run.name}: another content of {', '.join(sorted(names))}"
        shutil.rmtree(run, ignore_errors=True)
        print(f"{kills} kills", end="\r", file=sys.stderr)


def _content(run: Path) -> dict[str, object]:
    """All files by name; of results.json without what is about the machine."""
    found: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.name not in BESIDE and not path.name.endswith(".tmp"):
            found[str(path.relative_to(run))] = path.read_bytes()
    if "results.json" in found:
        results = json.loads((run / "results.json").read_text())
        found["results.json"] = {k: v for k, v in results.items() if k != "machine"}
    return found


def main() -> int:
    """Run one attack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    attacks = {
        "files": attack_files,
        "pictures": attack_pictures,
        "calls": attack_calls,
        "kills": attack_kills,
    }
    parser.add_argument("attack", choices=attacks)
    parser.add_argument("--many", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    complaints = 0
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(sys.stderr):
        for complaint in attacks[options.attack](options.many, options.seed, Path(folder)):
            print(complaint, flush=True)
            complaints += 1
    print(f"{options.many} {options.attack}: {complaints} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
