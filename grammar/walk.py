"""Which nodes of the token trie a terminal's state reaches, and in what state.

`Walker.walk(state, sources)` follows the state downward from the source nodes. Three ways, chosen
by how many nodes are alive: one by one in Python while there are few; a frontier of arrays; whole
levels of the trie by array gathers where most of it is alive (from the root only). Transitions
that the table lacks are filled when a gather meets them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np

from .arena import Arena
from .derivatives import segments
from .node import INFINITE, Node
from .trie import TokenTrie

Ints = np.ndarray

NARROW = 192  # nodes to look at up to which Python is faster than arrays
FEW = 24  # nodes from which a walk by arrays goes on in Python
DENSE = 0.15  # share of a level (of bytes, at the root) alive from which it is taken whole
TABLE_LIMIT = 1 << 15  # numbered states (1 KiB each) before the table starts over

_NONE = np.zeros(0, dtype=np.intp)


class Walk:
    """What a walk found, in one of three forms.

    pairs: trie nodes and their states, where there are few. nodes (intp) and index: for each node
    the index of its state in `states`. full: int32 for every trie node, the index of its state, 0
    for those not reached, where most are.
    """

    __slots__ = ("full", "index", "nodes", "pairs", "states")

    def __init__(
        self,
        states: list[Node],
        nodes: Ints = _NONE,
        index: Ints = _NONE,
        *,
        full: Ints | None = None,
        pairs: list[tuple[int, Node]] | None = None,
    ) -> None:
        self.states = states
        self.nodes = nodes
        self.index = index
        self.full = full
        self.pairs = pairs

    def spread(self) -> Walk:
        """The same in the second form."""
        if self.full is not None:
            nodes = np.flatnonzero(self.full > 0)
            return Walk(self.states, nodes, self.full[nodes])
        if self.pairs is not None:
            numbers: dict[Node, int] = {}
            index = [numbers.setdefault(state, len(numbers)) for _, state in self.pairs]
            nodes = np.array([node for node, _ in self.pairs], dtype=np.intp)
            return Walk(list(numbers), nodes, np.array(index, dtype=np.int32))
        return self


def occurring(numbers: Ints, size: int) -> list[int]:
    """The numbers below `size` that occur, ascending."""
    seen = np.zeros(size, dtype=bool)
    seen[numbers] = True
    found: list[int] = np.flatnonzero(seen).tolist()
    return found


def distinct(numbers: Ints, size: int) -> list[int]:
    """The same without 0."""
    found = occurring(numbers, size)
    return found[1:] if found and found[0] == 0 else found


def exit_nodes(trie: TokenTrie, walk: Walk) -> Ints:
    """In a walk over the whole trie, the nodes in a nullable state from which a token goes on."""
    assert walk.full is not None
    nullable = np.array([state.nullable for state in walk.states])
    nullable[0] = False
    if not nullable.any():
        return _NONE
    return np.flatnonzero(nullable.take(walk.full) & trie.branches)


class StateTable:
    """Numbered states with their transitions as an array. Number 0 is dead.

    delta int32[n, 256]: the next state's number, -1 in rows not filled yet. nullable bool[n].
    shortest int64[n]: bytes to the state's nearest end.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.reset()

    def reset(self) -> None:
        self.states: list[Node] = [self._arena.empty]
        self._numbers: dict[Node, int] = {self._arena.empty: 0}
        self.delta = np.full((64, 256), -1, dtype=np.int32)
        self.delta[0] = 0
        self.nullable = np.zeros(64, dtype=bool)
        self.shortest = np.full(64, INFINITE, dtype=np.int64)

    def begin(self) -> None:
        """Called before a walk: forgets everything if the table has grown too large."""
        if len(self.states) > TABLE_LIMIT:
            self.reset()

    def number(self, state: Node) -> int:
        found = self._numbers.get(state)
        if found is not None:
            return found
        found = self._numbers[state] = len(self.states)
        self.states.append(state)
        if found >= len(self.delta):
            grown = len(self.delta)
            self.delta = np.concatenate([self.delta, np.full((grown, 256), -1, dtype=np.int32)])
            self.nullable = np.concatenate([self.nullable, np.zeros(grown, dtype=bool)])
            self.shortest = np.concatenate([self.shortest, np.full(grown, INFINITE)])
        self.nullable[found] = state.nullable
        self.shortest[found] = state.shortest
        return found

    def next(self, current: Ints, byte: Ints) -> Ints:
        """The numbers of the next states, elementwise. Fills rows as needed."""
        at = (current.astype(np.intp) << 8) + byte
        found: Ints = self.delta.reshape(-1).take(at)
        if found.size and int(found.min()) < 0:
            for number in np.unique(current[found < 0]).tolist():
                self._fill(number)
            found = self.delta.reshape(-1).take(at)
        return found

    def _fill(self, number: int) -> None:
        row = np.zeros(256, dtype=np.int32)
        for low, high, rest in segments(self._arena, self.states[number]):
            row[low : high + 1] = self.number(rest)
        self.delta[number] = row


