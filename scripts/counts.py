"""How much there is to read: files, lines, functions, arrows between rooms, and the core.

    python scripts/counts.py                 this tree
    python scripts/counts.py FOLDER FOLDER   others, such as a worktree of an older version

The core is what a student reads: whose array, checks, modules, layers, transformations (without
groups and learned bases) and sampling (without linearised). Lines include docstrings.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ("backend.py", "checks.py", "module.py", "layers/*.py", "transforms/*.py", "sampling/*.py")
APART = ("transforms/linear_basis.py", "transforms/polynomial.py", "sampling/linearised.py")


def lines(path: Path) -> int:
    """How many a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> list[ast.FunctionDef]:
    """All functions and methods of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def body(function: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    docstring = first if ast.get_docstring(function) else None
    taken = docstring.end_lineno - docstring.lineno + 1 if docstring else 0
    return function.end_lineno - function.lineno + 1 - taken


def arrows(package: Path) -> set[tuple[str, str]]:
    """Which room imports from which other."""
    found = set()
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            parts = [name.split(".") for name in names if name.startswith("stn_np.")]
            rooms = {p[1] for p in parts if any(package.glob(f"{p[1]}*"))}
            found |= {(room, other) for other in rooms - {room}}
    return found


def counts(root: Path) -> str:
    """The counts of one tree, in lines."""
    package = root / "stn_np"
    files = sorted(package.rglob("*.py"))
    apart = {package / name for name in APART}
    core = [p for pattern in CORE for p in sorted(package.glob(pattern)) if p not in apart]
    pairs = arrows(package)
    cuda = sum(map(lines, (package / "gpu" / "cuda").glob("*.cu*")))
    tests = sum(map(lines, (root / "tests").rglob("*.py")))
    longest = max(core, key=lines)
    every = [(f, p) for p in core for f in functions(p)]
    whole = sum(f.end_lineno - f.lineno + 1 > 60 for f, _ in every)
    body_of, where = max(((body(f), f"{f.name} in {p.name}") for f, p in every), default=(0, ""))
    return f"""{root.resolve()}
  package     {len(files)} files, {sum(map(lines, files)):,} lines, \
{sum(len(functions(p)) for p in files):,} functions; {cuda:,} lines of CUDA
  tests       {tests:,} lines
  rooms       {len(pairs)} arrows, {sum((b, a) in pairs for a, b in pairs) // 2} of them both ways
  core        {len(core)} files, {sum(map(lines, core)):,} lines
              longest file: {longest.name}, {lines(longest)}
              longest function without its docstring: {where}, {body_of}
              functions above 60 lines with it: {whole}"""


def main() -> None:
    """Print the counts of each tree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, default=[ROOT])
    print("\n".join(map(counts, parser.parse_args().folders)))


if __name__ == "__main__":
    main()
