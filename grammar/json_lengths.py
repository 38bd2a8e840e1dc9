"""Lengths folded into patterns: `[a-z]*` with 3 to 9 characters is `[a-z]{3,9}`, no product.

A product with a length is decided by counting through its states, one for each character; where a
pattern's length depends on one repetition, its counter can say the same.
"""

from __future__ import annotations

from . import ir
from .json_clauses import least

_NOTHING = ir.Alt(())


def of_length(term: ir.Regular, low: int, high: int | None) -> ir.Regular | None:
    """The texts of `term` with `low` to `high` characters; None where only a product tells."""
    width = _width(term)
    if width is not None:
        return term if low <= width and (high is None or width <= high) else _NOTHING
    match term:
        case ir.Alt(items):
            parts = [of_length(item, low, high) for item in items]
            return None if None in parts else ir.Alt(tuple(p for p in parts if p is not None))
        case ir.Cat(items):
            return _sequence(items, low, high)
        case ir.Rep(item, fewest, most):
            return _repetition(item, fewest, most, low, high)
    return None


def _width(term: ir.Regular) -> int | None:
    """How many characters every text of `term` has; None where they differ, or might."""
    match term:
        case ir.Lit(text):
            return len(text)
        case ir.Chars():
            return 1
        case ir.Cat(items):
            widths = [_width(item) for item in items]
            return None if None in widths else sum(width or 0 for width in widths)
        case ir.Alt(items):
            found = {_width(item) for item in items}
            return found.pop() if len(found) == 1 else None
        case ir.Rep(item, low, high) if low == high:
            width = _width(item)
            return None if width is None else width * low
    return None


def _sequence(items: tuple[ir.Regular, ...], low: int, high: int | None) -> ir.Regular | None:
    """At most one item whose length varies can make up for the others."""
    widths = [_width(item) for item in items]
    if widths.count(None) != 1:
        return None
    place = widths.index(None)
    others = sum(width or 0 for width in widths)
    if high is not None and high < others:
        return _NOTHING
    most = None if high is None else high - others
    part = of_length(items[place], max(low - others, 0), most)
    return None if part is None else ir.Cat((*items[:place], part, *items[place + 1 :]))


def _repetition(
    item: ir.Regular, fewest: int, most: int | None, low: int, high: int | None
) -> ir.Regular | None:
    if (fewest, most) == (0, 1):
        once = of_length(item, low, high)
        return once if once is None or low else ir.Alt((ir.Lit(""), once))
    width = _width(item)
    if not width:
        return None
    fewest = max(fewest, -(-low // width))
    most = least(most, None if high is None else high // width)
    return _NOTHING if most is not None and fewest > most else ir.Rep(item, fewest, most)
