"""The check that compiles every kernel: does it see what it is there to see?

All variants take minutes: `scripts/compile_kernels.py` does that, in CI. Here it is the check that
is checked, on kernels with a known fault; and whether docs/explanation/kernels.md is up to date.
"""

from __future__ import annotations

import compile_kernels
import kernel_compiler
import kernel_record
import pytest
from kernel_compiler import Report

from stn_np.gpu import launcher

LOG = """a.cu(3): warning #177-D: variable "unused" was declared but never referenced

Remark: The warnings can be suppressed with "-diag-suppress <warning-number>"

ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5spillIfEvxPKT_PS0_i' for 'sm_75'
ptxas info    : Function properties for _Z5spillIfEvxPKT_PS0_i
ptxas         .     1200 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 112 registers, used 0 barriers, 1208 bytes cumulative stack size, 380 bytes cmem[0], 8 bytes cmem[2]
ptxas info    : Compile time = 54.778 ms
ptxas info    : Compiling entry function '_Z1fIfLi2EEvxPKT_PS0_' for 'sm_75'
ptxas info    : Function properties for _Z1fIfLi2EEvxPKT_PS0_
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 0 barriers
ptxas info    : Compile time = 1.767 ms
"""  # noqa: E501

KERNEL = """
template <typename T> __global__ void scale(int64 n, const T* x, T* y) {
    %s
    FOR_EACH_ITEM(i, n) { y[i] = 2 * x[i]; }
}
"""
STACK = "float a[300]; FOR_EACH_ITEM(i, n) { a[int(x[i])] = x[i]; y[i] = a[int(x[n - i])]; }"


def test_the_log_of_ptxas_is_read():
    assert kernel_compiler.parse(LOG) == {
        "_Z5spillIfEvxPKT_PS0_i": {"registers": 112, "local": 1208, "constant": 388},
        "_Z1fIfLi2EEvxPKT_PS0_": {"registers": 12, "local": 0, "constant": 0},
    }
    assert kernel_compiler.warnings(LOG) == LOG.splitlines()[:1]


def test_programs_hold_every_variant_for_every_architecture_once():
    variants = [(f, "k", (i,)) for i in range(150) for f in ("a.cu", "b.cu")]
    programs = list(kernel_compiler._programs(variants, [75, 90]))
    assert all(len({v[0] for v in part}) == 1 for part, _ in programs)
    flat = [(v, a) for part, a in programs for v in part]
    assert len(flat) == len(set(flat)) == 2 * len(variants)


@pytest.mark.parametrize(
    ("registers", "architecture", "share"),
    # As in NVIDIA's occupancy calculator: 256 threads a block, no shared memory.
    [
        (64, 75, 1.0),
        (65, 75, 0.75),
        (64, 80, 0.5),
        (255, 80, 0.125),
        (32, 90, 1.0),
        (33, 90, 0.75),
        (41, 90, 0.625),
        (128, 100, 0.25),
        (40, 120, 1.0),
    ],
)
def test_occupancy(registers, architecture, share):
    assert kernel_record.occupancy(registers, architecture) == share


def test_local_memory_is_a_complaint(monkeypatch):
    fine = Report("a.cu", "k", ("float32", True), 90, 32, 0, 0)
    other = fine._replace(local=16, template=("float64", True))
    lines = compile_kernels.spilling([fine, fine._replace(local=8), other])
    assert lines == [
        "a.cu, sm_90: k<float32, true> keeps 8 bytes in local memory",
        "a.cu, sm_90: k<float64, true> keeps 16 bytes in local memory",
    ]
    monkeypatch.setattr(compile_kernels, "LOCAL_MEMORY", {"k<float64, .*>": "there is a reason"})
    assert compile_kernels.spilling([fine, fine._replace(local=8), other]) == lines[:1]


def test_the_fingerprint_sees_code_and_variants_but_no_comments(monkeypatch):
    texts = {
        "plain": "int a; int b;",
        "commented": "int a; // an a\n/* and */ int b;\n",
        "changed": "int a; int c;",
    }
    variants = [("x.cu", "k", ("float32",))]

    def of(text, variants=variants):
        monkeypatch.setattr(launcher, "source", lambda file: texts[text])
        return kernel_record.fingerprint(variants)

    assert of("plain") == of("commented") != of("changed")
    assert of("plain") != of("plain", [("x.cu", "k", ("float64",))])
    two = [*variants, ("x.cu", "k", ("float64",))]
    assert of("plain", two) == of("plain", two[::-1])


def test_the_record_is_of_the_present_source():
    """If not: `python scripts/compile_kernels.py --record`, then look at what changed."""
    present = kernel_record.fingerprint(sorted(set(compile_kernels.variants()), key=repr))
    assert kernel_record.recorded() == present


def _nvrtc_is_missing() -> bool:
    try:
        kernel_compiler.version()
    except (ImportError, RuntimeError):
        return True
    return False


@pytest.mark.skipif(_nvrtc_is_missing(), reason="NVRTC is not installed")
@pytest.mark.parametrize("architecture", kernel_compiler.ARCHITECTURES)
class TestCompiler:
    """Each of these faults is one that CI would stop at."""

    variants = (
        ("cuda/launcher.cuh", "scale", ("float32",)),
        ("cuda/launcher.cuh", "scale", ("float64",)),
    )

    def compiled(self, fault, architecture):
        text = launcher.source("cuda/launcher.cuh") + KERNEL % fault
        return kernel_compiler.compile_program(self.variants, architecture, text)

    def test_without_a_fault(self, architecture):
        reports, complaints = self.compiled("", architecture)
        assert complaints == []
        assert [r[:4] for r in reports] == [(*v, architecture) for v in self.variants]
        assert all(8 <= r.registers <= 32 and r.local == 0 for r in reports)
        assert compile_kernels.spilling(reports) == []

    def test_an_error(self, architecture):
        reports, [complaint] = self.compiled("y = z;", architecture)
        assert reports == []
        assert f"launcher.cuh, sm_{architecture}: does not compile" in complaint
        assert 'identifier "z" is undefined' in complaint

    def test_a_warning(self, architecture):
        _, complaints = self.compiled("int unused;", architecture)
        assert complaints and all('variable "unused"' in c for c in complaints)

    def test_a_stack(self, architecture):
        reports, complaints = self.compiled(STACK, architecture)
        assert complaints == []
        assert [r.local for r in reports] == [1200, 1200]
        assert len(compile_kernels.spilling(reports)) == 2
