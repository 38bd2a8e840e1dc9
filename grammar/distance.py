"""How far a terminal's state is from its end, in tokens.

`tokens` bounds the tokens that complete a state, from above: the greedy tokenisation of its
shortest string, the first by byte order among those. That choice makes the bound a potential:
after the first token of that tokenisation, the bound of the state reached is smaller by one. So a
budget that is enough once stays enough, token by token.

Long repetitions are cut: x^n is counted as x^(n mod 64) and blocks of x^64, which keeps both the
work and the property.
"""

from __future__ import annotations

from .arena import Arena
from .derivatives import shortest
from .node import ALT, AND, BYTES, CAT, CHUNK, INFINITE, LITERAL, NOT, REP, WORDS, Node
from .trie import TokenTrie

# Bytes to be tokenised together, and whole numbers for parts already counted in tokens.
Pieces = tuple[bytes | int, ...]


def tokens(arena: Arena, trie: TokenTrie, node: Node) -> int:
    """An upper bound of the tokens from `node` to its end; INFINITE where there is none."""
    if node.tail_cost is None:
        if node.shortest >= INFINITE:
            node.tail_cost = INFINITE
        else:
            node.tail_cost = _count(trie, _pieces(arena, trie, node))
    return node.tail_cost


def _count(trie: TokenTrie, pieces: Pieces) -> int:
    return sum(p if isinstance(p, int) else trie.greedy_length(p) for p in pieces)


def _pieces(arena: Arena, trie: TokenTrie, node: Node) -> Pieces:
    if node.pieces is None:
        node.pieces = _find(arena, trie, node)
    return node.pieces


def _find(arena: Arena, trie: TokenTrie, node: Node) -> Pieces:
    if node.nullable:
        return ()
    if node.kind == LITERAL:
        return (node.text,)
    if node.kind == WORDS:
        within = arena.alphabet
        rests = [text[node.depth :] for text in node.table[node.low : node.high]]
        rests = [rest for rest in rests if within is None or within.issuperset(rest)]
        return (min(rests, key=lambda rest: (len(rest), rest)),)
    if node.kind == BYTES:
        for low, high, rest in node.segments or ():
            if rest.shortest == node.shortest - 1 and arena.spans(low, high):
                byte = low
                if arena.alphabet is not None:
                    byte = min(b for b in arena.alphabet if low <= b <= high)
                return _join((bytes([byte]),), _pieces(arena, trie, rest))
    if node.kind == CAT:
        parts: Pieces = ()
        while node.kind == CAT:
            parts = _join(parts, _pieces(arena, trie, node.a))
            node = node.b
        return _join(parts, _pieces(arena, trie, node))
    if node.kind == ALT:
        nearest = [item for item in node.items if item.shortest == node.shortest]
        return min((_pieces(arena, trie, item) for item in nearest), key=_order)
    if node.kind == REP:
        return _repeated(trie, _pieces(arena, trie, node.a), node.low)
    if node.kind in (AND, NOT):
        return (shortest(arena, node),)
    raise AssertionError(f"{node!r} has no shortest string")


def _repeated(trie: TokenTrie, unit: Pieces, times: int) -> Pieces:
    if len(unit) == 1 and isinstance(unit[0], bytes) and len(unit[0]) <= CHUNK:
        blocks, rest = divmod(times, CHUNK)
        start: Pieces = (unit[0] * rest,) if rest else ()
        return (*start, blocks * trie.greedy_length(unit[0] * CHUNK)) if blocks else start
    return (times * _count(trie, unit),)


def _join(one: Pieces, other: Pieces) -> Pieces:
    if one and other and isinstance(one[-1], bytes) and isinstance(other[0], bytes):
        return (*one[:-1], one[-1] + other[0], *other[1:])
    return one + other


def _order(pieces: Pieces) -> tuple[bytes, int]:
    """Byte order where the bytes are known."""
    first = pieces[0]
    return (first, len(pieces)) if isinstance(first, bytes) else (b"", first)
