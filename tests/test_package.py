"""The package as a whole: what it imports, what it names, and what is there when asked for."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stn_np

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("matplotlib", "pooch", "tqdm", "PIL", "cupy", "scipy", "torch", "numba")


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
    rooms = {
        p.relative_to(package).parts[0]
        for p in package.rglob("*.py")
        if importing.search(p.read_text())
    }
    assert rooms == {"backend.py", "gpu"}


def test_training_and_plots_are_there_when_asked_for() -> None:
    """As attributes, although `import stn_np` does not import them."""
    for module, name in (("training", "SGD"), ("plots", "show_image")):
        here = f"assert 'stn_np.{module}' not in sys.modules; stn_np.{module}.{name}"
        code = f"import sys, stn_np; {here}"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="^module 'stn_np' has no attribute 'trainig'$"):
        stn_np.trainig  # noqa: B018


@pytest.mark.parametrize(("old", "new"), sorted(stn_np.renamed.MODULES.items()))
def test_old_modules_are_the_new_ones(old, new):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"^{old} is now {new}$"):
        assert importlib.import_module(old) is importlib.import_module(new)
    assert importlib.import_module(new).__spec__.name == new


@pytest.mark.parametrize("old", sorted(stn_np.renamed.NAMES))
def test_what_left_a_module_is_found_there(old):
    (module, name), new = old, stn_np.renamed.NAMES[old]
    with pytest.warns(DeprecationWarning, match=f"^{module}.{name} is now {new}.{name}$"):
        found = getattr(importlib.import_module(module), name)
    assert found is getattr(importlib.import_module(new), name)


def test_modules_have_nothing_else():
    with pytest.raises(AttributeError, match="stn_np.backend"):
        _ = stn_np.backend.nothing
