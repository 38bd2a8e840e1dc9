"""Stop strings against str.find on the whole text."""

from __future__ import annotations

import re

import pytest
import regex
from hypothesis import given, strategies as st

from espalier.errors import GrammarError
from espalier.grammar import search
from espalier.grammar.search import Search
from espalier.runtime import stopping
from espalier.runtime.stopping import Searches, StopWatch, end_ids
from espalier.types import SamplingParams
from tests.tiny_tokenizers import made

_TEXT = st.text("ab\n", max_size=12)
_STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3).map(tuple)


def first_match(text: str, stops: tuple[str, ...]) -> tuple[int, str] | None:
    """Where the text ends, and by which string: the first to be complete; of those that are
    complete at once, the one that begins first, then the longest."""
    for end in range(1, len(text) + 1):
        done = [stop for stop in stops if text[:end].endswith(stop)]
        if done:
            longest = max(done, key=len)
            return end - len(longest), longest
    return None


@given(pieces=st.lists(_TEXT, max_size=8), stops=_STOPS)
def test_character_by_character_is_exact(pieces: list[str], stops: tuple[str, ...]) -> None:
    text = "".join(pieces)
    watcher = StopWatch(stops)
    shown = ""
    for character in text:
        shown += watcher.feed(character)
        if watcher.matched is not None:
            break
    found = first_match(text, stops)
    if found is None:
        assert watcher.matched is None
        assert shown + watcher.flush() == text
    else:
        assert (len(shown), watcher.matched) == found
        assert shown == text[: found[0]]


@given(pieces=st.lists(_TEXT, max_size=8), stops=_STOPS)
def test_pieces_of_any_size_end_alike(pieces: list[str], stops: tuple[str, ...]) -> None:
    """Nothing that belongs to a stop string is ever shown; what is held back could begin one."""
    watcher = StopWatch(stops)
    shown, seen = "", ""
    for piece in pieces:
        shown += watcher.feed(piece)
        seen += piece
        if watcher.matched is not None:
            break
        held = seen[len(shown) :]
        assert seen.startswith(shown)
        assert all(seen.find(stop) < 0 for stop in stops)
        assert not held or any(stop.startswith(held) for stop in stops)
    found = first_match("".join(pieces), stops)
    if found is None:
        assert watcher.matched is None
        assert shown + watcher.flush() == seen
    else:
        assert (shown, watcher.matched) == (seen[: found[0]], found[1])
        assert seen.find(found[1]) == found[0]


def test_without_stops_everything_is_shown_at_once() -> None:
    watcher = StopWatch(())
    assert watcher.feed("abc") == "abc"
    assert watcher.flush() == ""
    assert watcher.matched is None


def test_a_beginning_is_held_back_until_it_is_decided() -> None:
    watcher = StopWatch(("stop",))
    assert watcher.feed("a st") == "a "
    assert watcher.feed("art st") == "start "
    assert watcher.feed("op it") == ""
    assert watcher.matched == "stop"


_PATTERNS = st.sampled_from(
    ["a+", "ab|abb", "a.b", "[ab]{2,3}\\n", "(?:ab)+\\n", "b(?:a|\\n)*b", "a.*b", "\\n\\n?b"]
)


@given(
    pieces=st.lists(_TEXT, max_size=6),
    stops=_STOPS,
    patterns=st.lists(_PATTERNS, max_size=2, unique=True),
)
def test_expressions_against_re(
    pieces: list[str], stops: tuple[str, ...], patterns: list[str]
) -> None:
    """The first end of any match, and of those the first start, by trying every pair with `re`;
    what is held back is the beginning of a match, by `regex`'s partial matching."""
    text = "".join(pieces)
    every = [*(re.escape(stop) for stop in stops), *patterns]
    found = next(
        (
            (start, end)
            for end in range(1, len(text) + 1)
            for start in range(end)
            if any(re.fullmatch(pattern, text[start:end]) for pattern in every)
        ),
        None,
    )
    watcher = StopWatch(stops, [Search(pattern) for pattern in patterns])
    shown, seen = "", ""
    for piece in pieces:
        shown += watcher.feed(piece)
        seen += piece
        if watcher.matched is not None:
            break
        held = seen[len(shown) :]
        assert not held or any(regex.fullmatch(p, held, partial=True) for p in every)
    if found is None:
        assert watcher.matched is None
        assert shown + watcher.flush() == seen
    else:
        assert watcher.matched is not None
        assert shown == text[: found[0]]


def test_expressions_are_of_characters() -> None:
    watcher = StopWatch((), [Search("ü.?!")])
    assert watcher.feed("für") == "f"
    assert watcher.feed("ch") == "ürch"
    assert watcher.feed("dü€!x") == "d"
    assert watcher.matched == "ü.?!"


def test_states_are_counted_over_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the piece: what a request may cost must not grow with its pieces."""
    monkeypatch.setattr(search, "ALLOWANCE", 100)
    pattern = "a[^b]{90}b"
    first = Search(pattern)
    assert [first.feed(char) for char in "a" + "c" * 30] == [None] * 31
    second = first.again()  # states are shared: it has to make only the rest
    with pytest.raises(GrammarError, match=r"'a\[\^b\]\{90\}b' needs more than 100 states"):
        [first.feed(char) for char in "c" * 60]
    assert [second.feed(char) for char in "a" + "c" * 90] == [None] * 91
    assert second.feed("b") == (0, 92)


def test_searches_of_an_engine_forget_the_states_that_nobody_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "_FULL", 200)
    searches = Searches()
    kept = {f"x{n}": searches.of((f"x{n}[^b]{{30}}b{n}",))[0] for n in range(40)}
    for piece in ["", *"c" * 30]:
        for begin, each in kept.items():
            assert each.feed(piece or begin) is None
    assert searches._arena.generation > 1
    assert len(searches._arena) < 250
    for begin, each in kept.items():
        assert each.feed("b" + begin[1:]) == (0, 2 * len(begin) + 30)


def test_an_expression_too_large_to_follow_is_an_error() -> None:
    watcher = StopWatch((), [Search("a[^b]{400}b")])
    text = "a" * 300
    with pytest.raises(GrammarError, match="at once"):
        watcher.feed(text)


def test_tokens_that_end_a_request() -> None:
    tokenizer, eos = made("byte-level"), frozenset({3})
    params = SamplingParams(stop=["</s>", "x"], stop_token_ids=[7])
    assert end_ids(params, tokenizer, eos, 400) == {1, 3, 7}
    assert end_ids(params, None, eos, 400) == {3, 7}
    assert end_ids(params, tokenizer, eos, 1) == {3, 7}  # the model has no row for </s>
    free = SamplingParams(stop="</s>", ignore_eos=True)
    assert end_ids(free, tokenizer, eos, 400) == {1}
