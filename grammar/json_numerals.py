"""Numerals: the canonical JSON text of a set of numbers, as a regular term.

The canonical numerals, the only ones in the language:
- under `integer`: `0` or `-?[1-9][0-9]*`, no fraction (`3.0` is an integer to JSON Schema, but many
  decoders read it as a float, so it is not written);
- an unconstrained number: decimals with any number of digits, and `d.ddde-dd`: one digit (not 0)
  before the point, an exponent up to 307 in at most three digits, so that no float overflows;
- a number with bounds: decimals without exponent, with any number of fraction digits, and the form
  `json.dumps` gives to very small and very large floats (`1e-07`, `2.5e+16`: one leading digit, an
  exponent of two or three digits, below -4 or from +16). Negative zero is written only where
  negative numbers are allowed;
- a number with `multipleOf`: decimals without exponent;
- an enumerated number: as `json.dumps` writes it, and whole ones also with or without `.0`.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Context, Decimal

from . import ir
from .json_multiples import multiples
from .json_numbers import ALL_NUMBERS, Numbers, is_whole

_EXACT = Context(prec=100_000, Emax=10**9, Emin=-(10**9))
DIGIT = ir.Chars(((48, 57),))
_NONZERO = ir.Chars(((49, 57),))
_DIGITS = ir.Rep(DIGIT, 0, None)
_WHOLE = ir.Alt((ir.Lit("0"), ir.Cat((_NONZERO, _DIGITS))))
_ANY_FRACTION = ir.Rep(ir.Cat((ir.Lit("."), ir.Rep(DIGIT, 1, None))), 0, 1)
_NOTHING = ir.Alt(())
_EMPTY = ir.Lit("")

_EXPONENT = ir.Alt(
    (
        ir.Rep(DIGIT, 1, 2),
        ir.Cat((ir.Chars(((48, 50),)), DIGIT, DIGIT)),
        ir.Cat((ir.Lit("30"), ir.Chars(((48, 55),)))),
    )
)
ANY_INTEGER = ir.Alt((ir.Lit("0"), ir.Cat((ir.Rep(ir.Lit("-"), 0, 1), _NONZERO, _DIGITS))))
_SCIENTIFIC = ir.Cat(
    (
        _NONZERO,
        _ANY_FRACTION,
        ir.Chars(((69, 69), (101, 101))),
        ir.Rep(ir.Chars(((43, 43), (45, 45))), 0, 1),
        _EXPONENT,
    )
)
ANY_NUMBER = ir.Cat(
    (ir.Rep(ir.Lit("-"), 0, 1), ir.Alt((ir.Cat((_WHOLE, _ANY_FRACTION)), _SCIENTIFIC)))
)


def numerals(numbers: Numbers) -> ir.Regular | None:
    """The canonical numerals of a set of numbers; None where its steps have no small term."""
    if numbers.empty:
        return _NOTHING
    if numbers == ALL_NUMBERS:
        return ANY_NUMBER
    plain = replace(numbers, excluded=frozenset(), steps=frozenset())
    if plain == Numbers(whole=True):
        text: ir.Regular = ANY_INTEGER
    elif numbers.whole:
        text = _integers(numbers.first_whole, numbers.last_whole)
    else:
        text = _decimals(plain, exponents=not numbers.steps)
        if numbers.whole is False:
            text = ir.And((text, _NOT_WHOLE))
    if numbers.steps:
        stepped = _stepped(numbers)
        if stepped is None:
            return None
        text = ir.And((text, *stepped))
    points = sorted(point for point in numbers.excluded if point in plain)
    if points:
        text = ir.And((text, ir.Not(ir.Alt(tuple(_spellings(point) for point in points)))))
    return text


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


# -- integers --------------------------------------------------------------------------------------


def _integers(low: Decimal | None, high: Decimal | None) -> ir.Regular:
    parts: list[ir.Regular] = []
    if low is None or low < 0:
        least = 1 if high is None or high >= 0 else -int(high)
        parts.append(ir.Cat((ir.Lit("-"), naturals(least, None if low is None else -int(low)))))
    if high is None or high >= 0:
        least = 0 if low is None or low < 0 else int(low)
        parts.append(naturals(least, None if high is None else int(high)))
    return _alt(parts)


def naturals(low: int, high: int | None) -> ir.Regular:
    """Decimal numerals without leading zeros of the whole numbers in [low, high], 0 <= low."""
    if high is not None and low > high:
        return _NOTHING
    parts: list[ir.Regular] = []
    width = len(str(low))
    top_width = width if high is None else len(str(high))
    if low > 0 and low == 10 ** (width - 1) and high is None:
        return ir.Cat((_NONZERO, ir.Rep(DIGIT, width - 1, None)))
    if low == 0 and high is None:
        return _WHOLE
    first = str(low)
    last = str(high) if high is not None and top_width == width else "9" * width
    parts.append(_same_width(first, last))
    if high is None:
        parts.append(ir.Cat((_NONZERO, ir.Rep(DIGIT, width, None))))
    elif top_width > width:
        if top_width > width + 1:
            parts.append(ir.Cat((_NONZERO, ir.Rep(DIGIT, width, top_width - 2))))
        parts.append(_same_width("1" + "0" * (top_width - 1), str(high)))
    return _alt(parts)


def _same_width(low: str, high: str) -> ir.Regular:
    """Numerals of one width, digit strings `low` <= x <= `high`."""
    if not low:
        return _EMPTY
    if low[0] == high[0]:
        return _cat(ir.Lit(low[0]), _same_width(low[1:], high[1:]))
    parts: list[ir.Regular] = []
    first, last = int(low[0]), int(high[0])
    rest = len(low) - 1
    if low[1:].strip("0"):
        parts.append(_cat(ir.Lit(low[0]), _same_width(low[1:], "9" * rest)))
        first += 1
    upper: ir.Regular | None = None
    if high[1:].strip("9"):
        upper = _cat(ir.Lit(high[0]), _same_width("0" * rest, high[1:]))
        last -= 1
    if first <= last:
        parts.append(_cat(_digit(first, last), ir.Rep(DIGIT, rest, rest) if rest else _EMPTY))
    if upper is not None:
        parts.append(upper)
    return _alt(parts)


# -- decimals --------------------------------------------------------------------------------------


def _decimals(numbers: Numbers, *, exponents: bool) -> ir.Regular:
    """Numerals of an interval: decimals, and the exponents `json.dumps` writes."""
    parts: list[ir.Regular] = []
    zero = Decimal(0)
    if numbers.low is None or numbers.low < 0:
        below_zero = numbers.high is not None and numbers.high <= 0
        least, least_open = (
            (numbers.high.copy_negate(), numbers.high_open)
            if below_zero and numbers.high is not None
            else (zero, False)
        )
        most = None if numbers.low is None else numbers.low.copy_negate()
        parts.append(
            ir.Cat((ir.Lit("-"), _magnitudes(least, least_open, most, numbers.low_open, exponents)))
        )
    if numbers.high is None or numbers.high >= 0:
        least, least_open = zero, False
        if numbers.low is not None and numbers.low >= 0:
            least, least_open = numbers.low, numbers.low_open
        parts.append(_magnitudes(least, least_open, numbers.high, numbers.high_open, exponents))
    return _alt(parts)


def _magnitudes(
    low: Decimal, low_open: bool, high: Decimal | None, high_open: bool, exponents: bool
) -> ir.Regular:
    parts = [_fixed_point(low, low_open, high, high_open)]
    if exponents:
        parts += _scientific(low, low_open, high, high_open, 16, 308)
        parts += _scientific(low, low_open, high, high_open, -324, -5)
    return _alt(parts)


def _fixed_point(low: Decimal, low_open: bool, high: Decimal | None, high_open: bool) -> ir.Regular:
    """`[0-9]+(\\.[0-9]+)?` with a value from `low` to `high`, both >= 0."""
    low_whole, low_digits = _split(low)
    at_least = _fraction_at_least(low_digits, low_open)
    if high is None:
        beyond = ir.Cat((naturals(low_whole + 1, None), _ANY_FRACTION))
        return _alt([_cat(ir.Lit(str(low_whole)), at_least), beyond])
    high_whole, high_digits = _split(high)
    at_most = _fraction_at_most(high_digits, high_open)
    if low_whole > high_whole:
        return _NOTHING
    if low_whole == high_whole:
        return _cat(ir.Lit(str(low_whole)), ir.And((at_least, at_most)))
    parts = [_cat(ir.Lit(str(low_whole)), at_least)]
    if high_whole - low_whole > 1:
        parts.append(ir.Cat((naturals(low_whole + 1, high_whole - 1), _ANY_FRACTION)))
    parts.append(_cat(ir.Lit(str(high_whole)), at_most))
    return _alt(parts)


def _split(number: Decimal) -> tuple[int, str]:
    whole, _, fraction = _plain(number).partition(".")
    return int(whole), fraction.rstrip("0")


def _fraction_at_least(digits: str, open_: bool) -> ir.Regular:
    """Fractions (with the point, or nothing) of at least `0.digits`; above it where open."""
    if not digits and not open_:
        return _ANY_FRACTION
    some = ir.Cat((_DIGITS, _NONZERO, _DIGITS))
    parts: list[ir.Regular] = []
    for index, digit in enumerate(digits):
        if digit != "9":
            parts.append(ir.Cat((ir.Lit(digits[:index]), _digit(int(digit) + 1, 9), _DIGITS)))
    parts.append(ir.Cat((ir.Lit(digits), some if open_ else _DIGITS)))
    return ir.Cat((ir.Lit("."), _alt(parts)))


def _fraction_at_most(digits: str, open_: bool) -> ir.Regular:
    """Fractions (with the point, or nothing) of at most `0.digits`; below it where open."""
    zeros = ir.Rep(ir.Lit("0"), 1, None)
    if not digits:
        return _NOTHING if open_ else ir.Rep(ir.Cat((ir.Lit("."), zeros)), 0, 1)
    parts: list[ir.Regular] = []
    for index, digit in enumerate(digits):
        if index:
            parts.append(ir.Lit(digits[:index]))  # ends here: smaller, for more is to come
        if digit != "0":
            parts.append(ir.Cat((ir.Lit(digits[:index]), _digit(0, int(digit) - 1), _DIGITS)))
    if not open_:
        parts.append(ir.Cat((ir.Lit(digits), ir.Rep(ir.Lit("0"), 0, None))))
    return ir.Rep(ir.Cat((ir.Lit("."), _alt(parts))), 0, 1)


def _scientific(
    low: Decimal, low_open: bool, high: Decimal | None, high_open: bool, least: int, most: int
) -> list[ir.Regular]:
    """`d.ddde+XX` with `least` <= exponent <= `most` and a value from `low` to `high`."""
    one, ten = Decimal(1), Decimal(10)
    parts: list[ir.Regular] = []
    edges = {low.adjusted()} if low else set()
    if high:
        edges.add(high.adjusted())
    start = max(least, low.adjusted()) if low else least
    stop = most if high is None else min(most, high.adjusted()) if high else least - 1
    for exponent in sorted(edge for edge in edges if start <= edge <= stop):
        bottom, bottom_open = (
            (low.scaleb(-exponent, _EXACT), low_open)
            if low and low.adjusted() == exponent
            else (one, False)
        )
        top, top_open = (
            (high.scaleb(-exponent, _EXACT), high_open)
            if high and high.adjusted() == exponent
            else (ten, True)
        )
        mantissa = _fixed_point(bottom, bottom_open, top, top_open)
        parts.append(ir.Cat((mantissa, _exponents(exponent, exponent))))
    free = ir.Cat((_NONZERO, _ANY_FRACTION))
    for exponent in sorted(edges):
        if start <= exponent <= stop:
            if start < exponent:
                parts.append(ir.Cat((free, _exponents(start, exponent - 1))))
            start = exponent + 1
    if start <= stop:
        parts.append(ir.Cat((free, _exponents(start, stop))))
    return parts


def _exponents(low: int, high: int) -> ir.Regular:
    """`e+16`, `e-07`: two digits or three, all exponents of one sign."""
    sign = "-" if high < 0 else "+"
    least, most = (-high, -low) if high < 0 else (low, high)
    parts: list[ir.Regular] = []
    if least <= 9:
        parts.append(ir.Cat((ir.Lit("0"), naturals(least, min(most, 9)))))
    if most >= 10:
        parts.append(naturals(max(least, 10), most))
    return ir.Cat((ir.Lit(f"e{sign}"), _alt(parts)))


def _spellings(number: Decimal) -> ir.Regular:
    """Every canonical numeral with this value."""
    zeros = ir.Rep(ir.Lit("0"), 0, None)
    point_zeros = ir.Rep(ir.Cat((ir.Lit("."), ir.Rep(ir.Lit("0"), 1, None))), 0, 1)
    text = _plain(number.copy_abs())
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    sign: ir.Regular = ir.Lit("-" if number < 0 else "")
    if number == 0:
        sign = ir.Rep(ir.Lit("-"), 0, 1)
    fixed = (
        _cat(ir.Lit(f"{whole}.{fraction}"), zeros) if fraction else _cat(ir.Lit(whole), point_zeros)
    )
    parts = [fixed]
    if number:
        exponent = number.adjusted()
        if exponent >= 16 or exponent <= -5:
            digits = "".join(map(str, number.as_tuple().digits)).rstrip("0")
            mantissa = (
                _cat(ir.Lit(f"{digits[0]}.{digits[1:]}"), zeros)
                if len(digits) > 1
                else _cat(ir.Lit(digits), point_zeros)
            )
            parts.append(_cat(mantissa, _exponents(exponent, exponent)))
    return _cat(sign, _alt(parts))


def _digit(first: int, last: int) -> ir.Regular:
    return ir.Lit(str(first)) if first == last else ir.Chars(((48 + first, 48 + last),))


def _alt(parts: list[ir.Regular]) -> ir.Regular:
    return parts[0] if len(parts) == 1 else ir.Alt(tuple(parts))


def _cat(first: ir.Regular, second: ir.Regular) -> ir.Regular:
    if isinstance(first, ir.Lit) and isinstance(second, ir.Lit):
        return ir.Lit(first.text + second.text)
    return ir.Cat((first, second))


_NOT_WHOLE = ir.Cat(
    (
        ir.Rep(ir.Lit("-"), 0, 1),
        ir.Alt(
            (
                ir.Cat((_WHOLE, ir.Lit("."), _DIGITS, _NONZERO, _DIGITS)),
                ir.Cat((_NONZERO, _ANY_FRACTION, _exponents(-324, -5))),
            )
        ),
    )
)
