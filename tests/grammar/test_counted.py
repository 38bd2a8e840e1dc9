"""Counted loops: one walk for every count gives the rows that the counts' own states give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from espalier.grammar import MaskPool, Vocabulary, counted, ir
from espalier.grammar.arena import Arena
from espalier.grammar.counted import Counted, shape
from espalier.grammar.derivatives import step
from espalier.grammar.inner import Inner
from espalier.grammar.lower import lower
from espalier.grammar.masks import Rows
from espalier.grammar.node import Node
from espalier.grammar.regex import regex_regular
from espalier.grammar.token_set import TokenSet
from espalier.grammar.trie import TokenTrie
from espalier.grammar.walk import Walker

from .machine_tools import RICH

TEXTS = [text if isinstance(text, bytes) else text.encode() for text in RICH]
TOKENS = [
    b"",
    *(bytes([byte]) for byte in range(256)),
    *TEXTS,
    b"a" * 9,
    b"ab-ab",
    b'ab","a',
    b"--",
]
VOCABULARY = Vocabulary(TOKENS, [0], [0])
TRIE = TokenTrie(VOCABULARY)

TURNS = st.sampled_from(
    ["a", "[ab]", ".", r"\w", r"[^\"]", "ab", "(?:a|bb)", "é", "[é漢a]", "(?:a|ab)"]
)
BEFORE = st.sampled_from(["", '"', "1+", "é", "ab", "[ab]"])
REST = st.sampled_from(["", '"', "-", "(?:-a*)*", "-a{2,30}", "a", '",', "-?", "(?:-1)?é"])


def _exits(inner: Inner) -> list[int]:
    return sorted(inner.exits.listed(TRIE).tolist())


COUNTS = st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 12)))


def _rows(arena: Arena) -> Rows:
    pool = MaskPool(VOCABULARY.words, VOCABULARY.allowed_in_free_text())
    return Rows(arena, TRIE, pool)


def _tokens(inner: Inner) -> list[int]:
    return _ids(inner.tokens)


def _ids(tokens: TokenSet) -> list[int]:
    bits = np.zeros(VOCABULARY.words, dtype=np.uint32)
    tokens.add_to(bits)
    return np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")).tolist()


@settings(max_examples=250, deadline=None)
@given(BEFORE, TURNS, COUNTS, REST, st.text(alphabet='ab"-é', max_size=3))
@example("", "a", (0, 9), "(?:-a*)*", "")  # what follows may come back to where turns begin
@example('"', r"[^\"]", (2, 8), '"', '"a')
def test_counted_rows_are_generic_rows(
    before: str, turn: str, counts: tuple[int, int | None], rest: str, text: str
) -> None:
    low, high = counts
    if high is not None and high < low:
        low, high = high, low
    pattern = f"{before}(?:{turn}){{{low},{'' if high is None else high}}}{rest}"
    arena = Arena()
    node = lower(arena, regex_regular(pattern))
    for byte in text.encode():
        after = step(arena, node, byte)
        node = node if after is arena.empty else after
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counted, "FEWEST", 10**9)
        assert shape(arena, node) is None
        generic = _rows(arena).inner(node)
        patch.setattr(counted, "FEWEST", 0)
        patch.setattr(counted, "WIDE", 1)
        special = _rows(arena).inner(node)
    assert _tokens(special) == _tokens(generic)
    assert _exits(special) == _exits(generic)
    assert special.tail >= generic.tail


def _shape(pattern: str) -> counted.Shape | None:
    arena = Arena()
    return shape(arena, lower(arena, regex_regular(pattern)))


@pytest.mark.parametrize(
    "pattern",
    [
        ".{0,4}",  # too few to matter
        "[a-c]{0,99}",  # too narrow to matter
        "(?:.|..){0,99}",  # a turn's text begins another turn's
        r"\w{0,99}a",  # the byte after a turn does not tell whether the loop goes on
        ".*x{3}",
        "a?.{0,99}",
        "",
    ],
)
def test_loops_whose_turns_cannot_be_told_apart(pattern: str) -> None:
    assert _shape(pattern) is None


def test_shapes() -> None:
    found = _shape('"(?:[^"]){2,99}",')
    assert found is not None
    assert (found.loop.low, found.loop.high) == (2, 99)
    assert found.before.text == b'"'
    assert found.rest.text == b'",'


def test_a_turn_with_too_many_states_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "_STATES", 3)
    assert _shape(r"\w{0,99}") is None


def test_one_walk_serves_all_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[Node] = []
    walk = Walker.walk

    def counting(self: Walker, state: Node, sources: object) -> object:
        walks.append(state)
        return walk(self, state, sources)  # type: ignore[arg-type]

    monkeypatch.setattr(Walker, "walk", counting)
    arena = Arena()
    rows = _rows(arena)
    for high in range(5, 100):
        rows.inner(lower(arena, ir.Rep(ir.Chars(((32, 0x10FFFF),)), 0, high)))
    assert len(walks) == 1


def test_loop_bodies_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.grammar.masks.KEPT_LOOPS", 3)
    arena = Arena()
    rows = _rows(arena)
    for char in range(40, 50):
        rows.inner(lower(arena, ir.Rep(ir.Chars(((char, 0x10FFFF),)), 0, 9)))
    assert len(rows._loops) == 3


def test_turns_and_exits() -> None:
    arena = Arena()
    node = lower(arena, regex_regular("(?:[^-]){0,99}-"))
    found = shape(arena, node)
    assert found is not None
    made = Counted(arena, TRIE, Walker(arena, TRIE), found)
    token = TOKENS.index(b"ab-ab")
    assert token not in _ids(made.tokens(0, 99))  # it goes on behind the end: a crossing token
    assert TOKENS.index(b"a" * 9) in _ids(made.tokens(0, 9))
    assert TOKENS.index(b"a" * 9) not in _ids(made.tokens(0, 8))
    dash = TOKENS.index(b"-")
    assert dash in _ids(made.tokens(0, 8))
    assert dash not in _ids(made.tokens(1, 8))
    at = [int(TRIE.node_of[dash])]
    node = 0
    for byte in b"ab-":
        node = TRIE.child(node, byte)
    assert sorted(made.leaving(0, None)) == sorted([*at, node])
    assert made.leaving(2, None) == [node]
    assert made.leaving(0, 1) == at
