"""How peers' tests are judged and told. That they run is `make blackbox`'s to show."""

from __future__ import annotations

from typing import Any

import pytest

from tools.blackbox.page import _counts, _why, grouped
from tools.blackbox.suites import SUITES
from tools.blackbox.verdicts import VERDICTS, reason_against


def case(test: str, outcome: str, reason: str = "") -> dict[str, Any]:
    return {"test": test, "outcome": outcome, "reason": reason}


def test_brackets_of_parameters_are_themselves() -> None:
    lora = "x/chat_completion/test_chat.py::test_a[zephyr-lora]"
    assert reason_against("vllm", "sprig", lora) is not None
    assert reason_against("vllm", "sprig", lora.replace("lora", "7b")) is None
    assert reason_against("openai", "sprig", lora) is None


def test_a_verdict_may_be_of_one_model() -> None:
    test = "unit/test_tokenize.py::test_tokenize_with_bos"
    assert reason_against("llama.cpp", "sprig", test) is not None
    assert reason_against("llama.cpp", "random", test) is None


def test_no_verdict_takes_a_whole_suite() -> None:
    assert {verdict.suite for verdict in VERDICTS} == {suite.name for suite in SUITES}
    for verdict in VERDICTS:
        assert verdict.reason
        assert verdict.model in ("*", "sprig", "random")
        assert len(verdict.tests.strip("*")) > 10  # says which tests


def test_a_test_passes_when_all_of_its_cases_do() -> None:
    rows = [
        case("f.py::test_a[1]", "passed"),
        case("f.py::test_a[2]", "failed", "assert 0"),
        case("f.py::test_b", "passed"),
        case("f.py::test_c[1]", "not_applicable", "needs wits"),
        case("f.py::test_c[2]", "passed"),
    ]
    found = grouped(rows)
    assert [ended.told() for ended in found.values()] == ["1/2", "1/1", "1/1"]
    assert _counts(found.values()) == "5 | 4 | 3 | 75.0% | 3 | 2 | 66.7%"
    left = grouped([case("f.py::test_c[1]", "not_applicable", "needs wits")])["f.py::test_c"]
    assert left.told() == "–"


@pytest.mark.parametrize("both", [True, False])
def test_why_not(both: bool) -> None:
    found = grouped([case("t", "not_applicable", "a | b")])
    good = grouped([case("t", "passed")])
    told = _why({"sprig": found["t"], "random": (found if both else good)["t"]})
    assert told == ("a \\| b" if both else "a \\| b (sprig)")
