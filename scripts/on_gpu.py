"""The first hour on a machine with a GPU: four parts, each in less than ten minutes.

    python scripts/on_gpu.py tests --out FOLDER      every kernel, then every test of GPUs
    python scripts/on_gpu.py bench --out FOLDER      benchmarks/gpu.py, part by part
    python scripts/on_gpu.py train --out FOLDER      the ST-CNN row of the paper's table 1
    python scripts/on_gpu.py sanitize --out FOLDER   the kernels' tests under compute-sanitizer

It needs no network and installs nothing: NumPy, CuPy, pytest and hypothesis must be there, PyTorch
for `bench`, MNIST for `train` ($STN_NP_DATA). Each part is of use without the others. Each test
file has a process of its own: one that reads a wrong address spoils no other. A part writes
PART.json, what it printed, and its logs in one archive; it says first what failed.

--stand-in runs a part without a GPU, as far as it goes: to try this script.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Tests that need more memory or time under a sanitizer than they are worth.
LARGE = ("2_31", "32_bits", "65535", "many_maps", "long_axes")
#: Of table 1: distortion and transform.
ROW = (("R", "affine"), ("RTS", "affine"), ("P", "projective"), ("E", "tps"))
#: In a module that pytest loads first: inside its pool CuPy hides wrong addresses from memcheck.
NO_POOL = "import cupy\ncupy.cuda.set_allocator(None)\n"


@dataclass
class Job:
    """One process: how it went, and the end of what it printed."""

    name: str
    command: list[str]
    code: int
    seconds: float
    last: list[str]

    @property
    def failed(self) -> bool:
        """124: it took too long. pytest's 5, no test was chosen, is none."""
        return self.code not in (0, 5)


class Part:
    """A part's folder, its logs, and how its processes went."""

    def __init__(self, name: str, out: Path, stand_in: bool) -> None:
        self.name, self.out, self.stand_in = name, out, stand_in
        self.logs = Path(tempfile.mkdtemp(prefix="stn_np_logs_"))
        self.begin = time.perf_counter()
        self.jobs: list[Job] = []
        out.mkdir(parents=True, exist_ok=True)
        paths = [ROOT, self.logs]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")]),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "2",
            "MPLBACKEND": "agg",
        }

    def run(self, name: str, command: Sequence[str | Path], limit: float) -> Job:
        """Run a command with a time limit; what it prints goes to a log."""
        start, log = time.perf_counter(), self.logs / f"{name}.txt"
        with log.open("w") as file:
            try:
                process = subprocess.Popen(
                    list(map(str, command)),
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=ROOT,
                    env=self.environment,
                    start_new_session=True,
                )
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
                process.wait()
                code = 124
            except OSError as error:  # the program is not there
                file.write(str(error))
                code = 127
        last = log.read_text(errors="replace").splitlines()[-40:]
        job = Job(name, list(map(str, command)), code, time.perf_counter() - start, last)
        self.jobs.append(job)
        return job

    def finish(self, **results: object) -> int:
        """Print what failed, write the summary, and pack the logs; 1 if something failed."""
        failed = [job for job in self.jobs if job.failed]
        summary = {
            "part": self.name,
            "machine": machine(self),
            "seconds": round(time.perf_counter() - self.begin, 1),
            "failed": [job.name for job in failed],
            **results,
            "jobs": [asdict(job) for job in self.jobs],
        }
        (self.out / f"{self.name}.json").write_text(json.dumps(summary, indent=1) + "\n")
        with tarfile.open(self.out / f"{self.name}_logs.tgz", "w:gz") as archive:
            archive.add(self.logs, arcname=f"{self.name}_logs")
        shutil.rmtree(self.logs)
        for job in failed:
            print(f"FAILED {job.name}: exit {job.code} after {job.seconds:.0f} s")
            print("\n".join(f"    {line}" for line in job.last[-15:]))
        what = f"{len(self.jobs)} processes, {len(failed)} failed, {summary['seconds']} s"
        print(f"{self.name}: {what}; see {self.out / self.name}.json")
        return int(bool(failed))


