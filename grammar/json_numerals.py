"""Numerals: the canonical JSON text of a set of numbers, as a regular term.

The canonical numerals, the only ones in the language:
- under `integer`: `0` or `-?[1-9][0-9]*`, no fraction (`3.0` is an integer to JSON Schema, but many
  decoders read it as a float, so it is not written);
- an unconstrained number: decimals with any number of digits, and `d.ddde-dd`: one digit (not 0)
  before the point, an exponent in at most three digits, up to 307, so that no float overflows (to
  have the few floats above 1e308 took twice the time for all numbers' first masks);
- a number with bounds: decimals without exponent, with any number of fraction digits, and the form
  `json.dumps` gives to very small and very large floats (`1e-07`, `2.5e+16`: one leading digit, an
  exponent of two or three digits, below -4 or from +16). Negative zero is written only where
  negative numbers are allowed;
- a number with `multipleOf`: decimals without exponent; with a point, at most 15 digits, leading
  zeros not counted, of which there are at most 20;
- an enumerated number: as `json.dumps` writes it, and whole ones also with or without `.0`.

Most decoders read a numeral with a point or an exponent as a double, and what they read is in the
set too. So beside a bound, an excluded number or a whole one, decimals keep to what `json.dumps`
writes for the nearest double inside: above 1, the least is 1.0000000000000002. Under `multipleOf`
the digits are few enough that the double is written as the same decimal again. What `json.dumps`
writes for a double in the set is in the language, but for multiples of more than 15 digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from . import ir
from .json_decimals import ANY_FRACTION, decimals, not_whole
from .json_doubles import first_double, last_double
from .json_integers import (
    ANY_INTEGER,
    DIGIT,
    MINUS,
    NO_NUMERAL,
    NONZERO,
    WHOLE,
    alt,
    cat,
    integers,
)
from .json_multiples import multiples
from .json_numbers import ALL_NUMBERS, Numbers, is_whole

MAX_EXCLUDED = 200
"""Numbers that can be taken out of a set that is not of whole numbers."""
_E = ir.Chars(((69, 69), (101, 101)))
_PLUS = ir.Rep(ir.Lit("+"), 0, 1)
_UP_TO_307 = ir.Alt(
    (
        ir.Rep(DIGIT, 1, 2),
        ir.Cat((ir.Chars(((48, 50),)), DIGIT, DIGIT)),
        ir.Cat((ir.Lit("30"), ir.Chars(((48, 55),)))),
    )
)
_EXPONENT = ir.Alt((ir.Cat((_PLUS, _UP_TO_307)), ir.Cat((ir.Lit("-"), ir.Rep(DIGIT, 1, 3)))))
_SCIENTIFIC = ir.Cat((NONZERO, ANY_FRACTION, _E, _EXPONENT))
ANY_NUMBER = ir.Cat((MINUS, ir.Alt((ir.Cat((WHOLE, ANY_FRACTION)), _SCIENTIFIC))))
_FEW_DIGITS = ir.Cat(
    (
        MINUS,
        ir.Alt(
            (
                WHOLE,
                ir.Cat((ir.Lit("0."), ir.Rep(ir.Lit("0"), 0, 20), ir.Rep(DIGIT, 1, 15))),
                *(
                    ir.Cat((NONZERO, ir.Rep(DIGIT, n, n), ir.Lit("."), ir.Rep(DIGIT, 1, 14 - n)))
                    for n in range(14)
                ),
            )
        ),
    )
)


def numerals(numbers: Numbers) -> ir.Regular | None:
    """The canonical numerals of a set of numbers; None where its steps have no small term."""
    if numbers.empty:
        return NO_NUMERAL
    if numbers == ALL_NUMBERS:
        return ANY_NUMBER
    text = _whole(numbers) if numbers.whole else _mixed(numbers)
    if not numbers.steps:
        return text
    stepped = _stepped(numbers)
    if stepped is None:
        return None
    return ir.And((text, *stepped) if numbers.whole else (text, *stepped, _FEW_DIGITS))


def _whole(numbers: Numbers) -> ir.Regular:
    if numbers.low is None and numbers.high is None:
        text: ir.Regular = ANY_INTEGER
    else:
        text = integers(numbers.first_whole, numbers.last_whole)
    plain = replace(numbers, excluded=frozenset(), steps=frozenset())
    points = sorted(point for point in numbers.excluded if point in plain)
    if points:
        text = ir.And((text, ir.Not(ir.Alt(tuple(ir.Lit(_plain(point)) for point in points)))))
    return text


def _mixed(numbers: Numbers) -> ir.Regular:
    """Numbers that need not be whole, or must not be."""
    parts: list[ir.Regular] = []
    for piece in _pieces(numbers):
        low = high = None
        if piece.low is not None:
            low = first_double(piece.low, piece.low_open)
        if piece.high is not None:
            high = last_double(piece.high, piece.high_open)
        doubles = Numbers(low=low, high=high)
        there = (low is None) is (piece.low is None) and (high is None) is (piece.high is None)
        if there and not doubles.empty:
            parts.append(decimals(low, high, exponents=not numbers.steps))
        if numbers.whole is None and not (there and _as_whole(piece, doubles)):
            whole = replace(piece, whole=True)
            if not whole.empty:
                parts.append(integers(whole.first_whole, whole.last_whole))
    text = alt(parts)
    return text if numbers.whole is None else ir.And((text, not_whole()))


def _pieces(numbers: Numbers) -> Iterator[Numbers]:
    """The intervals between the excluded numbers."""
    low, low_open = numbers.low, numbers.low_open
    plain = Numbers(None, low, low_open, numbers.high, numbers.high_open)
    for point in sorted(point for point in numbers.excluded if point in plain):
        yield Numbers(None, low, low_open, point, True)
        low, low_open = point, True
    yield Numbers(None, low, low_open, numbers.high, numbers.high_open)


def _as_whole(a: Numbers, b: Numbers) -> bool:
    """Whether the whole numbers of two intervals are the same."""
    return a.first_whole == b.first_whole and a.last_whole == b.last_whole


def _stepped(numbers: Numbers) -> list[ir.Regular] | None:
    """Terms that keep to the steps of a set, for decimals without exponent."""
    terms: list[ir.Regular] = []
    for step, wanted in sorted(numbers.steps):
        term = multiples(step)
        if term is None:
            points = numbers.few()
            return None if points is None else [ir.Alt(tuple(map(_spellings, points)))]
        terms.append(term if wanted else ir.Not(term))
    return terms


def _spellings(number: Decimal) -> ir.Regular:
    """Every decimal without exponent that has this value."""
    zeros = ir.Rep(ir.Lit("0"), 0, None)
    whole, _, fraction = _plain(number.copy_abs()).partition(".")
    fraction = fraction.rstrip("0")
    sign: ir.Regular = MINUS if number == 0 else ir.Lit("-" if number < 0 else "")
    if fraction:
        return cat(sign, cat(ir.Lit(f"{whole}.{fraction}"), zeros))
    point_zeros = ir.Rep(ir.Cat((ir.Lit("."), ir.Rep(ir.Lit("0"), 1, None))), 0, 1)
    return cat(sign, ir.Cat((ir.Lit(whole), point_zeros)))


def point_numerals(number: Decimal, numbers: Numbers) -> list[str]:
    """How an enumerated number may be written inside `numbers`."""
    if not is_whole(number):
        return [_dumps(number)]
    digits = _plain(number)
    if numbers.whole:
        return [digits]
    floating = repr(float(digits)) if number.copy_abs() < Decimal(10) ** 300 else digits
    return list(dict.fromkeys([digits, floating if Decimal(floating) == number else digits]))


def _plain(number: Decimal) -> str:
    """Digits without exponent."""
    return format(number, "f") if number else "0"


def _dumps(number: Decimal) -> str:
    floating = repr(float(number))
    return floating if Decimal(floating) == number else _plain(number)
