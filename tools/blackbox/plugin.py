"""A pytest plugin: leaves out the tests that do not apply, and writes down how the others end.

Each line of the file named by BLACKBOX_RECORD is `{"test", "outcome", "reason"}` in JSON; the
outcome is passed, failed or not_applicable. BLACKBOX_SUITE and BLACKBOX_MODEL say which verdicts of
verdicts.py hold.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from blackbox.verdicts import reason_against

# Parameters by which llama.cpp's tests start a server of their own.
THEIR_SERVER = {"hf_repo", "template_override", "template_name"}
SAME = "asks what the case before asked: they differ in the model that the test would have started"
_RECORD = Path(os.environ["BLACKBOX_RECORD"])
_SUITE = os.environ["BLACKBOX_SUITE"]
_MODEL = os.environ["BLACKBOX_MODEL"]


def _write(test: str, outcome: str, reason: str = "") -> None:
    with _RECORD.open("a") as file:
        file.write(json.dumps({"test": test, "outcome": outcome, "reason": reason}) + "\n")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    kept = []
    asked: set[str] = set()
    for item in items:
        reason = reason_against(_SUITE, _MODEL, item.nodeid)
        if reason is None and _asks(item) in asked:
            reason = SAME
        asked.add(_asks(item))
        if reason is None:
            kept.append(item)
        else:
            _write(item.nodeid, "not_applicable", reason)
    items[:] = kept


def _asks(item: Any) -> str:
    """What a case asks of a server that runs already."""
    given = dict(getattr(getattr(item, "callspec", None), "params", {}))
    if _SUITE == "llama.cpp" and not THEIR_SERVER.isdisjoint(given):
        told = sorted((name, repr(value)) for name, value in given.items())
        return f"{item.originalname} {[one for one in told if one[0] not in THEIR_SERVER]}"
    return str(item.nodeid)


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        _write(report.nodeid, "failed", _last_line(str(report.longrepr)))


def pytest_runtest_logreport(report: Any) -> None:
    if report.skipped:  # the test itself says that it has nothing to ask
        _write(report.nodeid, "not_applicable", _skip_reason(report))
    elif report.failed:
        _write(report.nodeid, "failed", f"{report.when}: {_last_line(report.longreprtext)}")
    elif report.when == "call":
        _write(report.nodeid, "passed")


def _skip_reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _last_line(text: str) -> str:
    told = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return (told or text.strip().splitlines() or [""])[0][:300]
