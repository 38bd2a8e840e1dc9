"""Rows that are made of other rows, against the walk that knows no such ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from espalier.grammar import GrammarCompiler, GrammarSpec, MaskPool, Vocabulary, ir
from espalier.grammar.arena import Arena
from espalier.grammar.compiler import _SAMPLES
from espalier.grammar.counters import LEAST, loosen
from espalier.grammar.derivatives import step, takes
from espalier.grammar.difference import excluded
from espalier.grammar.fan import Fan, Places
from espalier.grammar.inner import Inner
from espalier.grammar.lower import lower
from espalier.grammar.masks import Rows
from espalier.grammar.node import INFINITE, Node
from espalier.grammar.regex import regex_regular
from espalier.grammar.trie import TokenTrie

_PIECES = ["a", "b", "-", ".", '"', ":", " ", "é", "c"]
TOKENS = [
    *(bytes([byte]) for byte in range(256)),
    *(a.encode() + b.encode() for a in _PIECES for b in _PIECES),
    *(text.encode() for text in ("ab.", 'ab"', 'abc": ', 'a": a', "aé.b", '":', 'b": b', "a.b.a")),
    *(piece * count for piece in (b"a", b"-", b"ab", b"a-") for count in (7, 12, 17, 20, 40)),
    *(b"b." + b"a" * count for count in (14, 15, 16, 17, 30)),
]
VOCABULARY = Vocabulary([b"", *dict.fromkeys(TOKENS)], [0], [0])
TRIE = TokenTrie(VOCABULARY)


def _rows(arena: Arena) -> Rows:
    return Rows(arena, TRIE, MaskPool(VOCABULARY.words, VOCABULARY.allowed_in_free_text()))


def _tokens(inner: Inner) -> list[int]:
    bits = np.zeros(VOCABULARY.words, dtype=np.uint32)
    inner.tokens.add_to(bits)
    return np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")).tolist()


def _exits(inner: Inner) -> list[int]:
    listed = inner.exits.listed(TRIE).tolist()
    return sorted({node for node in listed if TRIE.branches[node]})


def _agree(arena: Arena, node: Node, places: list[int] | None = None) -> None:
    """places: trie nodes that the row begins at; None: the root."""
    rows = _rows(arena)
    fan = None if places is None else Fan(TRIE, Places(np.array(places, dtype=np.intp)))
    plain = rows.digester.digest(rows.walker.walk(node, fan or rows.walker.root))
    found = rows.inner(node, fan)
    assert _tokens(found) == _tokens(plain)
    assert _exits(found) == _exits(plain)
    assert found.tail >= plain.tail
    furthest = max((state.shortest for state in found.ends), default=0)
    assert found.more + furthest >= plain.tail


def _after(arena: Arena, node: Node, text: str) -> Node:
    for byte in text.encode():
        following = step(arena, node, byte)
        node = node if following is arena.empty else following
    return node


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(['[^"]', "[abc]", "(?:a|bc|é)", '(?:ab|[^"ab])']),
    st.lists(st.text('abcé"', min_size=1, max_size=4), min_size=1, max_size=4),
    st.sampled_from(['": ', '":', '"', '"[:a]*', ":b", '": ?', 'a"']),
    st.sampled_from(["", 'a"', ": "]),
    st.text("abé", max_size=2),
    st.none() | st.lists(st.sampled_from(["", "a", "a:", '"', "ab", "b"]), unique=True),
)
@example('[^"]', ["a", "ab", 'a"'], '": ', "", "", None)
@example('[^"]', ["a", "ab"], '": ', 'a"', "", ["a", ""])
def test_rows_without_a_few_words(
    turn: str, words: list[str], rest: str, prefix: str, text: str, places: list[str] | None
) -> None:
    arena = Arena()
    loop = ir.Rep(regex_regular(turn), 0, None)
    term = ir.And((loop, ir.Not(ir.Alt(tuple(map(ir.Lit, words))))))
    node = lower(arena, ir.Cat((ir.Lit(prefix), term, regex_regular(rest))))
    nodes = None if places is None else [_place(place) for place in places]
    _agree(arena, _after(arena, node, text), nodes)


def _place(text: str) -> int:
    node = 0
    for byte in text.encode():
        node = TRIE.child(node, byte)
    return node


@settings(max_examples=100, deadline=None)
@given(
    st.text('ab:" é-', min_size=1, max_size=40),
    st.none() | st.lists(st.sampled_from(["", "a", "a:", '"', "ab", "b"]), unique=True),
)
def test_rows_of_literals(text: str, places: list[str] | None) -> None:
    arena = Arena()
    nodes = None if places is None else [_place(place) for place in places]
    _agree(arena, arena.literal(text.encode()), nodes)


def test_when_words_are_excluded_singly() -> None:
    arena = Arena()

    def words(pattern: str, rest: str) -> list[bytes] | None:
        members = (ir.Rep(regex_regular('[^"]'), 0, None), ir.Not(regex_regular(pattern)))
        node = lower(arena, ir.Cat((ir.Lit("{"), ir.And(members), regex_regular(rest))))
        found = excluded(arena, node)
        return None if found is None else sorted(found.words)

    assert words("ab|c", '":') == [b"ab", b"c"]
    assert words("abc", '":') == [b"abc"]
    assert words("ab*", '":') is None
    assert words("ab|c", "b") is None  # the next byte does not tell


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["a", "[a-c]", "[a-z-]", '[^"]', "(?:a|-)", "a?-"]),
    st.tuples(st.integers(0, 3), st.integers(14, 40)),
    st.sampled_from(["", "b", "[ab]", "\\.a", "(?:\\.[a-c-]{0,20}a)*", "(?:b{1,18}-){0,17}", "a*"]),
    st.text("ab-.", max_size=3),
)
@example("[a-z-]", (0, 17), "[ab]", "")
@example("[a-c]", (0, 14), "(?:\\.[a-c-]{0,20}a)*", "")
def test_rows_without_upper_bounds(
    turn: str, counts: tuple[int, int], rest: str, text: str
) -> None:
    arena = Arena()
    pattern = f"(?:{turn}){{{counts[0]},{counts[1]}}}{rest}"
    _agree(arena, _after(arena, lower(arena, regex_regular(f"{pattern}|b-{pattern}")), text))


def test_upper_bounds_are_taken_away_where_they_are_far() -> None:
    arena = Arena()

    def loose(pattern: str) -> tuple[bool, int]:
        node = lower(arena, regex_regular(pattern))
        made, bound = loosen(arena, node)
        return made is node, bound

    assert loose("a{0,61}b") == (False, 61)
    assert loose("(?:a{2,30}b)*c{0,40}") == (False, 30)
    assert loose(f"a{{0,{LEAST - 1}}}b{{20,}}") == (True, INFINITE)
    open_end, _ = loosen(arena, lower(arena, regex_regular("a{3,61}b")))
    assert open_end is lower(arena, regex_regular("a{3,}b"))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ['[^"]*', "[a-c]*", "ab", "[ -~]*b", "é.*", "a[a-c]*", '[^"]*\\.', "[a-z]{0,20}"]
        ),
        min_size=2,
        max_size=3,
    ),
    st.sampled_from(["", '"', '": ', "[ab]*"]),
    st.text("ab.", max_size=3),
)
def test_rows_of_alternatives(ways: list[str], rest: str, text: str) -> None:
    arena = Arena()
    node = _after(arena, lower(arena, regex_regular(f"(?:{'|'.join(ways)}){rest}")), text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("espalier.grammar.masks.WIDE", 2)
        _agree(arena, node)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(['[^"]*', "[^a]*", "[a-zé -.]*", '(?:[^"\\\\]|\\\\.)*']),
    st.sampled_from(["a", "ab", "a\\.b", "(?:a|b-)", "[ab]{2}", "a.*b", '"a', "é", "b*:"]),
    st.sampled_from(['[^"]*"', '[^"]*": ', '"', '[^"]*', "[ab]*b", "a?"]),
    st.text("ab.:é", max_size=4),
)
@example('[^"]*', "ab", '[^"]*"', "a")
@example('[^"]*', "a", "b", "")
def test_rows_of_searches(loop: str, needle: str, rest: str, text: str) -> None:
    arena = Arena()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("espalier.grammar.walk.NARROW", 8)
        patch.setattr("espalier.grammar.walk.FEW", 0)
        patch.setattr("espalier.grammar.walk.EARLIEST", 99)
        _agree(arena, _after(arena, lower(arena, regex_regular(loop + needle + rest)), text))


def test_a_search_stops_where_it_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NARROW", 8), ("FEW", 0), ("EARLIEST", 99)):
        monkeypatch.setattr(f"espalier.grammar.walk.{name}", value)
    arena = Arena()
    walker = _rows(arena).walker
    search = lower(arena, regex_regular('[^"]*ab[^"]*"'))
    plain = walker.walk(search, walker.root)
    assert not walker.grown
    alive = walker.walk(search, walker.root, alive=True)
    assert walker.grown
    loop = walker.walk(lower(arena, regex_regular('[^"]*"')), walker.root)
    assert len(loop.nodes) <= len(alive.nodes) < len(plain.nodes)


def test_a_search_shares_the_row_of_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena()
    rows = _rows(arena)
    start = lower(arena, regex_regular('[^"]*(?:ab\\.c)[^"]*"'))
    rows.inner(start)
    walked: list[Node] = []
    walk = Rows._walked

    def noted(self: Rows, node: Node, fan: Fan) -> Inner:
        walked.append(node)
        return walk(self, node, fan)

    monkeypatch.setattr(Rows, "_walked", noted)
    for text in ("a", "ab", "ab."):
        state = _after(arena, start, text)
        assert takes(arena, state).bit_count() > 100
        rows.inner(state)
    assert all(takes(arena, state).bit_count() < 3 for state in walked)


def test_what_is_learnt_beforehand_is_in_the_grammars() -> None:
    compiler = GrammarCompiler(VOCABULARY, trie=TRIE)
    for schema, text in _SAMPLES:
        matcher = compiler.compile(GrammarSpec.json_schema(schema)).matcher()
        assert matcher.accept_bytes(text.encode())
        assert matcher.must_end
