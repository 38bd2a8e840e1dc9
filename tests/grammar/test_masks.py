"""Masks against other means: brute force over `accept`, and the `regex` package's partial match."""

from __future__ import annotations

import re
from functools import cache

import pytest
import regex
from hypothesis import example, given, settings, strategies as st

from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary

from .machine_tools import (
    LETTERS,
    REGEXES,
    RICH,
    accepted,
    allowed,
    finish,
    random_walk,
    regex_matcher,
    rich_compiler,
    vocabulary,
)

COMPILER = rich_compiler()
VOCABULARY = COMPILER.vocabulary
SIZE = VOCABULARY.size
# Every byte is a token here: then a text can be completed exactly if some text continues it.
BYTES = [b"", *(bytes([byte]) for byte in range(256)), *VOCABULARY.tokens[20:]]
WHOLE = GrammarCompiler(Vocabulary(BYTES, [0], [0]))


def _extendable(pattern: regex.Pattern[str], text: bytes) -> bool:
    """Whether some text that begins with these bytes matches, by the `regex` package."""
    whole = text.decode(errors="ignore")
    tail = text[len(whole.encode()) :]
    if whole.encode() + tail != text or (tail and tail not in _COMPLETIONS):
        return False
    return any(
        pattern.fullmatch(whole + char, partial=True) is not None
        for char in (_COMPLETIONS[tail] if tail else [""])
    )


def _partial(pattern: str) -> regex.Pattern[str]:
    """`pattern` for the `regex` package, with `re`'s own members of the classes: the two packages
    do not agree on combining marks and information separators."""
    for letter in "ws":
        if f"\\{letter}" in pattern or f"\\{letter.upper()}" in pattern:
            members = _members(letter)
            pattern = pattern.replace(f"[^\\{letter}]", f"[^{members}]")
            pattern = pattern.replace(f"\\{letter}", f"[{members}]")
            pattern = pattern.replace(f"\\{letter.upper()}", f"[^{members}]")
    return regex.compile(pattern, regex.V0)


@cache
def _members(letter: str) -> str:
    runs = re.finditer(f"\\{letter}+", "".join(map(chr, range(0x110000))))
    return "".join(f"\\U{m.start():08x}-\\U{m.end() - 1:08x}" for m in runs)


def _completions() -> dict[bytes, list[str]]:
    """For each beginning of a character, one character of every kind that the drawn regexes can
    tell apart."""
    kinds: dict[bytes, dict[object, str]] = {}
    for point in (*range(0x80, 0x32000), *range(0x32000, 0x110000, 37)):
        char = chr(point)
        if 0xD800 <= point <= 0xDFFF:
            continue
        asked = char.isalnum(), char.isdigit(), char.isdecimal(), char.isspace()
        kind = (char if char in LETTERS else "", *asked)
        for cut in range(1, len(char.encode())):
            kinds.setdefault(char.encode()[:cut], {}).setdefault(kind, char)
    for char in "é漢":
        for cut in range(1, len(char.encode())):
            kinds[char.encode()[:cut]][char] = char
    return {beginning: list(found.values()) for beginning, found in kinds.items()}


_COMPLETIONS = _completions()


@settings(max_examples=120, deadline=None)
@given(REGEXES, st.integers(0, 10**6))
@example("(?:a|ab)*b{2,5}", 3)
@example("(?:(?:a{0,40}){0,40})b", 3)
def test_mask_is_what_accept_takes(pattern: str, seed: int) -> None:
    matcher = regex_matcher(pattern, COMPILER)
    tokens, _ = random_walk(matcher, SIZE, 0, seed, limit=5)
    for token in [None, *tokens]:
        if token is not None:
            assert matcher.accept(token)
        assert allowed(matcher, SIZE) == accepted(matcher, SIZE)


