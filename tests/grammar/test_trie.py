"""The flat trie against a dictionary of prefixes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from espalier.errors import InvariantError
from espalier.grammar import Vocabulary
from espalier.grammar.trie import TokenTrie

TOKENS = st.lists(st.binary(max_size=6), max_size=30)


def _trie(tokens: list[bytes], special: tuple[int, ...] = ()) -> TokenTrie:
    return TokenTrie(Vocabulary(tokens, special))


@settings(max_examples=100, deadline=None)
@given(TOKENS)
def test_trie_is_the_set_of_prefixes(tokens: list[bytes]) -> None:
    trie = _trie(tokens)
    trie.check_invariants()
    prefixes = {token[:n] for token in tokens for n in range(len(token) + 1)} | {b""}
    assert trie.size == len(prefixes)
    assert trie.longest == max(map(len, tokens), default=0)
    assert trie.single == {token[0] for token in tokens if len(token) == 1}
    for prefix in prefixes:
        node = 0
        for byte in prefix:
            node = trie.child(node, byte)
            assert node
        carried = sorted(trie.carried(np.array([node]))[0].tolist())
        assert carried == [t for t, text in enumerate(tokens) if text and text == prefix]
        absent = next(b for b in range(256) if prefix + bytes([b]) not in prefixes)
        assert trie.child(node, absent) == 0


@settings(max_examples=100, deadline=None)
@given(TOKENS, st.binary(max_size=12))
def test_greedy_takes_the_longest(tokens: list[bytes], text: bytes) -> None:
    trie = _trie(tokens)
    spelled, at = [], 0
    while at < len(text):
        fitting = [t for t in tokens if t and text.startswith(t, at)]
        if not fitting:
            with pytest.raises(KeyError):
                trie.greedy(text)
            return
        spelled.append(max(fitting, key=len))
        at += len(spelled[-1])
    assert trie.greedy_length(text) == len(spelled)


def test_special_and_empty_tokens_are_left_out() -> None:
    trie = _trie([b"a", b"ab", b"", b"a"], (1,))
    assert trie.size == 2
    tokens, at = trie.carried(np.array([0, 1]))
    assert (tokens.tolist(), at.tolist()) == ([0, 3], [1, 1])
    assert trie.node_of.tolist()[:4] == [1, 0, 0, 1]


def test_what_lies_below_a_node() -> None:
    texts = [b"=" * 9, b"==a", b"-", b"--", b"-=-", b"a", "aé漢".encode(), "é".encode(), b"\xa9b"]
    trie = _trie([*texts, *("aé漢".encode()[:cut] for cut in range(1, 6)), b"a\xc3-"])
    for node in range(trie.size):
        above, below = {node}, []
        for child in range(1, trie.size):
            if int(trie.parent[child]) in above:
                above.add(child)
                below.append(child)
        nodes, counts = trie.below(np.array([node], dtype=np.intp))
        assert sorted(nodes.tolist()) == below
        assert counts.tolist() == [len(below)]
        tokens = {token for child in below for token in trie.tokens_of(child)}
        given = np.array([node], dtype=np.intp)
        at, counts = trie.tokens_below(given)
        found = trie.text_tokens[at]
        assert set(found.tolist()) == tokens
        assert trie.text_places[at].tolist() == trie.char_place[trie.node_of[found]].tolist()
        assert trie.text_chars[at].tolist() == trie.chars[trie.node_of[found]].tolist()
        assert counts.tolist() == [len(found)]
        assert set(trie.tokens_within(node).tolist()) == tokens | set(trie.tokens_of(node))
        assert sorted(trie.outside(np.arange(trie.size), [node]).tolist()) == sorted(
            set(range(trie.size)) - above
        )
        assert set(np.flatnonzero(trie.allowed_below(given)).tolist()) == tokens
        labels = {int(trie.label[child]) for child in below}
        tail = trie.tail(node)
        assert {byte for byte in range(128) if tail >> byte & 1} == {b for b in labels if b < 128}
        assert tail >> 128 == any(byte > 127 for byte in labels)


def test_places_in_characters() -> None:
    trie = _trie([b"a", "aé漢".encode(), b"\xa9b", b"a\xc3-"])
    at = [0]
    for byte in "aé漢".encode():
        at.append(trie.child(at[-1], byte))
    assert trie.char_place[at].tolist() == [0, 0, 1, 0, 3, 1, 0]
    assert trie.chars[at].tolist() == [0, 1, 2, 2, 3, 3, 3]
    assert trie.beyond_below[at].tolist() == [2, 2, 2, 1, 2, 2, 0]
    assert trie.char_place[trie.child(0, 0xA9)] == 8


def test_invariants_are_checked() -> None:
    def broken(name: str, attribute: str, index: int, value: int) -> None:
        trie = _trie([b"ab", b"ac", b"b"])
        getattr(trie, attribute)[index] = value
        with pytest.raises(InvariantError, match=rf"^{name}"):
            trie.check_invariants()

    broken("T1", "parent", 3, 2)
    broken("T2", "label", 2, ord("a"))
    broken("T3", "node_of", 0, 1)
    trie = _trie([b"ab"])
    trie.carries = b"\0\0\0"
    with pytest.raises(InvariantError, match=r"^T4"):
        trie.check_invariants()
