"""The leaves that may be evicted, to choose from: any of them at the same price."""

from __future__ import annotations

from .node import Node


class Leaves:
    """A set of nodes with an even sample of it in O(sample)."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._state = 1

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: Node) -> bool:
        return node.place >= 0

    def add(self, node: Node) -> None:
        """A node that is not in it."""
        node.place = len(self._nodes)
        self._nodes.append(node)

    def discard(self, node: Node) -> None:
        """Takes a node out, if it is in."""
        place = node.place
        if place < 0:
            return
        node.place = -1
        last = self._nodes.pop()
        if last is not node:
            self._nodes[place] = last
            last.place = place

    def sample(self, count: int) -> list[Node]:
        """All of them where they are no more than `count`, else `count` draws."""
        nodes = self._nodes
        size = len(nodes)
        if size <= count:
            return nodes
        drawn = []
        state = self._state
        for _ in range(count):
            state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
            drawn.append(nodes[(state >> 33) % size])
        self._state = state
        return drawn
