"""The rooms of the package: arrows go one way, and no module waits for itself."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import stn_np

PACKAGE = Path(stn_np.__file__).parent

#: A room may use those that stand before it; `docs/explanation/architecture.md` draws them.
ROOMS = (
    "version",
    "backend",
    "renamed",
    "checks",
    "threads",
    "gpu",
    "module",
    "layers",
    "transforms",
    "points",
    "sampling",
    "transformer",
    "models",
    "gradcheck",
    "data",
    "training",
    "experiments",
    "reproduce",
    "plots",
    "cli",
)


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that one imports: anywhere, also for the type checker only."""
    used = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: expected absolute imports"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                used.add(inside if inside in known else str(node.module))
    return {u for u in used if u in known and u != name}


GRAPH = {name: imports(name, path, modules()) for name, path in modules().items()}


def room(module: str) -> str:
    """The second part of a dotted name; the package itself is above all rooms."""
    return [*module.split("."), ""][1]


def test_every_module_is_in_a_room():
    assert {room(name) for name in GRAPH} - {"", "__main__"} == set(ROOMS)


def test_nothing_but_the_package_itself_imports_from_it_as_a_whole():
    whole = {name for name, used in GRAPH.items() if "stn_np" in used}
    assert whole <= {"stn_np.__main__"} | {n for n in GRAPH if room(n) in ("cli", "plots")}


@pytest.mark.parametrize("name", sorted(n for n in GRAPH if room(n) in ROOMS))
def test_arrows_go_one_way(name):
    mine = ROOMS.index(room(name))
    backwards = {u for u in GRAPH[name] if room(u) in ROOMS and ROOMS.index(room(u)) > mine}
    assert not backwards


def test_no_circle_of_imports():
    # A package's __init__ gathers what is in it: what its modules share must not come through it.
    try:
        tuple(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")
