"""Doubles among decimals: what most decoders make of a number with a point or an exponent.

A decimal becomes the nearest double, and a double is written as the shortest decimal that becomes
it (`repr`, `json.dumps`); it is that decimal that schemas are compared with. Rounding never turns
an order around: what is at least the decimal of one double becomes that double or a larger one. So
an interval that begins and ends at such decimals holds whatever is read out of it.
"""

from __future__ import annotations

import math
import sys
from decimal import Decimal

LARGEST = Decimal(repr(sys.float_info.max))


def first_double(low: Decimal, low_open: bool) -> Decimal | None:
    """The smallest double of at least `low` (above it where open); None where all are below."""
    near = float(low)
    if math.isinf(near):
        return None if near > 0 else -LARGEST
    near = math.nextafter(near, -math.inf)
    while near < math.inf:
        written = Decimal(repr(near))
        if written.is_finite() and (written > low or (written == low and not low_open)):
            return written
        near = math.nextafter(near, math.inf)
    return None


def last_double(high: Decimal, high_open: bool) -> Decimal | None:
    """The largest double of at most `high` (below it where open); None where all are above."""
    found = first_double(high.copy_negate(), high_open)
    return None if found is None else found.copy_negate()
