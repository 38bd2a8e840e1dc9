"""Assertions on what each branch sent."""

from __future__ import annotations

import re
from typing import Any

import pytest

import espalier as esp
from espalier import testing
from espalier.errors import InvalidRequestError

State = Any


@esp.function
def program(s: State) -> None:
    s += "Ideas:" + esp.gen("idea")
    forks = s.fork(2)
    forks += lambda number: f" Part {number}:" + esp.gen("part")
    forks.join()
    s += esp.select("good", ["yes", "no"])


@pytest.fixture
def backend() -> esp.Scripted:
    scripted = esp.Scripted({"idea": "one", "part": ["a", "b"], "good": "yes"})
    program.run(backend=scripted)
    return scripted


def test_calls(backend: esp.Scripted) -> None:
    assert [call.label for call in testing.calls(backend)] == [
        "gen('idea')", "gen('part')", "gen('part')", "select('good')",
    ]  # fmt: skip
    (call,) = testing.calls(backend, "part", path=(0, 1))
    assert call.prompt.endswith("Ideas:one Part 1:")
    assert [call.name for call in testing.calls(backend, path=())] == ["idea", "good"]
    assert testing.calls(backend, "nothing") == []


def test_what_was_sent(backend: esp.Scripted) -> None:
    testing.assert_sent(backend, "Ideas:")
    testing.assert_sent(backend, "Ideas:", times=4)
    testing.assert_sent(backend, "Part 1", "part", path=(0, 1), times=1)
    testing.assert_sent(backend, re.compile(r"Part \d:$"), times=2)
    testing.assert_not_sent(backend, "Part 1", path=(0, 0))


def test_what_was_not(backend: esp.Scripted) -> None:
    with pytest.raises(AssertionError) as told:
        testing.assert_sent(backend, "Part 7", "part")
    assert str(told.value).splitlines() == [
        "'Part 7' was sent 0 times, not once or more, in:",
        "  gen('part') at (0, 0): '<|bos|>Ideas:one Part 0:'",
        "  gen('part') at (0, 1): '<|bos|>Ideas:one Part 1:'",
    ]
    with pytest.raises(AssertionError, match="4 times, not 1 times"):
        testing.assert_sent(backend, "Ideas:", times=1)
    with pytest.raises(AssertionError, match="4 times, not 0 times"):
        testing.assert_not_sent(backend, "Ideas:")
    with pytest.raises(AssertionError, match="none"):
        testing.assert_sent(backend, "x", "nobody")
    with pytest.raises(InvalidRequestError, match="keeps what it is asked"):
        testing.calls(object())