@settings(max_examples=60, deadline=None)
@given(REGEXES, st.integers(0, 10**6))
@example("[^a]{0,3}", 1)
def test_mask_is_what_can_be_extended(pattern: str, seed: int) -> None:
    oracle = _partial(pattern)
    matcher = regex_matcher(pattern, WHOLE)
    tokens, _ = random_walk(matcher, len(BYTES), 0, seed, limit=4)
    text = b""
    for token in [None, *tokens]:
        if token is not None:
            assert matcher.accept(token)
            text += BYTES[token]
        mask = allowed(matcher, len(BYTES))
        assert (0 in mask) == _matches(pattern, text)
        for other in range(1, len(BYTES)):
            assert (other in mask) == _extendable(oracle, text + BYTES[other]), (
                f"{text!r} + {BYTES[other]!r}"
            )


def _matches(pattern: str, text: bytes) -> bool:
    try:
        return re.fullmatch(pattern, text.decode()) is not None
    except UnicodeDecodeError:
        return False


@settings(max_examples=60, deadline=None)
@given(REGEXES, st.integers(0, 10**6))
def test_every_walk_can_be_completed_and_then_matches(pattern: str, seed: int) -> None:
    matcher = regex_matcher(pattern, COMPILER)
    tokens, _ = random_walk(matcher, SIZE, 0, seed, limit=12)
    for token in tokens:
        assert matcher.accept(token)
    tokens += finish(matcher, SIZE)
    text = b"".join(VOCABULARY.tokens[token] for token in tokens).decode()
    assert re.fullmatch(pattern, text)


@settings(max_examples=30, deadline=None)
@given(REGEXES, st.integers(0, 10**6))
def test_a_vocabulary_without_some_bytes_never_traps(pattern: str, seed: int) -> None:
    # No byte of é or 漢 by itself; é and 漢 only whole, and 1 only within "11".
    compiler = GrammarCompiler(vocabulary("é", "漢a", "11", *RICH[:4], letters="ab "))
    size = compiler.vocabulary.size
    try:
        matcher = regex_matcher(pattern, compiler)
    except GrammarError as error:
        assert "nothing matches" in str(error)  # noqa: PT017
        return
    tokens, _ = random_walk(matcher, size, 0, seed, limit=8)
    for token in [None, *tokens]:
        if token is not None:
            assert matcher.accept(token)
        mask = allowed(matcher, size)
        assert mask == accepted(matcher, size)
        assert mask
    tokens += finish(matcher, size)
    text = b"".join(compiler.vocabulary.tokens[token] for token in tokens).decode()
    assert re.fullmatch(pattern, text)


def test_counters_share_rows() -> None:
    """x{0,1000} needs as many rows as a token has characters, not a thousand."""
    compiler = rich_compiler()
    matcher = regex_matcher(r"[a-b]{0,1000}", compiler)
    token = compiler.vocabulary.tokens.index(b"a")
    rows = set()
    for _ in range(1000):
        rows.add(matcher.mask_row())
        assert matcher.accept(token)
    assert matcher.must_end
    assert len(rows) <= 5
    assert allowed(matcher, compiler.vocabulary.size) == {0}


@pytest.mark.parametrize("bound", [0, 1, 2, 5])
def test_inner_rows_are_bounded_in_bytes(bound: int) -> None:
    compiler = GrammarCompiler(VOCABULARY, inner_bytes=bound * 300)
    matcher = regex_matcher("(?:a|b|1| )*é{2,3}", compiler)
    for token in (b"a", b"b", b"1", b"\xc3", b"\xa9"):
        assert allowed(matcher, SIZE) == accepted(matcher, SIZE)
        assert matcher.accept(VOCABULARY.tokens.index(token))


def test_specs_share_rows_between_grammars() -> None:
    compiler = rich_compiler()
    one = compiler.compile(GrammarSpec.regex("[ab]*")).matcher()
    other = compiler.compile(GrammarSpec.regex("(?:b|a)*")).matcher()
    assert one.mask_row() == other.mask_row()
