"""In which state of a terminal each token ends: what distances to an end are made of.

A row needs to know only that a token ends inside (inner.py). Where a budget of tokens is short, how
far each one's state is from an end counts too. Wide states are few, and all grammars share them, so
what was found for them is kept.
"""

from __future__ import annotations

import numpy as np

from .arena import Arena
from .fan import Fan, Places
from .inner import Digester
from .kept import Kept
from .node import EMPTY, Node
from .trie import TokenTrie
from .walk import Walker, distinct, exit_nodes, occurring

Ints = np.ndarray

WIDE = 4096  # tokens from which a reach is kept
KEPT_BYTES = 8 << 20


class Reach:
    """tokens: those that end inside, None for the whole vocabulary. index: for each of them where
    its state is among `states`. fan: where tokens go on behind the terminal; None: nowhere."""

    __slots__ = ("fan", "index", "states", "tokens")

    def __init__(
        self, states: list[Node], index: Ints, tokens: Ints | None, fan: Fan | None
    ) -> None:
        self.states = states
        self.index = index
        self.tokens = tokens
        self.fan = fan

    @property
    def ends(self) -> list[Node]:
        """The states at the ends of tokens."""
        return [state for state in self.states if state.kind != EMPTY]


class Reaches:
    """Of one vocabulary. Those of wide states from the root are kept."""

    def __init__(self, arena: Arena, trie: TokenTrie, walker: Walker, digester: Digester) -> None:
        self._arena = arena
        self._trie = trie
        self._walker = walker
        self._digester = digester
        self._kept: Kept[Node, Reach] = Kept(KEPT_BYTES)

    def clear(self) -> None:
        self._kept = Kept(KEPT_BYTES)

    def of(self, node: Node, sources: Fan) -> Reach:
        """Where tokens from the places `sources` on end inside `node`."""
        found = self._kept.get(node) if sources.is_root else None
        if found is None:
            found = self._find(node, sources)
            if sources.is_root and (found.tokens is None or len(found.tokens) >= WIDE):
                found = self._whole(found)
                exits = 0 if found.fan is None else self._trie.size  # of a wide fan
                self._kept.put(node, found, found.index.nbytes + exits + 100)
        return found

    def _find(self, node: Node, sources: Fan) -> Reach:
        walk = self._walker.walk(node, sources)
        if walk.full is None:
            tokens, ends, exits, walk = self._digester.token_states(walk)
            numbers = occurring(ends, len(walk.states))
        else:
            ends = walk.full.take(self._trie.node_of)
            tokens, exits = None, exit_nodes(self._trie, walk)
            numbers = [0, *distinct(ends, len(walk.states))]
        # Few of a walk's states are at the ends of tokens; number 0 of a full one is EMPTY.
        place = np.zeros(max(len(walk.states), 1), dtype=np.int32)
        place[numbers] = np.arange(len(numbers), dtype=np.int32)
        states = [walk.states[number] for number in numbers]
        fan = Fan(self._trie, Places(exits)) if len(exits) else None
        return Reach(states, place.take(ends), tokens, fan)

    def _whole(self, reach: Reach) -> Reach:
        """The same for the whole vocabulary, where EMPTY stands first among the states."""
        if reach.tokens is None:
            return reach
        index = np.zeros(self._trie.vocabulary.size, dtype=np.min_scalar_type(len(reach.states)))
        index[reach.tokens] = reach.index + 1
        return Reach([self._arena.empty, *reach.states], index, None, reach.fan)
