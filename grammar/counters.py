"""Counters cut to what one token can tell apart.

A token of at most `limit` - 1 bytes can advance a counter by fewer than `limit` turns, so that
x{0,1000} and x{0,900} have the same mask. Only counters at the front of what remains are cut: those
on the spine of sequences and in alternatives. Inside products they decide emptiness, and stay.
"""

from __future__ import annotations

from .arena import Arena
from .node import ALT, CAT, REP, Node


def clamp(arena: Arena, node: Node, limit: int) -> Node:
    """`node` with every front counter at most `limit` (always the same limit for one arena)."""
    if node.big <= limit:
        return node
    if node.clamped is None:
        node.clamped = _clamp(arena, node, limit)
    return node.clamped


def _clamp(arena: Arena, node: Node, limit: int) -> Node:
    if node.kind == REP:
        high = None if node.high is None else min(node.high, limit)
        return arena.rep(node.a, min(node.low, limit), high)
    if node.kind == ALT:
        return arena.alt([clamp(arena, item, limit) for item in node.items])
    if node.kind != CAT:
        return node
    spine: list[Node] = []
    while node.kind == CAT and node.big > limit:
        spine.append(clamp(arena, node.a, limit))
        node = node.b
    cut = clamp(arena, node, limit)
    for part in reversed(spine):
        cut = arena.cat(part, cut)
    return cut
