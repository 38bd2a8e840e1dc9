"""What remains of a term after a byte (Brzozowski's derivative), and whether a product is empty.

`segments` gives all derivatives of a node at once, as ranges of bytes; `step` gives one. Targets
are never EMPTY: a product (AND) that turns out to denote nothing is removed here, once and for all,
by a search for its shortest string. Such a search is bounded; past its limit it raises, for what is
not decided is neither in the language nor outside.

The limit binds the search as it would be in an arena where nothing is decided yet, so that it does
not depend on what others asked before: what a search takes over is charged to it, and where that is
too much, it is made again without.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable
from itertools import combinations, count

from ..errors import GrammarError
from .arena import Arena
from .node import ALT, AND, CAT, EMPTY, INFINITE, LITERAL, NOT, REP, WORDS, Node, Segments, Work

SEARCH_LIMIT = 20_000  # states expanded for one decision


def segments(arena: Arena, node: Node) -> Segments:
    """Sorted, disjoint (low byte, high byte, rest): `rest` is what remains after a byte of the
    range, decided and not EMPTY."""
    if node.segments is None:
        if node.kind in (AND, NOT):
            node.segments = tuple(
                (low, high, rest)
                for low, high, target in _raw(arena, node)
                if (rest := decide(arena, target)) is not arena.empty
            )
        else:
            node.segments = _segments(arena, node)
    return node.segments


def takes(arena: Arena, node: Node) -> int:
    """The bytes that a text of `node` may begin with, as a bit set."""
    if node.takes is None:
        bits = 0
        for low, high, _ in segments(arena, node):
            bits |= (1 << high + 1) - (1 << low)
        node.takes = bits
    return node.takes


def _segments(arena: Arena, node: Node) -> Segments:
    if node.kind == LITERAL:
        byte = node.text[0]
        return ((byte, byte, arena.literal(node.text[1:])),)
    if node.kind == WORDS:
        return _word_segments(arena, node)
    if node.kind == REP:
        return _followed(arena, segments(arena, node.a), _less(arena, node))
    if node.kind == ALT:
        return _merge([segments(arena, item) for item in node.items], arena.alt)
    if node.kind != CAT:
        return ()  # EPSILON, EMPTY
    parts: list[Segments] = []
    while node.kind == CAT:
        parts.append(_followed(arena, segments(arena, node.a), node.b))
        if not node.a.nullable:
            break
        node = node.b
    else:
        parts.append(segments(arena, node))
    return parts[0] if len(parts) == 1 else _merge(parts, arena.alt)


def _less(arena: Arena, node: Node) -> Node:
    """The REP `node` after one more item has begun."""
    high = None if node.high is None else node.high - 1
    return arena.rep(node.a, max(node.low - 1, 0), high)


def _followed(arena: Arena, parts: Segments, tail: Node) -> Segments:
    if tail is arena.epsilon:
        return parts
    cat = arena.cat
    return tuple((low, high, cat(rest, tail)) for low, high, rest in parts)


def _word_segments(arena: Arena, node: Node) -> Segments:
    table, depth, end = node.table, node.depth, node.high or 0
    found: list[tuple[int, int, Node]] = []
    low = node.low + node.nullable
    while low < end:
        byte = table[low][depth]
        high = _word_end(table, low, end, depth, byte)
        found.append((byte, byte, arena.word_range(table, low, high, depth + 1)))
        low = high
    return tuple(found)


def _word_end(table: tuple[bytes, ...], low: int, end: int, depth: int, byte: int) -> int:
    """Where in table[low:end], whose strings agree before `depth`, those with `byte` there end."""
    return bisect_left(table, byte + 1, low, end, key=lambda text: text[depth])


def _merge(
    parts: list[Segments], join: Callable[[list[Node]], Node], every: bool = False
) -> Segments:
    """Joins the targets of overlapping ranges; with `every`, only where all parts have one."""
    if every and len(parts) == 2:
        return _meet(parts[0], parts[1], join)
    points = sorted({p for part in parts for low, high, _ in part for p in (low, high + 1)})
    index = {point: i for i, point in enumerate(points)}
    targets: list[list[Node]] = [[] for _ in points]
    for part in parts:
        for low, high, rest in part:
            for i in range(index[low], index[high + 1]):
                targets[i].append(rest)
    merged: list[tuple[int, int, Node]] = []
    needed = len(parts) if every else 1
    for i, found in enumerate(targets):
        if len(found) < needed:
            continue
        node = found[0] if len(found) == 1 else join(found)
        if node.kind == EMPTY:
            continue
        low, high = points[i], points[i + 1] - 1
        if merged and merged[-1][2] is node and merged[-1][1] == low - 1:
            merged[-1] = (merged[-1][0], high, node)
        else:
            merged.append((low, high, node))
    return tuple(merged)


def _meet(left: Segments, right: Segments, join: Callable[[list[Node]], Node]) -> Segments:
    """As `_merge` of two parts, where both have a target."""
    merged: list[tuple[int, int, Node]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        low_left, high_left, one = left[i]
        low_right, high_right, other = right[j]
        low, high = max(low_left, low_right), min(high_left, high_right)
        if low <= high:
            node = join([one, other])
            if node.kind != EMPTY:
                if merged and merged[-1][2] is node and merged[-1][1] == low - 1:
                    low = merged.pop()[0]
                merged.append((low, high, node))
        if high_left == high:
            i += 1
        if high_right == high:
            j += 1
    return tuple(merged)


def _raw(arena: Arena, node: Node) -> Segments:
    """As `segments`, with the targets of a product not decided."""
    if node.kind not in (AND, NOT):
        return segments(arena, node)
    if node.raw is None:
        if node.kind == NOT:
            node.raw = _complement(arena, _raw(arena, node.a))
        else:
            parts = [_raw(arena, item) for item in node.items]
            node.raw = _merge(parts, arena.conjunction, every=True)
    return node.raw


def _complement(arena: Arena, parts: Segments) -> Segments:
    found: list[tuple[int, int, Node]] = []
    start = 0
    for low, high, rest in parts:
        if low > start:
            found.append((start, low - 1, arena.everything))
        negated = arena.negation(rest)
        if negated is not arena.empty:
            found.append((low, high, negated))
        start = high + 1
    if start <= 255:
        found.append((start, 255, arena.everything))
    return tuple(found)


def step(arena: Arena, node: Node, byte: int) -> Node:
    """What remains of `node` after `byte`; `arena.empty` where nothing does."""
    if node.segments is not None:
        for low, high, rest in node.segments:
            if byte <= high:
                return rest if byte >= low else arena.empty
        return arena.empty
    kind = node.kind
    if kind == LITERAL:
        return arena.literal(node.text[1:]) if node.text[0] == byte else arena.empty
    if kind == REP:
        return arena.cat(step(arena, node.a, byte), _less(arena, node))
    if kind == CAT:
        found: list[Node] = []
        while node.kind == CAT:
            found.append(arena.cat(step(arena, node.a, byte), node.b))
            if not node.a.nullable:
                break
            node = node.b
        else:
            found.append(step(arena, node, byte))
        return found[0] if len(found) == 1 else arena.alt(found)
    if kind == ALT:
        return arena.alt([step(arena, item, byte) for item in node.items])
    if kind == WORDS:
        return _word_step(arena, node, byte)
    if kind == AND:
        items = [_raw_step(arena, item, byte) for item in node.items]
        return decide(arena, arena.conjunction(items))
    if kind == NOT:
        return decide(arena, arena.negation(_raw_step(arena, node.a, byte)))
    return arena.empty  # EPSILON, EMPTY


def _raw_step(arena: Arena, node: Node, byte: int) -> Node:
    if node.kind == NOT:
        return arena.negation(_raw_step(arena, node.a, byte))
    if node.kind == AND:
        return arena.conjunction([_raw_step(arena, item, byte) for item in node.items])
    return step(arena, node, byte)


def _word_step(arena: Arena, node: Node, byte: int) -> Node:
    table, depth, end = node.table, node.depth, node.high or 0
    start = node.low + node.nullable
    low = bisect_left(table, byte, start, end, key=lambda text: text[depth])
    if low == end or table[low][depth] != byte:
        return arena.empty
    high = _word_end(table, low, end, depth, byte)
    return arena.word_range(table, low, high, depth + 1)


def matches(arena: Arena, node: Node, text: bytes) -> bool:
    """Whether the whole of `text` is in `node`."""
    for byte in text:
        node = step(arena, node, byte)
    return node.nullable


def nonempty(arena: Arena, node: Node) -> Node:
    """`node` without the empty string."""
    if not node.nullable:
        return node
    if node.kind == REP:
        if not node.a.nullable:
            return arena.rep(node.a, 1, node.high)
        return arena.cat(nonempty(arena, node.a), _less(arena, node))
    if node.kind == WORDS:
        return arena.word_range(node.table, node.low + 1, node.high or 0, node.depth)
    if node.kind == ALT:
        return arena.alt([nonempty(arena, item) for item in node.items])
    if node.kind == CAT:
        found: list[Node] = []
        while node.kind == CAT:
            found.append(arena.cat(nonempty(arena, node.a), node.b))
            node = node.b
        return arena.alt([*found, nonempty(arena, node)])
    if node.kind in (AND, NOT):
        return decide(arena, arena.conjunction([node, arena.negation(arena.epsilon)]))
    return arena.empty


# -- emptiness of products -------------------------------------------------------------------------


def decide(arena: Arena, node: Node) -> Node:
    """`node` itself, or EMPTY where it denotes nothing; sets `shortest` exactly.

    Raises GrammarError where that takes more than SEARCH_LIMIT states.
    """
    if not node.decided:
        few = SEARCH_LIMIT // 20
        if not (
            _search(arena, node, few, alone=False)
            or _excluded(arena, node, few)
            or _searched(arena, node, SEARCH_LIMIT)
        ):
            raise GrammarError(
                "no text was found to fit, nor that none does, "
                f"among {SEARCH_LIMIT:,} states of what must hold at once",
                hint="Simplify what is combined: patterns and lengths, `allOf`, `not`, lookaround.",
            )
    return node if node.shortest < INFINITE or node.nullable else _dead(arena, node)


def _excluded(arena: Arena, node: Node, limit: int) -> bool:
    """Decides a product of which two parts exclude each other, and says whether there are any: two
    have far fewer states than all of them."""
    if node.kind != AND or len(node.items) < 3:
        return False
    for pair in combinations(node.items, 2):
        both = arena.conjunction(pair)
        known = both.kind != AND or both.decided or _searched(arena, both, limit)
        if known and both.shortest >= INFINITE:
            node.decided, node.shortest, node.work = True, INFINITE, both.work or Work()
            return True
    return False


def _searched(arena: Arena, node: Node, limit: int) -> bool:
    return _search(arena, node, limit, alone=False) or _search(arena, node, limit, alone=True)


def _search(arena: Arena, start: Node, limit: int, *, alone: bool) -> bool:
    """Decides `start`; False where that would take more than `limit` states.

    An A* search for the shortest string: what a product still needs is at least what its parts do.
    alone: without what other searches found out.
    """
    best: dict[int, int] = {start.id: 0}
    came_from: dict[int, Node] = {}
    order = count()
    heap: list[tuple[int, int, int, Node]] = [(start.bound, 0, next(order), start)]
    work = Work()
    charged: set[Work] = set()
    seen: list[Node] = []
    while heap:
        _, behind, _, current = heapq.heappop(heap)
        length = -behind
        if length > best[current.id]:
            continue
        if current.nullable or (current.decided and not (alone and current.work)):
            _settle(start, current, came_from, work)
            return True
        seen.append(current)
        work.spent += 1
        for low, high, target in _raw(arena, current):
            if target.work and not alone and target.work not in charged:
                charged.add(target.work)
                work.spent += target.work.spent
            least = target.bound if alone and target.work else target.shortest
            if least >= INFINITE or not arena.spans(low, high):
                continue
            if length + 1 < best.get(target.id, INFINITE):
                best[target.id] = length + 1
                came_from[target.id] = current
                heapq.heappush(heap, (length + 1 + least, -length - 1, next(order), target))
        if work.spent > limit:
            return False
    for dead in seen:
        dead.decided, dead.shortest, dead.work = True, INFINITE, work
    return True


def _dead(arena: Arena, node: Node) -> Node:
    # Without the whole alphabet a term may have no string to offer, and yet not be EMPTY.
    return arena.empty if arena.alphabet is None or node.kind in (AND, NOT) else node


def _settle(start: Node, goal: Node, came_from: dict[int, Node], work: Work) -> None:
    """Every node on the way found knows its exact distance now."""
    ahead = goal.shortest if goal.decided else 0
    current = goal
    while True:
        if not current.decided:
            current.decided, current.shortest, current.work = True, ahead, work
        if current is start:
            return
        current = came_from[current.id]
        ahead += 1


def shortest(arena: Arena, node: Node) -> bytes:
    """The shortest string of `node` over the arena's alphabet, the first of them by byte order.

    For products. (`distance.py` does it by structure for the others, in less time.)
    """
    text = bytearray()
    while not (node.nullable and node.shortest == 0):
        for low, high, target in segments(arena, node):
            byte = low
            if arena.alphabet is not None:
                byte = min((b for b in arena.alphabet if low <= b <= high), default=256)
            if byte < 256 and target.shortest == node.shortest - 1:
                text.append(byte)
                node = target
                break
        else:
            raise AssertionError(f"{node!r} promised {node.shortest} more bytes")
    return bytes(text)
