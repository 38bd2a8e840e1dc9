"""The one small language every grammar front end builds, and the machine reads.

Two levels. A `Regular` term denotes a regular language; `And`, `Not` and big counters live here
only. An `Expr` arranges terms and calls rules; recursion lives here only. What a front end wraps in
one `Term` is one terminal of the machine: its residuals, and the vocabulary's inner rows for them,
are shared between all grammars that use the same term, so front ends wrap what recurs (a JSON
string, a number, a literal run) and not whole documents.

Everything is a frozen msgspec struct: a compiled front end's output crosses a process border as
msgpack (`encode`, `decode`). Languages are over Unicode text encoded as UTF-8; `Chars` holds code
points and the machine lowers them to bytes, so that no residual can end inside a character.
"""

from __future__ import annotations

import msgspec


class _Node(msgspec.Struct, frozen=True, tag=True):
    pass


# -- regular terms ---------------------------------------------------------------------------------


class Lit(_Node, frozen=True):
    """One string, as UTF-8. `Lit("")` is the empty string."""

    text: str


class Chars(_Node, frozen=True):
    """One code point out of inclusive, sorted, disjoint ranges (the machine leaves surrogates out).
    An empty tuple matches nothing."""

    ranges: tuple[tuple[int, int], ...]


class Cat(_Node, frozen=True):
    """One after the other."""

    items: tuple[Regular, ...]


class Alt(_Node, frozen=True):
    """Any of these; no items means nothing at all."""

    items: tuple[Regular, ...]


class Rep(_Node, frozen=True):
    """`item`, at least `low` and at most `high` times (None: no bound)."""

    item: Regular
    low: int
    high: int | None


class And(_Node, frozen=True):
    """Strings in every one of these languages."""

    items: tuple[Regular, ...]


class Not(_Node, frozen=True):
    """Valid UTF-8 strings that are not in this language."""

    item: Regular


Regular = Lit | Chars | Cat | Alt | Rep | And | Not

# -- expressions -----------------------------------------------------------------------------------


class Term(_Node, frozen=True):
    """One terminal."""

    regular: Regular


class Seq(_Node, frozen=True):
    """One after the other; no items is the empty string."""

    items: tuple[Expr, ...]


class Choice(_Node, frozen=True):
    """Any of these; no items means nothing at all."""

    items: tuple[Expr, ...]


class Loop(_Node, frozen=True):
    """`item`, at least `low` and at most `high` times (None: no bound)."""

    item: Expr
    low: int
    high: int | None


class Ref(_Node, frozen=True):
    """A call of the rule with this name."""

    rule: str


Expr = Term | Seq | Choice | Loop | Ref


class GrammarIR(msgspec.Struct, frozen=True):
    """A grammar: rules by name, the start rule, what `lenient` dropped, and the `format` keywords
    that bind nothing (JSON pointers)."""

    rules: dict[str, Expr]
    start: str = "start"
    dropped: tuple[str, ...] = ()
    annotated: tuple[str, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(GrammarIR)


def encode(ir: GrammarIR) -> bytes:
    return _encoder.encode(ir)


def decode(data: bytes) -> GrammarIR:
    """Inverse of `encode`. Raises msgspec.DecodeError."""
    return _decoder.decode(data)
