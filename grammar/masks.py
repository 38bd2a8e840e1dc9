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

from . import difference
from .arena import Arena
from .counted import WIDE, Counted, shape
from .counters import loosen
from .derivatives import step, takes
from .fan import Fan, Fans, Places, union
from .inner import Digester, Inner
from .machine import Config, Kont, Machine
from .node import ALT, CAT, LITERAL, Node
from .pool import MaskPool
from .products import (
    Products,
    ProductShape,
    TooLarge,
    can_be_closed,
    product_shape,
    unbounded,
)
from .reach import Reaches
from .token_set import TokenSet, of_bits, put
from .trie import TokenTrie
from .vocabulary import pack_bits
from .walk import Walker

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

Words = np.ndarray

FEW_LONG = 100  # tokens and places behind an upper bound that are looked at singly
KEPT_LOOPS = 64  # loop bodies whose walk is kept (2 bytes a token each)


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


class Spelled:
    """The states that a state comes to along the bytes of trie nodes, each found once."""

    def __init__(self, arena: Arena, trie: TokenTrie, start: Node) -> None:
        self._arena = arena
        self._trie = trie
        self._known = {0: start}

    def at(self, node: int) -> Node:
        way = [node]
        while way[-1] not in self._known:
            way.append(int(self._trie.parent[way[-1]]))
        state = self._known[way.pop()]
        for child in reversed(way):
            if state is not self._arena.empty:
                state = step(self._arena, state, self._trie.labels[child])
            self._known[child] = state
        return state


