"""The order of eviction: an intrusive list of nodes from the least to the most recently used.

The list holds every node that may be evicted before the pinned ones: neither held nor pinned.
Whatever touches a node moves its whole path, from the node up to the root, to the newest end, so
that a parent always stands on the newer side of its children. Hence the oldest node of the list is
a leaf, evicting it makes no search, and its parent is already in the list with its own age.
"""

from __future__ import annotations

from collections.abc import Iterator

from .node import OUT, Node


class Ages:
    """A circular doubly linked list through `Node.older` and `Node.newer`, closed by a sentinel."""

    def __init__(self) -> None:
        self._ends = ends = Node("", None, b"", b"", 0)
        ends.older = ends.newer = ends

    def oldest(self) -> Node | None:
        """The next node to evict, or None."""
        node = self._ends.newer
        return None if node is self._ends else node

    def push(self, node: Node) -> None:
        """Puts a node that is in no list at the newest end."""
        ends = self._ends
        last = ends.older
        node.older = last
        node.newer = ends
        last.newer = ends.older = node

    def put_after(self, node: Node, older: Node) -> None:
        """Puts a node that is in no list right on the newer side of `older`."""
        newer = older.newer
        node.older = older
        node.newer = newer
        older.newer = newer.older = node

    def unlink(self, node: Node) -> None:
        """Takes a node out of the list."""
        older, newer = node.older, node.newer
        older.newer = newer
        newer.older = older
        node.older = node.newer = OUT

    def touch(self, node: Node | None, tick: int) -> None:
        """Makes `node` and its ancestors the newest, the uppermost last.

        Stops at the first that is in no list: it is held or pinned, and so are all above it.
        """
        ends = self._ends
        last = ends.older
        while node is not None and (newer := node.newer) is not OUT:
            node.last_use = tick
            if newer is not ends:
                older = node.older
                older.newer = newer
                newer.older = older
                node.older = last
                node.newer = ends
                last.newer = node
                ends.older = node
            last = node
            node = node.parent

    def newest_first(self) -> Iterator[Node]:
        """All nodes, the last used first. Change nothing meanwhile."""
        node = self._ends.older
        while node is not self._ends:
            yield node
            node = node.older

    def __iter__(self) -> Iterator[Node]:
        node = self._ends.newer
        while node is not self._ends:
            yield node
            node = node.newer
