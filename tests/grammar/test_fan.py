"""Places in the trie: however a Fan finds their children, they are the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from espalier.grammar import fan
from espalier.grammar.fan import Fan, Fans, Places

from .test_walk import TRIE

NODES = st.lists(st.integers(0, TRIE.size - 1), max_size=20, unique=True)


@settings(max_examples=100, deadline=None)
@given(NODES, NODES)
def test_children_by_byte(nodes: list[int], tops: list[int]) -> None:
    apart = [top for top in tops if not _below(top, tops)]
    places = Places(np.array(nodes, dtype=np.intp), np.array(apart, dtype=np.intp))
    below = [
        node
        for node in range(1, TRIE.size)
        if _below(node, apart) and TRIE.char_place[node] % 8 == 0 and TRIE.branches[node]
    ]
    assert sorted({*places.listed(TRIE).tolist()} - {*nodes}) == sorted({*below} - {*nodes})
    expected: dict[int, set[int]] = {}
    for node in {*nodes, *below}:
        for child in range(int(TRIE.first[node]), int(TRIE.first[node + 1])):
            expected.setdefault(int(TRIE.label[child]), set()).add(child)
    for small, many in ((64, 2048), (0, 2048), (0, -1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fan, "SMALL", small)
            patch.setattr(fan, "MANY", many)
            made = Fan(TRIE, places)
            for byte, children in expected.items():
                assert set(made.between(byte, byte)) == children
                assert made.bytes >> byte & 1
            assert set(made.between(0, 255)) == set().union(*expected.values())


def _below(node: int, tops: list[int]) -> bool:
    while node:
        node = int(TRIE.parent[node])
        if node in tops:
            return True
    return False


def test_the_same_few_places_are_one_fan() -> None:
    fans = Fans(TRIE)
    one, other = (np.array([3, 7], dtype=np.intp) for _ in range(2))
    assert fans.at(Places(one)) is fans.at(Places(other))
    assert fans.at(Places(one, other)) is not fans.at(Places(one, other))
    assert not Places()
    assert Places(one)
