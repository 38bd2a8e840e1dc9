"""What several test files need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def data_path(name: str = "") -> Path:
    """The file or folder `name` under ESPALIER_DATA.

    Skips the test, with the reason, where there is none; fails it under ESPALIER_REQUIRE_DATA=1.
    """
    folder = os.environ.get("ESPALIER_DATA")
    if folder and (Path(folder) / name).exists():
        return Path(folder) / name
    reason = f"ESPALIER_DATA={folder} has no {name}" if folder else "ESPALIER_DATA is not set"
    if os.environ.get("ESPALIER_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
