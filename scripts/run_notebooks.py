"""Run the notebooks, each in a clean kernel, and write their outputs into them.

    python scripts/run_notebooks.py                # all of them
    python scripts/run_notebooks.py 03 07          # those whose names begin so
    python scripts/run_notebooks.py --check        # leave the files as they are: what CI does

An error in a cell ends its notebook, and is reported. Needs `pip install -e ".[notebooks]"`.
"""

from __future__ import annotations

import argparse
import sys
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from time import perf_counter

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image  # comes with matplotlib

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

#: Seconds that one cell may take before it counts as hanging. Not a limit on speed.
HANGING = 600


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of the notebooks' names")
    parser.add_argument("--check", action="store_true", help="do not write the outputs")
    options = parser.parse_args()
    paths = [
        path
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
        if not options.names or path.name.startswith(tuple(options.names))
    ]
    if not paths:
        parser.error(f"names: expected beginnings of names in {NOTEBOOKS}, got {options.names}")
    failed = [path for path in paths if not run(path, write=not options.check)]
    return 1 if failed else 0


def run(path: Path, *, write: bool) -> bool:
    """Run one notebook; report it, and return whether it ran to its end."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=HANGING,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    began = perf_counter()
    try:
        client.execute()
    except CellExecutionError as error:
        print(f"{path.name}: FAILED\n{error}", flush=True)
        return False
    print(f"{path.name}: {perf_counter() - began:.0f} s", flush=True)
    if write:
        tidy(notebook)
        nbformat.write(notebook, path)
    return True


def tidy(notebook: NotebookNode) -> None:
    """Keep in the file only what is the same in every run that gives the same results."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        widget = "interactive" in cell.metadata.get("tags", [])
        cell.outputs = [] if widget else join_streams(cell.outputs)
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = with_palette(output.data["image/png"])


def with_palette(png: str) -> str:
    """Make the same picture, in base64, of 128 colours: a third of the size."""
    image = Image.open(BytesIO(b64decode(png))).convert("RGB")
    out = BytesIO()
    image.quantize(128, dither=Image.Dither.NONE).save(out, "png", optimize=True)
    return b64encode(out.getvalue()).decode()


def join_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """What a cell printed as one piece, however the kernel cut it."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output.output_type == "stream" == last.get("output_type") and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


if __name__ == "__main__":
    sys.exit(main())
