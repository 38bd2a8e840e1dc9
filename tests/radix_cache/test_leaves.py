from __future__ import annotations

import random

import numpy as np

from espalier.radix_cache.leaves import Leaves
from espalier.radix_cache.node import Node
from espalier.radix_cache.watch import Spots


def test_leaves_come_and_go_in_any_order() -> None:
    rng = random.Random(0)
    leaves = Leaves(50)
    nodes = [Node("", None, b"", b"", 1) for _ in range(50)]
    for i, node in enumerate(nodes):
        node.seen, node.uses, node.used_at = i, 1 + i % 3, 10_000 + i
    wanted = Spots(nodes[0])
    inside: set[int] = set()
    for _ in range(2000):
        i = rng.randrange(50)
        if i in inside:
            inside.discard(i)
            leaves.discard(nodes[i])
        else:
            inside.add(i)
            nodes[i].spots = wanted if rng.random() < 0.5 else None
            leaves.add(nodes[i])
        other = nodes[rng.randrange(50)]
        other.spots = wanted if rng.random() < 0.5 else None
        leaves.sort(other)
        leaves.discard(Node("", None, b"", b"", 1))
        assert len(leaves) == len(inside)
        assert all((node in leaves) == (j in inside) for j, node in enumerate(nodes))
        first = {j for j in inside if nodes[j].spots is None} or inside
        assert leaves.foremost == len(first)
        assert {id(leaves[i]) for i in leaves.sample(50)} == {id(nodes[j]) for j in first}
        assert {id(leaves[i]) for i in leaves.sample(3)} <= {id(nodes[j]) for j in first}
        for j in inside:
            place = nodes[j].place
            assert (leaves.seen[place], leaves.rank[place]) == (j, leaves.rank_of(nodes[j]))
        assert all(leaves.wanted(nodes[j]) == (nodes[j].spots is not None) for j in inside)


def test_draws_are_even() -> None:
    leaves = Leaves(2000)
    for _ in range(1000):
        leaves.add(Node("", None, b"", b"", 1))
    drawn = np.bincount(np.concatenate([leaves.sample(250) for _ in range(400)]), minlength=1000)
    assert len(drawn) == 1000
    assert drawn.sum() == 400 * 250
    expected = 100
    assert ((drawn - expected) ** 2 / expected).sum() < 1143  # chi-square, 999 degrees, p = 0.001
