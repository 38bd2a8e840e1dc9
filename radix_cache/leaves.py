"""The leaves that may be evicted, to choose from: any of them at the same price.

What a choice compares lies in two arrays beside the list of nodes: to look at a hundred leaves
anywhere in memory, node by node, takes as many waits for memory as they have fields.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .node import Node
from .runs import Ints

USES_AT = 56  # bits of a rank below `uses`: `used_at`, which stays far below 1 << 48
_DRAWS = 4096  # random numbers made at once


class Leaves:
    """A set of at most `limit` nodes in two parts, those that waiting requests want and the others,
    with an even sample of either in O(sample).

    A node's `uses`, `used_at` and `seen` stay as they are while it is in. seen, rank: by place; the
    rank orders by uses, then by used_at.
    """

    def __init__(self, limit: int) -> None:
        self._nodes: list[Node] = []  # first those that nobody wants
        self._border = 0
        self.seen = np.empty(limit, np.float64)  # untouched until used
        self.rank: Ints = np.empty(limit, np.int64)
        self._random = np.random.default_rng(1)
        self._draws = self._random.random(_DRAWS)
        self._drawn = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: Node) -> bool:
        return node.place >= 0

    def __getitem__(self, place: int) -> Node:
        return self._nodes[place]

    def add(self, node: Node) -> None:
        """A node that is not in it."""
        node.place = place = len(self._nodes)
        self._nodes.append(node)
        self.seen[place] = node.seen
        self.rank[place] = self.rank_of(node)
        self.sort(node)

    def discard(self, node: Node) -> None:
        """Takes a node out, if it is in."""
        hole, last = node.place, len(self._nodes) - 1
        if hole < 0:
            return
        if hole < self._border:
            self._border -= 1
            self._move(self._border, hole)
            hole = self._border
        self._move(last, hole)
        self._nodes.pop()
        node.place = -1

    def sort(self, node: Node) -> None:
        """A node is wanted, or is no longer; one that is not in it is left alone."""
        place, border = node.place, self._border
        if node.spots is None and place >= border:
            self._swap(place, border)
            self._border += 1
        elif node.spots is not None and 0 <= place < border:
            self._border -= 1
            self._swap(place, self._border)

    def wanted(self, node: Node) -> bool:
        """Whether it is in the part of those that are wanted."""
        return node.place >= self._border

    @property
    def foremost(self) -> int:
        """How many go first: those that nobody wants, or where there are none, all."""
        return self._border or len(self._nodes)

    def sample(self, count: int) -> npt.NDArray[np.intp]:
        """Places of the foremost: of all where they are no more than `count`, else of `count`
        draws."""
        size = self.foremost
        if size <= count:
            return np.arange(size)
        if self._drawn + count > len(self._draws):
            self._draws, self._drawn = self._random.random(_DRAWS), 0
        self._drawn += count
        return (self._draws[self._drawn - count : self._drawn] * size).astype(np.intp)

    @staticmethod
    def rank_of(node: Node) -> int:
        """Orders by uses, then by used_at."""
        return node.uses << USES_AT | node.used_at

    def _swap(self, one: int, other: int) -> None:
        node, seen, rank = self._nodes[one], self.seen[one], self.rank[one]
        self._move(other, one)
        self._nodes[other], self.seen[other], self.rank[other] = node, seen, rank
        node.place = other

    def _move(self, place: int, to: int) -> None:
        """From place to place; what a node is compared by need not be fetched from it."""
        if place != to:
            node = self._nodes[to] = self._nodes[place]
            node.place = to
            self.seen[to] = self.seen[place]
            self.rank[to] = self.rank[place]
