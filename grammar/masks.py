"""Mask rows: which tokens a configuration allows.

A row is the union, over the threads, of the inner row (tokens that end inside the terminal; it
depends on the terminal's state alone and is shared by every grammar of the vocabulary) and of the
crossing tokens (those that reach the terminal's end and go on in what follows), and of the EOS
tokens exactly where the configuration may end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

import numpy as np

from . import difference
from .arena import Arena
from .counted import Counted, shape
from .machine import Config, Kont, Machine
from .node import INFINITE, Node
from .pool import MaskPool
from .products import (
    Products,
    ProductShape,
    TooLarge,
    can_be_closed,
    product_shape,
    unbounded,
)
from .trie import TokenTrie
from .vocabulary import pack_bits
from .walk import Fan, Walk, Walker, distinct, exit_nodes

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

Words = np.ndarray
Reach = tuple[list[int], list[Node]]  # trie nodes to leave by, states at the ends of tokens
Ends = list[tuple[Node, Kont]]  # states at the ends of tokens, and what follows them

KEPT_LOOPS = 64  # loop bodies whose walk is kept (2 bytes a token each)
SPARSE = 1024  # tokens up to which an inner row is kept as pairs (word, bits)


class Inner:
    """What one state of a terminal does with the vocabulary.

    bits uint32[words], or sparse (word numbers, their bits): the tokens that end inside.
    exits: trie nodes at which the terminal may have ended and a longer token goes on.
    ends: the states at the ends of tokens. more: bytes that the turns of a counted loop add to what
    they still need, at most. tail: bytes to the end from the furthest of them.
    """

    __slots__ = ("_fan", "bits", "ends", "exits", "more", "sparse", "tail", "tail_tokens")

    def __init__(
        self,
        bits: Words | None,
        sparse: tuple[Words, Words] | None,
        reach: Reach,
        more: int = 0,
    ) -> None:
        self.bits = bits
        self.sparse = sparse
        self.exits, self.ends = reach
        self.more = more
        self.tail = more + max((state.shortest for state in self.ends), default=0)
        self.tail_tokens: int | None = None
        self._fan: Fan | None = None

    @property
    def nbytes(self) -> int:
        return 256 + (0 if self.bits is None else self.bits.nbytes) + 8 * len(self.exits)

    def fan(self, trie: TokenTrie) -> Fan:
        if self._fan is None:
            self._fan = Fan(trie, self.exits)
        return self._fan


class Kept(Generic[_Key, _Value]):
    """The `limit` values that were wanted last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[_Key, _Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        found = self._values.get(key)
        if found is None:
            found = self._values[key] = make()
            if len(self._values) > self._limit:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return found

    def clear(self) -> None:
        self._values.clear()


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
        self._arena = arena
        self._loops: Kept[tuple[Node, ...], Counted] = Kept(KEPT_LOOPS)
        self._products: Kept[tuple[Node, ...], Products | TooLarge] = Kept(KEPT_LOOPS)
        self.walker = Walker(arena, trie)
        vocabulary = trie.vocabulary
        self._vocabulary = vocabulary
        self._generation = arena.generation
        self._inner: OrderedDict[Node, Inner] = OrderedDict()
        self._inner_bytes = 0
        self._inner_limit = inner_bytes
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
        tokens: set[int] = set()
        ends: dict[tuple[int, int], tuple[Node, Kont]] = {}
        waiting: list[tuple[Config, Fan]] = []
        if following.threads:
            waiting.append((following, self.inner(node).fan(self.trie)))
        while waiting:
            config, sources = waiting.pop()
            for state, kont in config.threads:
                walk = self.walker.walk(state, sources)
                some, (exits, states) = self._digest(walk)
                tokens.update(some)
                for end in states:
                    ends[end.id, kont.id] = (end, kont)
                if exits:
                    beyond = machine.after(kont)
                    if beyond.threads:
                        waiting.append((beyond, Fan(self.trie, exits)))
        return Crossing(_pairs(tokens), list(ends.values()))

    # -- inner rows --------------------------------------------------------------------------------

    def inner(self, node: Node) -> Inner:
        """The inner row of a terminal's state."""
        if self._generation != self._arena.generation:
            self._forget()
        found = self._inner.get(node)
        if found is not None:
            self._inner.move_to_end(node)
            return found
        found = self._inner[node] = self._make_inner(node)
        self._inner_bytes += found.nbytes
        while self._inner_bytes > self._inner_limit and len(self._inner) > 1:
            _, dropped = self._inner.popitem(last=False)
            self._inner_bytes -= dropped.nbytes
        return found

    def _forget(self) -> None:
        """The arena has forgotten its nodes: rows kept for them would only keep them alive."""
        self._generation = self._arena.generation
        self._inner.clear()
        self._inner_bytes = 0
        self._loops.clear()
        self._products.clear()
        self.walker.table.reset()

    def _make_inner(self, node: Node) -> Inner:
        found = None if self._partial else self._counted_inner(node)
        if found is not None:
            return found
        other = None if self._partial else difference.base(self._arena, node)
        if other is not None:
            changes = difference.changes(self._arena, self.trie, node, other)
            if changes is not None:
                return self._changed(self.inner(other), changes)
        walk = self.walker.walk(node, self.walker.root)
        if walk.full is not None:
            return self._digest_full(walk)
        tokens, ends = self._digest(walk)
        if len(tokens) <= SPARSE:
            return Inner(None, _pairs(tokens), ends)
        allowed = np.zeros(self._vocabulary.size, dtype=bool)
        allowed[tokens] = True
        return Inner(pack_bits(allowed, self._vocabulary.words), None, ends)

    def _counted_inner(self, node: Node) -> Inner | None:
        """The row of a state that is a counted loop or product; None for any other.

        Not for a vocabulary without some bytes: counts do not tell what it can complete.
        """
        words = self._vocabulary.words
        loop = shape(self._arena, node)
        if loop is not None:
            low, high = loop.loop.low, loop.loop.high
            made = self._loops.get(
                loop.key, lambda: Counted(self._arena, self.trie, self.walker, loop)
            )
            reach = (made.leaving(low, high), made.ends)
            return Inner(
                pack_bits(made.tokens(low, high), words), None, reach, low * made.turn_bytes
            )
        product = product_shape(self._arena, node)
        if product is None:
            return None
        open_end = self._unbounded_inner(product)
        if open_end is not None:
            return open_end
        if not can_be_closed(self._arena, product):
            return None
        closed = self._products.get(product.key, lambda: self._close(product))
        if isinstance(closed, TooLarge):
            return None
        low, high = product.loop.low, product.loop.high
        tokens, tail = closed.tokens(low, high)
        reach = (closed.leaving(low, high), closed.ends)
        return Inner(pack_bits(tokens, words), None, reach, tail)

    def _unbounded_inner(self, product: ProductShape) -> Inner | None:
        """The row without the upper bound of the count, where the bound lies so far off that it
        cannot matter: no token takes more turns than bytes, nor does what completes it."""
        high, longest = product.loop.high, self.trie.longest
        if high is None or high <= longest:
            return None
        inner = self.inner(unbounded(self._arena, product))
        return inner if high >= longest + inner.tail else None

    def _close(self, product: ProductShape) -> Products | TooLarge:
        try:
            return Products(self._arena, self.trie, self.walker, product)
        except TooLarge as error:
            return error

    def _changed(self, inner: Inner, changes: difference.Changes) -> Inner:
        """`inner` where some trie nodes are reached in other states."""
        bits = np.zeros_like(self.eos) if inner.bits is None else inner.bits.copy()
        if inner.sparse is not None:
            bits[inner.sparse[0]] = inner.sparse[1]
        exits = [node for node in inner.exits if node not in changes]
        ends = dict.fromkeys(inner.ends)
        for node, state in changes.items():
            alive = state is not self._arena.empty
            for token in self.trie.tokens_of(node):
                bit = np.uint32(1 << (token & 31))
                bits[token >> 5] = bits[token >> 5] | bit if alive else bits[token >> 5] & ~bit
                if alive:
                    ends[state] = None
            if state.nullable and self.trie.branches[node]:
                exits.append(node)
        return Inner(bits, None, (exits, list(ends)), inner.more)

    def token_states(self, walk: Walk) -> tuple[Words, Words, list[int], Walk]:
        """The tokens of a walk, for each the index of the state it ends in, the exits, and the
        walk that the index belongs to."""
        walk, trie = walk.spread(), self.trie
        states = walk.states
        reached = np.unique(walk.index).tolist()
        exits: list[int] = []
        for number in reached:
            if states[number].nullable:
                at = walk.nodes[walk.index == number]
                exits += at[trie.branches[at]].tolist()
        counts = trie.tokens_from[walk.nodes + 1] - trie.tokens_from[walk.nodes]
        if self._partial:
            dead = [n for n in reached if states[n].shortest >= INFINITE]
            counts[np.isin(walk.index, dead)] = 0
        tokens = trie.tokens_at(walk.nodes[counts > 0])
        return tokens, np.repeat(walk.index, counts), exits, walk

    def _digest(self, walk: Walk) -> tuple[list[int], Reach]:
        """The tokens of a walk, its exits, and the states at the tokens' ends."""
        if walk.pairs is None:
            found, at_ends, exits, walk = self.token_states(walk)
            ends = [walk.states[number] for number in np.unique(at_ends).tolist()]
            return found.tolist(), (exits, ends)
        starts, carries = self.trie.starts, self.trie.carries
        tokens: list[int] = []
        exits = []
        seen: dict[int, Node] = {}
        for node, state in walk.pairs:
            if carries[node] and state.shortest < INFINITE:
                tokens.extend(self.trie.tokens_of(node))
                seen[state.id] = state
            if state.nullable and starts[node] < starts[node + 1]:
                exits.append(node)
        return tokens, (exits, list(seen.values()))

    def _digest_full(self, walk: Walk) -> Inner:
        """As `_digest`, for a walk over the whole trie."""
        full, states = walk.full, walk.states
        assert full is not None
        at_ends = full.take(self.trie.node_of)
        if self._partial:
            dead = [n for n in distinct(at_ends, len(states)) if states[n].shortest >= INFINITE]
            at_ends[np.isin(at_ends, dead)] = 0
        ends = [states[number] for number in distinct(at_ends, len(states))]
        bits = pack_bits(at_ends > 0, self._vocabulary.words)
        return Inner(bits, None, (exit_nodes(self.trie, walk), ends))


def _pairs(tokens: Collection[int]) -> tuple[Words, Words]:
    """Token ids as (word numbers, the bits set in them)."""
    words: dict[int, int] = {}
    for token in tokens:
        words[token >> 5] = words.get(token >> 5, 0) | 1 << (token & 31)
    return np.array(list(words), dtype=np.intp), np.array(list(words.values()), dtype=np.uint32)
