"""Who asked that a cached prefix be evicted last: pins by number, and holds by a state's number.

A hold follows a program's state: each of the state's requests that ends well puts it on what the
request left in the tree. A key has one hold: on what was asked for last, or on a longer text that
begins with it. Both are soft, and lost under pressure: holds before pins, the older before the
younger. Nobody waits for one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from ..errors import InvalidRequestError
from ..radix_cache.node import Node
from ..radix_cache.pins import Pin
from ..types import FinishReason, Hold
from .plan import Ints
from .scheduler import Scheduler
from .sequence import Sequence

_SWEEP = 1024


class Pins:
    """See the module's docstring."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._cache = scheduler.cache
        self._leaving = scheduler.leaving
        self._pins: dict[int, Pin] = {}
        self._numbers = itertools.count(1)
        self._pins_at = _SWEEP
        self._swept = 0  # up to this number, those that ran out are forgotten
        self._holds: dict[int, Pin] = {}
        self._ended: list[tuple[Sequence, list[Hold]]] = []
        self._sweep_at = _SWEEP

    def pin(self, key: Ints, namespace: str, ttl: float | None) -> int:
        """Pin a prefix; returns the pin's number."""
        number = next(self._numbers)
        self._pins[number] = self._cache.pin(key, namespace, ttl)
        if len(self._pins) > self._pins_at:  # of those that ran out
            self._pins = {each: pin for each, pin in self._pins.items() if pin.active}
            self._pins_at = max(_SWEEP, 2 * len(self._pins))
            self._swept = number
        return number

    def unpin(self, number: int) -> None:
        """Drop a pin; one that ran out long ago is left alone. Raises InvalidRequestError for a
        number that was never given, or is dropped already."""
        pin = self._pins.pop(number, None)
        if pin is not None:
            self._cache.unpin(pin)
        elif not 0 < number <= self._swept:
            raise InvalidRequestError(
                expected="a pin this engine gave", got=str(number), where="pin"
            )

    # -- holds -------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """States whose prefix is held now."""
        self.settle()
        return sum(pin.active for pin in self._holds.values())

    def ended(self, seq: Sequence, reason: FinishReason) -> None:
        """A sequence ended: if by itself, it is held once its KV has entered the tree."""
        if seq.request.holds and reason in ("stop", "length"):
            self._ended.append((seq, seq.request.holds))

    def settle(self) -> None:
        """Hold what has entered the tree since; before anything may be evicted."""
        if not self._ended:
            return
        later = []
        for seq, holds in self._ended:
            if seq.id in self._leaving:
                later.append((seq, holds))
                continue
            for hold in holds:
                self._hold(seq, hold)
        self._ended = later

    def release(self, keys: Iterable[int]) -> None:
        """Nobody needs what these keys hold; unknown ones hold nothing (any more)."""
        gone = set(keys)
        self._ended = [
            (seq, [hold for hold in holds if hold.key not in gone]) for seq, holds in self._ended
        ]
        for key in gone:
            pin = self._holds.pop(key, None)
            if pin is not None:
                self._cache.unpin(pin)

    def _hold(self, seq: Sequence, hold: Hold) -> None:
        length = seq.known if hold.tokens is None else max(0, min(hold.tokens, seq.known))
        old = self._holds.get(hold.key)
        pin = self._cache.pin(seq.key(length), seq.namespace, hold.seconds, weak=True)
        if old is not None:
            longer = old.active and old.length > length and _begins(pin.node, old.node)
            self._cache.unpin(pin if longer else old)
            if longer:
                return
        self._holds[hold.key] = pin
        if len(self._holds) > self._sweep_at:  # of states whose client never released them
            self._holds = {key: pin for key, pin in self._holds.items() if pin.active}
            self._sweep_at = max(_SWEEP, 2 * len(self._holds))


def _begins(first: Node, node: Node) -> bool:
    """Whether the prefix of `first` is one of `node`'s."""
    above: Node | None = node
    while above is not None and above is not first:
        above = above.parent
    return above is first
