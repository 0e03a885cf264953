"""CUDA source into a shared library, by the host's C++ compiler.

A test run touches about a thousand instantiations of a few templates. Most of the time of each goes
into starting the compiler and reading headers, so those that differ only in the words of `CHOICES`
go into one library together, and libraries are kept between runs.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

from gpu.stand_in.errors import CompileException

try:
    import fcntl
except ImportError:  # Windows: two processes may compile the same library, each a whole one
    fcntl = None  # type: ignore[assignment]

_HEADER = Path(__file__).with_name("cuda_on_cpu.h")

#: Template arguments that are compiled together.
CHOICES = (
    ("NEAREST", "LINEAR", "CUBIC"),
    ("ZEROS", "BORDER", "REFLECTION", "WRAP"),
    ("false", "true"),
)

SANITIZE = os.environ.get("STN_NP_SANITIZE") == "1"

#: As if the option -fmad=false were forgotten: results must be as good.
FUSED = os.environ.get("STN_NP_FUSED") == "1"


@lru_cache(maxsize=1)
def _compiler() -> tuple[str, ...] | None:
    """The command and what it says of its version."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        path = shutil.which(name) if name else None
        if path:
            version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
            return path, version
    return None


def compiler_missing() -> str:
    """Why kernels cannot be run here, or "" if they can: a test that comes to one is skipped."""
    return "" if _compiler() else "no C++ compiler ($CXX, c++, g++, clang++) to run kernels with"


def _flags() -> list[str]:
    compiler = _compiler()
    assert compiler, compiler_missing()
    flags = ["-O1", "-fPIC", "-shared", "-fvisibility=hidden"]
    flags += ["-ffp-contract=fast", "-mfma"] if FUSED else ["-ffp-contract=off"]
    if "clang" not in compiler[1]:
        flags.append("-fno-gnu-unique")  # else libraries share statics of templates
    if SANITIZE:
        # GCC leaves those two out of "undefined".
        checks = "address,undefined,float-cast-overflow,float-divide-by-zero"
        flags += ["-g", f"-fsanitize={checks}", "-fno-sanitize-recover=all"]
    return flags


def sanitizer_libraries() -> str:
    """What LD_PRELOAD must hold where sanitized kernels run; "" if it is not there."""
    compiler = _compiler()
    found = []
    for name in ("libasan.so", "libstdc++.so.6"):
        command = [compiler[0], f"-print-file-name={name}"] if compiler else ["true"]
        path = subprocess.run(command, capture_output=True, text=True).stdout.strip()
        found += [path] if Path(path).is_absolute() else []
    return " ".join(found) if len(found) == 2 else ""


@lru_cache(maxsize=1)
def _folder() -> Path:
    """Where libraries are kept: of this user only, since they are loaded unseen."""
    user = os.getuid() if hasattr(os, "getuid") else "all"
    folder = Path(tempfile.gettempdir()) / f"stn_np_stand_in_{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="stn_np_stand_in_"))
    return folder


def siblings(code: str, expression: str) -> list[str]:
    """The expression and those that differ from it in a word of CHOICES which the source knows."""
    words = re.split(r"(\W+)", expression)
    choices = []
    for word in words:
        group = next((g for g in CHOICES if word in g), (word,))
        known = [w for w in group if w == word or _mentions(code, w)]
        choices.append(sorted(known) if len(group) > 1 else list(group))
    return ["".join(choice) for choice in itertools.product(*choices)]


@cache
def _mentions(code: str, word: str) -> bool:
    return word in ("true", "false") or re.search(rf"\b{word}\b", code) is not None


def library(code: str, options: tuple[str, ...], expression: str) -> tuple[Path, int]:
    """The library that holds a kernel, and the kernel's number in it. Compiled if need be."""
    together = siblings(code, expression)
    if len(together) > 1:
        try:
            return _compiled(code, options, tuple(together)), together.index(expression)
        except CompileException:
            pass  # one of them may be ill-formed: see whether this one is
    return _compiled(code, options, (expression,)), 0


def precompile(
    kernels: Iterable[tuple[str, tuple[str, ...], str]], jobs: int | None = None
) -> None:
    """Compiles (code, options, expression) ahead, several at a time."""
    groups = {
        (code, options, *siblings(code, e)): (code, options, e) for code, options, e in kernels
    }
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        list(pool.map(lambda kernel: library(*kernel), groups.values()))


def _compiled(code: str, options: tuple[str, ...], expressions: tuple[str, ...]) -> Path:
    source = _source(code, expressions)
    compiler = _compiler()
    if compiler is None:
        import pytest  # here only: a notebook uses the stand-in without it

        pytest.skip(compiler_missing())
    command = [compiler[0], *_options(options), *_flags()]
    key = "\0".join([source, _header(), compiler[1], *command])
    target = _folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.so"
    refused = target.with_suffix(".refused")
    if target.exists():
        return target
    with _alone(target.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=_folder()) as scratch:
        if target.exists():  # made while we waited
            return target
        if refused.exists():
            raise CompileException(refused.read_text(), source, expressions[0], options)
        text, made = Path(scratch) / "kernels.cpp", Path(scratch) / "kernels.so"
        text.write_text(source)
        command += [f"-I{_HEADER.parent}", str(text), "-o", str(made)]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            (Path(scratch) / "refused").write_text(ran.stderr)
            os.replace(Path(scratch) / "refused", refused)
            raise CompileException(ran.stderr, source, expressions[0], options)
        os.replace(made, target)  # whole or not at all: others look for it without the lock
    return target


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Of several processes (pytest -n) one compiles a library, and the others wait for it."""
    with lock.open("w") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
        yield


def _header() -> str:
    return _HEADER.read_text()


def _options(options: tuple[str, ...]) -> list[str]:
    known = [o for o in options if o.startswith(("-std=", "--std=", "-D"))]
    if len(known) + ("-fmad=false" in options) != len(options):
        raise ValueError(f"the stand-in knows -std=, -D and -fmad=false, got {options}")
    return known


def _source(code: str, expressions: tuple[str, ...]) -> str:
    """The kernels, and for each expression its signature and a way to run it."""
    lines = ['#include "cuda_on_cpu.h"', '#line 1 "kernels.cu"', code, '#line 1 "launch.cpp"']
    for i, expression in enumerate(expressions):
        lines += [
            f"EXPORTED const char* signature_{i}() {{",
            f"    static const std::string s = stand_in::signature({expression});",
            "    return s.c_str();",
            "}",
            f"EXPORTED void run_{i}(unsigned b, unsigned t, int backwards, void** arguments) {{",
            f"    stand_in::run({expression}, b, t, backwards, arguments);",
            "}",
        ]
    return "\n".join(lines)
