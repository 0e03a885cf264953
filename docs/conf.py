"""Sphinx settings: `sphinx-build -W docs docs/_build/html`, after `pip install -e ".[docs]"`."""

from __future__ import annotations

import re
from importlib.metadata import files
from pathlib import Path
from shutil import copytree
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

import stn_np

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"

project = "stn_np"
author = "The stn_np developers"
copyright = author
version = release = stn_np.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinxarg.ext",
]
exclude_patterns = ["_build"]
suppress_warnings = ["myst.domains"]  # the command line's own domain, which no link refers to

# Pages are Markdown; their links also work where the files are read without this site.
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

# Notebooks come with their outputs; that they still run is shown by scripts/run_notebooks.py.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # no widgets on a page: they would need a kernel, and scripts from a network
nb_code_prompt_show = "Show the solution"  # nothing else is hidden
nb_code_prompt_hide = "Hide the solution"

# The reference: docstrings are numpydoc, each parameter with its type.
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # the docstrings say more: shapes, units, axis order
python_maximum_signature_line_length = 80
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_preprocess_types = False
add_module_names = False
default_role = "py:obj"  # `name` in a docstring is the thing of that name
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "stn_np"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = "$ "

# Equations without a network: MathJax is copied into the site, see `copy_mathjax`.
mathjax_path = "mathjax/tex-chtml-full.js"
mathjax3_config = {
    "options": {"enableMenu": False},  # it would fetch further scripts
    "chtml": {"mtextInheritFont": True},
    "tex": {"packages": {"[-]": ["noerrors", "noundefined"]}},  # mistakes are seen, not hidden
}


def copy_notebooks(app: Sphinx) -> None:
    """Put the notebooks among the tutorials: Sphinx reads no page from outside of its folder."""
    for old in (HERE / "tutorials").glob("*.ipynb"):
        old.unlink()
    for path in NOTEBOOKS.glob("*.ipynb"):
        text = re.sub(r"\]\(\.\./docs/", "](../", path.read_text(encoding="utf-8"))
        text = re.sub(r"\]\(\.\./(?=stn_np|tests|benchmarks|scripts|README)", "](../../", text)
        (HERE / "tutorials" / path.name).write_text(text, encoding="utf-8")


def link_to_tutorials(app: Sphinx, name: str, source: list[str]) -> None:
    """On the site the notebooks are tutorials."""
    source[0] = re.sub(r"\]\((?:\.\./)*notebooks/", "](/tutorials/", source[0])


def keep_equations_whole(app: Sphinx, doctree: nodes.document) -> None:
    r"""An equation with \\ in it goes to MathJax as it is.

    Sphinx would wrap it as lines of a `split`, in which no \tag may stand.
    """
    for equation in doctree.findall(nodes.math_block):
        text = equation.astext().strip()
        if r"\\" in text and not text.startswith(r"\begin{equation"):
            text = rf"\begin{{equation}}{text}\end{{equation}}"
            equation.children = [nodes.Text(text)]
            equation["no-wrap"] = equation["nowrap"] = True


def frame_conventions(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """A paragraph of a docstring that begins with **Convention.** becomes a box."""
    mark = "**Convention.** "
    for first in [k for k, line in enumerate(lines) if line.startswith(mark)][::-1]:
        last = next((k for k in range(first, len(lines)) if not lines[k].strip()), len(lines))
        text = [lines[first].removeprefix(mark), *lines[first + 1 : last]]
        box = [".. admonition:: Convention", "", *("   " + line for line in text), ""]
        lines[first:last] = box


def drop_links_back(app: Sphinx, page: str, template: str, context: dict[str, Any], _: Any) -> None:
    """Source pages without links to the reference: they miss names that are imported elsewhere."""
    if page.startswith("_modules/"):
        context["body"] = re.sub(r'<a class="viewcode-back".*?</a>', "", context["body"])


def copy_mathjax(app: Sphinx, failure: Exception | None) -> None:
    """Ship MathJax and its fonts with the site."""
    if failure is not None or app.builder.format != "html":
        return
    parts = files("sphinx-mathjax-offline") or []
    script = next(Path(str(p.locate())) for p in parts if p.name == Path(mathjax_path).name)
    to = Path(app.outdir) / "_static" / "mathjax"
    (to / script.name).parent.mkdir(parents=True, exist_ok=True)
    (to / script.name).write_bytes(script.read_bytes())
    fonts = "output/chtml/fonts"
    copytree(script.parent / fonts, to / fonts, dirs_exist_ok=True)


def setup(app: Sphinx) -> None:
    """Tell Sphinx about the functions above."""
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", link_to_tutorials)
    app.connect("doctree-read", keep_equations_whole)
    app.connect("autodoc-process-docstring", frame_conventions)
    app.connect("html-page-context", drop_links_back)
    app.connect("build-finished", copy_mathjax)
