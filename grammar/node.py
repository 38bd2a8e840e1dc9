"""A regular term, which is also a state: what remains of a text still to be written."""

from __future__ import annotations

EMPTY, EPSILON, LITERAL, WORDS, BYTES, CAT, ALT, REP, AND, NOT = range(10)
_NAMES = ["EMPTY", "EPSILON", "LITERAL", "WORDS", "BYTES", "CAT", "ALT", "REP", "AND", "NOT"]

INFINITE = 1 << 60  # a length no string has
CHUNK = 64  # bytes in one LITERAL

Segments = tuple[tuple[int, int, "Node"], ...]


class Work:
    """What one search for the shortest string of a product took. spent: states, at most."""

    __slots__ = ("spent",)

    def __init__(self) -> None:
        self.spent = 0


class Node:
    """One regular term.

    nullable: the empty string is in it. shortest: bytes of its shortest string over the arena's
    alphabet (INFINITE where there is none); for NOT, and AND before it is decided, a lower bound.
    bound: for AND and NOT, that lower bound, which stays as it is; work: what `decide` spent on it.
    big: the largest counter that stands where a token could advance it; deep: the largest of all.

    The other fields depend on `kind`: text (LITERAL); table, low, high, depth (WORDS: the strings
    table[low:high] without their first `depth` bytes); segments (BYTES); a, b (CAT: a then b; REP:
    a, low to high times; NOT: a); items (ALT, AND).
    """

    __slots__ = (
        "a", "atomic", "b", "big", "bound", "clamped", "decided", "deep", "depth", "high", "id",
        "items", "kind", "low", "nullable", "pieces", "raw", "segments", "shortest", "table",
        "tail_cost", "takes", "text", "work",
    )  # fmt: skip

    def __init__(self, kind: int, number: int) -> None:
        self.kind = kind
        self.id = number
        self.nullable = False
        self.shortest = 0
        self.bound = 0
        self.work: Work | None = None
        self.big = 0
        self.deep = 0
        self.decided = kind not in (AND, NOT)
        self.segments: Segments | None = None
        self.raw: Segments | None = None
        self.text = b""
        self.table: tuple[bytes, ...] = ()
        self.low = 0
        self.high: int | None = 0
        self.depth = 0
        self.a: Node = self
        self.b: Node = self
        self.items: tuple[Node, ...] = ()
        # Found out later, by derivatives.py, counters.py, counted.py and distance.py.
        self.takes: int | None = None
        self.clamped: Node | None = None
        self.atomic: bool | None = None
        self.tail_cost: int | None = None
        self.pieces: tuple[bytes | int, ...] | None = None

    def __repr__(self) -> str:
        return f"<{_NAMES[self.kind]} {self.id}>"
