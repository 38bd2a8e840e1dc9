"""Numerals of the multiples of a number, as a regular term.

Let the step be p / 10^k with p whole and not divisible by 10, or k = 0. A decimal is a multiple iff
its digits after the k-th place are zeros and the whole number made by its digits up to there is a
multiple of p. With p = 2^a 5^b that depends on the last max(a, b) of these digits; a factor 3 runs
over all of them, as a remainder automaton whose states are eliminated. (That term for 7 takes
180 kB, for 9 it takes 3 MB: such steps are written only where bounds leave few multiples.)
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache

from . import ir

_DIGIT = ir.Chars(((48, 57),))
_DIGITS = ir.Rep(_DIGIT, 0, None)
_NONZERO = ir.Chars(((49, 57),))
_WHOLE = ir.Alt((ir.Lit("0"), ir.Cat((_NONZERO, _DIGITS))))
_ZEROS = ir.Rep(ir.Lit("0"), 0, None)
_SOME_ZEROS = ir.Cat((ir.Lit("."), ir.Rep(ir.Lit("0"), 1, None)))
_MAX_DIGITS = 4
_MAX_PLACES = 20
_MAX_REMAINDERS = 3


@cache
def multiples(step: Decimal) -> ir.Regular | None:
    """Decimals without exponent that are multiples of `step` > 0; None where no small term does."""
    whole, places = _split(step)
    twos, rest = _factor(whole, 2)
    fives, rest = _factor(rest, 5)
    width = max(twos, fives)
    if width > _MAX_DIGITS or places > _MAX_PLACES or rest > _MAX_REMAINDERS:
        return None
    term = _by_last_digits(whole // rest, width, places)
    if rest > 1:
        term = ir.And((term, _by_remainder(rest)))
    return ir.Cat((ir.Rep(ir.Lit("-"), 0, 1), term))


def _split(step: Decimal) -> tuple[int, int]:
    """(p, k) with step = p / 10^k and p not divisible by 10, or k = 0."""
    digits = format(step.normalize() if len(step.as_tuple().digits) <= 28 else step, "f")
    whole, _, fraction = digits.partition(".")
    fraction = fraction.rstrip("0")
    return int(whole + fraction), len(fraction)


def _factor(number: int, prime: int) -> tuple[int, int]:
    count = 0
    while number % prime == 0:
        number //= prime
        count += 1
    return count, number


def _by_last_digits(whole: int, width: int, places: int) -> ir.Regular:
    """`whole` = 2^a 5^b divides 10^width: look at the last `width` digits up to `places`."""
    if width <= places:
        return ir.Cat((_WHOLE, ir.Rep(_fraction_only(whole, width, places), 0, 1)))
    parts: list[ir.Regular] = []
    for length in range(places + 1):
        for number in range(10**length):
            padded = number * 10 ** (places - length)
            units = _units(whole, width - places, padded, 10**places)
            if units is None:
                continue
            fraction: ir.Regular = ir.Rep(_SOME_ZEROS, 0, 1) if places == 0 else ir.Lit("")
            if length:
                zeros = _ZEROS if length == places else ir.Lit("")
                fraction = ir.Cat((ir.Lit(f".{number:0{length}d}"), zeros))
            parts.append(ir.Cat((units, fraction)))
    return ir.Alt(tuple(parts))


def _fraction_only(whole: int, width: int, places: int) -> ir.Regular:
    free = places - width
    tails: list[ir.Regular] = []
    for length in range(1, width + 1):
        for number in range(10**length):
            if number * 10 ** (width - length) % whole == 0:
                zeros = _ZEROS if length == width else ir.Lit("")
                tails.append(ir.Cat((ir.Lit(f"{number:0{length}d}"), zeros)))
    parts: list[ir.Regular] = [ir.Rep(_DIGIT, 1, free)] if free else []
    if width == 0:
        parts.append(
            ir.Cat((ir.Rep(_DIGIT, free, free), ir.Rep(ir.Lit("0"), int(free == 0), None)))
        )
    else:
        parts.append(ir.Cat((ir.Rep(_DIGIT, free, free), ir.Alt(tuple(tails)))))
    return ir.Cat((ir.Lit("."), ir.Alt(tuple(parts))))


def _units(whole: int, count: int, fraction: int, unit: int) -> ir.Regular | None:
    """Whole parts n with (n * unit + fraction) divisible by `whole`: by their last digits."""
    fits = [n for n in range(10**count) if (n * unit + fraction) % whole == 0]
    if not fits:
        return None
    short = ir.Alt(tuple(ir.Lit(str(n)) for n in fits))
    lead = ir.Cat((_NONZERO, _DIGITS))
    long = ir.Cat((lead, ir.Alt(tuple(ir.Lit(f"{n:0{count}d}") for n in fits))))
    return ir.Alt((short, long))


def _by_remainder(divisor: int) -> ir.Regular:
    """Digits with points between them that `divisor`, prime to 10, divides when the points are
    left out, by state elimination: more zeros at the end change nothing."""
    edges: dict[tuple[int, int], ir.Regular] = {}
    for state in range(divisor):
        for digit in range(10):
            target = (state * 10 + digit) % divisor
            code = ord("0") + digit
            old = edges.get((state, target), ir.Chars(()))
            assert isinstance(old, ir.Chars)
            edges[state, target] = ir.Chars((*old.ranges, (code, code)))
    for state in range(divisor):
        loops = edges.get((state, state), ir.Chars(()))
        assert isinstance(loops, ir.Chars)
        edges[state, state] = ir.Chars(((ord("."), ord(".")), *loops.ranges))
    for gone in range(divisor - 1, 0, -1):
        loop = edges.pop((gone, gone), None)
        middle = [ir.Rep(loop, 0, None)] if loop is not None else []
        into = [(a, edges.pop((a, b))) for a, b in list(edges) if b == gone]
        out = [(b, edges.pop((a, b))) for a, b in list(edges) if a == gone]
        for a, first in into:
            for b, last in out:
                path = ir.Cat((first, *middle, last))
                old_path = edges.get((a, b))
                edges[a, b] = path if old_path is None else ir.Alt((old_path, path))
    return ir.Rep(edges[0, 0], 0, None)
