"""Records: texts that end at the first byte of a kind, as lines do."""

from __future__ import annotations

from .arena import Arena
from .derivatives import segments
from .node import ALT, AND, BYTES, CAT, LITERAL, NOT, REP, WORDS, Node

_ALL = (1 << 256) - 1


def is_record(arena: Arena, node: Node) -> bool:
    """Whether `node` ends with a literal whose first byte occurs nowhere before it: then no text of
    it begins another one."""
    seen = 0
    while node.kind == CAT:
        seen |= _bytes(arena, node.a, {})
        node = node.b
    return node.kind == LITERAL and seen > 0 and not seen >> node.text[0] & 1


def _bytes(arena: Arena, node: Node, known: dict[Node, int]) -> int:
    """The bytes that occur in texts of `node`, and perhaps others, as a bit set."""
    if node in known:
        return known[node]
    found = 0
    if node.kind == LITERAL:
        found = sum(1 << byte for byte in set(node.text))
    elif node.kind == WORDS:
        table = node.table[node.low : node.high]
        found = sum(1 << byte for byte in set(b"".join(table)))
    elif node.kind == BYTES:
        for low, high, rest in segments(arena, node):
            found |= (1 << high + 1) - (1 << low) | _bytes(arena, rest, known)
    elif node.kind == CAT:
        rest = node
        while rest.kind == CAT:  # no recursion: it may have many parts
            found |= _bytes(arena, rest.a, known)
            rest = rest.b
        found |= _bytes(arena, rest, known)
    elif node.kind == REP:
        found = _bytes(arena, node.a, known)
    elif node.kind == ALT:
        for item in node.items:
            found |= _bytes(arena, item, known)
    elif node.kind == AND:
        found = _ALL
        for item in node.items:
            found &= _bytes(arena, item, known)
    elif node.kind == NOT:
        found = _ALL
    known[node] = found
    return found
