"""JSON text: how values are written, and how JSON values compare.

Canonical text is what `json.dumps(value, ensure_ascii=False)` writes (with ascii: what
`json.dumps(value)` writes); whitespace between tokens is the layout's.

Numbers are compared by value, as JSON Schema does: 1 and 1.0 are the same number, `true` is none.
A `Const` is a JSON value in hashable form, equal exactly where JSON Schema calls values equal.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from ..errors import GrammarError
from . import ir
from .spec import Whitespace

Const = tuple[Any, ...]
"""("null",), ("boolean", bool), ("number", Decimal), ("string", str), ("array", items...) or
("object", (name, const)...) sorted by name."""


Orders = dict[Const, tuple[str, ...]]
"""The names of constant objects in the order they were written."""


def read(text: str | bytes, where: str) -> Any:
    """The value of a schema's JSON text. Raises GrammarError for what is none."""
    try:
        return json.loads(text)
    except RecursionError:
        raise GrammarError("the schema nests too deeply", where=where) from None
    except ValueError as error:
        raise GrammarError(
            f"the schema is no JSON text: {error}", expected="a JSON Schema as JSON", where=where
        ) from None


def const_of(value: Any, where: str, orders: Orders, depth: int = 0) -> Const:
    """The comparable form of a JSON value. Raises GrammarError for what JSON cannot hold."""
    if depth > 100:
        raise GrammarError("value nested too deeply", expected="at most 100 levels", where=where)
    match value:
        case None:
            return ("null",)
        case bool():
            return ("boolean", value)
        case int() | float():
            return ("number", decimal_of(value, where))
        case str():
            if any("\ud800" <= char <= "\udfff" for char in value):
                raise GrammarError(expected="Unicode text", got="a lone surrogate", where=where)
            return ("string", value)
        case list() | tuple():
            return ("array", *(const_of(item, where, orders, depth + 1) for item in value))
        case dict():
            pairs = [
                (name, const_of(item, where, orders, depth + 1)) for name, item in value.items()
            ]
            const = ("object", *sorted(pairs, key=lambda pair: pair[0]))
            orders.setdefault(const, tuple(value))
            return const
    raise GrammarError(expected="a JSON value", got=type(value).__name__, where=where)


def decimal_of(value: float, where: str) -> Decimal:
    """A JSON number as the decimal it is written as, without trailing zeros."""
    number = Decimal(value) if isinstance(value, int) else Decimal(repr(value))
    if not number.is_finite():
        raise GrammarError(expected="a finite number", got=repr(value), where=where)
    return number.normalize() if len(number.as_tuple().digits) <= 28 else number


def string_text(text: str, *, ascii: bool) -> str:
    """The canonical JSON text of a string, with its quotes."""
    return json.dumps(text, ensure_ascii=ascii)


class Layout:
    """The glue of JSON text: separators and brackets with the whitespace of one mode.

    "free" allows, wherever JSON allows whitespace inside a value, up to 4 blanks, or one line end
    with up to 64 blanks of indentation.
    """

    def __init__(self, whitespace: Whitespace, *, ascii: bool) -> None:
        self.ascii = ascii
        self.space: ir.Regular = ir.Lit("")
        after_comma, after_colon = ", ", ": "
        if whitespace == "compact":
            after_comma, after_colon = ",", ":"
        self.comma: ir.Regular = ir.Lit(after_comma)
        self.colon: ir.Regular = ir.Lit(after_colon)
        if whitespace == "free":
            blank = ir.Chars(((9, 9), (32, 32)))
            line_end = ir.Alt((ir.Lit("\n"), ir.Lit("\r\n")))
            self.space = ir.Alt((ir.Rep(blank, 0, 4), ir.Cat((line_end, ir.Rep(blank, 0, 64)))))
            self.comma = ir.Cat((self.space, ir.Lit(","), self.space))
            self.colon = ir.Cat((self.space, ir.Lit(":"), self.space))

    def name(self, name: str) -> list[ir.Regular]:
        """A member's name and colon."""
        return [ir.Lit(string_text(name, ascii=self.ascii)), self.colon]

    def opening(self, bracket: str) -> list[ir.Regular]:
        return [ir.Lit(bracket), self.space]

    def closing(self, bracket: str) -> list[ir.Regular]:
        return [self.space, ir.Lit(bracket)]


Part = ir.Regular | ir.Term | ir.Seq | ir.Choice | ir.Loop | ir.Ref
"""A piece of a sequence: a bare regular is glue, which melts with the glue beside it."""


def sequence(parts: list[Part]) -> ir.Expr:
    """One after the other, with neighbouring glue and literals melted into one term each."""
    items: list[ir.Expr] = []
    glue: list[ir.Regular] = []

    def flush() -> None:
        if glue:
            items.append(ir.Term(_join(glue)))
            glue.clear()

    for part in parts:
        match part:
            case ir.Term(ir.Lit() as literal):
                glue.append(literal)
            case ir.Term() | ir.Choice() | ir.Loop() | ir.Ref() | ir.Seq():
                flush()
                items.append(part)
            case _:
                if part != ir.Lit(""):
                    glue.append(part)
    flush()
    return items[0] if len(items) == 1 else ir.Seq(tuple(items))


def _join(glue: list[ir.Regular]) -> ir.Regular:
    joined: list[ir.Regular] = []
    for piece in glue:
        inner = piece.items if isinstance(piece, ir.Cat) else (piece,)
        for item in inner:
            last = joined[-1] if joined else None
            if isinstance(item, ir.Lit) and isinstance(last, ir.Lit):
                joined[-1] = ir.Lit(last.text + item.text)
            else:
                joined.append(item)
    return joined[0] if len(joined) == 1 else ir.Cat(tuple(joined))


def optional(expr: ir.Expr) -> ir.Expr:
    return ir.Loop(expr, 0, 1)
