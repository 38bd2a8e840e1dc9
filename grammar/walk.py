"""Which nodes of the token trie a terminal's state reaches, and in what state.

`Walker.walk(state, sources)` follows the state downward from the source nodes. Three ways, chosen
by how many nodes are alive: one by one in Python while there are few; a frontier of arrays; whole
levels of the trie by array gathers where most of it is alive (from the root only). Transitions
that the table lacks are filled when a gather meets them.

Most of a vocabulary is words, and most states that take any word stay what they are: a frontier
stops at a node below which no byte leads elsewhere (a "top"), and says so.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from .arena import Arena
from .derivatives import segments
from .fan import Fan, Places
from .kept import Kept
from .node import Node
from .state_table import StateTable
from .trie import BROKEN_CHARS, TokenTrie

Ints = np.ndarray

NARROW = 192  # nodes to look at up to which Python is faster than arrays
FEW = 24  # nodes from which a walk by arrays goes on in Python
CHAIN = 64  # nodes below each of these, on average, at most
DENSE = 0.3  # share of a level (of bytes, at the root) alive from which it is taken whole

EARLIEST = 3  # level of the trie from which it may be taken whole
ASCII = (1 << 128) - 1  # as a bit set
KEPT = 1 << 20  # bytes of what was found below a few nodes that are kept
PAIR = 100  # bytes of a node and a state in a key
_Parts = list[tuple[Ints, Ints]]  # trie nodes, and the numbers of their states
_ByState = list[tuple[Node, Ints]]  # states, and the trie nodes they reach
_NONE = np.zeros(0, dtype=np.intp)


class Walk:
    """What a walk found, in one of three forms.

    pairs: trie nodes and their states, where there are few. nodes (intp) and index: for each node
    the index of its state in `states`; and tops, with top_index: nodes (among `nodes` too) below
    which all nodes are reached, in that state, or in those `within` a character that lead back to
    it (stays, within: see StateTable). full: int32 for every trie node, the index of
    its state, 0 for those not reached, where most are.
    """

    __slots__ = (
        "full", "index", "nodes", "pairs", "states", "stays", "top_index", "tops",
        "within",
    )  # fmt: skip

    def __init__(
        self,
        states: list[Node],
        nodes: Ints = _NONE,
        index: Ints = _NONE,
        *,
        full: Ints | None = None,
        pairs: list[tuple[int, Node]] | None = None,
        tops: Ints = _NONE,
        top_index: Ints = _NONE,
        table: StateTable | None = None,
    ) -> None:
        self.states = states
        self.tops = tops
        self.top_index = top_index
        # As they are now: the table may start over.
        self.within = _NONE if table is None else table.within
        self.stays = _NONE if table is None else table.stays
        self.nodes = nodes
        self.index = index
        self.full = full
        self.pairs = pairs

    def indexed(self) -> Walk:
        """The same in the second form."""
        if self.full is not None:
            nodes = np.flatnonzero(self.full > 0)
            return Walk(self.states, nodes, self.full[nodes])
        if self.pairs is None:
            return self
        numbers: dict[Node, int] = {}
        index = [numbers.setdefault(state, len(numbers)) for _, state in self.pairs]
        nodes = np.array([node for node, _ in self.pairs], dtype=np.intp)
        return Walk(list(numbers), nodes, np.array(index, dtype=np.int32))

    def spread(self, trie: TokenTrie) -> Walk:
        """The same in the second form, without tops."""
        walk = self.indexed()
        if not len(walk.tops):
            return walk
        below, counts = trie.below(walk.tops)
        inside = walk.within[np.repeat(walk.top_index, counts), trie.char_place[below]]
        return Walk(
            walk.states,
            np.concatenate([walk.nodes, below]),
            np.concatenate([walk.index, inside]),
        )

    def reached(self) -> list[int]:
        """The indices of the states of a walk in the second form."""
        found = np.zeros(len(self.states), dtype=bool)
        found[self.index] = True
        for number in occurring(self.top_index, len(self.states)):
            found[self.within[number]] = True
        return [int(number) for number in np.flatnonzero(found)]


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


def _by_state(nodes: dict[Node, list[int]]) -> _ByState:
    return [(state, np.array(at, dtype=np.intp)) for state, at in nodes.items()]


class Walker:
    def __init__(self, arena: Arena, trie: TokenTrie) -> None:
        self._arena = arena
        self._trie = trie
        self.table = StateTable(arena)
        self.root = Fan(trie, Places(np.zeros(1, dtype=np.intp)))
        self._children = np.diff(trie.first)
        self._partial = arena.alphabet is not None
        self._deep: Kept[tuple[tuple[int, Node], ...], tuple[_ByState, _ByState]] = Kept(KEPT)
        self._alive = self.grown = False

    def forget(self) -> None:
        """Drops what is kept of states, as the arena has forgotten them."""
        self.table.reset()
        self._deep = Kept(KEPT)

    def walk(self, state: Node, sources: Fan, *, alive: bool = False) -> Walk:
        """Every node strictly below a source that `state` reaches without dying. alive: that is all
        one needs to know; a top's state may be larger below it, and `grown` is set if it may."""
        self._alive, self.grown = alive, False
        begun = [
            (children, rest)
            for low, high, rest in segments(self._arena, state)
            if len(children := sources.between(low, high))
        ]
        if sum([len(children) for children, _ in begun]) > NARROW:
            return self._wide(begun, 1 if sources.is_root else None)
        starts = self._trie.starts
        frontier = [
            (child, rest)
            for children, rest in begun
            for child in (children if isinstance(children, list) else children.tolist())
        ]
        found = frontier
        while frontier:
            if sum([starts[node + 1] - starts[node] for node, _ in frontier]) > NARROW:
                return self._on_from(found, frontier)
            frontier = self._below(frontier)
            found = found + frontier
        return Walk([], pairs=found)

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

    def _wide(self, begun: list[tuple[Ints | list[int], Node]], level: int | None) -> Walk:
        """A walk by arrays from its first step on."""
        self.table.begin()
        nodes = np.concatenate([np.asarray(children, dtype=np.intp) for children, _ in begun])
        numbers = np.array([self.table.number(rest) for _, rest in begun], dtype=np.int32)
        states = np.repeat(numbers, [len(children) for children, _ in begun])
        return self._arrays([(nodes, states)], level)

    def _arrays(self, parts: _Parts, level: int | None) -> Walk:
        """Follows the last part downward. `level`: its level of the trie, None where it has none
        of its own."""
        nodes, states = parts[-1]
        tops: _Parts = []
        while nodes.size:
            nodes, states = self._without_tops(nodes, states, tops)
            if level is not None:
                width = self._trie.levels[level + 1] - self._trie.levels[level]
                if level >= EARLIEST and nodes.size > DENSE * width:
                    return self._dense(level, parts, tops)
                level += 1
            if nodes.size <= FEW and int(self._trie.sizes.take(nodes).sum()) <= FEW * CHAIN:
                table = self.table.states
                pairs = zip(nodes.tolist(), states.tolist(), strict=True)
                singly, more = self._deepen([(node, table[at]) for node, at in pairs])
                parts += singly
                tops += more
                break
            nodes, states = self._frontier(nodes, states)
            parts.append((nodes, states))
        every = [np.concatenate([part[side] for part in parts]) for side in (0, 1)]
        if not tops:
            return Walk(self.table.states, *every)
        top, top_index = (np.concatenate([part[side] for part in tops]) for side in (0, 1))
        return Walk(self.table.states, *every, tops=top, top_index=top_index, table=self.table)

    def _without_tops(self, nodes: Ints, states: Ints, tops: _Parts) -> tuple[Ints, Ints]:
        """The nodes below which more is to be found; those that are tops are added to `tops`."""
        # By `take`: indexing by truth values, and of rows of three words, is several times slower.
        trie, table = self._trie, self.table
        inner = np.flatnonzero(trie.branches.take(nodes))
        nodes, states = nodes.take(inner), states.take(inner)
        if self._partial or not nodes.size:
            return nodes, states
        table.fill(states)
        rest = np.flatnonzero(table.rests.take(states))
        if not rest.size:
            return nodes, states
        some, at = nodes.take(rest), states.take(rest)
        under = (table.keeps if self._alive else table.stays).take(at, axis=0)
        moving = trie.bytes_below.take(some, axis=0) & ~under
        still = (moving[:, 0] | moving[:, 1] | moving[:, 2]) == 0
        top = np.flatnonzero(still & (trie.beyond_below.take(some) != BROKEN_CHARS))
        tops.append((some.take(top), at.take(top)))
        if self._alive and not self.grown:
            grows = (table.keeps != table.stays).any(axis=1)
            self.grown = bool(grows.take(at.take(top)).any())
        below = np.ones(nodes.size, dtype=bool)
        below[rest.take(top)] = False
        left = np.flatnonzero(below)
        return nodes.take(left), states.take(left)

    def _frontier(self, nodes: Ints, states: Ints) -> tuple[Ints, Ints]:
        counts = self._children.take(nodes)
        total = int(counts.sum())
        if not total:
            return nodes[:0], states[:0]
        offset = np.cumsum(counts) - counts
        below = np.repeat(self._trie.first.take(nodes) - offset, counts) + np.arange(total)
        after = self.table.next(np.repeat(states, counts), self._trie.label.take(below))
        alive = np.flatnonzero(after)
        return below.take(alive), after.take(alive)

    def _dense(self, level: int, parts: _Parts, tops: _Parts) -> Walk:
        """Takes whole levels while they are wide, and the few nodes of the deep ones singly."""
        levels, parent, label = self._trie.levels, self._trie.parent, self._trie.label
        full = np.zeros(self._trie.size, dtype=np.int32)
        for nodes, states in parts:
            full[nodes] = states
        self._fill_below(full, tops)
        last = level
        while last + 2 < len(levels) and levels[last + 2] - levels[last + 1] > NARROW:
            last += 1
            low, high = levels[last], levels[last + 1]
            full[low:high] = self.table.next(full.take(parent[low:high]), label[low:high])
        low, high = levels[last], levels[last + 1]
        deep = np.flatnonzero(full[low:high] > 0) + low
        table = self.table.states
        pairs = zip(deep.tolist(), full[deep].tolist(), strict=True)
        singly, more = self._deepen([(node, table[number]) for node, number in pairs])
        for nodes, states in singly:
            full[nodes] = states
        self._fill_below(full, more)
        return Walk(self.table.states, full=full)

    def _fill_below(self, full: Ints, tops: _Parts) -> None:
        for nodes, states in tops:
            below, counts = self._trie.below(nodes)
            places = self._trie.char_place[below]
            full[below] = self.table.within[np.repeat(states, counts), places]

    def _deepen(self, frontier: list[tuple[int, Node]]) -> tuple[_Parts, _Parts]:
        """What lies below a few nodes, singly, and the tops. The walks of states that grow into
        each other end in the same few nodes, which are followed once."""
        key = tuple(frontier)
        deep = self._deep.get(key)
        if deep is None:
            deep = self._singly(frontier)
            found = sum([nodes.nbytes for part in deep for _, nodes in part])
            self._deep.put(key, deep, found + len(key) * PAIR)
        number = self.table.number
        singly, tops = (
            [(nodes, np.full(nodes.size, number(state), dtype=np.int32)) for state, nodes in part]
            for part in deep
        )
        for _, states in tops:
            self.table.fill(states)
        return singly, tops

    def _singly(self, frontier: list[tuple[int, Node]]) -> tuple[_ByState, _ByState]:
        """Long tokens are mostly runs of a few bytes, which a state that stays put under them
        takes at once."""
        starts, tail = self._trie.starts, self._trie.tail
        singly: dict[Node, list[int]] = {}
        tops: dict[Node, list[int]] = {}
        moving: dict[Node, int] = {}  # the bytes under which a state does not stay put
        while frontier:
            others: list[tuple[int, Node]] = []
            for node, state in frontier:
                if starts[node] == starts[node + 1]:
                    continue
                if state not in moving:
                    moving[state] = ~self._stays(state)
                if tail(node) & moving[state]:
                    others.append((node, state))
                else:
                    tops.setdefault(state, []).append(node)
            frontier = self._below(others)
            for node, state in frontier:
                singly.setdefault(state, []).append(node)
        return _by_state(singly), _by_state(tops)

    def _stays(self, state: Node) -> int:
        """The ASCII bytes that lead from `state` to itself, as a bit set."""
        bits = 0
        for low, high, rest in segments(self._arena, state):
            if rest is state and not self._partial:
                bits |= (1 << high + 1) - (1 << low)
        return bits & ASCII
