"""docs/blackbox.md: which of the peers' tests apply, which pass, and why others do not apply."""

from __future__ import annotations

import importlib.metadata
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .servers import ROOT
from .suites import SUITES, Suite

BAR = 0.95
PAGE = ROOT / "docs" / "blackbox.md"

TEXT = """\
# Other servers' tests, run against this one

Made by `make blackbox` (`python -m tools.blackbox`); not edited by hand. Tests of openai's client,
of llama.cpp's server and of vLLM's come from their source distributions when they are run, and call
a live `espalier serve`: on Sprig, and on a model of two layers with random weights
(`tools/blackbox/models.py`). Nothing in them is changed. What starts their server is replaced: it
starts ours on one of the two models, under the name that a test asks for, with those of its flags
that both know (`tools/blackbox/peer_vllm.py`, `peer_llama.py`). llama.cpp's tests of the chat call
it by a short path, which is sent to `/v1`.

A test that does not apply has its reason in the last column, which is decided before it runs
(`tools/blackbox/verdicts.py`), or says itself that it calls the peer's own code. All others
must pass; the bar is {bar:.0%}.

{totals}

A case is a test with its parameters. A test passes when all its cases that apply do.
"""


class Ended(NamedTuple):
    """How the cases of one test ended on one model. reasons: against those that do not apply, and
    errors of those that failed."""

    passed: int
    failed: int
    left: int
    reasons: tuple[str, ...]

    @property
    def applies(self) -> int:
        return self.passed + self.failed

    def told(self) -> str:
        return f"{self.passed}/{self.applies}" if self.applies else "–"


def read(work: Path, suite: Suite, model: str) -> list[dict[str, Any]]:
    """What `suites.run` wrote down; nothing for what has not run."""
    path = work / f"{suite.name}-{model}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def grouped(rows: Iterable[dict[str, Any]]) -> dict[str, Ended]:
    """By test, without parameters."""
    tests: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        tests.setdefault(row["test"].partition("[")[0], []).append(row)
    return {test: _ended(cases) for test, cases in tests.items()}


def _ended(cases: Sequence[dict[str, Any]]) -> Ended:
    counts = Counter(case["outcome"] for case in cases)
    reasons = [case["reason"] for case in cases if case["outcome"] == "not_applicable"]
    reasons += [f"FAILS: {case['reason']}" for case in cases if case["outcome"] == "failed"]
    return Ended(
        counts["passed"], counts["failed"], counts["not_applicable"], tuple(dict.fromkeys(reasons))
    )


def write_page(work: Path, models: Sequence[str]) -> float:
    """Write the page of what has run; the share of cases that apply and pass."""
    found = {
        (suite.name, model): grouped(read(work, suite, model))
        for suite in SUITES
        for model in models
    }
    parts = [TEXT.format(bar=BAR, totals=_totals(found))]
    for suite in SUITES:
        parts.append(_table(suite, {model: found[suite.name, model] for model in models}))
    PAGE.write_text("\n".join(parts))
    every = [ended for tests in found.values() for ended in tests.values()]
    return sum(e.passed for e in every) / max(1, sum(e.applies for e in every))


def _totals(found: dict[tuple[str, str], dict[str, Ended]]) -> str:
    lines = [
        "| tests of | model | cases | apply | pass | | tests that apply | pass | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    every: list[Ended] = []
    for (suite, model), tests in found.items():
        every += tests.values()
        lines.append(f"| {suite} | {model} | {_counts(tests.values())} |")
    return "\n".join([*lines, f"| all | both | {_counts(every)} |"])


def _counts(ended: Iterable[Ended]) -> str:
    ended = list(ended)
    cases = sum(e.applies + e.left for e in ended)
    applies, passed = sum(e.applies for e in ended), sum(e.passed for e in ended)
    tests = [e for e in ended if e.applies]
    good = sum(1 for e in tests if not e.failed)
    return (
        f"{cases} | {applies} | {passed} | {_share(passed, applies)} "
        f"| {len(tests)} | {good} | {_share(good, len(tests))}"
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _table(suite: Suite, models: dict[str, dict[str, Ended]]) -> str:
    name, _, version = suite.requirement.partition("==")
    lines = [f"## {suite.name}", "", f"{name} {version}{_versions(suite)}.", ""]
    lines += [f"| test | {' | '.join(models)} | why not |", "|---|" + "---|" * (len(models) + 1)]
    tests = dict.fromkeys(test for found in models.values() for test in found)
    file = ""
    for test in tests:
        path, _, name = test.partition("::")
        if path != file:
            lines.append(f"| **{path}** |" + " |" * (len(models) + 1))
            file = path
        ended = {model: found[test] for model, found in models.items() if test in found}
        cells = [ended[model].told() if model in ended else "–" for model in models]
        lines.append(f"| {name or '(file)'} | {' | '.join(cells)} | {_why(ended)} |")
    return "\n".join([*lines, ""])


def _versions(suite: Suite) -> str:
    client = importlib.metadata.version("openai")
    return "" if suite.name == "openai" else f", with openai's client {client}"


def _why(ended: dict[str, Ended]) -> str:
    by_reason: dict[str, list[str]] = {}
    for model, one in ended.items():
        for reason in one.reasons:
            by_reason.setdefault(reason, []).append(model)
    told = []
    for reason, models in by_reason.items():
        only = "" if len(models) == len(ended) else f" ({', '.join(models)})"
        told.append(reason.replace("|", "\\|").replace("\n", " ") + only)
    return "; ".join(told)
