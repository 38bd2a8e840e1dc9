"""Decoded languages to JSON text: the canonical spelling, character by character."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given, settings, strategies as st

from espalier.grammar import ir
from espalier.grammar.json_match import matches
from espalier.grammar.json_strings import ANY_CHAR, StringText
from espalier.grammar.regex import regex_regular

TEXT = {ascii: StringText(ascii=ascii) for ascii in (False, True)}
unicode = st.text(
    st.one_of(
        st.sampled_from('ab"\\/\b\f\n\r\t\x00\x1f\x7f\x80é\u2028漢\ud7ff\ue000\uffff😀\U0010ffff'),
        st.characters(exclude_categories=("Cs",)),
    ),
    max_size=5,
)
PATTERNS = ("a*", "[^a]*", "(ab|é)+", '["\\\\]{1,2}', ".*", "[\\s\\S]*", "[\\x00-\\x20]*", "[ -é]*")


@settings(max_examples=100)
@given(unicode, st.sampled_from(PATTERNS), st.booleans())
@example('"', '["\\\\]{1,2}', False)
def test_canonical_text_is_what_json_dumps_writes(value: str, pattern: str, ascii: bool) -> None:
    term = TEXT[ascii].canonical(regex_regular(pattern))
    text = json.dumps(value, ensure_ascii=ascii)
    assert matches(term, text) is (re.fullmatch(pattern, value) is not None)


@settings(max_examples=100)
@given(unicode, st.sampled_from(PATTERNS), st.sampled_from(PATTERNS), st.booleans())
def test_escaping_commutes_with_products_and_complements(
    value: str, one: str, other: str, ascii: bool
) -> None:
    a, b = regex_regular(one), regex_regular(other)
    text = json.dumps(value, ensure_ascii=ascii)
    for decoded in (
        ir.And((a, ir.Not(b))),
        ir.Not(ir.And((a, b))),
        ir.Cat((ir.Not(a), b)),
        ir.Rep(ir.Not(ir.Alt((a, b))), 0, 2),
    ):
        assert matches(TEXT[ascii].canonical(decoded), text) is matches(decoded, value)


@settings(max_examples=100)
@given(st.text(st.sampled_from('"\\nu0dD8cC9aA/b é'), max_size=9), st.booleans())
@example("\\ud83d\\ude00", False)
@example("\\ud83d", False)
@example("\\udc00\\ud800", False)
@example("\\u0041\\/", True)
def test_complements_hold_only_json_and_free_text_holds_all_of_it(body: str, ascii: bool) -> None:
    text = f'"{body}"'
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    whole = isinstance(value, str) and not re.search("[\ud800-\udfff]", value)
    if whole and ascii:
        whole = body.isascii()
    assert matches(TEXT[ascii].free, text) is whole
    if matches(TEXT[ascii].canonical(ir.Not(ir.Lit("a"))), text):
        assert json.dumps(value, ensure_ascii=ascii) == text


@settings(max_examples=60)
@given(unicode, st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_lengths_count_code_points(value: str, low: int, high: int, ascii: bool) -> None:
    high = max(low, high)
    term = TEXT[ascii].lengths(low, high)
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=ascii)):
        assert matches(term, text) is (low <= len(value) <= high)


@pytest.mark.parametrize("ascii", [False, True])
def test_every_character_has_one_canonical_spelling(ascii: bool) -> None:
    term = TEXT[ascii].canonical(ANY_CHAR)
    points = [*range(300), 0x2028, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x103FF, 0x10400, 0x10FFFF]
    for code in points:
        assert matches(term, json.dumps(chr(code), ensure_ascii=ascii)), code
    assert not matches(term, '"\\u0041"')
    assert not matches(term, '"\\/"')
    assert not matches(term, '"\\ud800"')


@settings(max_examples=60)
@given(st.integers(127, 0x10FFFF), st.integers(127, 0x10FFFF), st.integers(127, 0x10FFFF))
def test_hexadecimal_ranges(low: int, high: int, code: int) -> None:
    low, high = sorted((low, high))
    term = TEXT[True].canonical(ir.Chars(((low, high),)))
    for point in (code, low, high, low - 1, high + 1):
        if point <= 0x10FFFF and not 0xD800 <= point <= 0xDFFF:
            assert matches(term, json.dumps(chr(point))) is (low <= point <= high)
