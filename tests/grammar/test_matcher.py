"""Matchers: moves, taking them back, copies, forced bytes, ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from espalier.errors import GrammarError, InvalidRequestError
from espalier.grammar import GrammarCompiler, GrammarSpec, Matcher, Vocabulary, forced
from espalier.grammar.matcher import LIKELY

from .machine_tools import REGEXES, allowed, random_walk, regex_matcher, rich_compiler, vocabulary

COMPILER = rich_compiler()
VOCABULARY = COMPILER.vocabulary
SIZE = VOCABULARY.size


def _view(matcher: Matcher) -> tuple[object, ...]:
    return (
        frozenset(allowed(matcher, SIZE)),
        matcher.can_end,
        matcher.must_end,
        matcher.is_terminated,
        matcher.distance(),
        matcher.forced_bytes(),
    )


@settings(max_examples=80, deadline=None)
@given(REGEXES, st.integers(0, 10**6), st.data())
def test_rollback_and_copy_are_fresh_replays(pattern: str, seed: int, data: st.DataObject) -> None:
    start = regex_matcher(pattern, COMPILER)
    tokens, ended = random_walk(start, SIZE, 0, seed, limit=10)
    tokens += [0] if ended else []
    views = []
    matcher = start.copy()
    for token in tokens:
        views.append(_view(matcher))
        assert matcher.accept(token)
    views.append(_view(matcher))
    keep = data.draw(st.integers(0, len(tokens)))
    twin = matcher.copy()
    matcher.rollback(len(tokens) - keep)
    assert _view(matcher) == views[keep]
    assert _view(twin) == views[-1]
    for token in tokens[keep:]:
        assert matcher.accept(token)
    assert _view(matcher) == views[-1]
    assert _view(start) == views[0]


@settings(max_examples=80, deadline=None)
@given(REGEXES, st.integers(0, 10**6))
def test_every_continuation_begins_with_the_forced_bytes(pattern: str, seed: int) -> None:
    matcher = regex_matcher(pattern, COMPILER)
    tokens, _ = random_walk(matcher, SIZE, 0, seed, limit=3)
    for token in tokens:
        assert matcher.accept(token)
    forced = matcher.forced_bytes()
    if forced:
        assert not matcher.can_end
    for index, byte in enumerate(forced):
        ahead = matcher.copy()
        assert ahead.accept_bytes(forced[:index])
        others = (other for other in range(256) if other != byte)
        assert not any(ahead.copy().accept_bytes(bytes([other])) for other in others)
    more, _ = random_walk(matcher, SIZE, 0, seed + 1, limit=8)
    text = b"".join(VOCABULARY.tokens[token] for token in more)
    assert text.startswith(forced) or forced.startswith(text)


def test_forced_bytes_go_through_the_grammar() -> None:
    matcher = regex_matcher("ab1é漢(?:a| )b", COMPILER)
    assert matcher.forced_bytes() == "ab1é漢".encode()
    assert regex_matcher("(?:a|ab)1", COMPILER).forced_bytes() == b"a"
    assert regex_matcher("a{3,}", COMPILER).forced_bytes() == b"aaa"
    assert regex_matcher("a*", COMPILER).forced_bytes() == b""
    assert len(regex_matcher("a{1000000}", COMPILER).forced_bytes()) == 256


def test_forced_bytes_are_read_ahead_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a place on the way knows is enough for as long as it is."""
    matcher = regex_matcher("a{1000000}|b{3}1a1ab(?:a|1)", rich_compiler())
    assert matcher.forced_bytes() == b""
    named = matcher.copy()
    assert named.accept_bytes(b"b")
    assert named.forced_bytes(3) == b"bb1"
    reads: list[object] = []
    read = forced._read
    monkeypatch.setattr(forced, "_read", lambda *at: reads.append(at) or read(*at))
    for rest in (b"bb1a1ab", b"1ab", b"b", b""):
        skipped = len(named.forced_bytes()) - len(rest)
        assert named.accept_bytes(b"bb1a1ab"[7 - len(rest) - skipped : 7 - len(rest)])
        assert named.forced_bytes() == rest
    assert named.accept_bytes(b"a")
    assert named.must_end
    assert named.forced_bytes() == b""
    before = len(reads)
    assert matcher.accept_bytes(b"a")
    for _ in range(400):
        assert matcher.forced_bytes(64) == b"a" * 64
        assert matcher.accept_bytes(b"a")
    assert len(reads) - before == 3


def _made(matcher: Matcher, monkeypatch: pytest.MonkeyPatch, remaining: int | None) -> int:
    """Rows made by a look at the mask."""
    built = []
    rows = matcher._grammar.rows
    build = type(rows)._build

    def count(*at: object) -> object:
        built.append(at)
        return build(*at)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(type(rows), "_build", count)
        matcher.mask_row(remaining)
    return len(built)


