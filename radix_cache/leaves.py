"""The leaves that may be evicted, to choose from: any of them at the same price."""

from __future__ import annotations

from .node import Node


class Leaves:
    """A set of nodes in two parts, those that waiting requests want and the others, with an even
    sample of either in O(sample)."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []  # first those that nobody wants
        self._border = 0
        self._state = 1

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: Node) -> bool:
        return node.place >= 0

    def add(self, node: Node) -> None:
        """A node that is not in it."""
        node.place = len(self._nodes)
        self._nodes.append(node)
        self.sort(node)

    def discard(self, node: Node) -> None:
        """Takes a node out, if it is in."""
        if node.place < 0:
            return
        if node.place < self._border:
            self._border -= 1
            self._swap(node, self._border)
        last = len(self._nodes) - 1
        self._swap(node, last)
        self._nodes.pop()
        node.place = -1

    def sort(self, node: Node) -> None:
        """A node is wanted, or is no longer; one that is not in it is left alone."""
        place, border = node.place, self._border
        if node.spots is None and place >= border:
            self._swap(node, border)
            self._border += 1
        elif node.spots is not None and 0 <= place < border:
            self._border -= 1
            self._swap(node, self._border)

    def wanted(self, node: Node) -> bool:
        """Whether it is in the part of those that are wanted."""
        return node.place >= self._border

    def sample(self, count: int) -> list[Node]:
        """Of those that nobody wants, or where there are none, of the others: all where they are
        no more than `count`, else `count` draws."""
        nodes, border = self._nodes, self._border
        start, stop = (0, border) if border else (0, len(nodes))
        size = stop - start
        if size <= count:
            return nodes[start:stop]
        drawn = []
        state = self._state
        for _ in range(count):
            state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
            drawn.append(nodes[(state >> 33) % size])
        self._state = state
        return drawn

    def _swap(self, node: Node, place: int) -> None:
        nodes = self._nodes
        other, mine = nodes[place], node.place
        nodes[mine], nodes[place] = other, node
        other.place, node.place = mine, place
