"""Counted products: one walk of the vocabulary for `and(p, x{low,high}) r` and every count.

A pattern together with a length is the common case. As in `counted.py` the walk goes over the
unbounded `and(p, x*) r` and notes the turns; but here a state is alive only if it can be completed
in the turns that are left. So the unbounded product is closed once, and a table tells for each of
its states and each n the fewest bytes that complete it in exactly n turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arena import Arena
from .counted import FEWEST, atomic, narrow
from .derivatives import decide, segments
from .node import AND, CAT, REP, Node
from .token_set import TokenSet, Whole
from .trie import TokenTrie
from .turns import begins, tagged
from .walk import Walker, occurring

STATES = 300  # of the unbounded product, beyond which it is not closed
SMALL = 16  # counts in the other members above which the product is not closed
TURNS = 2000  # least counts above it are not looked ahead to
_LONGEST_TURN = 64  # bytes
_FAR = 1 << 30

Ints = np.ndarray


@dataclass(frozen=True)
class ProductShape:
    """The state `before`, then the product of `others` and of `loop` (a REP, perhaps in the middle
    of a turn, of which `turn` remains), then `rest`."""

    before: Node
    others: tuple[Node, ...]
    turn: Node
    loop: Node
    rest: Node

    @property
    def key(self) -> tuple[Node, ...]:
        return self.before, *self.others, self.turn, self.loop.a, self.rest


def product_shape(arena: Arena, node: Node) -> ProductShape | None:
    """How `node` is a counted product; None where it is none."""
    before = arena.epsilon
    head, rest = (node.a, node.b) if node.kind == CAT else (node, arena.epsilon)
    if head.kind != AND and not head.nullable:
        before = head
        head, rest = (rest.a, rest.b) if rest.kind == CAT else (rest, arena.epsilon)
    if head.kind != AND:
        return None
    best: tuple[int, Node, Node, Node] | None = None
    for item in head.items:
        turn, loop = (item.a, item.b) if item.kind == CAT else (arena.epsilon, item)
        if loop.kind == REP:
            count = max(loop.low, loop.high or 0)
            if count > max(FEWEST, best[0] if best else 0):
                best = (count, item, turn, loop)
    if best is None:
        return None
    _, counted, turn, loop = best
    others = tuple(item for item in head.items if item is not counted)
    return ProductShape(before, others, turn, loop, rest)


def unbounded(arena: Arena, found: ProductShape) -> Node:
    """The state without the upper bound of its count."""
    counted = arena.cat(found.turn, arena.rep(found.loop.a, found.loop.low, None))
    product = decide(arena, arena.conjunction([*found.others, counted]))
    return arena.cat(found.before, arena.cat(product, found.rest))


def can_be_closed(arena: Arena, found: ProductShape) -> bool:
    """Whether turns can be told apart, and counters elsewhere do not multiply the states."""
    if found.loop.low > TURNS or any(item.deep > SMALL for item in found.others):
        return False
    first = segments(arena, found.loop.a)
    if narrow(first):
        return False
    if any(a <= d and c <= b for a, b, _ in first for c, d, _ in segments(arena, found.rest)):
        return False
    return all(atomic(arena, part) for part in (found.loop.a, found.turn, found.before))


class Closure:
    """The states of the unbounded product, and how they are completed.

    index: number of a state by its node. fewest int64[n + 1, states]: the fewest bytes that
    complete a state in exactly n more turns (the current one not counted), _FAR where none do.
    """

    def __init__(self, arena: Arena, start: Node, star: Node) -> None:
        self.index: dict[Node, int] = {start: 0}
        order = [start]
        after: list[set[int]] = []
        for state in order:
            after.append(set())
            for _, _, target in segments(arena, state):
                number = self.index.setdefault(target, len(order))
                if number == len(order):
                    order.append(target)
                after[-1].add(number)
            if len(order) > STATES:
                raise TooLarge
        self.between = np.array([_between(arena, state, star) for state in order])
        self._nullable = np.array([state.nullable for state in order])
        self._edges = [np.array(sorted(targets), dtype=np.intp) for targets in after]
        self._finish = self._finishing()
        self._measure()

    def _finishing(self) -> Ints:
        """int64[states, states]: bytes from a state to one between turns, within the same turn."""
        size = len(self._edges)
        bytes_to = np.full((size, size), _FAR, dtype=np.int64)
        bytes_to[self.between, self.between] = 0
        inside = np.flatnonzero(~self.between).tolist()
        for _ in range(_LONGEST_TURN):
            before = bytes_to.copy()
            for state in inside:
                if self._edges[state].size:
                    nearest = bytes_to[self._edges[state]].min(axis=0) + 1
                    bytes_to[state] = np.minimum(bytes_to[state], nearest)
            if (bytes_to == before).all():
                return bytes_to
        raise TooLarge

    def _measure(self) -> None:
        states = np.flatnonzero(self.between)
        self.span = len(states)  # turns in which every completion can be repeated
        turn = np.full((len(self._edges), self.span), _FAR, dtype=np.int64)
        for state in states.tolist():
            if self._edges[state].size:
                turn[state] = self._finish[self._edges[state]][:, states].min(axis=0) + 1
        self._turn = turn[states]
        self._rows = [np.where(self._nullable[states], 0, _FAR)]
        self._states = states

    def fewest(self, turns: int) -> Ints:
        """The table up to `turns`."""
        while len(self._rows) <= turns:
            self._rows.append(np.minimum((self._turn + self._rows[-1]).min(axis=1), _FAR))
        known = np.stack(self._rows[: turns + 1])
        ways = self._finish[:, self._states]
        table = np.full((turns + 1, len(ways)), _FAR, dtype=np.int64)
        for state, bytes_to in enumerate(ways):
            near = np.flatnonzero(bytes_to < _FAR)
            if near.size:
                table[:, state] = (known[:, near] + bytes_to[near]).min(axis=1)
        return np.minimum(table, _FAR)


def _between(arena: Arena, state: Node, star: Node) -> bool:
    """Whether `state` of the product stands between two turns."""
    if state.kind == AND:
        return star in state.items
    return state is star or state is arena.epsilon


class TooLarge(Exception):
    """The product has too many states, or turns, to be closed."""


class Products:
    """The walk over `before and(others, turn x*) rest`, with its turns. Raises TooLarge."""

    def __init__(self, arena: Arena, trie: TokenTrie, walker: Walker, found: ProductShape) -> None:
        star = arena.rep(found.loop.a, 0, None)
        relaxed = arena.cat(found.turn, star)
        start = decide(arena, arena.conjunction([*found.others, relaxed]))
        self._closure = Closure(arena, start, star)
        self._behind = found.rest.shortest
        named = {arena.cat(state, found.rest): n for state, n in self._closure.index.items()}
        if len(named) < len(self._closure.index):
            raise TooLarge
        start = arena.cat(found.before, arena.cat(start, found.rest))
        walk = walker.walk(start, walker.root).indexed()
        number_of = np.full(len(walk.states), -1, dtype=np.intp)
        for number in walk.reached():
            number_of[number] = named.get(walk.states[number], -1)
        between = np.append(self._closure.between, False)[number_of]
        from_between = found.before is arena.epsilon and bool(self._closure.between[0])
        marks = tagged(trie, walk, between, begins(arena, found.loop.a), from_between)

        tags = int(marks.tags.max(initial=0)) + 1
        pairs = marks.at_ends.astype(np.intp) * tags + marks.tags
        known = np.array(occurring(pairs, len(walk.states) * tags), dtype=np.intp)
        codes = np.zeros(len(walk.states) * tags, dtype=np.intp)
        codes[known] = np.arange(len(known))
        vocabulary = trie.vocabulary
        self._tokens = Whole(marks.tokens, codes[pairs], vocabulary.size, vocabulary.words)
        self._state = number_of[known // tags]
        self._turns = known % tags >> 1
        self._left = known % tags & 1 == 1
        numbers = occurring(marks.at_ends, len(walk.states))
        self.ends = [walk.states[number] for number in numbers]
        self._exits = marks.exits
        self._exit_turns = marks.exit_tags >> 1

    def tokens(self, low: int, high: int | None) -> tuple[TokenSet, int]:
        """The tokens that end inside the terminal, for a loop of low to high turns; and how many
        bytes the furthest of them is from the end, at most."""
        most = _FAR if high is None else high
        turns, state, left = self._turns, self._state, self._left
        done = (turns >= low) & (turns <= most)
        # What can be completed in n turns can be so without repetition: look `span` turns ahead.
        least = np.maximum(low - turns, 0)
        table = self._closure.fewest(low + self._closure.span)
        bytes_left = np.full(len(turns), _FAR, dtype=np.int64)
        inside = np.flatnonzero((state >= 0) & ~left & (turns <= most))
        for pair in inside.tolist():
            end = min(most - int(turns[pair]), int(least[pair]) + self._closure.span)
            ways = table[int(least[pair]) : end + 1, int(state[pair])]
            bytes_left[pair] = ways.min(initial=_FAR)
        alive = np.where(left, done, (state < 0) | (bytes_left < _FAR))
        far = max((end.shortest for end in self.ends), default=0)
        near = bytes_left[alive & (bytes_left < _FAR)]
        tail = self._behind + int(near.max(initial=0)) + far
        return self._tokens.of(alive), tail

    def leaving(self, low: int, high: int | None) -> Ints:
        """The trie nodes at which the terminal may have ended and a longer token goes on."""
        most = _FAR if high is None else high
        keep = (self._exit_turns >= low) & (self._exit_turns <= most)
        nodes: Ints = self._exits[keep]
        return nodes
