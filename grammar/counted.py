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
from .node import CAT, REP, Node, Segments
from .token_set import TokenSet, Whole
from .trie import TokenTrie
from .turns import begins, tagged
from .walk import Walker, occurring

FEWEST = 4  # counts up to which the loop's own states are as good
WIDE = 24  # bytes of ASCII a turn may begin with, below which a walk of its own costs less
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
    if narrow(turn):
        return None
    overlap = any(a <= d and c <= b for a, b, _ in turn for c, d, _ in rest)
    return None if overlap else found


def narrow(turn: Segments) -> bool:
    """Whether so little begins a turn that a walk of its own for each count costs less."""
    beyond = turn and turn[-1][1] > 0x7F  # such a byte begins many characters
    return not beyond and sum(high - low + 1 for low, high, _ in turn) < WIDE


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

    It keeps the tokens that are reached, by their tags (turns.py).
    """

    def __init__(self, arena: Arena, trie: TokenTrie, walker: Walker, found: Shape) -> None:
        turn = found.loop.a
        self.turn_bytes = turn.shortest
        boundary = arena.cat(arena.rep(turn, 0, None), found.rest)
        walk = walker.walk(arena.cat(found.before, boundary), walker.root).indexed()
        between = np.zeros(len(walk.states), dtype=bool)
        between[[n for n in walk.reached() if walk.states[n] is boundary]] = True
        from_before = found.before is arena.epsilon
        marks = tagged(trie, walk, between, begins(arena, turn), from_before)
        self._tags = np.arange(int(marks.tags.max(initial=-1)) + 1)
        vocabulary = trie.vocabulary
        self._tokens = Whole(marks.tokens, marks.tags, vocabulary.size, vocabulary.words)
        numbers = occurring(marks.at_ends, len(walk.states))
        self.ends = [walk.states[number] for number in numbers]
        turns = marks.exit_tags >> 1
        order = np.argsort(turns, kind="stable")
        self.exits, self.exit_turns = marks.exits[order], turns[order]

    def tokens(self, low: int, high: int | None) -> TokenSet:
        """The tokens that end inside the terminal, for a loop of low to high turns."""
        turns, left = self._tags >> 1, self._tags & 1
        return self._tokens.of((turns <= _most(high)) & ((left == 0) | (turns >= low)))

    def leaving(self, low: int, high: int | None) -> Ints:
        """The trie nodes at which the terminal may have ended and a longer token goes on."""
        start, end = np.searchsorted(self.exit_turns, [low, _most(high) + 1])
        nodes: Ints = self.exits[start:end]
        return nodes


def _most(high: int | None) -> int:
    return np.iinfo(np.int16).max if high is None else high
