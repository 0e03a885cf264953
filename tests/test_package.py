"""The package as a whole: what it imports, what it names, and that its README tells the truth."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import stn_np

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^#+ (.*)$", re.M)
HEAVY = ("matplotlib", "pooch", "tqdm", "PIL", "cupy", "scipy", "torch")


def test_import_brings_numpy_only():
    code = f"import sys, stn_np; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_public_names_exist():
    assert {"affine_grid", "grid_sample", "SpatialTransformer", "gradcheck"} <= set(stn_np.__all__)
    assert all(hasattr(stn_np, name) for name in stn_np.__all__)


def test_only_the_backend_imports_cupy():
    package = Path(stn_np.__file__).parent
    importing = re.compile(r"^\s*(import cupy|from cupy)|import_module\(.cupy|modules\[.cupy", re.M)
    found = {p.name for p in package.rglob("*.py") if importing.search(p.read_text())}
    assert found == {"backend.py", "launcher.py"}


@pytest.mark.parametrize(
    "block", re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
)
def test_readme_example_runs(block):
    exec(compile(block, "README.md", "exec"), {})


def test_the_example_of_the_gpu_guide_runs(stand_in, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/explanation/gpu.md").read_text(), re.S)
    exec(compile(block, "gpu.md", "exec"), {})
    assert 1 < float(capsys.readouterr().out) < 4


def test_links_of_the_guides_lead_somewhere():
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text()
        links = re.findall(r"\]\((?!http|#)([^)#]+)", text)
        assert [link for link in links if not (page.parent / link).exists()] == [], page
        anchors = {
            re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in HEADING.findall(text)
        }
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors, page


def test_readme_links_lead_somewhere():
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_training_is_there_when_asked_for() -> None:
    """As an attribute, although `import stn_np` does not import it."""
    code = "import sys, stn_np; assert 'stn_np.training' not in sys.modules; stn_np.training.SGD"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="^module 'stn_np' has no attribute 'trainig'$"):
        stn_np.trainig  # noqa: B018
