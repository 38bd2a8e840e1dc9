"""Walks over the token trie, in each of their ways, against stepping every token's bytes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from espalier.grammar import Vocabulary, ir, state_table, walk
from espalier.grammar.arena import Arena
from espalier.grammar.derivatives import step
from espalier.grammar.fan import Fan, Places
from espalier.grammar.lower import lower
from espalier.grammar.masks import Rows
from espalier.grammar.node import INFINITE, Node
from espalier.grammar.pool import MaskPool
from espalier.grammar.regex import regex_regular
from espalier.grammar.state_table import StateTable
from espalier.grammar.trie import TokenTrie
from espalier.grammar.walk import Walk, Walker

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
    spread = walked.spread(TRIE)
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
        # Sources of which none lies below another: a walk gives each node one state.
        apart = [node for node in sources if not _below_another(node, sources)]
        found = walker.walk(state, Fan(TRIE, Places(np.array(apart, dtype=np.intp))))
        assert _found(found) == _stepped(arena, state, apart)


def _below_another(node: int, sources: list[int]) -> bool:
    while node:
        node = int(TRIE.parent[node])
        if node in sources:
            return True
    return False


def test_the_state_table_starts_over_when_full() -> None:
    arena = Arena()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "NARROW", 0)
        patch.setattr(state_table, "TABLE_LIMIT", 10)
        walker = Walker(arena, TRIE)
        walks = []
        for count in range(1, 12):
            state = lower(arena, ir.Rep(ir.Chars(((97, 98),)), count, count + 9))
            walks.append((state, walker.walk(state, walker.root)))
            assert len(walker.table.states) < 60
        for state, walked in walks:  # those made before still say what they said
            assert _found(walked) == _stepped(arena, state, [0])


# Words of letters that every pattern below takes, of some that few take, and characters cut apart.
PIECES = ["ab", "c", "é", "漢", "\U0001f600", '"', " ", "1"]
WORDS = ["".join(parts).encode() for parts in product(PIECES, repeat=3)]
WORDS += [text.encode() for text in ("zz\uf000b", "zz\uf000漢", "zzz")]
CUT = [word[:-1] for word in WORDS] + [word[1:] for word in WORDS] + [word[:-2] for word in WORDS]
LARGE = Vocabulary([b"", *(bytes([b]) for b in range(256)), *sorted({*WORDS, *CUT})], [0], [0])


@pytest.mark.parametrize("earliest", [1, 99])
@pytest.mark.parametrize(
    "pattern",
    [
        r'[^"]*"',
        r"\w*",
        r"[a-z]*[0-9]",
        "[a-z ]+",
        ".*",
        r"(?s:.*)x",
        "[a-cé漢 ]*",
        r'[^"\ue000-\uffff]*',
        r'[^"\u2028]*',
        '"[^"c]*"',
    ],
)
def test_walks_that_stop_where_nothing_changes(pattern: str, earliest: int) -> None:
    trie = TokenTrie(LARGE)
    arena = Arena()
    rows = Rows(arena, trie, MaskPool(LARGE.words, LARGE.allowed_in_free_text()))
    start = lower(arena, regex_regular(pattern))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "NARROW", 8)
        patch.setattr(walk, "FEW", 0)
        patch.setattr(walk, "EARLIEST", earliest)
        for state in (start, step(arena, start, ord('"')), step(arena, start, 0xE6)):
            if state is arena.empty:
                continue
            walked = rows.walker.walk(state, rows.walker.root)
            found = rows.inner(state)
            bits = np.zeros(LARGE.words, dtype=np.uint32)
            found.tokens.add_to(bits)
            tokens, ends, exits = set(), set(), set()
            for node, after in _all_below(arena, trie, state).items():
                assert after.shortest < INFINITE
                if trie.carries[node]:
                    tokens.update(trie.tokens_of(node))
                    ends.add(after)
                if after.nullable and trie.branches[node]:
                    exits.add(node)
            allowed = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
            assert set(allowed.tolist()) == tokens
            assert set(found.ends) == ends
            assert sorted(found.exits.listed(trie).tolist()) == sorted(exits)
            if earliest == 99 and state is start:
                assert len(walked.tops) > 0
            whole = walked.spread(trie)
            pairs = zip(whole.nodes.tolist(), whole.index.tolist(), strict=True)
            assert {n: whole.states[i] for n, i in pairs} == _all_below(arena, trie, state)


def _all_below(arena: Arena, trie: TokenTrie, state: Node) -> dict[int, Node]:
    found: dict[int, Node] = {}
    waiting = [(0, state)]
    while waiting:
        node, current = waiting.pop()
        for child in range(int(trie.first[node]), int(trie.first[node + 1])):
            after = step(arena, current, int(trie.label[child]))
            if after is not arena.empty:
                found[child] = after
                waiting.append((child, after))
    return found


def test_characters_that_stay_are_told_by_their_first_bytes() -> None:
    arena = Arena()
    table = StateTable(arena)
    number = table.number(lower(arena, regex_regular(r'[^"\u2028]*')))
    table.fill(np.array([number]))
    stays = int(table.stays[number, 2])
    leads = {byte for byte in range(0xC0, 0x100) if stays >> byte - 0xC0 & 1}
    assert leads == {*range(0xC2, 0xF5)} - {0xE2}
    for place, text in ((1, "é"), (3, "漢"), (5, "\U00010000")):
        middle = step(arena, table.states[number], text.encode()[0])
        assert table.states[table.within[number, place]] is middle
