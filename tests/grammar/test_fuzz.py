"""A short, deterministic run of the fuzzers (fuzz.py; `make fuzz` goes on for ten minutes)."""

from __future__ import annotations

import pytest

from espalier.errors import GrammarError
from tests.grammar.fuzz import TARGETS, bounded, examples


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_grammar_errors(target: str) -> None:
    examples(target, 4, 120)


def test_the_fuzzer_sees_other_errors_and_late_ones() -> None:
    def fails() -> None:
        raise KeyError("x")

    def says_nothing() -> None:
        raise GrammarError

    with pytest.raises(KeyError):
        bounded(fails)
    with pytest.raises(AssertionError, match="says nothing"):
        bounded(says_nothing)