def machine(part: Part) -> str:
    """GPU, driver, and the versions that matter."""
    code = (
        "from importlib.metadata import version\n"
        "from stn_np.gpu.devices import describe_gpu, import_cupy\n"
        "try: import_cupy()\n"
        "except Exception: pass\n"
        "print(describe_gpu(), 'numpy', version('numpy'))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=part.environment
    )
    return f"{told.stdout.strip()}, Python {platform.python_version()}"


def pytest(part: Part, *arguments: str | Path) -> list[str | Path]:
    """A command that runs some tests on the GPU only, or on its stand-in."""
    library = "stand-in" if part.stand_in else "cupy"
    options = ["-q", "-ra", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short"]
    return [sys.executable, "-m", "pytest", *options, "-k", library, *arguments]


def tests(part: Part, jobs: int) -> int:
    """Every kernel variant is compiled in parallel, then each test file is run."""
    if not part.stand_in:
        part.run("warm_up", [sys.executable, "-m", "stn_np", "warm-up", "--all"], 120)
    files = sorted((ROOT / "tests").rglob("test_*.py"), key=lambda f: -f.stat().st_size)
    uses = [f for f in files if any(word in f.read_text() for word in (" xp", "(xp", "gpu: "))]

    def run(file: Path) -> Job:
        return part.run("-".join(file.relative_to(ROOT / "tests").parts), pytest(part, file), 300)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, uses))
    device = "cpu" if part.stand_in else "gpu"
    part.run("gradcheck", [sys.executable, "-m", "stn_np", "gradcheck", "--device", device], 90)
    lines = [line for job in part.jobs for line in job.last]
    return part.finish(tests=[line for line in lines if line.startswith(("FAILED", "ERROR"))])


def bench(part: Part, jobs: int) -> int:
    """All figures, each group by itself."""
    limits = {"sampler": 150, "fused": 120, "curve": 90, "training": 200}
    for only, limit in limits.items():
        out = part.out / f"bench_{only}.json"
        command = [sys.executable, "benchmarks/gpu.py", "--only", only, "--repeat", "15"]
        part.run(only, [*command, "--out", out], limit)
    for job in part.jobs:
        print("\n".join(job.last))
    return part.finish()


def train(part: Part, jobs: int) -> int:
    """One run of each cell; pictures and metrics go with the logs, checkpoints do not."""
    results = {}
    for distortion, transform in ROW:
        run = part.logs / f"{distortion}-{transform}"
        options = ["--distortion", distortion, "--model", "st-cnn", "--transform", transform]
        options += ["--data", "digits", "--epochs", "1"] if part.stand_in else ["--data", "mnist"]
        options += ["--device", "cpu" if part.stand_in else "gpu", "--out", str(run)]
        part.run(f"train-{run.name}", [sys.executable, "-m", "stn_np", "train", *options], 140)
        shutil.rmtree(run / "checkpoints", ignore_errors=True)
        if (run / "results.json").exists():
            found = json.loads((run / "results.json").read_text())
            kept = ("test_error", "paper_error", "epochs", "steps", "machine")
            results[run.name] = {name: found[name] for name in kept}
            print(run.name, f"{found['test_error']:.2f} %, the paper: {found['paper_error']}")
    return part.finish(results=results)


def sanitize(part: Part, jobs: int) -> int:
    """Wrong addresses, and memory that is read before it is written."""
    (part.logs / "nopool.py").write_text(NO_POOL)
    small = " and ".join(f"not {word}" for word in LARGE)
    names = ("test_sampling_kernels.py", "test_layer_kernels.py", "test_matrix_product.py")
    files = [ROOT / "tests" / "gpu" / name for name in names]
    for tool in ("memcheck", "initcheck"):
        command = ["compute-sanitizer", "--tool", tool, "--print-limit", "30"]
        tested = pytest(part, "-p", "nopool", *files)
        tested[tested.index("-k") + 1] = f"cupy and {small}"
        part.run(tool, [*command, "--error-exitcode", "9", *tested], 280)
    return part.finish()


PARTS = {"tests": tests, "bench": bench, "train": train, "sanitize": sanitize}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, required=True, help="folder for what is found")
    parser.add_argument("--jobs", type=int, default=min(10, os.cpu_count() or 1))
    parser.add_argument("--stand-in", action="store_true", help="without a GPU")
    options = parser.parse_args(arguments)
    part = Part(options.part, options.out.resolve(), options.stand_in)
    return PARTS[options.part](part, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
