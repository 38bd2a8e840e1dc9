"""A share of the tests under a runner whose results come as late as a GPU's; `make test-delayed`
runs all of them so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from espalier.runtime.build import OVERLAP

ROOT = Path(__file__).parent.parent
SHARE = [
    "tests/runtime/test_engine.py",
    "tests/runtime/server/test_cancelling.py",
    "tests/frontend_lang/test_endings.py",
]


@pytest.mark.skipif(os.environ.get(OVERLAP) == "1", reason="all tests run so already")
def test_a_share_of_the_tests_passes_when_results_come_late() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SHARE],
        cwd=ROOT,
        env={**os.environ, OVERLAP: "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
