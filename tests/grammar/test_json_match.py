"""The matcher on terms against `re`, and against the oracle."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from espalier.grammar import ir
from espalier.grammar.json_match import matches
from tests.grammar.ir_oracle import Oracle

_leaf = st.sampled_from(
    (
        ir.Lit(""),
        ir.Lit("a"),
        ir.Lit("ab"),
        ir.Chars(((97, 98),)),
        ir.Chars(((97, 97), (99, 99))),
        ir.Chars(()),
    )
)
regulars = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: ir.Cat(tuple(items))),
        st.lists(inner, max_size=3).map(lambda items: ir.Alt(tuple(items))),
        st.tuples(inner, st.integers(0, 2), st.sampled_from((None, 0, 1, 2))).map(
            lambda row: ir.Rep(row[0], row[1], None if row[2] is None else row[1] + row[2])
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda items: ir.And(tuple(items))),
        inner.map(ir.Not),
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(regulars, st.text("abc", max_size=5))
def test_matcher_and_oracle_agree(regular: ir.Regular, text: str) -> None:
    assert matches(regular, text) is Oracle(regular).accepts(text)


def _pattern(regular: ir.Regular) -> str | None:
    match regular:
        case ir.Lit(text):
            return re.escape(text)
        case ir.Chars(ranges):
            inside = "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges)
            return f"[{inside}]" if inside else "(?!)"
        case ir.Cat(items) | ir.Alt(items):
            parts = [_pattern(item) for item in items]
            if None in parts:
                return None
            if isinstance(regular, ir.Alt):
                return "(?:" + "|".join(map(str, parts)) + ")" if parts else "(?!)"
            return "".join(map(str, parts))
        case ir.Rep(item, low, high):
            inner = _pattern(item)
            return None if inner is None else f"(?:{inner}){{{low},{'' if high is None else high}}}"
    return None


@settings(max_examples=200)
@given(regulars, st.text("abc", max_size=5))
def test_matcher_agrees_with_re(regular: ir.Regular, text: str) -> None:
    pattern = _pattern(regular)
    if pattern is not None:
        assert matches(regular, text) is (re.fullmatch(pattern, text) is not None)


@pytest.mark.parametrize("high", [None, 10**9, 300_000])
def test_counts_beyond_the_text_cost_nothing(high: int | None) -> None:
    assert not matches(ir.Rep(ir.Lit("a"), 200_000, high), "aaa")
    assert matches(ir.Rep(ir.Rep(ir.Lit("a"), 0, 1), 200_000, high), "aaa")
