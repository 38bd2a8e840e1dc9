"""Every Triton kernel compiles for the GPUs that it is meant for, where there is none of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support import ROOT

pytest.importorskip("triton", reason="triton is not installed here")


def test_compiles_for_hopper() -> None:
    """In a process of its own: here, kernels are interpreted."""
    environment = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.compile_kernels", "90"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
