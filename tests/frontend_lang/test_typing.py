"""Values have static types: mypy --strict and pyright over tests/typing (CONTRIBUTING.md)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support import ROOT

FOLDER = ROOT / "tests" / "typing"


@pytest.fixture(scope="module", autouse=True)
def links() -> None:
    subprocess.run([sys.executable, "tools/link_types.py"], cwd=ROOT, check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["mypy", "--strict", "--explicit-package-bases", str(FOLDER)],
        ["pyright", *map(str, sorted(FOLDER.glob("*.py")))],
    ],
    ids=["mypy", "pyright"],
)
def test_values_have_their_types(command: list[str]) -> None:
    pytest.importorskip(command[0])
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": "build/typing"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