class Fan:
    """Where a walk begins: the children of some trie nodes, by the byte that leads to them.

    sources intp: the trie nodes. labels intp[count], nodes intp[count]: their children, ordered by
    label.
    """

    __slots__ = ("_found", "_labels", "count", "is_root", "labels", "nodes")

    def __init__(self, trie: TokenTrie, sources: Ints) -> None:
        self.is_root = len(sources) == 1 and not sources[0]
        low, high = trie.first[sources], trie.first[sources + 1]
        counts = high - low
        children = np.repeat(low - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        labels = trie.label[children]
        order = np.argsort(labels.astype(np.uint8), kind="stable")
        self.nodes = children[order]
        self.labels = labels[order]
        self.count = len(self.nodes)
        self._labels: bytes = self.labels.astype(np.uint8).tobytes()
        self._found: dict[tuple[int, int], list[int]] = {}

    def between(self, low: int, high: int) -> list[int]:
        """The children along the bytes low..high."""
        found = self._found.get((low, high))
        if found is None:
            start = bisect_left(self._labels, low)
            end = bisect_right(self._labels, high, start)
            found = self._found[low, high] = self.nodes[start:end].tolist()
        return found


class Walker:
    def __init__(self, arena: Arena, trie: TokenTrie) -> None:
        self._arena = arena
        self._trie = trie
        self.table = StateTable(arena)
        self.root = Fan(trie, np.zeros(1, dtype=np.intp))
        self._children = np.diff(trie.first)

    def walk(self, state: Node, sources: Fan) -> Walk:
        """Every node strictly below a source that `state` reaches without dying."""
        if sources.count > NARROW and self._bytes(state) > NARROW // 4:
            return self._wide(state, sources)
        starts = self._trie.starts
        frontier = [
            (child, rest)
            for low, high, rest in segments(self._arena, state)
            for child in sources.between(low, high)
        ]
        found = frontier
        while frontier:
            if sum([starts[node + 1] - starts[node] for node, _ in frontier]) > NARROW:
                return self._on_from(found, frontier)
            frontier = self._below(frontier)
            found = found + frontier
        return Walk([], pairs=found)

    def walk_full(self, state: Node) -> Walk:
        """A walk from the root that always gives `full`."""
        walk = self.walk(state, self.root)
        if walk.full is not None:
            return walk
        own = walk.pairs is not None
        walk = walk.spread()
        # A small walk counts its states from 0, which in `full` is nobody's number.
        full = np.zeros(self._trie.size, dtype=np.int32)
        full[walk.nodes] = walk.index + own
        return Walk([self._arena.empty, *walk.states] if own else walk.states, full=full)

    def _bytes(self, state: Node) -> int:
        """How many bytes `state` takes."""
        return sum([high - low + 1 for low, high, _ in segments(self._arena, state)])

    def _below(self, frontier: list[tuple[int, Node]]) -> list[tuple[int, Node]]:
        labels, starts, arena = self._trie.labels, self._trie.starts, self._arena
        reached: list[tuple[int, Node]] = []
        for node, state in frontier:
            child, end = starts[node], starts[node + 1]
            if child == end:
                continue
            for low, high, rest in state.segments or segments(arena, state):
                child = bisect_left(labels, low, child, end)
                while child < end and labels[child] <= high:
                    reached.append((child, rest))
                    child += 1
                if child == end:
                    break
        return reached

    def _on_from(self, found: list[tuple[int, Node]], frontier: list[tuple[int, Node]]) -> Walk:
        """Goes on with arrays where a walk in Python meets too many nodes."""
        self.table.begin()
        number = self.table.number
        parts = [
            (
                np.array([node for node, _ in pairs], dtype=np.intp),
                np.array([number(state) for _, state in pairs], dtype=np.int32),
            )
            for pairs in (found[: len(found) - len(frontier)], frontier)
        ]
        return self._arrays(parts, None)

    def _wide(self, state: Node, sources: Fan) -> Walk:
        """A walk by arrays from its first step on."""
        self.table.begin()
        number = self.table.number(state)
        states = np.full(sources.count, number, dtype=np.int32)
        after = self.table.next(states, sources.labels)
        alive = after > 0
        parts = [(sources.nodes[alive], after[alive])]
        return self._arrays(parts, 1 if sources.is_root else None)

    def _arrays(self, parts: list[tuple[Ints, Ints]], level: int | None) -> Walk:
        """Follows the last part downward. `level`: its level of the trie, None where it has none
        of its own."""
        nodes, states = parts[-1]
        while nodes.size:
            if level is not None:
                width = self._trie.levels[level + 1] - self._trie.levels[level]
                if nodes.size > DENSE * width:
                    return self._dense(level, parts)
                level += 1
            if nodes.size <= FEW:
                table = self.table.states
                pairs = zip(nodes.tolist(), states.tolist(), strict=True)
                for below, number in self._deepen([(node, table[at]) for node, at in pairs]):
                    parts.append((below, np.full(len(below), number, dtype=np.int32)))
                break
            nodes, states = self._frontier(nodes, states)
            parts.append((nodes, states))
        every = np.concatenate([part[0] for part in parts])
        return Walk(self.table.states, every, np.concatenate([part[1] for part in parts]))

    def _frontier(self, nodes: Ints, states: Ints) -> tuple[Ints, Ints]:
        counts = self._children[nodes]
        total = int(counts.sum())
        if not total:
            return nodes[:0], states[:0]
        offset = np.cumsum(counts) - counts
        below = np.repeat(self._trie.first[nodes] - offset, counts) + np.arange(total)
        after = self.table.next(np.repeat(states, counts), self._trie.label[below])
        alive = after > 0
        return below[alive], after[alive]

    def _dense(self, level: int, parts: list[tuple[Ints, Ints]]) -> Walk:
        """Takes whole levels while they are wide, and the few nodes of the deep ones singly."""
        levels, parent, label = self._trie.levels, self._trie.parent, self._trie.label
        full = np.zeros(self._trie.size, dtype=np.int32)
        for nodes, states in parts:
            full[nodes] = states
        last = level
        while last + 2 < len(levels) and levels[last + 2] - levels[last + 1] > NARROW:
            last += 1
            low, high = levels[last], levels[last + 1]
            full[low:high] = self.table.next(full.take(parent[low:high]), label[low:high])
        low, high = levels[last], levels[last + 1]
        deep = np.flatnonzero(full[low:high] > 0) + low
        table = self.table.states
        pairs = zip(deep.tolist(), full[deep].tolist(), strict=True)
        for below, number in self._deepen([(node, table[number]) for node, number in pairs]):
            full[below] = number
        return Walk(self.table.states, full=full)

    def _deepen(self, frontier: list[tuple[int, Node]]) -> list[tuple[Ints, int]]:
        """What lies below a few nodes: trie nodes, and the number of the state in which they are
        reached. Long tokens are mostly runs of a few bytes: a state that stays put under all the
        bytes below a node takes them at once."""
        starts, tail, number = self._trie.starts, self._trie.tail, self.table.number
        found: list[tuple[Ints, int]] = []
        moving: dict[Node, int] = {}  # the bytes under which a state does not stay put
        while frontier:
            others: list[tuple[int, Node]] = []
            for node, state in frontier:
                if starts[node] == starts[node + 1]:
                    continue
                if state not in moving:
                    moving[state] = ~self._stays(state)
                labels, nodes = tail(node)
                if labels & moving[state]:
                    others.append((node, state))
                else:
                    found.append((nodes, number(state)))
            frontier = self._below(others)
            by_state: dict[Node, list[int]] = {}
            for node, state in frontier:
                by_state.setdefault(state, []).append(node)
            for state, below in by_state.items():
                found.append((np.array(below, dtype=np.intp), number(state)))
        return found

    def _stays(self, state: Node) -> int:
        """The bytes that lead from `state` to itself, as a bit set."""
        bits = 0
        for low, high, rest in segments(self._arena, state):
            if rest is state:
                bits |= (1 << high + 1) - (1 << low)
        return bits
