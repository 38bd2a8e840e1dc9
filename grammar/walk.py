"""Which nodes of the token trie a terminal's state reaches, and in what state.

`Walker.walk(state, sources)` follows the state downward from the source nodes. Three ways, chosen
by how many nodes are alive: one by one in Python while there are few; a frontier of arrays; whole
levels of the trie by array gathers where most of it is alive (from the root only). Transitions
that the table lacks are filled when a gather meets them.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from .arena import Arena
from .derivatives import segments, step
from .node import INFINITE, Node
from .trie import TokenTrie

Ints = np.ndarray

NARROW = 192  # nodes to look at up to which Python is faster than arrays
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


def distinct(numbers: Ints, size: int) -> list[int]:
    """The numbers below `size` that occur, ascending, without 0."""
    seen = np.zeros(size, dtype=bool)
    seen[numbers] = True
    seen[0] = False
    found: list[int] = np.flatnonzero(seen).tolist()
    return found


def exit_nodes(trie: TokenTrie, walk: Walk) -> list[int]:
    """In a walk over the whole trie, the nodes in a nullable state from which a token goes on."""
    assert walk.full is not None
    nullable = np.array([state.nullable for state in walk.states])
    nullable[0] = False
    found: list[int] = np.flatnonzero(nullable.take(walk.full) & trie.branches).tolist()
    return found


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

    labels intp[count], nodes intp[count]: the children, ordered by label.
    """

    __slots__ = ("_starts", "_targets", "count", "is_root", "labels", "nodes")

    def __init__(self, trie: TokenTrie, sources: list[int]) -> None:
        self.is_root = sources == [0]
        at = np.array(sources, dtype=np.intp)
        low, high = trie.first[at], trie.first[at + 1]
        counts = high - low
        children = np.repeat(low - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        labels = trie.label[children]
        order = np.argsort(labels, kind="stable")
        self.nodes = children[order]
        self.labels = labels[order]
        self.count = len(self.nodes)
        self._starts: list[int] = np.searchsorted(self.labels, np.arange(257)).tolist()
        self._targets: list[int] = self.nodes.tolist()

    def between(self, low: int, high: int) -> list[int]:
        """The children along the bytes low..high."""
        return self._targets[self._starts[low] : self._starts[high + 1]]


class Walker:
    def __init__(self, arena: Arena, trie: TokenTrie) -> None:
        self._arena = arena
        self._trie = trie
        self.table = StateTable(arena)
        self.root = Fan(trie, [0])
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
        self._deepen(full, [(node, table[number]) for node, number in pairs])
        return Walk(self.table.states, full=full)

    def _deepen(self, full: Ints, frontier: list[tuple[int, Node]]) -> None:
        """Long tokens are mostly runs of one byte: a state that stays put crosses a run at once."""
        number = self.table.number
        while frontier:
            crossed: list[tuple[int, Node]] = []
            others: list[tuple[int, Node]] = []
            for node, state in frontier:
                run = self._trie.run(node)
                if run is not None and step(self._arena, state, run[0]) is state:
                    full[run[1]] = number(state)
                    crossed.append((int(run[1][-1]), state))
                else:
                    others.append((node, state))
            frontier = self._below(others)
            full[[node for node, _ in frontier]] = [number(state) for _, state in frontier]
            frontier += crossed
