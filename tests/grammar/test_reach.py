"""Reaches: the state in which each token ends, against stepping its bytes; kept ones too."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from espalier.grammar import GrammarCompiler, ir, reach
from espalier.grammar.arena import Arena
from espalier.grammar.derivatives import step
from espalier.grammar.fan import Fan, Places
from espalier.grammar.inner import Digester
from espalier.grammar.lower import lower
from espalier.grammar.node import Node
from espalier.grammar.reach import Reach, Reaches
from espalier.grammar.walk import Walker

from .machine_tools import regex_matcher, rich_compiler
from .test_arena import REGULARS
from .test_walk import TRIE

ALL = list(range(TRIE.vocabulary.size))


def _stepped(arena: Arena, node: Node, text: bytes) -> Node:
    for byte in text:
        node = step(arena, node, byte)
    return node


def _exits(fan: Fan | None) -> set[int]:
    if fan is None:
        return set()
    return {int(TRIE.parent[child]) for child in fan.between(0, 255)}


def _check(arena: Arena, node: Node, found: Reach) -> None:
    tokens = ALL if found.tokens is None else found.tokens.tolist()
    states = [found.states[number] for number in found.index.tolist()]
    after = dict(zip(tokens, states, strict=True))
    for token in ALL:
        assert after.get(token, arena.empty) is _stepped(arena, node, TRIE.vocabulary.tokens[token])
    ends = {state for state in after.values() if state is not arena.empty}
    assert set(found.ends) == ends
    whole = {
        place
        for place in range(1, TRIE.size)
        if TRIE.branches[place] and _stepped(arena, node, _text(place)).nullable
    }
    assert _exits(found.fan) == whole


def _text(place: int) -> bytes:
    text = bytearray()
    while place:
        text.append(int(TRIE.label[place]))
        place = int(TRIE.parent[place])
    return bytes(reversed(text))


@pytest.mark.parametrize("wide", [1, 10**6])
@settings(max_examples=60, deadline=None)
@given(regular=REGULARS)
def test_every_token_ends_where_its_bytes_lead(wide: int, regular: ir.Regular) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "WIDE", wide)
        arena = Arena()
        node = lower(arena, regular)
        walker = Walker(arena, TRIE)
        reaches = Reaches(arena, TRIE, walker, Digester(TRIE, partial=False))
        first = reaches.of(node, walker.root)
        _check(arena, node, first)
        again = reaches.of(node, walker.root)
        _check(arena, node, again)
        many = first.tokens is None or len(first.tokens) >= wide
        assert (again is first) == many
        reaches.clear()
        assert reaches.of(node, walker.root) is not first


def test_places_in_the_middle_are_not_kept_as_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "WIDE", 1)
    arena = Arena()
    node = arena.literal(b"ab")
    walker = Walker(arena, TRIE)
    reaches = Reaches(arena, TRIE, walker, Digester(TRIE, partial=False))
    below_a = Fan(TRIE, Places(TRIE.first[:1] * 0 + TRIE.child(0, ord("a"))))
    inside = reaches.of(node, below_a)
    assert reaches.of(node, walker.root) is not inside
    assert reaches.of(node, below_a) is not inside


def _withheld(compiler: GrammarCompiler, left: int) -> list[int]:
    matcher = regex_matcher("[ab1 ]{2,9}é|a{30,}", compiler)
    rows = []
    for byte in b"ab1":
        rows.append(matcher.mask_row(left))
        assert matcher.accept_bytes(bytes([byte]))
    return [compiler.pool.rows[row].tolist() for row in rows]


@pytest.mark.parametrize("left", [1, 2, 4, 30])
def test_kept_reaches_withhold_the_same(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _withheld(rich_compiler(), left)
    monkeypatch.setattr(reach, "WIDE", 1)
    assert _withheld(rich_compiler(), left) == plain
