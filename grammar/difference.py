"""Rows by difference: a complement matters only where a text still runs along what it excludes.

`and(x, not f) r` and `x r` reach the very same node as soon as a text has left `f` behind. So the
two are walked side by side from the root, and only where they differ: for the keys that an object
declares (which its other keys may not be) that is a handful of trie nodes, against a row as wide as
a string's. Where only a few words are excluded from an endless loop, they part for good just where
one of the words is over and `r` begins; nothing is walked then but the words (`excluded`).
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import NamedTuple

from .arena import Arena
from .counted import atomic
from .derivatives import decide, matches, segments, step, takes
from .fan import Fan
from .node import AND, CAT, LITERAL, NOT, REP, WORDS, Node
from .trie import TokenTrie

WIDEST = 100  # bytes that complements take at the root, beyond which that is so at once
LIMIT = 64  # trie nodes that may differ; with more, a walk of its own is as good

Changes = dict[int, Node]  # the state at each trie node where it is not what it is in the base


def base(arena: Arena, node: Node) -> Node | None:
    """`node` without the complements at its front; None where it has none, or nothing else."""
    head, tail = (node.a, node.b) if node.kind == CAT else (node, arena.epsilon)
    if head.kind != AND:
        return None
    positive = [item for item in head.items if item.kind != NOT]
    if not positive or len(positive) == len(head.items):
        return None
    return arena.cat(decide(arena, arena.conjunction(positive)), tail)


class Excluded(NamedTuple):
    """`prefix and(loop, not words) rest`, where loop is x*. base: the same without the words."""

    prefix: bytes
    loop: Node
    words: list[bytes]
    rest: Node
    base: Node


def excluded(arena: Arena, node: Node) -> Excluded | None:
    """How `node` excludes a few words; None where it is another one, and where the next byte does
    not tell a turn from the rest."""
    prefix = arena.epsilon
    if node.kind == CAT and node.a.kind == LITERAL:
        prefix, node = node.a, node.b
    if node.kind != CAT or node.a.kind != AND or node.b.nullable:
        return None
    loop: Node | None = None
    words: list[bytes] = []
    for item in node.a.items:
        if item.kind == REP and item.low == 0 and item.high is None and loop is None:
            loop = item
        elif item.kind == NOT and item.a.kind == LITERAL:
            words.append(item.a.text)
        elif item.kind == NOT and item.a.kind == WORDS:
            only = item.a
            words += [text[only.depth :] for text in only.table[only.low : only.high]]
        else:
            return None
    if loop is None or b"" in words or not atomic(arena, loop.a):
        return None
    if takes(arena, loop) & takes(arena, node.b):
        return None
    base = arena.cat(prefix, arena.cat(loop, node.b))
    return Excluded(prefix.text, loop, words, node.b, base)


def closed(arena: Arena, trie: TokenTrie, where: Excluded, fan: Fan) -> list[int] | None:
    """The trie nodes below a fan that lie behind one of the words and a first byte of the rest:
    what `base` does below them is all that is missing. None where the fan has many places, or some
    below others, from which other ways may lead there."""
    found: list[int] = []
    for word in where.words:
        nodes = fan.along(where.prefix + word)
        if nodes is None:
            return None
        if nodes and matches(arena, where.loop, word):
            if any(map(fan.leads_twice, nodes)):
                return None
            for node in nodes:
                found += _along(trie, node, takes(arena, where.rest))
    return found


def changes(arena: Arena, trie: TokenTrie, node: Node, other: Node) -> Changes | None:
    """Where a walk of `node` from the root finds another state (perhaps EMPTY) than one of `other`;
    None where that is more than LIMIT trie nodes."""
    first = _telling(arena, node, other)
    if first is not None and first.bit_count() > WIDEST:
        return None
    found: Changes = {}
    waiting = [(0, node, other)]
    while waiting:
        at, state, twin = waiting.pop()
        if trie.starts[at] == trie.starts[at + 1]:
            continue
        for child, one, two in _children(arena, trie, at, state, twin):
            found[child] = one
            waiting.append((child, one, two))
        if len(found) > LIMIT:
            return None
    return found


def _children(
    arena: Arena, trie: TokenTrie, at: int, state: Node, twin: Node
) -> list[tuple[int, Node, Node]]:
    """The children of a trie node at which the two states are followed by different ones."""
    found: list[tuple[int, Node, Node]] = []
    bits = _telling(arena, state, twin)
    if bits is None:
        child, end = trie.starts[at], trie.starts[at + 1]
        for low, high, one, two in _unlike(arena, state, twin):
            child = bisect_left(trie.labels, low, child, end)
            while child < end and trie.labels[child] <= high:
                found.append((child, one, two))
                child += 1
        return found
    for child in _along(trie, at, bits):
        byte = trie.labels[child]
        one, two = step(arena, state, byte), step(arena, twin, byte)
        if one is not two:
            found.append((child, one, two))
    return found


def _along(trie: TokenTrie, at: int, bits: int) -> list[int]:
    """The children of a trie node along the bytes of a set."""
    start, end = trie.starts[at], trie.starts[at + 1]
    if end - start < bits.bit_count():
        labels = trie.labels
        return [child for child in range(start, end) if bits >> labels[child] & 1]
    found = []
    while bits:
        child = trie.child(at, (bits & -bits).bit_length() - 1)
        bits &= bits - 1
        if child:
            found.append(child)
    return found


def _telling(arena: Arena, state: Node, twin: Node) -> int | None:
    """The bytes after which `state` and its base `twin` may not be the same, as a bit set: those
    that its complements take, and where it may not end as its base may, those that follow. None
    where `twin` is not its base."""
    if base(arena, state) is not twin:
        return None
    head, tail = (state.a, state.b) if state.kind == CAT else (state, arena.epsilon)
    bits = 0
    for item in head.items:
        if item.kind == NOT:
            bits |= takes(arena, item.a)
    return bits if head.nullable else bits | takes(arena, tail)


def _unlike(arena: Arena, one: Node, two: Node) -> list[tuple[int, int, Node, Node]]:
    """Ranges of bytes after which the two nodes are not the same, in order."""
    left, right = segments(arena, one), segments(arena, two)
    points = sorted({p for low, high, _ in (*left, *right) for p in (low, high + 1)})
    found: list[tuple[int, int, Node, Node]] = []
    i = j = 0
    for start, end in pairwise(points):
        while i < len(left) and left[i][1] < start:
            i += 1
        while j < len(right) and right[j][1] < start:
            j += 1
        a = left[i][2] if i < len(left) and left[i][0] <= start else arena.empty
        b = right[j][2] if j < len(right) and right[j][0] <= start else arena.empty
        if a is not b:
            found.append((start, end - 1, a, b))
    return found
