"""Numerals of an interval with a point or an exponent, as regular terms.

Bounds are the decimals of doubles (json_doubles) and belong to the interval, so digits may go on as
long as they like: what they become stays inside.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from functools import cache

from . import ir
from .json_doubles import LARGEST
from .json_integers import (
    DIGIT,
    DIGITS,
    MINUS,
    NO_NUMERAL,
    NONZERO,
    alt,
    cat,
    digit,
    naturals,
)

_EXACT = Context(prec=100_000, Emax=10**9, Emin=-(10**9))
ANY_FRACTION = ir.Rep(ir.Cat((ir.Lit("."), ir.Rep(DIGIT, 1, None))), 0, 1)
_ZEROS = ir.Rep(ir.Lit("0"), 0, None)
_ONE = Decimal(1)
_LEAST_FIXED = Decimal("1e-20")
"""A smaller bound binds decimals without exponent as if it were this: zeros must come to an end."""


def decimals(low: Decimal | None, high: Decimal | None, *, exponents: bool) -> ir.Regular:
    """Numerals of an interval: decimals, and the exponents `json.dumps` writes."""
    parts: list[ir.Regular] = []
    zero = Decimal(0)
    if low is None or low < 0:
        least = high.copy_negate() if high is not None and high <= 0 else zero
        most = None if low is None else low.copy_negate()
        parts.append(ir.Cat((ir.Lit("-"), _magnitudes(least, most, exponents))))
    if high is None or high >= 0:
        least = low if low is not None and low >= 0 else zero
        parts.append(_magnitudes(least, high, exponents))
    return alt(parts)


def _magnitudes(low: Decimal, high: Decimal | None, exponents: bool) -> ir.Regular:
    parts = [_fixed_point(low, high)]
    if exponents:
        top = LARGEST if high is None else high
        parts += _scientific(low, top, 16, 308)
        parts += _scientific(low, top, -324, -5)
    return alt(parts)


def split(number: Decimal) -> tuple[int, str]:
    """The whole part, and the digits of the fraction without trailing zeros."""
    whole, _, fraction = (format(number, "f") if number else "0").partition(".")
    return int(whole), fraction.rstrip("0")


def _fixed_point(low: Decimal, high: Decimal | None) -> ir.Regular:
    """`[0-9]+(\\.[0-9]+)?` with a value from `low` to `high`, both >= 0."""
    if low > 0:
        low = max(low, _LEAST_FIXED)
    if high is not None and low > high:
        return NO_NUMERAL
    low_whole, low_digits = split(low)
    at_least = ir.Cat((ir.Lit("."), _at_least(low_digits))) if low_digits else ANY_FRACTION
    if high is None:
        beyond = ir.Cat((naturals(low_whole + 1, None), ANY_FRACTION))
        return alt([cat(ir.Lit(str(low_whole)), at_least), beyond])
    high_whole, high_digits = split(high)
    if low_whole == high_whole and low_digits:
        fraction = ir.Cat((ir.Lit("."), between(low_digits, high_digits)))
        return cat(ir.Lit(str(low_whole)), fraction)
    at_most = ir.Rep(ir.Cat((ir.Lit("."), _at_most(high_digits))), 0, 1)
    parts = [cat(ir.Lit(str(high_whole)), at_most)]
    if low_whole < high_whole:
        parts.insert(0, cat(ir.Lit(str(low_whole)), at_least))
    if high_whole - low_whole > 1:
        parts.insert(1, ir.Cat((naturals(low_whole + 1, high_whole - 1), ANY_FRACTION)))
    return alt(parts)


# -- digits after the point ------------------------------------------------------------------------


def _at_least(digits: str) -> ir.Regular:
    """Digits d with 0.d >= 0.`digits`."""
    parts: list[ir.Regular] = []
    for index, char in enumerate(digits):
        if char != "9":
            parts.append(ir.Cat((ir.Lit(digits[:index]), digit(int(char) + 1, 9), DIGITS)))
    parts.append(ir.Cat((ir.Lit(digits), DIGITS)))
    return alt(parts)


def _at_most(digits: str) -> ir.Regular:
    """Digits d, at least one, with 0.d <= 0.`digits`."""
    if not digits:
        return ir.Rep(ir.Lit("0"), 1, None)
    parts: list[ir.Regular] = []
    for index, char in enumerate(digits):
        if index:
            parts.append(ir.Lit(digits[:index]))  # ends here: smaller, for more is to come
        if char != "0":
            parts.append(ir.Cat((ir.Lit(digits[:index]), digit(0, int(char) - 1), DIGITS)))
    parts.append(ir.Cat((ir.Lit(digits), _ZEROS)))
    return alt(parts)


def between(low: str, high: str) -> ir.Regular:
    """Digits d with 0.`low` <= 0.d <= 0.`high`; both without trailing zeros, `low` above zero."""
    width = max(len(low), len(high))
    first, last = low.ljust(width, "0"), high.ljust(width, "0")
    if first >= last:
        return ir.Cat((ir.Lit(low), _ZEROS)) if first == last else NO_NUMERAL
    at = next(i for i in range(width) if first[i] != last[i])
    head = first[:at]
    # Ends here: what `low` has from here on are zeros.
    parts: list[ir.Regular] = [ir.Lit(low + "0" * more) for more in range(at + 1 - len(low))]
    above = first[at + 1 :].rstrip("0")
    parts.append(ir.Cat((ir.Lit(first[: at + 1]), _at_least(above) if above else DIGITS)))
    if int(last[at]) - int(first[at]) > 1:
        inside = digit(int(first[at]) + 1, int(last[at]) - 1)
        parts.append(ir.Cat((ir.Lit(head), inside, DIGITS)))
    below = ir.Rep(_at_most(last[at + 1 :].rstrip("0")), 0, 1)
    parts.append(ir.Cat((ir.Lit(last[: at + 1]), below)))
    return alt(parts)


# -- exponents -------------------------------------------------------------------------------------


def _scientific(low: Decimal, high: Decimal, least: int, most: int) -> list[ir.Regular]:
    """`d.ddde+XX` with `least` <= exponent <= `most` and a value from `low` to `high`."""
    start = max(least, low.adjusted()) if low else least
    stop = min(most, high.adjusted()) if high else least - 1
    edges = {number.adjusted() for number in (low, high) if number}
    parts: list[ir.Regular] = []
    for exponent in sorted(edge for edge in edges if start <= edge <= stop):
        bottom = low if low and low.adjusted() == exponent else None
        top = high if high.adjusted() == exponent else None
        parts.append(ir.Cat((_mantissas(bottom, top), _exponents(exponent, exponent))))
    for exponent in sorted(edges):
        if start <= exponent <= stop:
            if start < exponent:
                parts.append(ir.Cat((_mantissas(None, None), _exponents(start, exponent - 1))))
            start = exponent + 1
    if start <= stop:
        parts.append(ir.Cat((_mantissas(None, None), _exponents(start, stop))))
    return parts


def _mantissas(low: Decimal | None, high: Decimal | None) -> ir.Regular:
    """`d.ddd`, d not 0, at least and at most as the digits of the two numbers."""
    bottom = _ONE if low is None else low.scaleb(-low.adjusted(), _EXACT)
    if high is not None:
        return _fixed_point(bottom, high.scaleb(-high.adjusted(), _EXACT))
    if low is None:
        return ir.Cat((NONZERO, ANY_FRACTION))
    whole, digits = split(bottom)
    at_least = ir.Cat((ir.Lit("."), _at_least(digits))) if digits else ANY_FRACTION
    parts = [cat(ir.Lit(str(whole)), at_least)]
    if whole < 9:
        parts.append(ir.Cat((digit(whole + 1, 9), ANY_FRACTION)))
    return alt(parts)


def _exponents(low: int, high: int) -> ir.Regular:
    """`e+16`, `e-07`: two digits or three, all exponents of one sign."""
    sign = "-" if high < 0 else "+"
    least, most = (-high, -low) if high < 0 else (low, high)
    parts: list[ir.Regular] = []
    if least <= 9:
        parts.append(ir.Cat((ir.Lit("0"), naturals(least, min(most, 9)))))
    if most >= 10:
        parts.append(naturals(max(least, 10), most))
    return ir.Cat((ir.Lit(f"e{sign}"), alt(parts)))


# -- not whole -------------------------------------------------------------------------------------


@cache
def not_whole() -> ir.Regular:
    """Numerals that no double makes whole: between two whole numbers, the digits of the doubles
    there. How dense these lie depends on the power of two below, from 2^52 on there are none."""
    least = Decimal(repr(math.ulp(0.0)))
    below_one = Decimal(repr(math.nextafter(1.0, 0.0)))
    parts = [_magnitudes(least, below_one, True)]
    for power in range(52):
        first = 2**power
        low = Decimal(repr(math.nextafter(float(first), math.inf)))
        high = Decimal(repr(math.nextafter(float(first + 1), 0.0)))
        fraction = between(split(low)[1], split(high)[1])
        parts.append(ir.Cat((naturals(first, 2 * first - 1), ir.Lit("."), fraction)))
    return ir.Cat((MINUS, alt(parts)))
