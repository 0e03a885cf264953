"""Write tables and figures of the result files into the README and pages of the documentation.

    python scripts/pages.py            from the files in benchmarks/results
    python scripts/pages.py --check    fails if a page says something else than they do

Written is what stands between ``<!-- table: NAME -->`` or ``<!-- figure: NAME -->`` and
``<!-- end -->``; the names are those of speed_tables.py, training_tables.py and paper_tables.py in
benchmarks/. All else is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import paper_tables as paper  # noqa: E402
import speed_tables as tables  # noqa: E402
import training_tables as trainings  # noqa: E402

PAGES = [ROOT / "docs/explanation/performance.md", ROOT / "docs/results.md", ROOT / "README.md"]
#: Tables of trainings by their names.
TRAINED = trainings.TABLES | paper.TABLES
MARKED = re.compile(r"<!-- ((?:table|figure): [^>]*?) -->(.*?)<!-- end -->", re.S)


def text(name: str, files: list[tables.Row]) -> str:
    """What stands in the markers of this name."""
    kind, _, about = name.partition(": ")
    if kind == "table" and (make := TRAINED.get(about)):
        head, *rows = make()
        return f"\n{tables.markdown([head, *rows]) if rows else 'Nothing so far.'}\n"
    if kind == "figure" and about in trainings.FIGURES:
        return trainings.FIGURES[about]()
    return tables.text(name, files)


def written(page: str, files: list[tables.Row]) -> str:
    """The page with all that is marked as the files say it."""
    return MARKED.sub(lambda found: f"<!-- {found[1]} -->{text(found[1], files)}<!-- end -->", page)


def differing(page: str, files: list[tables.Row]) -> Iterator[str]:
    """Names of what is not on the page as the files say it."""
    for name, found in MARKED.findall(page):
        if found != text(name, files):
            yield name


def main(arguments: list[str] | None = None) -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES, help="default: all")
    options = parser.parse_args(arguments)
    files, wrong = tables.load(), []
    for path in options.pages:
        page = path.read_text(encoding="utf-8")
        wrong += [f"{path.name}: {name}" for name in differing(page, files)]
        if not options.check:
            path.write_text(written(page, files), encoding="utf-8")
    if options.check and wrong:
        raise SystemExit("not what the result files say: " + "; ".join(wrong))
    print(f"{'differed' if not options.check else 'wrong'}: {', '.join(wrong) or 'nothing'}")


if __name__ == "__main__":
    main()