class Crossing:
    """What follows a terminal's end within a token: the tokens; parts: rows of the terminals they
    end in, and what follows these."""

    __slots__ = ("parts", "tokens")

    def __init__(self, tokens: TokenSet, parts: list[tuple[Inner, Kont]]) -> None:
        self.tokens = tokens
        self.parts = parts


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
        self._partial = arena.alphabet is not None
        self.digester = Digester(trie, partial=self._partial)
        self.reaches = Reaches(arena, trie, self.walker, self.digester)
        eos = np.zeros(vocabulary.size, dtype=bool)
        eos[list(vocabulary.eos_ids)] = True
        self.eos = pack_bits(eos, vocabulary.words)
        self._nothing = np.zeros_like(self.eos)

    # -- rows of configurations --------------------------------------------------------------------

    def row(self, machine: Machine, config: Config) -> int:
        """The pool's row for `config`."""
        config = machine.clamp(config)
        if config.row is None or not self.pool.valid(*config.row):
            config.row = self.pool.add(self._build(machine, config))
        return config.row[0]

    def _build(self, machine: Machine, config: Config) -> Words:
        bits = self.eos.copy() if config.can_end else self._nothing.copy()
        few: list[int] = []
        for node, kont in config.threads:
            inner = self.inner(node)
            sets = [inner.tokens]
            if inner.exits:
                sets.append(self.crossing(machine, node, kont).tokens)
            for tokens in sets:
                if tokens.few is None:
                    tokens.add_to(bits)
                else:
                    few.extend(tokens.few)
        put(few, bits)
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
        parts: list[tuple[Inner, Kont]] = []
        waiting: list[tuple[Config, Fan]] = []
        seen: set[tuple[Config, Fan]] = set()

        def enter(config: Config, fan: Fan) -> None:
            step = config, fan
            if self._takes(config) & fan.bytes and step not in seen:
                seen.add(step)
                waiting.append(step)

        if following.threads:
            enter(following, self._fans.at(self.inner(node).exits))
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
                if found.tokens:
                    parts.append((found, kont))
                if found.exits:
                    enter(machine.after(kont), self._fans.at(found.exits))
        tokens = TokenSet(few=few)
        if bits is not None:
            tokens.add_to(bits)
            tokens = of_bits(bits)
        return Crossing(tokens, parts)

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
        found = self._make_inner(node) if fan is None else self._below(node, fan)
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
        self.walker.forget()
        self.reaches.clear()

    def _make_inner(self, node: Node) -> Inner:
        if self._partial:
            return self._walked(node, self.walker.root)
        found = self._counted_inner(node) or self._without(node, self.walker.root)
        if found is not None:
            return found
        other = difference.base(self._arena, node)
        found = self._united(node) if other is None else self._by_difference(node, other)
        return found or self._loosened(node) or self._walked(node, self.walker.root)

    def _united(self, node: Node) -> Inner | None:
        """The row of alternatives as the union of theirs, where that saves a walk: a state of
        `.*needle.*` is one that many share, or a narrow one."""
        head, tail = (node.a, node.b) if node.kind == CAT else (node, self._arena.epsilon)
        if head.kind != ALT or takes(self._arena, node).bit_count() < WIDE:
            return None
        ways = [self._arena.cat(item, tail) for item in head.items]
        root = self.walker.root
        wide = [way for way in ways if takes(self._arena, way).bit_count() >= WIDE]
        if len(wide) > 1 and not any((way, root) in self._inner for way in wide):
            return None
        inners = [self.inner(way) for way in ways]
        exits = union([inner.exits for inner in inners], self.trie)
        if exits is None:
            return None
        bits = np.zeros_like(self.eos)
        for inner in inners:
            inner.tokens.add_to(bits)
        return Inner(
            of_bits(bits), exits, self._ends_of(node, root), tail=max(i.tail for i in inners)
        )

    def _loosened(self, node: Node) -> Inner | None:
        """The row of `node` by that without its upper bounds; None where they matter too much."""
        loose, bound = loosen(self._arena, node)
        if loose is node:
            return None
        inner = self.inner(loose)
        bits = np.zeros_like(self.eos)
        inner.tokens.add_to(bits)
        long = self.trie.longer_than(bound)
        long = long[(bits[long >> 5] >> (long & 31).astype(np.uint32) & 1).astype(bool)]
        places = inner.exits.deeper_than(self.trie, bound)
        if len(long) + len(places) > FEW_LONG:
            return None
        states = Spelled(self._arena, self.trie, node)
        tail = inner.tail
        for token in long.tolist():
            state = states.at(int(self.trie.node_of[token]))
            if state is self._arena.empty:
                bits[token >> 5] &= ~np.uint32(1 << (token & 31))
            else:
                tail = max(tail, state.shortest)
        if any(not states.at(place).nullable for place in places):
            return None
        return Inner(of_bits(bits), inner.exits, self._ends_of(node, self.walker.root), tail=tail)

    def _ends_of(self, node: Node, fan: Fan) -> Callable[[], list[Node]]:
        """The states at the ends of tokens, for who wants them."""
        return lambda: self.reaches.of(node, fan).ends

    def _by_difference(self, node: Node, other: Node) -> Inner | None:
        changes = difference.changes(self._arena, self.trie, node, other)
        return None if changes is None else self._changed(self.inner(other), changes)

    def _without(self, node: Node, fan: Fan) -> Inner | None:
        """The row of a state that excludes a few words, by that of one which does not."""
        where = difference.excluded(self._arena, node)
        if where is None:
            return None
        closed = difference.closed(self._arena, self.trie, where, fan)
        if closed is None:
            return None
        inner = self.inner(where.base, None if fan is self.walker.root else fan)
        tokens, exits = inner.tokens, inner.exits
        if closed:
            tokens = tokens.without(np.concatenate([self.trie.tokens_within(at) for at in closed]))
            exits = exits.outside(self.trie, closed)
        # As many turns more as there are words lead to a text that is none of them.
        tail = inner.tail + len(where.words) * where.loop.a.shortest
        return Inner(tokens, exits, self._ends_of(node, fan), tail=tail)

    def _below(self, node: Node, fan: Fan) -> Inner:
        found = None if self._partial else self._without(node, fan)
        return found or self._walked(node, fan)

    def _walked(self, node: Node, fan: Fan) -> Inner:
        if node.kind == LITERAL and not self._partial:
            found = self.digester.literal(node.text, fan, self._arena)
            if found is not None:
                return found
        found = self.digester.digest(self.walker.walk(node, fan, alive=True))
        if not self.walker.grown:
            return found
        return Inner(found.tokens, found.exits, self._ends_of(node, fan), tail=found.tail)

    def _counted_inner(self, node: Node) -> Inner | None:
        """The row of a state that is a counted loop or product; None for any other.

        Not for a vocabulary without some bytes: counts do not tell what it can complete.
        """
        loop = shape(self._arena, node)
        if loop is not None:
            low, high = loop.loop.low, loop.loop.high
            made = self._loops.get(
                loop.key, lambda: Counted(self._arena, self.trie, self.walker, loop)
            )
            places = Places(made.leaving(low, high))
            return Inner(made.tokens(low, high), places, made.ends, low * made.turn_bytes)
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
        return Inner(tokens, Places(closed.leaving(low, high)), closed.ends, tail)

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
        listed = inner.exits.listed(self.trie).tolist()
        exits = [node for node in listed if node not in changes]
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
        places = Places(np.array(exits, dtype=np.intp))
        return Inner(of_bits(bits), places, list(ends), inner.more)
