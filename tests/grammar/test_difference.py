"""Rows by difference: where two states part, against stepping both through the whole trie."""

from __future__ import annotations

import pytest

from espalier.grammar import Vocabulary, ir
from espalier.grammar.arena import Arena
from espalier.grammar.derivatives import step
from espalier.grammar.difference import base, changes
from espalier.grammar.lower import lower
from espalier.grammar.node import Node
from espalier.grammar.regex import regex_regular
from espalier.grammar.trie import TokenTrie

from .test_walk import TOKENS

TRIE = TokenTrie(Vocabulary([*TOKENS, b'ab"', b'a":', b'abc"', b"abcd", 'é"'.encode()]))


def _apart(arena: Arena, one: Node, two: Node) -> dict[int, Node]:
    found: dict[int, Node] = {}
    waiting = [(0, one, two)]
    while waiting:
        at, left, right = waiting.pop()
        for child in range(int(TRIE.first[at]), int(TRIE.first[at + 1])):
            byte = int(TRIE.label[child])
            states = step(arena, left, byte), step(arena, right, byte)
            if states[0] is not states[1]:
                found[child] = states[0]
                waiting.append((child, *states))
    return found


@pytest.mark.parametrize("tail", ['": ', "", "b?x"])
@pytest.mark.parametrize(
    ("positive", "negative"),
    [
        ('[^"]*', ["a|ab|abc|é"]),
        ('[^"]{0,3}', ["ab", "a[bc]?"]),
        ("(?:ab)*", ["abab"]),
        ('[^"]*', ["a.*"]),
        ("[a-c]+", ["", "[ab]*"]),
        ("a*b?", ["a*"]),
    ],
)
def test_changes_are_where_the_states_part(positive: str, negative: list[str], tail: str) -> None:
    arena = Arena()
    members = (regex_regular(positive), *(ir.Not(regex_regular(text)) for text in negative))
    node = lower(arena, ir.Cat((ir.And(members), regex_regular(tail))))
    other = base(arena, node)
    assert other is not None
    assert changes(arena, TRIE, node, other) == _apart(arena, node, other)
