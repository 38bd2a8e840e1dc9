"""Sets of numbers, as JSON Schema's numeric keywords describe them.

Bounds are exact decimals: 0.1 is one tenth, not the nearest double.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

_EXACT = Context(prec=100_000, Emax=10**9, Emin=-(10**9))


@dataclass(frozen=True)
class Numbers:
    """A set of numbers: an interval, less single points, whole or not.

    whole: True only integers, False only others, None both. `None` bounds are infinite; an open
    bound is excluded itself. steps: (step, wanted): multiples of the step, or anything but those.
    """

    whole: bool | None = None
    low: Decimal | None = None
    low_open: bool = False
    high: Decimal | None = None
    high_open: bool = False
    excluded: frozenset[Decimal] = frozenset()
    steps: frozenset[tuple[Decimal, bool]] = frozenset()
    void: bool = False

    def meet(self, other: Numbers) -> Numbers:
        """The numbers in both."""
        if other == ALL_NUMBERS:
            return self
        if self == ALL_NUMBERS:
            return other
        low, low_open = _tighter((self.low, self.low_open), (other.low, other.low_open), 1)
        high, high_open = _tighter((self.high, self.high_open), (other.high, other.high_open), -1)
        clash = self.whole is not None and other.whole is not None and self.whole != other.whole
        return Numbers(
            whole=other.whole if self.whole is None else self.whole,
            low=low,
            low_open=low_open,
            high=high,
            high_open=high_open,
            excluded=self.excluded | other.excluded,
            steps=self.steps | other.steps,
            void=self.void or other.void or clash,
        )

    def __contains__(self, number: Decimal) -> bool:
        whole = is_whole(number)
        return (
            not self.void
            and (self.whole is None or self.whole == whole)
            and (
                self.low is None or number > self.low or (number == self.low and not self.low_open)
            )
            and (
                self.high is None
                or number < self.high
                or (number == self.high and not self.high_open)
            )
            and number not in self.excluded
            and all((_EXACT.remainder(number, step) == 0) is wanted for step, wanted in self.steps)
        )

    @property
    def empty(self) -> bool:
        """True only where the set is surely empty."""
        if self.void or any((step, not wanted) in self.steps for step, wanted in self.steps):
            return True
        low, high = (self.first_whole, self.last_whole) if self.whole else (self.low, self.high)
        if low is None or high is None:
            return False
        if low == high:
            return low not in self
        return low > high

    @property
    def first_whole(self) -> Decimal | None:
        if self.low is None:
            return None
        first = self.low.to_integral_value(ROUND_CEILING, _EXACT)
        return _EXACT.add(first, 1) if self.low_open and first == self.low else first

    @property
    def last_whole(self) -> Decimal | None:
        if self.high is None:
            return None
        last = self.high.to_integral_value(ROUND_FLOOR, _EXACT)
        return _EXACT.add(last, -1) if self.high_open and last == self.high else last

    def few(self) -> list[Decimal] | None:
        """The numbers in the set where bounds and a step leave at most 1,000; None otherwise."""
        if self.low is None or self.high is None:
            return None
        steps = [step for step, wanted in self.steps if wanted] + [Decimal(1)] * bool(self.whole)
        if not steps:
            return None
        step = max(steps)
        first = _EXACT.divide(self.low, step).to_integral_value(ROUND_CEILING, _EXACT)
        last = _EXACT.divide(self.high, step).to_integral_value(ROUND_FLOOR, _EXACT)
        if last - first > 1000:
            return None
        points = [_EXACT.multiply(Decimal(i), step) for i in range(int(first), int(last) + 1)]
        return [point for point in points if point in self]


ALL_NUMBERS = Numbers()


def _tighter(
    a: tuple[Decimal | None, bool], b: tuple[Decimal | None, bool], sign: int
) -> tuple[Decimal | None, bool]:
    if a[0] is None or b[0] is None:
        return b if a[0] is None else a
    if a[0] == b[0]:
        return (a[0], a[1] or b[1])
    return a if (a[0] > b[0]) == (sign > 0) else b


def is_whole(number: Decimal) -> bool:
    return number == number.to_integral_value(context=_EXACT)
