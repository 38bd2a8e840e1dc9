"""Inner rows: what one state of a terminal does with the vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .arena import Arena
from .fan import Fan, Places
from .node import INFINITE, Node
from .token_set import FEW, TokenSet, of_bits, of_tokens
from .trie import TokenTrie
from .vocabulary import pack_bits
from .walk import Walk, distinct, exit_nodes, occurring

Ints = np.ndarray


class Inner:
    """What a state does with the vocabulary, or with what of it lies below some places of its trie
    (where another terminal has ended).

    tokens: those that end inside. exits: where the terminal may have ended and a longer token goes
    on. more: bytes that the turns of a counted loop add to what they still need, at most. tail:
    bytes to the end from the furthest state at the end of a token, at most.
    """

    __slots__ = ("_ends", "exits", "more", "tail", "tail_tokens", "tokens")

    def __init__(
        self,
        tokens: TokenSet,
        exits: Places,
        ends: list[Node] | Callable[[], list[Node]],
        more: int = 0,
        tail: int | None = None,
    ) -> None:
        """ends: may say later what it is; then `tail` is given."""
        self.tokens = tokens
        self.exits = exits
        self.more = more
        self._ends = ends
        if tail is None:
            tail = more + max((state.shortest for state in self.ends), default=0)
        self.tail = tail
        self.tail_tokens: int | None = None

    @property
    def ends(self) -> list[Node]:
        """The states at the ends of tokens."""
        if not isinstance(self._ends, list):
            self._ends = self._ends()
        return self._ends

    @property
    def nbytes(self) -> int:
        known = len(self._ends) if isinstance(self._ends, list) else 0
        return 400 + self.tokens.nbytes + self.exits.nbytes + 8 * known


class Digester:
    """Makes inner rows of walks. partial: the vocabulary lacks some bytes, so that a state may be
    alive and never come to an end."""

    def __init__(self, trie: TokenTrie, *, partial: bool) -> None:
        self._trie = trie
        self._partial = partial
        self._size, self._words = trie.vocabulary.size, trie.vocabulary.words
        self._nothing = Inner(TokenSet(few=()), Places(), [])

    def digest(self, walk: Walk) -> Inner:
        """The inner row of the state whose walk this is."""
        if walk.pairs is not None:
            return self._of_pairs(walk.pairs) if walk.pairs else self._nothing
        if walk.full is not None:
            return self._of_full(walk)
        if len(walk.tops):
            return self._of_tops(walk)
        found, at_ends, exits, walk = self.token_states(walk)
        ends = [walk.states[number] for number in occurring(at_ends, len(walk.states))]
        return Inner(of_tokens(found, self._size, self._words), Places(exits), ends)

    def literal(self, text: bytes, fan: Fan, arena: Arena) -> Inner | None:
        """The inner row of a literal, along its bytes without a state for each; None where many
        places lie in the fan."""
        places = fan.between(text[0], text[0])
        if len(places) > FEW:
            return None
        find, starts, carries = self._trie.labels.find, self._trie.starts, self._trie.carries
        tokens: list[int] = []
        exits: list[int] = []
        behind: set[int] = set()  # bytes taken at the ends of tokens
        end = len(text)
        for place in places:
            at, taken = int(place), 1
            while at > 0:
                if carries[at]:
                    tokens += self._trie.tokens_of(at)
                    behind.add(taken)
                if taken == end:
                    if starts[at] < starts[at + 1]:
                        exits.append(at)
                    break
                at = find(text[taken], starts[at], starts[at + 1])
                taken += 1
        found = TokenSet(few=tokens)
        if len(tokens) > FEW:
            found = of_tokens(np.array(tokens), self._size, self._words)
        return Inner(
            found,
            Places(np.array(exits, dtype=np.intp)) if exits else Places(),
            lambda: [arena.literal(text[taken:]) for taken in behind],
            tail=end - min(behind, default=end),
        )

    def token_states(self, walk: Walk) -> tuple[Ints, Ints, Ints, Walk]:
        """The tokens of a walk, for each the index of the state it ends in, the exits, and the
        walk that the index belongs to."""
        walk, trie = walk.spread(self._trie), self._trie
        states = walk.states
        nullable = np.zeros(len(states), dtype=bool)
        reached = occurring(walk.index, len(states))
        nullable[[number for number in reached if states[number].nullable]] = True
        exits = walk.nodes[nullable.take(walk.index) & trie.branches.take(walk.nodes)]
        tokens, at = trie.carried(walk.nodes)
        at_ends = walk.index.take(at)
        if self._partial:
            dead = [n for n in reached if states[n].shortest >= INFINITE]
            alive = ~np.isin(at_ends, dead)
            tokens, at_ends = tokens[alive], at_ends[alive]
        return tokens, at_ends, exits, walk

    def _of_tops(self, walk: Walk) -> Inner:
        """What lies below the tops need not be looked at singly."""
        states, trie = walk.states, self._trie
        visited = Walk(states, walk.nodes, walk.index)
        tokens, at_ends, exits, _ = self.token_states(visited)
        allowed = trie.allowed_below(walk.tops)
        allowed[tokens] = True
        numbers = set(occurring(at_ends, len(states)))
        nullable = np.zeros(len(states), dtype=bool)
        for number in occurring(walk.top_index, len(states)):
            below = trie.places_below[walk.tops[walk.top_index == number]]
            places = int(np.bitwise_or.reduce(below))
            inside = walk.within[number].tolist()
            numbers.update(state for place, state in enumerate(inside) if places >> place & 1)
            nullable[number] = states[number].nullable
        tops = walk.tops[nullable.take(walk.top_index)]
        ends = [states[number] for number in sorted(numbers)]
        return Inner(of_bits(pack_bits(allowed, self._words)), Places(exits, tops), ends)

    def _of_pairs(self, pairs: list[tuple[int, Node]]) -> Inner:
        starts, carries = self._trie.starts, self._trie.carries
        tokens: list[int] = []
        exits = []
        ends: dict[Node, None] = {}
        for node, state in pairs:
            if carries[node] and state.shortest < INFINITE:
                tokens.extend(self._trie.tokens_of(node))
                ends[state] = None
            if state.nullable and starts[node] < starts[node + 1]:
                exits.append(node)
        found = TokenSet(few=tokens)
        if len(tokens) > FEW:
            found = of_tokens(np.array(tokens), self._size, self._words)
        places = Places(np.array(exits, dtype=np.intp)) if exits else Places()
        return Inner(found, places, list(ends))

    def _of_full(self, walk: Walk) -> Inner:
        full, states = walk.full, walk.states
        assert full is not None
        at_ends = full.take(self._trie.node_of)
        if self._partial:
            dead = [n for n in distinct(at_ends, len(states)) if states[n].shortest >= INFINITE]
            at_ends[np.isin(at_ends, dead)] = 0
        ends = [states[number] for number in distinct(at_ends, len(states))]
        bits = pack_bits(at_ends > 0, self._words)
        return Inner(of_bits(bits), Places(exit_nodes(self._trie, walk)), ends)
