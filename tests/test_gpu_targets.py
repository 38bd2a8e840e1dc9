"""`make test-gpu` and `make bench-gpu` begin where a GPU machine has torch and little else."""

from __future__ import annotations

import subprocess
import sys

from tests.support import ROOT

BARE = """
import sys
ABSENT = {"msgspec", "interegular", "lark", "fastapi", "uvicorn", "starlette"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def _bare(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE + code], cwd=ROOT, capture_output=True, text=True
    )


def test_gpu_tests_are_collected_or_skipped_with_a_reason() -> None:
    done = _bare(
        "import pytest; sys.exit(pytest.main(['--collect-only', '-q', '-m', 'gpu', 'tests/gpu']))"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_kernels.py::test_attention[" in done.stdout
    assert "the engine needs msgspec" in done.stdout


def test_the_benchmark_of_kernels_refuses_a_cpu_by_name() -> None:
    done = _bare(
        "from espalier.runtime import cli; sys.exit(cli.main(['bench', 'kernels', '--device=cpu']))"
    )
    assert done.returncode == 2, done.stderr
    assert "expected a CUDA device, and triton" in done.stderr
    assert "no CUDA device (at --device cpu)" in done.stderr
