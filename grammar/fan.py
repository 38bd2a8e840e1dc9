"""Places in the token trie, and the walks that go on from there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np

from . import utf8
from .trie import TokenTrie

Ints = np.ndarray

SMALL = 64  # places up to which their children are listed in Python
MANY = 2048  # places from which they are not listed
KEPT_FANS = 4096  # small ones that are known again

_NONE = np.zeros(0, dtype=np.intp)


class Places:
    """Trie nodes: `nodes` intp, and those below `tops` intp at which no character is open. (Some
    have no children.)"""

    __slots__ = ("fan", "nodes", "tops")

    def __init__(self, nodes: Ints = _NONE, tops: Ints = _NONE) -> None:
        self.nodes = nodes
        self.tops = tops
        self.fan: Fan | None = None  # known to `Fans`

    def __bool__(self) -> bool:
        return bool(len(self.nodes) or len(self.tops))

    @property
    def nbytes(self) -> int:
        return self.nodes.nbytes + self.tops.nbytes

    def outside(self, trie: TokenTrie, gone: list[int]) -> Places:
        """Those of them that are neither among the nodes `gone` (of which none lies below another)
        nor below them."""
        return Places(trie.outside(self.nodes, gone), trie.outside(self.tops, gone))

    def listed(self, trie: TokenTrie) -> Ints:
        """All of them that have children, one by one."""
        if not len(self.tops):
            return self.nodes
        below, _ = trie.below(self.tops)
        below = below[trie.branches[below] & (trie.char_place[below] % utf8.BROKEN == 0)]
        return np.concatenate([self.nodes, below])

    def deeper_than(self, trie: TokenTrie, level: int) -> list[int]:
        """Those of them that have children, more than `level` bytes below the root."""
        first = trie.levels[min(level + 1, len(trie.levels) - 1)]
        found: list[int] = self.nodes[self.nodes >= first].tolist()
        if len(self.tops):
            deep = np.flatnonzero(trie.branches[first:]) + first
            deep = deep[trie.covered(self.tops).take(trie.place[deep])]
            found += deep[trie.char_place[deep] % utf8.BROKEN == 0].tolist()
        return found


def union(parts: list[Places], trie: TokenTrie) -> Places | None:
    """Places of several kinds, each once; None where two of them have tops."""
    some = [part for part in parts if part]
    if len(some) < 2:
        return some[0] if some else Places()
    topped = [part for part in some if len(part.tops)]
    listed = np.zeros(trie.size, dtype=bool)
    for part in some:
        listed[part.nodes] = True
    nodes = np.flatnonzero(listed)
    if not topped:
        return Places(nodes)
    if len(topped) > 1:
        return None
    tops = topped[0].tops
    inside = trie.covered(tops).take(trie.place.take(nodes))
    closed = trie.char_place.take(nodes) % utf8.BROKEN == 0
    return Places(nodes[~(inside & closed)], tops)


class Fan:
    """Where a walk begins: the children of some places, by the byte that leads to them.

    Of few places, the children are listed; of many, they are found among all nodes that a byte
    leads to, when a byte is asked for. bytes: those that lead to children, as a bit set; perhaps
    others, where there are many.
    """

    __slots__ = ("_below", "_found", "_labels", "_listed", "_nodes", "_trie", "bytes", "is_root")

    def __init__(self, trie: TokenTrie, places: Places) -> None:
        nodes = places.nodes
        self.is_root = len(nodes) == 1 and not nodes[0] and not len(places.tops)
        self._trie = trie
        self._found: dict[tuple[int, int], Ints | list[int]] = {}
        self._listed: Ints | None = None
        if len(nodes) + int(trie.sizes.take(places.tops).sum()) > MANY:
            self.bytes = (1 << 256) - 1
            self._listed = np.zeros(trie.size, dtype=bool)
            self._listed[nodes] = True
            self._below = trie.covered(places.tops) if len(places.tops) else None
            return
        nodes = places.listed(trie)
        self._nodes, self._labels = _few(trie, nodes) if len(nodes) <= SMALL else _some(trie, nodes)
        self.bytes = sum(1 << byte for byte in set(self._labels))

    def between(self, low: int, high: int) -> Ints | list[int]:
        """The children along the bytes low..high."""
        found = self._found.get((low, high))
        if found is None:
            if self._listed is None:
                start = bisect_left(self._labels, low)
                found = self._nodes[start : bisect_right(self._labels, high, start)]
            else:
                found = self._search(low, high, self._listed)
            self._found[low, high] = found
        return found

    def along(self, text: bytes) -> list[int] | None:
        """The nodes that `text` leads to; None where there are many places."""
        if self._listed is not None:
            return None
        starting = self.between(text[0], text[0])
        if len(starting) > SMALL:
            return None
        find, starts = self._trie.labels.find, self._trie.starts
        found: list[int] = []
        for start in starting:
            at = int(start)
            for byte in text[1:]:
                at = find(byte, starts[at], starts[at + 1])
                if at < 0:
                    break
            else:
                found.append(at)
        return found

    def leads_twice(self, node: int) -> bool:
        """Whether a node that `along` found lies below several of the places."""
        if self.is_root:
            return False
        starts, parent = set(self._nodes), self._trie.parent
        count = 0
        while node:
            count += node in starts
            node = int(parent[node])
        return count > 1

    def _search(self, low: int, high: int, listed: Ints) -> Ints:
        trie = self._trie
        found = trie.along(low, high)
        above = trie.parent.take(found)
        inside = listed.take(above)
        if self._below is not None:
            closed = trie.char_place.take(above) % utf8.BROKEN == 0
            inside |= self._below.take(trie.place.take(above)) & closed
        children: Ints = found[inside]
        return children


def _few(trie: TokenTrie, nodes: Ints) -> tuple[list[int], bytes]:
    """The children of the nodes by label, and the labels."""
    starts, labels = trie.starts, trie.labels
    pairs = sorted(
        (labels[child], child)
        for node in nodes.tolist()
        for child in range(starts[node], starts[node + 1])
    )
    return [child for _, child in pairs], bytes([label for label, _ in pairs])


def _some(trie: TokenTrie, nodes: Ints) -> tuple[list[int], bytes]:
    """The same by arrays."""
    low, high = trie.first[nodes], trie.first[nodes + 1]
    counts = high - low
    children = np.repeat(low - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    labels = trie.label[children].astype(np.uint8)
    order = np.argsort(labels, kind="stable")
    return children[order].tolist(), labels[order].tobytes()


class Fans:
    """The same few places are the same Fan, so that what walks from there find is found once."""

    def __init__(self, trie: TokenTrie) -> None:
        self._trie = trie
        self._known: dict[bytes, Fan] = {}

    def at(self, places: Places) -> Fan:
        if places.fan is None:
            places.fan = self._find(places)
        return places.fan

    def _find(self, places: Places) -> Fan:
        if len(places.nodes) > SMALL or len(places.tops):
            return Fan(self._trie, places)
        key = places.nodes.tobytes()
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KEPT_FANS:
                self._known.clear()
            found = self._known[key] = Fan(self._trie, places)
        return found

    def clear(self) -> None:
        self._known.clear()
