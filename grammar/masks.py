"""Mask rows: which tokens a configuration allows.

A row is the union, over the threads, of the inner row (tokens that end inside the terminal; it
depends on the terminal's state alone and is shared by every grammar of the vocabulary) and of the
crossing tokens (those that reach the terminal's end and go on in what follows), and of the EOS
tokens exactly where the configuration may end.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from .arena import INFINITE, Arena, Node
from .machine import Config, Kont, Machine
from .pool import MaskPool
from .trie import TokenTrie
from .vocabulary import pack_bits
from .walk import Fan, Walk, Walker

Words = np.ndarray
Reach = tuple[list[int], list[Node]]  # trie nodes to leave by, states at the ends of tokens
Ends = list[tuple[Node, Kont]]  # states at the ends of tokens, and what follows them

SPARSE = 1024  # tokens up to which an inner row is kept as pairs (word, bits)
_NO_TOKENS = np.zeros(0, dtype=np.int32)


class Inner:
    """What one state of a terminal does with the vocabulary.

    bits uint32[words], or sparse (word numbers, their bits): the tokens that end inside.
    exits: trie nodes at which the terminal may have ended and a longer token goes on.
    ends: the states at the ends of tokens. tail: bytes to the end from the furthest of them.
    """

    __slots__ = ("_fan", "bits", "ends", "exits", "sparse", "tail", "tail_tokens")

    def __init__(
        self, bits: Words | None, sparse: tuple[Words, Words] | None, reach: Reach
    ) -> None:
        self.bits = bits
        self.sparse = sparse
        self.exits, self.ends = reach
        self.tail = max((state.shortest for state in self.ends), default=0)
        self.tail_tokens: int | None = None
        self._fan: Fan | None = None

    @property
    def nbytes(self) -> int:
        return 256 + (0 if self.bits is None else self.bits.nbytes) + 8 * len(self.exits)

    def fan(self, trie: TokenTrie) -> Fan:
        if self._fan is None:
            self._fan = Fan(trie, self.exits)
        return self._fan


class Crossing:
    """What follows a terminal's end within a token: the tokens, and where they leave it."""

    __slots__ = ("ends", "sparse")

    def __init__(self, sparse: tuple[Words, Words], ends: Ends) -> None:
        self.sparse = sparse
        self.ends = ends


