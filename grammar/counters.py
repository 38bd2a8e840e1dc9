"""Counters cut to what one token can tell apart.

A token of at most `limit` - 1 bytes can advance a counter by fewer than `limit` turns, so that
x{0,1000} and x{0,900} have the same mask. Only counters at the front of what remains are cut: those
on the spine of sequences and in alternatives. Inside products they decide emptiness, and stay.

`loosen` takes upper bounds away altogether, wherever they stand: a token shorter than the bound
cannot reach it, nor can what completes it soonest. So x{0,61} and x{0,40} have the row of x* but
for the longest tokens, and the states of x* stay what they are from turn to turn.
"""

from __future__ import annotations

from .arena import Arena
from .node import ALT, CAT, INFINITE, REP, Node

LEAST = 16  # bounds below it are not taken away: too many tokens could reach them


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


def loosen(arena: Arena, node: Node) -> tuple[Node, int]:
    """`node` without the upper bounds of its counters (but in products), and the smallest of them;
    INFINITE where there was none."""
    if node.deep < LEAST:
        return node, INFINITE
    if node.kind == REP:
        item, least = loosen(arena, node.a)
        if node.high is None or node.high < LEAST:
            return arena.rep(item, node.low, node.high), least
        return arena.rep(item, node.low, None), min(least, node.high)
    if node.kind == ALT:
        items = [loosen(arena, item) for item in node.items]
        return arena.alt([item for item, _ in items]), min(least for _, least in items)
    if node.kind != CAT:
        return node, INFINITE
    spine: list[Node] = []
    bounds: list[int] = []
    while node.kind == CAT:
        part, least = loosen(arena, node.a)
        spine.append(part)
        bounds.append(least)
        node = node.b
    made, least = loosen(arena, node)
    for part in reversed(spine):
        made = arena.cat(part, made)
    return made, min(least, *bounds)
