"""Regexes: the same texts as `re`, or refused by name with a column."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import example, given, settings, strategies as st

from espalier.errors import GrammarError
from espalier.grammar.arena import Arena
from espalier.grammar.derivatives import matches
from espalier.grammar.lower import lower
from espalier.grammar.regex import pattern_regular, regex_regular, terminal_regular

from .machine_tools import REGEXES, TEXTS

ARENA = Arena()


def _fullmatch(pattern: str, text: str, *, ascii: bool = False) -> bool:
    return matches(ARENA, lower(ARENA, regex_regular(pattern, ascii=ascii)), text.encode())


def _search(pattern: str, text: str, *, ascii: bool = False) -> bool:
    regular = pattern_regular(pattern, search=True, ascii=ascii)
    return matches(ARENA, lower(ARENA, regular), text.encode())


@settings(max_examples=300, deadline=None)
@given(REGEXES, st.lists(TEXTS, min_size=1, max_size=4))
@example("(?:a|ab)(?:c|bcd)(?:d*)", ["abcd", "acd", "abcdd"])
@example("(?:a?){3}a{3}", ["aaa", "aa", "aaaaaa", "aaaaaaa"])
@example("(?:a{1,3}|a{5,7}){0,2}", ["a" * n for n in range(15)])
@example("(?:a{2,3}b?){1,}", ["aab", "a", "aaaa", "aabaab"])
def test_full_matches_are_those_of_re(pattern: str, texts: list[str]) -> None:
    for text in texts:
        assert _fullmatch(pattern, text) == (re.fullmatch(pattern, text) is not None)


@settings(max_examples=200, deadline=None)
@given(st.lists(REGEXES, min_size=1, max_size=3), st.integers(0, 63), TEXTS)
def test_searches_are_those_of_re(parts: list[str], anchors: int, text: str) -> None:
    """With anchors at the ends of alternatives; digits and words are ASCII in both."""
    branches = [
        ("^" if anchors >> (2 * i) & 1 else "") + part + ("$" if anchors >> (2 * i) & 2 else "")
        for i, part in enumerate(parts)
    ]
    pattern = "|".join(branches).replace("{,2}", "{0,2}")  # which is no count in ECMA-262
    expected = re.search(pattern.replace("$", r"\Z"), text, re.ASCII) is not None
    assert _search(pattern, text) == expected


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"\x41\u00e9\101\0", ["AéA\0"], ["Aé"]),
        (r"[]a]+", ["]a"], ["b"]),
        (r"[^]a]", ["b"], ["]", "a"]),
        (r"[a\-z]", ["a", "-", "z"], ["b"]),
        (r"[a-]", ["a", "-"], ["b"]),
        (r"[\d_-]", ["1", "_", "-", "٣"], ["a"]),
        (r"(?i)straße", ["STRAßE", "\u017ftra\u1e9ee"], ["strasse"]),
        (r"(?i)[^k]", ["a", "1"], ["k", "K", "\u212a"]),
        (r"(?i:a)b", ["Ab", "ab"], ["AB"]),
        (r"(?s:.)(?-s:.)", ["\na"], ["a\n"]),
        (r"(?s).", ["\n"], [""]),
        (r"(?x) a  b # comment" "\n c [ ] ", ["abc "], ["abc"]),
        (r"(?P<year>\d{4})-(?P<month>\d\d)", ["2025-11"], ["2025-1"]),
        (r"a(?#comment)b", ["ab"], ["a"]),
        (r"\Aab\Z", ["ab"], ["ab\n"]),
        (r"^(?:ab)?$", ["", "ab"], ["a"]),
        (r"(^a|b)c", ["ac", "bc"], ["c"]),
        (r"(?:^a)?b$", ["ab", "b"], ["a"]),
        (r"x{,3}", ["", "xxx"], ["xxxx"]),
        (r"x{,}", ["", "xxxxx"], ["y"]),
        (r"x{a}", ["x{a}"], ["x"]),
        (r"x{", ["x{"], ["x"]),
        (r"\N{EM DASH}", ["—"], ["-"]),
        (r"\p{Lu}\P{Lu}\pL", ["Äaz", "A1Z"], ["aaa", "AA1"]),
        (r"\t\n\r\f\v\a\\", ["\t\n\r\f\v\a\\"], [""]),
        (r"[\b]", ["\b"], ["b"]),
        (r"(?a)\w+", ["ab"], ["é"]),
        (r"(?ai)k", ["K"], ["\u212a"]),
        (r"", [""], ["a"]),
        (r"()|a", ["", "a"], ["b"]),
        (r"a{0}b", ["b"], ["ab"]),
    ],
)
def test_python_syntax(pattern: str, yes: list[str], no: list[str]) -> None:
    for text in yes:
        assert _fullmatch(pattern, text), text
    for text in no:
        assert not _fullmatch(pattern, text), text


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("^[0-9]{5}$", ["12345"], ["123456", "a12345"]),
        ("b+", ["abc", "b"], ["a"]),
        (r"^a|b$", ["ax", "xb", "a"], ["xa", "bx"]),
        (r"(^|,)a(,|$)", ["a", "x,a", "a,x", "x,a,y"], ["xa", "ax"]),
        (r"^$", [""], ["a"]),
        (r"^", ["", "a"], []),
        ("", ["", "a"], []),
        (r"^\d$", ["1"], ["٣", "a"]),
        (r"^\w$", ["a", "_"], ["é"]),
        (r"^\W$", ["é", " "], ["a"]),
        (r"^\s$", ["\ufeff", "\u2003", " "], ["\x1c", "a"]),
        (r"^.$", ["a", "é"], ["\n", "\u2028"]),
        (r"^[^]$", ["\n", "a"], [""]),
        (r"^a{,5}$", ["a{,5}"], ["a"]),
        (r"^\cA\0\/\-$", ["\x01\0/-"], [""]),
        (r"^\u{1F600}$", ["😀"], ["a"]),
        (r"^\uD83D\uDE00$", ["😀"], ["a"]),
        (r"^[\uD83D\uDE00]$", ["😀"], ["a"]),
        (r"^(?<name>a)$", ["a"], ["b"]),
        (r"^\p{L}+$", ["éa"], ["1"]),
        (r"^x{2}", ["xx", "xxx"], ["x"]),
    ],
)
def test_ecma_syntax(pattern: str, yes: list[str], no: list[str]) -> None:
    for text in yes:
        assert _search(pattern, text), text
    for text in no:
        assert not _search(pattern, text), text


LOOKAROUNDS = [
    "a(?=b)b",
    "a(?!b).*",
    "(?=.*a)(?=.*b)[ab1]{2,4}",
    "(?!a)(?!.*11)[ab1]*",
    "(?!ab$)[ab]+",
    "(?:a(?!b)|b(?=1)).*",
    ".*(?<=a)b*",
    ".*(?<!1)(?:11)*",
    ".*(?<!a)(?<!b)",
    "a*(?<=aa)b(?<=ab)1?",
    "[ab]*(?<=a)b(?!b)[b1]*",
    "(?=a|b(?=1)).*",
    "(?<!a)[ab]+",
    "(?:(?=a)[a1]|(?!a)b)?[ab]*",
]


@pytest.mark.parametrize("pattern", LOOKAROUNDS)
def test_lookarounds_match_as_in_re(pattern: str) -> None:
    """All texts of up to five of three letters."""
    node = lower(ARENA, regex_regular(pattern))
    found = lower(ARENA, pattern_regular(pattern))
    for length in range(6):
        for letters in product("ab1", repeat=length):
            text = "".join(letters)
            whole = re.fullmatch(pattern.replace("$", r"\Z"), text) is not None
            assert matches(ARENA, node, text.encode()) == whole, text
            inside = re.search(pattern.replace("$", r"\Z"), text) is not None
            assert matches(ARENA, found, text.encode()) == inside, text


def test_a_terminal_sees_no_further_than_itself() -> None:
    """The quoted string of lark's own library; its lookbehind stays inside."""
    node = lower(ARENA, terminal_regular(r'".*?(?<!\\)(\\\\)*?"'))
    for text in ('""', '"a"', r'"a\"b"', r'"\\"'):
        assert matches(ARENA, node, text.encode()), text
    for text in ('"', r'"\"', r'"\\\"', "a"):
        assert not matches(ARENA, node, text.encode()), text
    for pattern in ("a(?=b)", "(?<=a)b", "(?<!ab)", "a?(?<!a)b", "^a", "a$"):
        with pytest.raises(GrammarError, match="column"):
            terminal_regular(pattern)


