"""Lengths folded into patterns, against the literal reading of both."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from espalier.grammar import ir
from espalier.grammar.json_lengths import of_length
from espalier.grammar.json_match import matches
from espalier.grammar.regex import pattern_regular

from .test_json_match import regulars


@settings(max_examples=300)
@given(
    regulars,
    st.integers(0, 6),
    st.one_of(st.none(), st.integers(0, 6)),
    st.lists(st.text("abc", max_size=6), min_size=1, max_size=6),
)
def test_folded_terms_are_the_texts_of_that_length(
    term: ir.Regular, low: int, high: int | None, texts: list[str]
) -> None:
    folded = of_length(term, low, high)
    if folded is None:
        return
    for text in texts:
        fits = low <= len(text) and (high is None or len(text) <= high)
        assert matches(folded, text) is (fits and matches(term, text)), (folded, text)


@pytest.mark.parametrize(
    ("pattern", "low", "high", "same"),
    [
        ("^[a-z]*$", 25_000, None, "^[a-z]{25000,}$"),
        ("^[A-Z][a-z]+$", 3, 9, "^[A-Z][a-z]{2,8}$"),
        ("^(ab){2,}$", 7, 11, "^(ab){4,5}$"),
        ("^(a|b|[0-9]{3,8})$", 2, 5, "^(a|b|[0-9]{3,5})$"),
        ("^v?[0-9]{4}$", 5, None, "^v[0-9]{4}$"),
        (".", 3, 4, None),
        ("^[a-z]+-[a-z]+$", 3, 4, None),
    ],
)
def test_what_folds(pattern: str, low: int, high: int | None, same: str | None) -> None:
    folded = of_length(pattern_regular(pattern), low, high)
    if same is None:
        assert folded is None
        return
    for text in ("", "ab", "aab", "Aa", "Aab", "Abcdefghi", "Abcdefghij", "ababab", "abababab"):
        fits = low <= len(text) and (high is None or len(text) <= high)
        wanted = matches(pattern_regular(same), text)
        assert folded is not None
        assert matches(folded, text) is (wanted and fits)
