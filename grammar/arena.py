"""Regular terms over bytes, hash-consed: equal terms are one object, so that states found by one
grammar serve all others.

A `Node` denotes a regular language of byte strings, and doubles as a state of its automaton:
`derivatives.py` computes what remains after a byte. The constructors of `Arena` simplify as they
build, by laws that keep the language: a residual set stays small where the automaton is small.

Invariants (`check_invariants`): A1 a node's children were made before it; A2 a CAT's first part is
no CAT, EPSILON or EMPTY; A3 an ALT has at least two members, none of them an ALT or EMPTY, sorted;
A4 `nullable` agrees with the structure; A5 no node but EMPTY denotes the empty language (AND and
NOT only count once `derivatives.decide` has decided them).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import GrammarError, InvariantError
from .alternatives import drop_tails, merge_counts, merge_heads
from .node import (
    ALT,
    AND,
    BYTES,
    CAT,
    CHUNK,
    EMPTY,
    EPSILON,
    INFINITE,
    LITERAL,
    NOT,
    REP,
    WORDS,
    Node,
    Segments,
)


class Arena:
    """All nodes of one vocabulary. alphabet: the bytes strings may be completed with (None: all).

    Work is done in pieces, each begun by `begin`: a piece that makes more than `allowance` nodes
    ends in a GrammarError, so that no grammar can take the others' time or memory. Between pieces
    an arena of more than `full` nodes forgets those that nobody holds (`forget`).
    """

    def __init__(
        self,
        alphabet: frozenset[int] | None = None,
        *,
        allowance: int = 100_000,
        full: int = 400_000,
    ) -> None:
        self.alphabet = None if alphabet is not None and len(alphabet) == 256 else alphabet
        self.allowance = allowance
        self.full = full
        self.generation = 0
        self._serial = 0
        self._fence = allowance
        self._nodes: dict[tuple[Any, ...], Node] = {}
        self._unions: dict[tuple[int, ...], Node] = {}  # results of alt, by members
        self._joins: dict[tuple[Node, Node], Node] = {}  # results of cat, by parts
        self.chars: dict[tuple[tuple[int, int], ...], Node] = {}  # code point sets, lowered
        self.terms: dict[object, Node] = {}  # terms of the IR, lowered
        self._tables: dict[tuple[bytes, ...], tuple[bytes, ...]] = {}
        self.empty = self._new((EMPTY,), EMPTY)
        self.empty.shortest = INFINITE
        self.epsilon = self._new((EPSILON,), EPSILON)
        self.epsilon.nullable = True
        self.everything = self._negation(self.empty)  # every byte string
        self.everything.decided = True
        self._constants = dict(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def begin(self, allowance: int | None = None) -> None:
        """Starts a piece of work. Nodes held from before stay good; they may be made again."""
        if len(self._nodes) > self.full:
            self.forget()
        self._fence = self._serial + (self.allowance if allowance is None else allowance)

    @property
    def left(self) -> int:
        """Nodes that the piece of work under way may still make."""
        return self._fence - self._serial

    def forget(self) -> None:
        """Lets go of the nodes that nobody holds. `generation` counts how often."""
        self.generation += 1
        for node in self._nodes.values():
            node.raw = node.clamped = None
            if node.kind != BYTES:
                node.segments = None
        for table in (self._nodes, self._unions, self._joins, self.chars, self.terms, self._tables):
            table.clear()
        self._nodes.update(self._constants)

    def _new(self, key: tuple[Any, ...], kind: int) -> Node:
        if self._serial >= self._fence:
            raise GrammarError(
                "the grammar needs too many automaton states at once",
                hint="Simplify it: smaller counters inside counters, fewer alternatives that begin "
                "alike.",
            )
        node = Node(kind, self._serial)
        self._serial += 1
        self._nodes[key] = node
        return node

    # -- leaves ------------------------------------------------------------------------------------

    def literal(self, text: bytes) -> Node:
        """Exactly `text`."""
        if len(text) <= CHUNK:
            return self._chunk(text)
        node = self.epsilon
        for start in range((len(text) - 1) // CHUNK * CHUNK, -1, -CHUNK):
            node = self.cat(self._chunk(text[start : start + CHUNK]), node)
        return node

    def _chunk(self, text: bytes) -> Node:
        if not text:
            return self.epsilon
        key = (LITERAL, text)
        node = self._nodes.get(key)
        if node is None:
            node = self._new(key, LITERAL)
            node.text = text
            within = self.alphabet is None or self.alphabet.issuperset(text)
            node.shortest = len(text) if within else INFINITE
        return node

    def words(self, texts: Iterable[bytes]) -> Node:
        """Any one of the texts."""
        table = tuple(sorted(set(texts)))
        if not table:
            return self.empty
        table = self._tables.setdefault(table, table)
        return self.word_range(table, 0, len(table), 0)

    def word_range(self, table: tuple[bytes, ...], low: int, high: int, depth: int) -> Node:
        """table[low:high] (sorted, of `words`) without the first `depth` bytes they share."""
        if high - low == 1:
            return self.literal(table[low][depth:])
        key = (WORDS, id(table), low, high, depth)
        node = self._nodes.get(key)
        if node is None:
            node = self._new(key, WORDS)
            node.table, node.low, node.high, node.depth = table, low, high, depth
            node.nullable = len(table[low]) == depth
            if self.alphabet is None:
                node.shortest = min(map(len, table[low:high])) - depth
            else:
                within = self.alphabet.issuperset
                lengths = [len(t) for t in table[low:high] if within(t[depth:])]
                node.shortest = min(lengths) - depth if lengths else INFINITE
        return node

    def bytes_node(self, segments: Segments) -> Node:
        """One byte of the segments, then the rest that its segment names. Segments are sorted and
        disjoint; their rests are not EMPTY."""
        if not segments:
            return self.empty
        if len(segments) == 1 and segments[0][0] == segments[0][1]:
            return self.cat(self._chunk(bytes([segments[0][0]])), segments[0][2])
        key = (BYTES, segments)
        node = self._nodes.get(key)
        if node is None:
            node = self._new(key, BYTES)
            node.segments = segments
            node.shortest = min(
                (rest.shortest + 1 for low, high, rest in segments if self.spans(low, high)),
                default=INFINITE,
            )
        return node

    def spans(self, low: int, high: int) -> bool:
        """Whether some byte in low..high is in the alphabet."""
        return self.alphabet is None or any(low <= byte <= high for byte in self.alphabet)

    # -- combinations ------------------------------------------------------------------------------

    def cat(self, first: Node, second: Node) -> Node:
        """`first`, then `second`."""
        if first is self.epsilon or second is self.empty:
            return second
        if second is self.epsilon or first is self.empty:
            return first
        if first.kind != CAT:
            return self._pair(first, second)
        # Right-associated: walk down the spine of `first` until a suffix is known already.
        spine: list[Node] = []
        rest: Node = first
        while rest.kind == CAT:
            known = self._joins.get((rest, second))
            if known is not None:
                break
            spine.append(rest)
            rest = rest.b
        else:
            known = self.cat(rest, second)
        for node in reversed(spine):
            known = self._pair(node.a, known)
            self._joins[node, second] = known
        return known

    def _pair(self, first: Node, second: Node) -> Node:
        """CAT of a `first` that is not one."""
        head, tail = (second.a, second.b) if second.kind == CAT else (second, self.epsilon)
        if first.kind == LITERAL and head.kind == LITERAL:
            if len(first.text) + len(head.text) <= CHUNK:
                return self._pair_node(self._chunk(first.text + head.text), tail)
        elif first.kind == REP and head.kind == REP and first.a is head.a:
            high = None
            if first.high is not None and head.high is not None:
                high = first.high + head.high
            return self.cat(self.rep(first.a, first.low + head.low, high), tail)
        return self._pair_node(first, second)

    def _pair_node(self, first: Node, second: Node) -> Node:
        if second is self.epsilon:
            return first
        key = (CAT, first, second)
        node = self._nodes.get(key)
        if node is None:
            node = self._new(key, CAT)
            node.a, node.b = first, second
            node.nullable = first.nullable and second.nullable
            node.shortest = min(first.shortest + second.shortest, INFINITE)
            node.big = max(first.big, second.big)
            node.deep = max(first.deep, second.deep)
        return node

    def alt(self, items: Iterable[Node]) -> Node:
        """Any of these."""
        flat: dict[int, Node] = {}
        for item in items:
            for member in item.items if item.kind == ALT else (item,):
                flat[member.id] = member
        flat.pop(self.empty.id, None)
        if len(flat) < 2:
            return next(iter(flat.values()), self.empty)
        key = tuple(sorted(flat))
        node = self._unions.get(key)
        if node is None:
            node = self._unions[key] = self._union(flat)
        return node

    def _union(self, flat: dict[int, Node]) -> Node:
        if self.everything.id in flat:
            return self.everything
        drop_tails(flat)
        members = merge_counts(self, merge_heads(self, flat))
        if any(m.nullable for m in members.values() if m is not self.epsilon):
            members.pop(self.epsilon.id, None)
        if len(members) == 1:
            return next(iter(members.values()))
        key = (ALT, *sorted(members))
        node = self._nodes.get(key)
        if node is None:
            node = self._new(key, ALT)
            node.items = tuple(members[number] for number in sorted(members))
            node.nullable = any(item.nullable for item in node.items)
            node.shortest = min(item.shortest for item in node.items)
            node.big = max(item.big for item in node.items)
            node.deep = max(item.deep for item in node.items)
        return node

    def rep(self, item: Node, low: int, high: int | None) -> Node:
        """`item`, low to high times."""
        if high == 0 or item is self.epsilon:
            return self.epsilon
        if item is self.empty:
            return self.empty if low else self.epsilon
        if item.nullable:
            low = 0
        if (low, high) == (1, 1):
            return item
        if item.kind == REP and (item.low, item.high) == (0, 1):
            return self.rep(item.a, 0, high)
        unbounded = item.kind == REP and (item.high is None or high is None)
        if unbounded and (item.low == 0 or max(item.low, low) == 1):
            # (x*){..} and (x?)* are x*; (x+)+ is x+.
            low, high, item = min(low, item.low), None, item.a
        key = (REP, item, low, high)
        node = self._nodes.get(key)
        if node is None:
            node = self._new(key, REP)
            node.a, node.low, node.high = item, low, high
            node.nullable = low == 0
            node.shortest = min(low * item.shortest, INFINITE) if low else 0
            node.big = max(low, high or 0)
            node.deep = max(node.big, item.deep)
        return node

    # -- products ----------------------------------------------------------------------------------

    def conjunction(self, items: Iterable[Node]) -> Node:
        """Strings in all of these; not known to be non-empty yet (`derivatives.decide`)."""
        flat: dict[int, Node] = {}
        for item in items:
            for member in item.items if item.kind == AND else (item,):
                flat[member.id] = member
        flat.pop(self.everything.id, None)
        members = list(flat.values())
        if self.empty.id in flat or any(m.kind == NOT and m.a.id in flat for m in members):
            return self.empty
        if self.epsilon.id in flat:
            return self.epsilon if all(m.nullable for m in members) else self.empty
        if len(members) < 2:
            return members[0] if members else self.everything
        key = (AND, *sorted(flat))
        node = self._nodes.get(key)
        if node is None:
            node = self._new(key, AND)
            node.items = tuple(flat[number] for number in sorted(flat))
            node.nullable = all(member.nullable for member in members)
            node.shortest = max(member.shortest for member in members)
            node.bound = max(m.shortest if m.work is None else m.bound for m in members)
            node.deep = max(member.deep for member in members)
        return node

    def negation(self, node: Node) -> Node:
        """Byte strings that are not in `node`; not known to be non-empty yet."""
        if node is self.everything:
            return self.empty
        if node.kind == NOT:
            return node.a
        return self._negation(node)

    def _negation(self, node: Node) -> Node:
        key = (NOT, node)
        made = self._nodes.get(key)
        if made is None:
            made = self._new(key, NOT)
            made.a = node
            made.nullable = not node.nullable
            made.shortest = made.bound = 0 if made.nullable else 1
            made.deep = node.deep
        return made

    # -- checks ------------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        for node in set(self._nodes.values()):
            inner = [*node.items, *((node.a, node.b) if node.kind in (CAT, REP, NOT) else ())]
            if any(child.id > node.id for child in inner):
                raise InvariantError(f"A1: {node} is older than a child")
            if node.kind == CAT and node.a.kind in (CAT, EPSILON, EMPTY):
                raise InvariantError(f"A2: {node} begins with {node.a}")
            if node.kind == ALT:
                kinds = {member.kind for member in node.items}
                order = [member.id for member in node.items]
                if len(order) < 2 or kinds & {ALT, EMPTY} or order != sorted(set(order)):
                    raise InvariantError(f"A3: {node} has the members {node.items}")
            if node.nullable != _structurally_nullable(node):
                raise InvariantError(f"A4: {node} is nullable={node.nullable}")
            if node.kind == BYTES and any(s[2] is self.empty for s in node.segments or ()):
                raise InvariantError(f"A5: {node} leads nowhere")


def _structurally_nullable(node: Node) -> bool:
    if node.kind == CAT:
        return node.a.nullable and node.b.nullable
    if node.kind == ALT:
        return any(item.nullable for item in node.items)
    if node.kind == AND:
        return all(item.nullable for item in node.items)
    if node.kind == NOT:
        return not node.a.nullable
    if node.kind == WORDS:
        return len(node.table[node.low]) == node.depth
    if node.kind == REP:
        return node.low == 0
    return node.kind == EPSILON