def test_ascii_flag() -> None:
    assert _fullmatch(r"\w", "é")
    assert not _fullmatch(r"\w", "é", ascii=True)
    assert _fullmatch(r"\W", "é", ascii=True)
    assert not _search(r"\s", "\u2003", ascii=True)


def test_pattern_without_search_is_the_whole_text() -> None:
    node = lower(ARENA, pattern_regular("a|b", search=False))
    assert matches(ARENA, node, b"a")
    assert not matches(ARENA, node, b"xa")


@pytest.mark.parametrize(
    ("pattern", "what", "column"),
    [
        ("(?:a(?=b))*", "lookaround", 1),
        ("(?:a(?<=b))+", "lookaround", 1),
        ("a(?=b)b(?<!c)", "lookahead", 2),
        ("(?=a)*", "nothing to repeat", 1),
        (r"(a)\1", "backreference", 4),
        (r"(?P<x>a)(?P=x)", "backreference", 9),
        ("(?>a)", "atomic", 1),
        ("(a)(?(1)b)", "conditional", 4),
        ("a*+", "possessive", 4),
        (r"\bfoo", "word boundary", 1),
        (r"a\B", "word boundary", 2),
        ("a**", "multiple repeat", 3),
        ("a{2}{3}", "multiple repeat", 5),
        ("*a", "nothing to repeat", 1),
        ("{2}", "nothing to repeat", 1),
        ("^*", "nothing to repeat", 1),
        ("(a", "never closed", 1),
        ("a)", "unmatched", 2),
        ("[a", "never closed", 1),
        ("[z-a]", "not in order", 2),
        (r"[a-\d]", "not in order", 2),
        (r"\q", "the escape", 1),
        ("a\\", "backslash", 2),
        (r"\x4", "incomplete escape", 1),
        (r"\N{NO SUCH NAME}", "character name", 1),
        (r"\N", "incomplete escape", 1),
        (r"\p{Greek}", "Unicode property", 1),
        (r"\p{L", "never closed", 1),
        (r"\U00110000", "above U+10FFFF", 1),
        (r"\ud83d\ude00", "lone surrogate", 6),
        ("x{3,1}", "below its minimum", 2),
        ("x{9999999999999}", "count above", 3),
        ("x{3000000000}", "count above", 2),
        ("a^b", "anchor", 2),
        ("a$b", "anchor", 2),
        ("(^a)*", "anchor", 1),
        ("(?m)^a", "flag m", 5),
        ("(?z)a", "flag", 1),
        ("a(?i)", "global flags", 2),
        ("(?P<1>a)", "group name", 1),
        ("(?#a", "never closed", 1),
        (r"\400", "octal", 1),
        ("(" * 101 + ")" * 101, "nested", 101),
    ],
)
def test_what_is_refused_is_named(pattern: str, what: str, column: int) -> None:
    with pytest.raises(GrammarError) as caught:
        regex_regular(pattern)
    assert what in str(caught.value)
    assert caught.value.where == f"column {column}"


@pytest.mark.parametrize("pattern", [r"\k<a>", r"\Z", r"\a", r"\01", r"\u{110000}", r"\u{}", r"\x"])
def test_ecma_refuses(pattern: str) -> None:
    with pytest.raises(GrammarError, match="column 1"):
        pattern_regular(pattern)


def test_a_pattern_beyond_the_limit() -> None:
    with pytest.raises(GrammarError, match="1048576 characters"):
        regex_regular("a" * (1 << 20 | 1))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab(|)[]{}*+?^$\\.,-0123dwpN<>=!:#iP\n é", max_size=14))
def test_any_text_is_a_regex_or_a_grammar_error(pattern: str) -> None:
    try:
        regular = regex_regular(pattern)
    except GrammarError:
        regular = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)
        try:
            compiled = re.compile(pattern)
        except (re.error, OverflowError):
            compiled = None
    if regular is not None and compiled is not None:
        for text in ("", "a", "ab", "aab", "0"):
            expected = compiled.fullmatch(text) is not None
            assert matches(ARENA, lower(ARENA, regular), text.encode()) == expected
    try:
        pattern_regular(pattern)
    except GrammarError as error:
        assert error.where  # noqa: PT017
