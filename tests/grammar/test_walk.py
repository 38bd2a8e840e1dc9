"""Walks over the token trie, in each of their ways, against stepping every token's bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from espalier.grammar import Vocabulary, ir, walk
from espalier.grammar.arena import Arena
from espalier.grammar.derivatives import step
from espalier.grammar.lower import lower
from espalier.grammar.node import Node
from espalier.grammar.trie import TokenTrie
from espalier.grammar.walk import Fan, Walk, Walker

from .machine_tools import RICH
from .test_arena import REGULARS

RUNS = [b"a" * 9, b"a" * 5 + b"b", b"=" * 12, b"b" * 7, b"ab" * 5, "é".encode() * 3]
TOKENS = [
    *(bytes([b]) for b in range(256)),
    *(t if isinstance(t, bytes) else t.encode() for t in RICH),
]
TRIE = TokenTrie(Vocabulary(TOKENS + RUNS))

WAYS = {"python": (10**9, 2.0), "frontier": (0, 2.0), "dense": (0, 0.0), "mixed": (12, 0.05)}


def _found(walked: Walk) -> dict[int, Node]:
    spread = walked.spread()
    pairs = zip(spread.nodes.tolist(), spread.index.tolist(), strict=True)
    return {node: spread.states[number] for node, number in pairs}


def _stepped(arena: Arena, state: Node, sources: list[int]) -> dict[int, Node]:
    found: dict[int, Node] = {}
    waiting = [(node, state) for node in sources]
    while waiting:
        node, current = waiting.pop()
        for child in range(int(TRIE.first[node]), int(TRIE.first[node + 1])):
            after = step(arena, current, int(TRIE.label[child]))
            if after is not arena.empty:
                found[child] = after
                waiting.append((child, after))
    return found


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=50, deadline=None)
@given(term=REGULARS, sources=st.lists(st.integers(0, TRIE.size - 1), max_size=40, unique=True))
def test_walks_find_what_stepping_finds(way: str, term: ir.Regular, sources: list[int]) -> None:
    arena = Arena()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "NARROW", WAYS[way][0])
        patch.setattr(walk, "FEW", WAYS[way][0] // 4)
        patch.setattr(walk, "DENSE", WAYS[way][1])
        walker = Walker(arena, TRIE)
        state = lower(arena, term)
        expected = _stepped(arena, state, [0])
        assert _found(walker.walk(state, walker.root)) == expected
        whole = walker.walk_full(state)
        assert whole.full is not None
        assert _found(whole) == expected
        # Sources of which none lies below another: a walk gives each node one state.
        apart = [node for node in sources if not _below_another(node, sources)]
        found = walker.walk(state, Fan(TRIE, np.array(apart, dtype=np.intp)))
        assert _found(found) == _stepped(arena, state, apart)


def _below_another(node: int, sources: list[int]) -> bool:
    while node:
        node = int(TRIE.parent[node])
        if node in sources:
            return True
    return False


def test_runs_are_crossed_at_once() -> None:
    arena = Arena()
    walker = Walker(arena, TRIE)
    state = lower(arena, ir.Rep(ir.Chars(((0, 0x10FFFF),)), 0, None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "NARROW", 4)
        walked = walker.walk(state, walker.root)
    assert walked.full is not None
    assert _found(walked) == _stepped(arena, state, [0])


def test_the_state_table_starts_over_when_full() -> None:
    arena = Arena()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "NARROW", 0)
        patch.setattr(walk, "TABLE_LIMIT", 10)
        walker = Walker(arena, TRIE)
        walks = []
        for count in range(1, 12):
            state = lower(arena, ir.Rep(ir.Chars(((97, 98),)), count, count + 9))
            walks.append((state, walker.walk(state, walker.root)))
            assert len(walker.table.states) < 60
        for state, walked in walks:  # those made before still say what they said
            assert _found(walked) == _stepped(arena, state, [0])
