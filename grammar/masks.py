"""Mask rows: which tokens a configuration allows.

A row is the union, over the threads, of the inner row (tokens that end inside the terminal; it
depends on the terminal's state alone and is shared by every grammar of the vocabulary) and of the
crossing tokens (those that reach the terminal's end and go on in what follows), and of the EOS
tokens exactly where the configuration may end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from . import difference, utf8
from .arena import Arena
from .counted import Counted, shape
from .derivatives import takes
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
from .token_set import FEW, TokenSet, of_bits, of_tokens
from .trie import TokenTrie
from .vocabulary import pack_bits
from .walk import SMALL, Fan, Walk, Walker, distinct, exit_nodes, occurring

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

Words = np.ndarray
Ends = list[tuple[Node, Kont]]  # states at the ends of tokens, and what follows them

KEPT_LOOPS = 64  # loop bodies whose walk is kept (2 bytes a token each)
KEPT_FANS = 4096  # places to go on from that are known again, if they are SMALL
_NONE = np.zeros(0, dtype=np.intp)


class Inner:
    """What one state of a terminal does with the vocabulary, or with what of it lies below some
    nodes of its trie (where another terminal has ended).

    tokens: those that end inside. exits: trie nodes at which the terminal may have ended and a
    longer token goes on. ends: the states at the ends of tokens. more: bytes that the turns of a
    counted loop add to what they still need, at most. tail: bytes to the end from the furthest of
    them.
    """

    __slots__ = ("_fan", "ends", "exits", "more", "tail", "tail_tokens", "tokens")

    def __init__(
        self, tokens: TokenSet, exits: np.ndarray, ends: list[Node], more: int = 0
    ) -> None:
        self.tokens = tokens
        self.exits = exits
        self.ends = ends
        self.more = more
        self.tail = more + max((state.shortest for state in ends), default=0)
        self.tail_tokens: int | None = None
        self._fan: Fan | None = None

    @property
    def nbytes(self) -> int:
        return 400 + self.tokens.nbytes + self.exits.nbytes + 8 * len(self.ends)

    def fan(self, fans: Fans) -> Fan:
        if self._fan is None:
            self._fan = fans.at(self.exits)
        return self._fan


class Fans:
    """Places in the trie to go on from: the same few nodes are the same Fan, so that what walks
    from there find is found once."""

    def __init__(self, trie: TokenTrie) -> None:
        self._trie = trie
        self._known: dict[bytes, Fan] = {}

    def at(self, nodes: np.ndarray) -> Fan:
        if len(nodes) > SMALL:
            return Fan(self._trie, nodes)
        key = nodes.tobytes()
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KEPT_FANS:
                self._known.clear()
            found = self._known[key] = Fan(self._trie, nodes)
        return found

    def clear(self) -> None:
        self._known.clear()


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

    __slots__ = ("ends", "tokens")

    def __init__(self, tokens: TokenSet, ends: Ends) -> None:
        self.tokens = tokens
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
        self._fans = Fans(trie)
        vocabulary = trie.vocabulary
        self._vocabulary = vocabulary
        self._generation = arena.generation
        self._inner: OrderedDict[tuple[Node, Fan], Inner] = OrderedDict()
        self._inner_bytes = 0
        self._inner_limit = inner_bytes
        self._nothing = Inner(TokenSet(few=()), _NONE, [])
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
            inner.tokens.add_to(bits)
            if len(inner.exits):
                self.crossing(machine, node, kont).tokens.add_to(bits)
        return bits

    def crossing(self, machine: Machine, node: Node, kont: Kont) -> Crossing:
        """Tokens that reach the end of `node` and go on in what follows it."""
        following = machine.after(kont)
        found: Crossing | None = following.crossings.get(node)
        if found is None:
            found = following.crossings[node] = self._cross(machine, node, following)
        return found

    def _cross(self, machine: Machine, node: Node, following: Config) -> Crossing:
        few: set[int] = set()
        bits: Words | None = None
        ends: dict[tuple[Node, Kont], None] = {}
        waiting: list[tuple[Config, Fan]] = []
        seen: set[tuple[Config, Fan]] = set()

        def enter(config: Config, fan: Fan) -> None:
            step = config, fan
            if self._takes(config) & fan.bytes and step not in seen:
                seen.add(step)
                waiting.append(step)

        enter(following, self.inner(node).fan(self._fans))
        while waiting:
            config, fan = waiting.pop()
            for state, kont in config.threads:
                if not takes(self._arena, state) & fan.bytes:
                    continue
                found = self.inner(state, fan)
                if found.tokens.few is not None:
                    few.update(found.tokens.few)
                else:
                    bits = np.zeros_like(self.eos) if bits is None else bits
                    found.tokens.add_to(bits)
                for end in found.ends:
                    ends[end, kont] = None
                if len(found.exits):
                    enter(machine.after(kont), found.fan(self._fans))
        tokens = TokenSet(few=few)
        if bits is not None:
            tokens.add_to(bits)
            tokens = of_bits(bits)
        return Crossing(tokens, list(ends))

    def _takes(self, config: Config) -> int:
        """The bytes that some thread takes, as a bit set."""
        if config.takes is None:
            config.takes = 0
            for node, _ in config.threads:
                config.takes |= takes(self._arena, node)
        return config.takes

    # -- inner rows --------------------------------------------------------------------------------

    def inner(self, node: Node, fan: Fan | None = None) -> Inner:
        """What a terminal's state does with all the vocabulary, or with what is below `fan`."""
        if self._generation != self._arena.generation:
            self._forget()
        key = node, fan or self.walker.root
        found = self._inner.get(key)
        if found is not None:
            self._inner.move_to_end(key)
            return found
        found = self._make_inner(node) if fan is None else self._walked(node, fan)
        self._inner[key] = found
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
        self._fans.clear()
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
        return self._walked(node, self.walker.root)

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
            found = of_bits(pack_bits(made.tokens(low, high), words))
            return Inner(found, made.leaving(low, high), made.ends, low * made.turn_bytes)
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
        found = of_bits(pack_bits(tokens, words))
        return Inner(found, closed.leaving(low, high), closed.ends, tail)

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
        bits = np.zeros_like(self.eos)
        inner.tokens.add_to(bits)
        exits = [node for node in inner.exits.tolist() if node not in changes]
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
        return Inner(of_bits(bits), np.array(exits, dtype=np.intp), list(ends), inner.more)

    # -- walks as rows -----------------------------------------------------------------------------

    def token_states(self, walk: Walk) -> tuple[Words, Words, np.ndarray, Walk]:
        """The tokens of a walk, for each the index of the state it ends in, the exits, and the
        walk that the index belongs to."""
        walk, trie = walk.spread(self.trie), self.trie
        states = walk.states
        nullable = np.zeros(len(states), dtype=bool)
        reached = occurring(walk.index, len(states))
        nullable[[number for number in reached if states[number].nullable]] = True
        exits = walk.nodes[nullable.take(walk.index) & trie.branches.take(walk.nodes)]
        counts = trie.tokens_from[walk.nodes + 1] - trie.tokens_from[walk.nodes]
        if self._partial:
            dead = [n for n in reached if states[n].shortest >= INFINITE]
            counts[np.isin(walk.index, dead)] = 0
        tokens = trie.tokens_at(walk.nodes[counts > 0])
        return tokens, np.repeat(walk.index, counts), exits, walk

    def _walked(self, node: Node, fan: Fan) -> Inner:
        """A walk of its own for `node`."""
        walk = self.walker.walk(node, fan)
        if walk.pairs is not None:
            return self._digest_pairs(walk.pairs)
        if walk.full is not None:
            return self._digest_full(walk)
        vocabulary = self._vocabulary
        if len(walk.tops):
            return self._digest_tops(walk)
        found, at_ends, exits, walk = self.token_states(walk)
        ends = [walk.states[number] for number in occurring(at_ends, len(walk.states))]
        return Inner(of_tokens(found, vocabulary.size, vocabulary.words), exits, ends)

    def _digest_tops(self, walk: Walk) -> Inner:
        """Where what lies below the tops need not be looked at singly."""
        vocabulary, trie = self._vocabulary, self.trie
        visited = Walk(walk.states, walk.nodes, walk.index)
        tokens, at_ends, exits, _ = self.token_states(visited)
        allowed = trie.allowed_below(walk.tops)
        allowed[tokens] = True
        numbers = set(occurring(at_ends, len(walk.states)))
        for number in occurring(walk.top_index, len(walk.states)):
            tops = walk.tops[walk.top_index == number]
            places = int(np.bitwise_or.reduce(trie.places_below[tops]))
            inside = walk.within[number].tolist()
            numbers.update(state for place, state in enumerate(inside) if places >> place & 1)
            if walk.states[number].nullable:
                below, _ = trie.below(tops)
                between = (trie.char_place[below] % utf8.BROKEN) == 0
                exits = np.concatenate([exits, below[trie.branches[below] & between]])
        ends = [walk.states[number] for number in sorted(numbers)]
        return Inner(of_bits(pack_bits(allowed, vocabulary.words)), exits, ends)

    def _digest_pairs(self, pairs: list[tuple[int, Node]]) -> Inner:
        if not pairs:
            return self._nothing
        starts, carries = self.trie.starts, self.trie.carries
        tokens: list[int] = []
        exits = []
        ends: dict[Node, None] = {}
        for node, state in pairs:
            if carries[node] and state.shortest < INFINITE:
                tokens.extend(self.trie.tokens_of(node))
                ends[state] = None
            if state.nullable and starts[node] < starts[node + 1]:
                exits.append(node)
        found = TokenSet(few=tokens)
        if len(tokens) > FEW:
            found = of_tokens(np.array(tokens), self._vocabulary.size, self._vocabulary.words)
        return Inner(found, np.array(exits, dtype=np.intp) if exits else _NONE, list(ends))

    def _digest_full(self, walk: Walk) -> Inner:
        """For a walk over the whole trie."""
        full, states = walk.full, walk.states
        assert full is not None
        at_ends = full.take(self.trie.node_of)
        if self._partial:
            dead = [n for n in distinct(at_ends, len(states)) if states[n].shortest >= INFINITE]
            at_ends[np.isin(at_ends, dead)] = 0
        ends = [states[number] for number in distinct(at_ends, len(states))]
        bits = pack_bits(at_ends > 0, self._vocabulary.words)
        return Inner(of_bits(bits), exit_nodes(self.trie, walk), ends)