class Rows:
    """Rows of one vocabulary. inner_bytes: budget of the inner rows kept."""

    def __init__(
        self, arena: Arena, trie: TokenTrie, pool: MaskPool, inner_bytes: int = 64 << 20
    ) -> None:
        self.pool = pool
        self.trie = trie
        self.walker = Walker(arena, trie)
        vocabulary = trie.vocabulary
        self._vocabulary = vocabulary
        self._inner: OrderedDict[Node, Inner] = OrderedDict()
        self._inner_bytes = 0
        self._inner_limit = inner_bytes
        self._has_children = np.diff(trie.first) > 0
        self._partial = arena.alphabet is not None
        eos = np.zeros(vocabulary.size, dtype=bool)
        eos[list(vocabulary.eos_ids)] = True
        self.eos = pack_bits(eos, vocabulary.words)

    # -- rows of configurations --------------------------------------------------------------------

    def row(self, machine: Machine, config: Config) -> int:
        """The pool's row for `config`."""
        config = machine.clamp(config)
        if config.row is None or not self.pool.valid(*config.row):
            config.row = self.pool.add(self._build(machine, config))
        return config.row[0]

    def _build(self, machine: Machine, config: Config) -> Words:
        bits = self.eos.copy() if config.can_end else np.zeros_like(self.eos)
        for node, kont in config.threads:
            inner = self.inner(node)
            if inner.bits is not None:
                np.bitwise_or(bits, inner.bits, out=bits)
            elif inner.sparse is not None:
                bits[inner.sparse[0]] |= inner.sparse[1]
            if inner.exits:
                where, what = self.crossing(machine, node, kont).sparse
                bits[where] |= what
        return bits

    def crossing(self, machine: Machine, node: Node, kont: Kont) -> Crossing:
        """Tokens that reach the end of `node` and go on in what follows it."""
        following = machine.after(kont)
        found: Crossing | None = following.crossings.get(node)
        if found is None:
            found = following.crossings[node] = self._cross(machine, node, following)
        return found

    def _cross(self, machine: Machine, node: Node, following: Config) -> Crossing:
        tokens: list[Words] = []
        ends: dict[tuple[int, int], tuple[Node, Kont]] = {}
        waiting: list[tuple[Config, Fan]] = []
        if following.threads:
            waiting.append((following, self.inner(node).fan(self.trie)))
        while waiting:
            config, sources = waiting.pop()
            for state, kont in config.threads:
                walk = self.walker.walk(state, sources)
                some, (exits, states) = self._digest(walk)
                tokens.append(some)
                for end in states:
                    ends[end.id, kont.id] = (end, kont)
                if exits:
                    beyond = machine.after(kont)
                    if beyond.threads:
                        waiting.append((beyond, Fan(self.trie, exits)))
        every = np.unique(np.concatenate(tokens)) if tokens else _NO_TOKENS
        return Crossing(_pairs(every), list(ends.values()))

    # -- inner rows --------------------------------------------------------------------------------

    def inner(self, node: Node) -> Inner:
        """The inner row of a terminal's state."""
        found = self._inner.get(node)
        if found is not None:
            self._inner.move_to_end(node)
            return found
        walk = self.walker.walk(node, self.walker.root)
        if walk.full is not None:
            found = self._digest_full(walk)
        else:
            tokens, ends = self._digest(walk)
            if tokens.size <= SPARSE:
                found = Inner(None, _pairs(np.sort(tokens)), ends)
            else:
                allowed = np.zeros(self._vocabulary.size, dtype=bool)
                allowed[tokens] = True
                found = Inner(pack_bits(allowed, self._vocabulary.words), None, ends)
        self._inner[node] = found
        self._inner_bytes += found.nbytes
        while self._inner_bytes > self._inner_limit and len(self._inner) > 1:
            _, dropped = self._inner.popitem(last=False)
            self._inner_bytes -= dropped.nbytes
        return found

    def token_states(self, walk: Walk) -> tuple[Words, Words, list[int]]:
        """The tokens of a walk, for each the index of the state it ends in, and the exits."""
        if walk.full is not None:
            nodes = np.flatnonzero(walk.full > 0)
            walk = Walk(walk.states, nodes, walk.full[nodes])
        states, trie = walk.states, self.trie
        exits: list[int] = []
        for number in np.unique(walk.index).tolist():
            if states[number].nullable:
                at = walk.nodes[walk.index == number]
                exits += at[self._has_children[at]].tolist()
        low, high = trie.tokens_from[walk.nodes], trie.tokens_from[walk.nodes + 1]
        counts = high - low
        if self._partial:
            dead = [n for n in np.unique(walk.index).tolist() if states[n].shortest >= INFINITE]
            counts[np.isin(walk.index, dead)] = 0
        tokens = trie.tokens_at(walk.nodes[counts > 0])
        return tokens, np.repeat(walk.index, counts), exits

    def _digest(self, walk: Walk) -> tuple[Words, Reach]:
        """The tokens of a walk, its exits, and the states at the tokens' ends."""
        tokens, ends, exits = self.token_states(walk)
        return tokens, (exits, [walk.states[number] for number in np.unique(ends).tolist()])

    def _digest_full(self, walk: Walk) -> Inner:
        """As `_digest`, for a walk over the whole trie."""
        full, states = walk.full, walk.states
        assert full is not None
        seen = np.zeros(len(states), dtype=bool)
        seen[full] = True
        seen[0] = False
        reached = np.flatnonzero(seen).tolist()
        exits: list[int] = []
        for number in reached:
            if states[number].nullable:
                exits += np.flatnonzero((full == number) & self._has_children).tolist()
        at_ends = full[self.trie.node_of[: self._vocabulary.size]]
        if self._partial:
            dead = [n for n in reached if states[n].shortest >= INFINITE]
            at_ends[np.isin(at_ends, dead)] = 0
        seen[:] = False
        seen[at_ends] = True
        seen[0] = False
        ends = [states[number] for number in np.flatnonzero(seen).tolist()]
        return Inner(pack_bits(at_ends > 0, self._vocabulary.words), None, (exits, ends))


def _pairs(tokens: Words) -> tuple[Words, Words]:
    """Sorted token ids as (word numbers, the bits set in them)."""
    if not tokens.size:
        return _NO_TOKENS, np.zeros(0, dtype=np.uint32)
    where = tokens >> 5
    what = np.uint32(1) << (tokens & 31).astype(np.uint32)
    starts = np.flatnonzero(np.concatenate([[True], where[1:] != where[:-1]]))
    return where[starts], np.bitwise_or.reduceat(what, starts)
