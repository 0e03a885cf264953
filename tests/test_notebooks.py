"""The notebooks as files: complete, run to their end, and legible where nothing can be run.

That they run is shown by `python scripts/run_notebooks.py --check`, a step of CI.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
LONGEST_FUNCTION = 15
LARGEST_FILE = 600_000


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def text_of(cells: list[dict[str, Any]], kind: str) -> str:
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == kind)


def code_cells(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


def tags(cell: dict[str, Any]) -> list[str]:
    return cell["metadata"].get("tags", [])


def test_there_are_nine_numbered_from_one():
    assert [path.name[:3] for path in PATHS] == [f"{k:02}_" for k in range(1, 10)]


def test_opens_with_goals_equations_and_time(path, cells):
    opening = "".join(cells[0]["source"])
    assert cells[0]["cell_type"] == "markdown"
    assert opening.startswith(f"# {int(path.name[:2])}. ")
    assert "**After this you can**" in opening
    assert "**Equations:**" in opening
    minutes = re.search(r"\*\*Time:\*\* about (\d+) minutes", opening)
    assert minutes and 10 <= int(minutes[1]) <= 25


def test_ends_with_a_link_to_the_next(path, cells):
    ending = "".join(cells[-1]["source"])
    following = PATHS[(PATHS.index(path) + 1) % len(PATHS)]
    assert f"]({following.name})" in ending


def test_has_exercises_with_hidden_solutions_that_are_tested(cells):
    exercises = re.findall(r"^### Exercise (\d)", text_of(cells, "markdown"), re.M)
    assert exercises in (["1", "2"], ["1", "2", "3"])
    assert "click the three dots" in text_of(cells, "markdown")
    solutions = [cell for cell in cells if "hide-cell" in tags(cell)]
    assert len(solutions) == len(exercises)
    for cell in solutions:
        assert "".join(cell["source"]).startswith("# Solution")
        assert cell["metadata"]["jupyter"] == {"source_hidden": True, "outputs_hidden": True}
        assert "assert " in "".join(cell["source"])


def test_claims_are_asserted(cells):
    assert len(re.findall(r"^ *assert ", text_of(cells, "code"), re.M)) >= 8


def test_was_run_in_order_and_to_its_end(cells):
    counts = [cell["execution_count"] for cell in code_cells(cells)]
    assert counts == list(range(1, len(counts) + 1))


def test_shows_no_errors_warnings_or_widgets(cells):
    for cell in code_cells(cells):
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr", "".join(output["text"])
            assert not any("widget" in kind for kind in output.get("data", {}))


def test_has_pictures_and_each_says_what_it_shows(cells):
    with_picture = [
        cell
        for cell in code_cells(cells)
        if any("image/png" in output.get("data", {}) for output in cell["outputs"])
    ]
    assert with_picture
    for cell in with_picture:
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        assert len(alt) > 20, "".join(cell["source"])[-200:]


def test_outputs_name_no_folder_or_address_of_the_machine(cells):
    outputs = json.dumps([cell["outputs"] for cell in code_cells(cells) if cell["outputs"]])
    text = re.sub(r'"image/png": "[^"]*"', "", outputs)
    assert re.findall(r"/(?:home|root|tmp|work|Users)/\w+| at 0x[0-9a-f]{6,}", text) == []


def test_is_small(path):
    assert path.stat().st_size < LARGEST_FILE


def test_long_functions_belong_into_the_library(cells):
    code = re.sub(r"^\s*[%!].*$", "pass", text_of(cells, "code"), flags=re.M)
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name}: {length} lines"


def test_local_links_lead_somewhere(path, cells):
    links = re.findall(r"\]\((?!http|#|attachment)([^)#]+)", text_of(cells, "markdown"))
    assert [link for link in links if not (path.parent / link).exists()] == []
