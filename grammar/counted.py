"""Counted loops: one walk of the vocabulary serves every count.

For a state `p x{low,high} r` the walk goes over `p x* r` instead, and each trie node remembers how
many turns of `x` were begun on the way and whether the loop was left. The rows of all counts follow
by comparison: inside the loop a token stays if it began at most `high` turns, behind it if it took
low to high turns. Without this, `x{0,200}` would make its own states for each count on the way.

It applies where a text tells its turns apart: `x` and `p` have no text that begins another one, and
the byte after the loop shows whether a turn or `r` begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arena import Arena
from .derivatives import segments
from .node import CAT, REP, Node
from .trie import TokenTrie
from .walk import Walker, distinct, exit_nodes

FEWEST = 4  # counts up to which the loop's own states are as good
WIDE = 24  # bytes a turn may begin with, below which a walk of its own costs less
_SPINE = 4  # parts of a sequence in which the loop is looked for
_STATES = 400  # states of a turn looked at

Ints = np.ndarray


@dataclass(frozen=True)
class Shape:
    """The state `before`, then `loop` (a REP), then `rest`."""

    before: Node
    loop: Node
    rest: Node

    @property
    def key(self) -> tuple[Node, Node, Node]:
        return self.before, self.loop.a, self.rest


def shape(arena: Arena, node: Node) -> Shape | None:
    """How `node` is a counted loop; None where it is none, or turns cannot be told apart."""
    before: list[Node] = []
    rest = node
    for _ in range(_SPINE):
        part, behind = (rest.a, rest.b) if rest.kind == CAT else (rest, arena.epsilon)
        if part.kind == REP and max(part.low, part.high or 0) > FEWEST:
            start = arena.epsilon
            for item in reversed(before):
                start = arena.cat(item, start)
            return _told_apart(arena, Shape(start, part, behind))
        if part.nullable or rest.kind != CAT:
            return None
        before.append(part)
        rest = behind
    return None


def _told_apart(arena: Arena, found: Shape) -> Shape | None:
    if not atomic(arena, found.loop.a) or not atomic(arena, found.before):
        return None
    turn, rest = segments(arena, found.loop.a), segments(arena, found.rest)
    if sum(high - low + 1 for low, high, _ in turn) < WIDE:
        return None
    overlap = any(a <= d and c <= b for a, b, _ in turn for c, d, _ in rest)
    return None if overlap else found


def atomic(arena: Arena, node: Node) -> bool:
    """Whether no text of `node` begins another one."""
    if node.atomic is None:
        seen = {node}
        waiting = [node]
        node.atomic = True
        while waiting:
            state = waiting.pop()
            if len(seen) > _STATES or (state.nullable and state is not arena.epsilon):
                node.atomic = False
                break
            fresh = {rest for _, _, rest in segments(arena, state)} - seen
            seen |= fresh
            waiting.extend(fresh)
    return node.atomic


class Counted:
    """The walk over `before turn* rest`, with its turns.

    A tag is twice the turns begun on the way to a trie node, plus one behind the loop.
    codes int16[V]: for each token its node's tag plus one; 0 where it is not reached.
    """

    def __init__(self, arena: Arena, trie: TokenTrie, walker: Walker, found: Shape) -> None:
        turn = found.loop.a
        self.turn_bytes = turn.shortest
        boundary = arena.cat(arena.rep(turn, 0, None), found.rest)
        walk = walker.walk_full(arena.cat(found.before, boundary))
        states, full = walk.states, walk.full
        assert full is not None
        between = full == (states.index(boundary) if boundary in states else -1)
        tags = tags_of(trie, between, found.before is arena.epsilon, begins(arena, turn))

        ends = full.take(trie.node_of)
        self.codes = (tags.take(trie.node_of) + 1) * (ends > 0)
        self.ends = [states[number] for number in distinct(ends, len(states))]
        self.exits = exit_nodes(trie, walk)
        self.exit_turns = tags[self.exits] >> 1

    def tokens(self, low: int, high: int | None) -> Ints:
        """bool[V]: the tokens that end inside the terminal, for a loop of low to high turns."""
        tags = np.arange(int(self.codes.max(initial=0)))
        turns, left = tags >> 1, tags & 1
        keep = (turns <= _most(high)) & ((left == 0) | (turns >= low))
        found: Ints = np.concatenate([[False], keep]).take(self.codes)
        return found

    def leaving(self, low: int, high: int | None) -> Ints:
        """The trie nodes at which the terminal may have ended and a longer token goes on."""
        keep = (self.exit_turns >= low) & (self.exit_turns <= _most(high))
        nodes: Ints = self.exits[keep]
        return nodes


def _most(high: int | None) -> int:
    return np.iinfo(np.int16).max if high is None else high


def begins(arena: Arena, turn: Node) -> Ints:
    """int16[256]: what a byte adds to the tag of a node between two turns."""
    adds = np.ones(256, dtype=np.int16)
    for low, high, _ in segments(arena, turn):
        adds[low : high + 1] = 2
    return adds


def tags_of(trie: TokenTrie, between: Ints, from_between: bool, adds: Ints) -> Ints:
    """int16[N]: the tags of the nodes that were reached. between bool[N]: the nodes whose state
    stands between two turns; from_between: whether the root's does."""
    tags = np.zeros(trie.size, dtype=np.int16)
    between[0] = from_between
    added = adds.take(trie.label)
    parent, levels = trie.parent, trie.levels
    for level in range(1, len(levels) - 1):
        low, high = levels[level], levels[level + 1]
        above = parent[low:high]
        before = tags.take(above)
        starts = between.take(above) & (before & 1 == 0)
        tags[low:high] = before + starts * added[low:high]
    return tags
