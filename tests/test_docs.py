"""The guides tell the truth: every block of code in README.md and docs/ is run or checked."""

import importlib
import json
import re
import shlex
import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import matplotlib
import pytest
from gpu import stand_in

from stn_np.cli.options import build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md"])
PAGES += sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
BLOCK = re.compile(r"^```(\S*)\n(.*?)^```", re.M | re.S)
HEADING = re.compile(r"^#+ (.*)$", re.M)
#: What is neither Python nor commands, and has nothing in it that could be run.
NOT_RUN = {"text", "{toctree}", "{eval-rst}", "{math}"}


def blocks(page: Path, *languages: str) -> list[str]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [code for language, code in found if language in languages]


def with_blocks(*languages: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, *languages)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_of_a_kind_that_is_checked(page):
    languages = {language for language, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
    assert languages <= {"python", "sh", *NOT_RUN}


@pytest.mark.parametrize("page", with_blocks("python"), ids=name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch):
    """All blocks of a page one after the other; of the README each by itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    matplotlib.use("agg")
    code = blocks(page, "python")
    pieces = code if page.name == "README.md" else ["\n".join(code)]
    on_gpu = any("import cupy" in piece for piece in pieces)
    for piece in pieces:
        with stand_in.installed() if on_gpu else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(piece, page.name, "exec"), {"__name__": "page"})


def test_the_table_of_addition_is_that_of_the_result_files(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    addition = importlib.import_module("addition")
    page = (ROOT / "docs/explanation/addition.md").read_text(encoding="utf-8")
    shown = page.split(addition.BEGIN)[1].split(addition.END)[0]
    assert shown.strip() == addition.table(ROOT / "benchmarks/results/addition").strip()
    assert shown.count("| **") == 4  # all four models


def commands() -> list[tuple[str, str]]:
    """Every command on every page, those joined by && one by one, without comments."""
    found = []
    for page in with_blocks("sh"):
        for line in "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
            words = " ".join(shlex.split(line, comments=True, posix=False))
            found += [(name(page), part.strip()) for part in words.split("&&") if part.strip()]
    return sorted(set(found))


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_exist(page: str, command: str):
    """Programs with options of ours are asked whether they know them; files must exist."""
    words = [word.strip("\"'") for word in command.split()]
    while re.match(r"^[A-Z_]+=", words[0]):
        del words[0]  # a setting of the environment
    program = Path(words[0]).name
    if program == "stn-np":
        build_parser().parse_args(words[1:])
    elif program.startswith("python"):
        check_python(words[1:])
    elif program == "pip":
        check_pip(words[1:])
    elif program == "dask":
        check_dask(words[1:])
    else:
        assert program in {"source", "jupyter", "pytest", "sphinx-build", "pre-commit", ".ci/run"}
        check_files(words[1:])


def check_python(words: list[str]) -> None:
    assert words[0] != "-m" or words[1] in {"venv", "pytest", "http.server"}
    check_files([word for word in words if word.endswith(".py")])


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    extras = re.findall(r"\.\[([\w,]+)\]", " ".join(words))
    known = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1]
    for extra in ",".join(extras).split(","):
        assert not extra or re.search(rf"^{extra} = ", known, re.M), extra


def check_dask(words: list[str]) -> None:
    pytest.importorskip("distributed")
    program = Path(sys.executable).with_name("dask")
    told = subprocess.run([program, words[0], "--help"], capture_output=True, text=True, check=True)
    assert {word for word in words if word.startswith("--")} <= set(told.stdout.split())


def check_files(words: list[str]) -> None:
    for word in words:
        if "/" in word and not word.startswith((".venv", "-", "docs/_build")):
            assert (ROOT / word.split("::")[0]).exists(), word


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    for link, _, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([^)]+))?\)", text):
        target = (page.parent / link).resolve() if link else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            headings = HEADING.findall(target.read_text(encoding="utf-8"))
            places = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
            assert anchor in places, f"{link}#{anchor}"


def test_every_page_of_the_site_is_in_a_table_of_contents():
    listed = set()
    for page in PAGES:
        for toc in blocks(page, "{toctree}"):
            entries = [line for line in toc.splitlines() if line and not line.startswith(":")]
            listed |= {(page.parent / f"{entry}.md").resolve() for entry in entries}
    site = {page for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert site - listed == {ROOT / "docs/index.md"}


def test_the_tables_of_timings_are_those_of_the_result_files(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("pages")
    script.main(["--check"])
    marked = {name for page in script.PAGES for name, _ in script.MARKED.findall(page.read_text())}
    on_pages = {name.removeprefix("table: ") for name in marked if name.startswith("table: ")}
    tables = script.tables.TABLES.keys() | script.trainings.TABLES.keys()
    swept = {name for name in script.paper.TABLES if script.paper.TABLES[name]()[1:]}
    assert on_pages >= (tables | swept) - {"each convolution", "import time"}

    page = script.PAGES[0].read_text(encoding="utf-8")
    number = re.search(r"table: training step -->.*?\*\*(\d\.\d\d)\*\*", page, re.S)
    broken = tmp_path / "performance.md"
    broken.write_text(page[: number.start(1)] + "7.77" + page[number.end(1) :], encoding="utf-8")
    with pytest.raises(SystemExit, match="performance.md: table: training step$"):
        script.main(["--check", str(broken)])
    script.main([str(broken)])
    assert broken.read_text(encoding="utf-8") == page


def test_tables_of_trainings_have_means_of_the_seeds(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("training_tables")
    found = {}
    for name, seed, error, seconds in (("a", 1, 3.0, 30), ("a", 0, 2.0, 10), ("b", 0, 1.0, 40)):
        run = {"errors": [9.0, error], "errors_of_trained_weights": [9.0, error + 1]}
        found[f"{name}, 2 epochs, seed {seed}"] = run | {"seconds": [1.0, seconds]}
    (tmp_path / "recipe.json").write_text(json.dumps(found))
    assert tables.recipe(tmp_path)[1:] == [
        ["a, 2 epochs", "2.00 · 3.00", "2.50", "3.00 · 4.00", "3.50", "1.00"],
        ["b, 2 epochs", "1.00", "1.00", "2.00", "2.00", "2.00"],
    ]

    run = {"distortion": "R", "model": "st-cnn", "transform": "affine", "parameters": 1234}
    for seed, error in ((1, 0.9), (0, 0.7)):
        results = run | {"epochs": 26, "steps": 50, "test_error": error}
        path = tmp_path / f"R-st-cnn-affine-26-s{seed}.json"
        path.write_text(json.dumps(results | {"machine": {"seconds": 60.0 + 60 * seed}}))
    assert tables.test_errors(tmp_path)[1:] == [
        ["R, st-cnn, affine", "1,234", "26", "0.80 % (0.70 · 0.90)", "1.0 · 2.0 min"]
    ]
    slow = run | {"epochs": 98, "steps": 70, "test_error": 0.5, "machine": {"seconds": 90.0}}
    for name in ("98-rate0.003-decay0.1", "98"):
        (tmp_path / f"R-st-cnn-affine-{name}-s0.json").write_text(json.dumps(slow))
    words = "98, rate 0.003, weight decay 0.1"
    assert sorted(row[2:] for row in tables.test_errors(tmp_path)[2:]) == [
        ["98", "0.50 %", "1.5 min"],
        [words, "0.50 %", "1.5 min"],
    ]
    said = f"epochs 26: 0.80 % (0.70 · 0.90); epochs {words}: 0.50 %"
    assert tables.headline(tmp_path) == said


def test_tables_of_sweeps_are_ours_and_the_papers(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("paper_tables")
    machine = {"device": "cpu", "processor": "Intel(R) X CPU @ 2GHz", "date": "2026-01-02"}
    cells = []
    for cell, seed, errors, paper in (
        ("RTS/cnn", 1, [3.0, 1.5], 0.8),
        ("R/cnn", 0, [4.0, 1.0], 1.2),
        ("R/cnn", 1, [1.1, 2.0], 1.2),
    ):
        run = {"parameters": 1000 + seed, "epochs": 2, "steps": 200, "errors": errors}
        run |= {"machine": machine | {"seconds": 60.0 + 60 * seed, "threads": 1 + seed}}
        run |= {"cell": cell, "seed": seed, "test_error": errors[-1], "paper_error": paper}
        cells.append(run)
    (tmp_path / "table1-quick.json").write_text(json.dumps({"cells": cells}))
    assert tables.errors("table1", "quick", tmp_path) == [
        ["test error, % (quick)", "R", "RTS"],
        ["cnn", "1.50 ±0.50 (1.2)", "1.50 (0.8)"],
    ]
    first, second = tables.effort("table1", "quick", tmp_path)[1:]
    assert first[1:5] == ["1,000 to 1,001", "200", "0 1", "1.0 to 2.0"]
    assert first[5:] == ["Intel X, 1 thread; Intel X, 2 threads", "2026-01-02"]
    assert second[:5] == ["RTS", "1,001", "200", "1", "2.0"]
    # Seed 0 comes to 1.2 % with its second epoch, after a minute; seed 1 with its first, as soon.
    [row] = tables.to_the_papers_error("table1", "quick", tmp_path)[1:]
    assert row == ["R/cnn", "1.2", "150", "1.0", "2 of 2"]
    assert tables.errors("table1", "short", tmp_path) == [["test error, % (short)"]]


def test_timings_of_two_processors_stand_beside_each_other(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("speed_tables")
    row = {"images": "R, 28×28", "filters": 32, "batch": 256}
    row |= {"ours_ms": 50.0, "nchw_ms": 80.0, "nhwc_ms": 100.0, "ratio": 0.625}
    one = {"name": "A", "tables": {"training-step": {"rows": [row, {**row, "filters": 64}]}}}
    other = {"name": "B", "tables": {"training-step": {"rows": [row]}}}
    shown = tables.text("table: training step", [one, other]).strip().splitlines()
    assert shown[0] == "| images | filters | batch | A | B |"
    assert shown[2].endswith(
        "| 32 | 256 | **0.62** (50.0, 80.0, 100.0) | **0.62** (50.0, 80.0, 100.0) |"
    )
    assert shown[3].endswith("| **0.62** (50.0, 80.0, 100.0) | – |")
    said = tables.text("figure: training step", [one, other])
    assert (
        said == "0.62 with 32 filters and 0.62 with 64 filters (on A); 0.62 with 32 filters (on B)"
    )
