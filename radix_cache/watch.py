"""Watchers: waiting requests that hang on the tree where their match ends.

A watcher with match length d hangs at the node whose run holds depth d (start < d <= end; the root
for 0), in the `Spot` of that depth, under the page that its key wants next. So a change touches
only those whose match it changes:
- a new child with first page g touches the group g of the spot at its parent's end;
- a split hands the upper half its spots as a whole (one assignment per distinct depth);
- a node that leaves lets its watchers fall to its parent's end.
Watching splits nothing.
"""

from __future__ import annotations

from .node import Node
from .runs import WIDTH, Ints, as_array, first_mismatch


class Watcher:
    """A key and the current length of its longest cached prefix, in whole pages.

    depth: that length, always current. owner: whatever the caller wants back. key: as given.
    active: False after `unwatch`; such a watcher may still stand in `RadixCache.moved`.
    """

    __slots__ = ("depth", "key", "owner", "spot", "wanted")

    def __init__(self, key: Ints, owner: object) -> None:
        self.key = key
        self.owner = owner
        self.depth = 0
        self.spot: Spot | None = None
        self.wanted = b""  # the page it wants next; empty when less than a page is left

    @property
    def active(self) -> bool:
        """Whether it is being watched."""
        return self.spot is not None

    def __repr__(self) -> str:
        return f"<Watcher depth={self.depth} of {len(self.key)} owner={self.owner!r}>"


class Spot:
    """A place in the tree where watchers hang, grouped by the page they want next."""

    __slots__ = ("depth", "groups", "node")

    def __init__(self, node: Node, depth: int) -> None:
        self.node = node
        self.depth = depth
        self.groups: dict[bytes, dict[Watcher, None]] = {}


class WatchIndex:
    """Moves watchers as the tree changes; `moved` collects those whose depth changed."""

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self.moved: list[Watcher] = []
        self.count = 0

    def hang(self, watcher: Watcher, node: Node, depth: int) -> None:
        """Hangs a watcher that hangs nowhere."""
        spots = node.spots
        if spots is None:
            spots = node.spots = {}
        spot = spots.get(depth)
        if spot is None:
            spot = spots[depth] = Spot(node, depth)
        end = depth + self._page_size
        wanted = watcher.key[depth:end].tobytes() if end <= len(watcher.key) else b""
        spot.groups.setdefault(wanted, {})[watcher] = None
        watcher.depth = depth
        watcher.spot = spot
        watcher.wanted = wanted

    def unhang(self, watcher: Watcher) -> Node | None:
        """Takes a watcher off and returns the node it hung at; None if it hung nowhere."""
        spot = watcher.spot
        if spot is None:
            return None
        watcher.spot = None
        group = spot.groups[watcher.wanted]
        del group[watcher]
        if not group:
            del spot.groups[watcher.wanted]
            if not spot.groups:
                self._drop(spot)
        return spot.node

    @staticmethod
    def _drop(spot: Spot) -> None:
        spots = spot.node.spots
        if spots is not None:
            del spots[spot.depth]
            if not spots:
                spot.node.spots = None

    def split(self, lower: Node, upper: Node) -> None:
        """`upper` took the upper half of `lower`'s run: it takes the spots up to its end too."""
        spots = lower.spots
        if spots is None:
            return
        above = {depth: spot for depth, spot in spots.items() if depth <= upper.end}
        for depth, spot in above.items():
            del spots[depth]
            spot.node = upper
        upper.spots = above or None
        lower.spots = spots or None

    def grew(self, parent: Node, child: Node) -> None:
        """`child`, a leaf, is new under `parent`: those who wanted its first page follow it."""
        spot = parent.spots.get(parent.end) if parent.spots is not None else None
        if spot is None:
            return
        group = spot.groups.pop(child.run[: self._page_size * WIDTH], None)
        if group is None:
            return
        if not spot.groups:
            self._drop(spot)
        start, end, run = parent.end, child.end, child.run
        for watcher in group:
            ours = watcher.key[start:end]
            if ours.tobytes() == run:
                self.hang(watcher, child, end)
                continue
            common = first_mismatch(ours, as_array(run)[: len(ours)])
            self.hang(watcher, child, start + common - common % self._page_size)
        self.moved.extend(group)

    def fell(self, gone: Node, survivor: Node) -> None:
        """`gone` left the tree: its watchers fall back to the end of `survivor`."""
        spots = gone.spots
        if spots is None:
            return
        gone.spots = None
        for spot in spots.values():
            for group in spot.groups.values():
                for watcher in group:
                    self.hang(watcher, survivor, survivor.end)
                self.moved.extend(group)
