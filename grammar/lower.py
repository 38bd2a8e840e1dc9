"""IR terms to arena nodes: code points become UTF-8, so no string of a node is half a character."""

from __future__ import annotations

from ..errors import GrammarError
from . import ir
from .arena import Arena
from .charsets import ANY, Ranges, union
from .derivatives import decide
from .node import Node

MAX_DEPTH = 250  # terms inside terms
KEPT_TERMS = 4096
_SURROGATES = (0xD800, 0xDFFF)
# The last code point of each UTF-8 length, and how the first byte of that length begins.
_LAST_OF_LENGTH = (0x7F, 0x7FF, 0xFFFF, 0x10FFFF)
_LEAD = (0x00, 0xC0, 0xE0, 0xF0)

_Sequence = tuple[tuple[int, int], ...]  # byte ranges, one after the other


def terminal(arena: Arena, term: ir.Regular) -> Node:
    """As `lower`, remembering the answer: grammars use the same terms over and over."""
    found = arena.terms.get(term)
    if found is None:
        if len(arena.terms) >= KEPT_TERMS:
            arena.terms.clear()
        found = arena.terms[term] = lower(arena, term)
    return found


def lower(arena: Arena, term: ir.Regular, depth: int = 0) -> Node:
    """The node that denotes `term`; EMPTY where nothing matches it. Raises GrammarError."""
    if depth > MAX_DEPTH:
        raise GrammarError(f"a pattern nested more than {MAX_DEPTH} deep")
    if isinstance(term, ir.Lit):
        return arena.literal(_encode(term.text))
    if isinstance(term, ir.Chars):
        return _chars(arena, term.ranges)
    if isinstance(term, ir.Rep):
        if term.low < 0 or (term.high is not None and term.high < term.low):
            raise GrammarError(expected="0 <= low <= high", got=f"{term.low}..{term.high}")
        return arena.rep(lower(arena, term.item, depth + 1), term.low, term.high)
    if isinstance(term, ir.Cat):
        node = arena.epsilon
        for item in reversed(term.items):
            node = arena.cat(lower(arena, item, depth + 1), node)
        return node
    if isinstance(term, ir.Alt):
        return _alt(arena, term.items, depth)
    if isinstance(term, ir.Not):
        return _and(arena, (term,), depth)
    return _and(arena, term.items, depth)


def _alt(arena: Arena, items: tuple[ir.Regular, ...], depth: int) -> Node:
    """Literals become one sorted table, single characters one set."""
    words: list[bytes] = []
    ranges: list[tuple[int, int]] = []
    nodes: list[Node] = []
    for item in items:
        if isinstance(item, ir.Lit):
            words.append(_encode(item.text))
        elif isinstance(item, ir.Chars):
            ranges.extend(item.ranges)
        else:
            nodes.append(lower(arena, item, depth + 1))
    if ranges:
        nodes.append(_chars(arena, union(ranges)))
    if words:
        nodes.append(arena.words(words))
    return arena.alt(nodes)


def _and(arena: Arena, items: tuple[ir.Regular, ...], depth: int) -> Node:
    """A product. Complements are within valid UTF-8, which only needs saying where no other member
    already says it."""
    members: list[Node] = []
    positive = False
    for item in items:
        if isinstance(item, ir.Not):
            members.append(arena.negation(lower(arena, item.item, depth + 1)))
        else:
            positive = True
            members.append(lower(arena, item, depth + 1))
    if not positive:
        members.append(arena.rep(_chars(arena, ANY), 0, None))
    return decide(arena, arena.conjunction(members))


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise GrammarError(
            "a lone surrogate, which no UTF-8 text can hold", got=ascii(text[error.start])
        ) from None


def _chars(arena: Arena, ranges: Ranges) -> Node:
    node = arena.chars.get(ranges)
    if node is None:
        sequences = [s for low, high in ranges for s in _sequences(low, high)]
        node = arena.chars[ranges] = _byte_trie(arena, sequences)
    return node


def _byte_trie(arena: Arena, sequences: list[_Sequence]) -> Node:
    """Sequences are sorted; two of them begin with the same byte range or with disjoint ones."""
    found: list[tuple[int, int, Node]] = []
    start = 0
    while start < len(sequences):
        first = sequences[start][0]
        end = start
        while end < len(sequences) and sequences[end][0] == first:
            end += 1
        tails = [sequence[1:] for sequence in sequences[start:end]]
        rest = _byte_trie(arena, tails) if tails[0] else arena.epsilon
        if found and found[-1][2] is rest and found[-1][1] == first[0] - 1:
            found[-1] = (found[-1][0], first[1], rest)
        else:
            found.append((*first, rest))
        start = end
    return arena.bytes_node(tuple(found))


def _sequences(low: int, high: int) -> list[_Sequence]:
    """The byte range sequences of the code points low..high without surrogates, sorted."""
    if low > high:
        return []
    if low <= _SURROGATES[1] and high >= _SURROGATES[0]:
        below = _sequences(low, min(high, _SURROGATES[0] - 1))
        return below + _sequences(max(low, _SURROGATES[1] + 1), high)
    for last in _LAST_OF_LENGTH:
        if low <= last < high:
            return _sequences(low, last) + _sequences(last + 1, high)
    length = next(i for i, last in enumerate(_LAST_OF_LENGTH) if high <= last)
    return _aligned(low, high, length)


def _aligned(low: int, high: int, below: int) -> list[_Sequence]:
    """Splits low..high (of one UTF-8 length, `below` continuation bytes) until each piece is a
    product of byte ranges."""
    for position in range(1, below + 1):
        mask = (1 << (6 * position)) - 1
        if low & ~mask != high & ~mask:
            if low & mask:
                cut = low | mask
                return _aligned(low, cut, below) + _aligned(cut + 1, high, below)
            if high & mask != mask:
                cut = high & ~mask
                return _aligned(low, cut - 1, below) + _aligned(cut, high, below)
    return [tuple(zip(_utf8(low, below), _utf8(high, below), strict=True))]


def _utf8(point: int, below: int) -> bytes:
    lead = _LEAD[below] | point >> (6 * below)
    return bytes([lead, *(0x80 | (point >> (6 * i)) & 0x3F for i in range(below - 1, -1, -1))])
