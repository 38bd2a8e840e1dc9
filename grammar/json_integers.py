"""Numerals of whole numbers, as regular terms, and the small pieces numerals are made of."""

from __future__ import annotations

from decimal import Decimal

from . import ir

DIGIT = ir.Chars(((48, 57),))
NONZERO = ir.Chars(((49, 57),))
DIGITS = ir.Rep(DIGIT, 0, None)
WHOLE = ir.Alt((ir.Lit("0"), ir.Cat((NONZERO, DIGITS))))
MINUS = ir.Rep(ir.Lit("-"), 0, 1)
NO_NUMERAL = ir.Alt(())
ANY_INTEGER = ir.Alt((ir.Lit("0"), ir.Cat((MINUS, NONZERO, DIGITS))))
_EMPTY = ir.Lit("")


def integers(low: Decimal | None, high: Decimal | None) -> ir.Regular:
    """`0` or `-?[1-9][0-9]*` of the whole numbers in [low, high]; both are whole, or None."""
    parts: list[ir.Regular] = []
    if low is None or low < 0:
        least = 1 if high is None or high >= 0 else -int(high)
        parts.append(ir.Cat((ir.Lit("-"), naturals(least, None if low is None else -int(low)))))
    if high is None or high >= 0:
        least = 0 if low is None or low < 0 else int(low)
        parts.append(naturals(least, None if high is None else int(high)))
    return alt(parts)


def naturals(low: int, high: int | None) -> ir.Regular:
    """Decimal numerals without leading zeros of the whole numbers in [low, high], 0 <= low."""
    if high is not None and low > high:
        return NO_NUMERAL
    parts: list[ir.Regular] = []
    width = len(str(low))
    top_width = width if high is None else len(str(high))
    if low > 0 and low == 10 ** (width - 1) and high is None:
        return ir.Cat((NONZERO, ir.Rep(DIGIT, width - 1, None)))
    if low == 0 and high is None:
        return WHOLE
    first = str(low)
    last = str(high) if high is not None and top_width == width else "9" * width
    parts.append(_same_width(first, last))
    if high is None:
        parts.append(ir.Cat((NONZERO, ir.Rep(DIGIT, width, None))))
    elif top_width > width:
        if top_width > width + 1:
            parts.append(ir.Cat((NONZERO, ir.Rep(DIGIT, width, top_width - 2))))
        parts.append(_same_width("1" + "0" * (top_width - 1), str(high)))
    return alt(parts)


def _same_width(low: str, high: str) -> ir.Regular:
    """Numerals of one width, digit strings `low` <= x <= `high`."""
    if not low:
        return _EMPTY
    shared = next((i for i in range(len(low)) if low[i] != high[i]), len(low))
    if shared:
        return cat(ir.Lit(low[:shared]), _same_width(low[shared:], high[shared:]))
    parts: list[ir.Regular] = []
    first, last = int(low[0]), int(high[0])
    rest = len(low) - 1
    if low[1:].strip("0"):
        parts.append(cat(ir.Lit(low[0]), _same_width(low[1:], "9" * rest)))
        first += 1
    upper: ir.Regular | None = None
    if high[1:].strip("9"):
        upper = cat(ir.Lit(high[0]), _same_width("0" * rest, high[1:]))
        last -= 1
    if first <= last:
        parts.append(cat(digit(first, last), ir.Rep(DIGIT, rest, rest) if rest else _EMPTY))
    if upper is not None:
        parts.append(upper)
    return alt(parts)


def digit(first: int, last: int) -> ir.Regular:
    return ir.Lit(str(first)) if first == last else ir.Chars(((48 + first, 48 + last),))


def alt(parts: list[ir.Regular]) -> ir.Regular:
    return parts[0] if len(parts) == 1 else ir.Alt(tuple(parts))


def cat(first: ir.Regular, second: ir.Regular) -> ir.Regular:
    if isinstance(first, ir.Lit) and isinstance(second, ir.Lit):
        return ir.Lit(first.text + second.text)
    return ir.Cat((first, second))