@pytest.mark.parametrize("remaining", [None, 40])
@pytest.mark.parametrize(
    ("spec", "token"),
    [
        (GrammarSpec.regex("(?:ab|1[ab]*)a"), "1"),
        (GrammarSpec.regex("(?:ab|1[ab]*)a"), "a"),
        (GrammarSpec.ebnf('root ::= [ab1é]* "漢" ("b" root)? "1"'), "漢"),
    ],
)
def test_what_is_likely_next_is_made_beforehand(
    spec: GrammarSpec, token: str, remaining: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few tokens: what follows each. Many: what follows the terminal."""
    for prepared in (False, True):
        matcher = rich_compiler().compile(spec).matcher()
        mask = matcher.mask_row(remaining)
        if prepared:
            assert 1 <= len(list(matcher.prepare(remaining))) <= LIKELY
        assert matcher.mask_row(remaining) == mask
        assert matcher.accept_bytes(token.encode())
        assert (_made(matcher, monkeypatch, remaining) == 0) == prepared


def test_nothing_is_made_beforehand_behind_an_end() -> None:
    matcher = regex_matcher("a", rich_compiler())
    assert matcher.accept_bytes(b"a")
    assert list(matcher.prepare()) == []
    assert matcher.accept(0)
    assert list(matcher.prepare()) == []


def test_ends() -> None:
    compiler = GrammarCompiler(vocabulary("ab", eos=2))
    size = compiler.vocabulary.size
    matcher = regex_matcher("ab?", compiler)
    assert (matcher.can_end, matcher.must_end, matcher.is_terminated) == (False, False, False)
    assert not matcher.accept(0)
    assert matcher.accept_bytes(b"a")
    assert (matcher.can_end, matcher.must_end) == (True, False)
    assert matcher.copy().accept(1)
    assert {0, 1} < allowed(matcher, size)
    assert matcher.accept_bytes(b"b")
    assert (matcher.can_end, matcher.must_end) == (True, True)
    assert allowed(matcher, size) == {0, 1}
    assert not matcher.accept_bytes(b"a")
    assert matcher.accept(0)
    assert matcher.is_terminated
    assert allowed(matcher, size) == {0, 1}
    assert matcher.accept(1)
    assert not matcher.accept_bytes(b"")
    assert not matcher.accept(compiler.vocabulary.tokens.index(b"b"))
    assert matcher.forced_bytes() == b""
    matcher.rollback(2)
    assert not matcher.is_terminated
    matcher.rollback(1)
    assert not matcher.must_end


def test_special_and_empty_tokens_are_never_taken() -> None:
    base = vocabulary("<s>", eos=1)
    special = base.size - 1
    compiler = GrammarCompiler(Vocabulary([*base.tokens, b""], [0, special], [0], size=60))
    matcher = regex_matcher("(?:[ab]|<s>)*", compiler)
    assert not matcher.accept(special)
    assert not matcher.accept(special + 1)
    assert not matcher.accept(59)
    assert not allowed(matcher, 60) & {special, special + 1, 59}
    for outside in (60, -1):
        with pytest.raises(InvalidRequestError, match=r"token id in 0\.\.59"):
            matcher.accept(outside)


def test_what_is_no_token_is_told_so() -> None:
    matcher = regex_matcher("ab1", COMPILER)
    for wrong in ("a", 97.0, None, True):
        with pytest.raises(InvalidRequestError, match="expected a token id, got"):
            matcher.accept(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="expected a number >= 0, got -1"):
        matcher.rollback(-1)
    for mask in (np.zeros((2, VOCABULARY.words), np.uint32), np.zeros(1, np.uint32)):
        with pytest.raises(InvalidRequestError, match=rf"expected uint32\[{VOCABULARY.words}\]"):
            matcher.fill_mask(mask)
    token = np.int64(VOCABULARY.tokens.index(b"ab"))
    assert matcher.accept(token)  # type: ignore[arg-type]


def test_what_is_not_allowed_changes_nothing() -> None:
    matcher = regex_matcher("ab1", COMPILER)
    before = _view(matcher)
    assert not matcher.accept(VOCABULARY.tokens.index(b"b"))
    assert not matcher.accept_bytes(b"aa")
    assert _view(matcher) == before
    assert matcher.accept(VOCABULARY.tokens.index(b"ab"))
    with pytest.raises(InvalidRequestError, match="at most 1 tokens"):
        matcher.rollback(2)
    assert matcher.forced_bytes() == b"1"
    matcher.rollback(0)
    matcher.rollback(1)
    assert _view(matcher) == before


def test_rows_are_those_of_fill_mask() -> None:
    matcher = regex_matcher("(?:ab)+1?", COMPILER)
    out = np.zeros(VOCABULARY.words, dtype=np.uint32)
    for text in (b"a", b"b", b"a", b"b", b"1"):
        COMPILER.pool.begin_step()
        for remaining in (None, 1, 3, 100):
            row = matcher.mask_row(remaining)
            matcher.fill_mask(out, remaining)
            assert (COMPILER.pool.rows[row] == out).all()
            assert (out == 0).all() or out.dtype == np.uint32
        assert matcher.accept_bytes(text)
    COMPILER.pool.check_invariants()


def test_many_matchers_over_a_small_pool() -> None:
    compiler = GrammarCompiler(VOCABULARY, pool_bytes=1)  # 64 rows
    matchers = [regex_matcher(f"(?:a{{{n}}}b|[1 ]{{{n}}})é", compiler) for n in range(1, 60)]
    reference = [regex_matcher(f"(?:a{{{n}}}b|[1 ]{{{n}}})é", COMPILER) for n in range(1, 60)]
    for turn in range(6):
        compiler.pool.begin_step()
        rows = [matcher.mask_row() for matcher in matchers]
        for row, matcher, other in zip(rows, matchers, reference, strict=True):
            expected = np.zeros(VOCABULARY.words, dtype=np.uint32)
            other.fill_mask(expected)
            assert (compiler.pool.rows[row] == expected).all()
            text = b"a" if turn % 2 else b"1"
            assert matcher.accept_bytes(text) == other.accept_bytes(text)
        compiler.pool.check_invariants()


def test_choices_where_one_is_a_prefix_of_the_other() -> None:
    grammar = COMPILER.compile(GrammarSpec.choices(["a", "ab", "ab1", "é", ""]))
    matcher = grammar.matcher()
    ends = []
    for byte in b"ab1":
        ends.append(matcher.can_end)
        assert matcher.accept_bytes(bytes([byte]))
    assert ends == [True, True, True]
    assert matcher.must_end
    with pytest.raises(GrammarError, match="at least one choice"):
        GrammarSpec.choices([])
