"""SGLang's own files, for tests: its wheel as pip fetches it, never installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

VERSION = "0.5.23"


def sglang_wheel(cache: Path) -> zipfile.ZipFile:
    """The wheel, kept in `cache`; skips the test where it cannot be had."""
    found = sorted(cache.glob(f"sglang-{VERSION}-*.whl"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", f"sglang=={VERSION}", "--no-deps"]
        options = ["--quiet", "--retries", "1", "--timeout", "15", "--dest", str(cache)]
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        found = sorted(cache.glob(f"sglang-{VERSION}-*.whl"))
        if not found:
            pytest.skip(f"pip download sglang=={VERSION} failed: {done.stderr.strip()[-200:]}")
    return zipfile.ZipFile(found[0])
