"""Soft pins: prefixes that are evicted last. Losing one costs recomputation, never progress.

The registry answers three questions in O(log pins) or better: which pin goes first, which have
expired, and which goes first of those whose prefix nobody holds (the next to lose under pressure).
Weak pins go before the others, and the older before the younger.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterator

from .node import Node


class Pin:
    """A handle on a pinned prefix.

    length: tokens it covers from the root (0: nothing was cached). expires: clock time or None.
    active: False once dropped, expired or lost. weak: lost before all others. `node` is the tree's
    own.
    """

    __slots__ = ("active", "expires", "length", "namespace", "node", "parked", "serial", "weak")

    def __init__(self, node: Node, serial: int, expires: float | None, weak: bool) -> None:
        self.node = node
        self.namespace = node.namespace
        self.length = node.end
        self.serial = serial
        self.expires = expires
        self.weak = weak
        self.active = True
        self.parked = False  # out of the heap of droppable pins until its node is held no more

    def __repr__(self) -> str:
        state = "active" if self.active else "gone"
        return f"<Pin {self.serial} {self.namespace!r} 0..{self.length} {state}>"


class PinRegistry:
    """The active pins by age, by expiry, and those that pressure may take. Counts nothing."""

    def __init__(self) -> None:
        self._weak: OrderedDict[Pin, None] = OrderedDict()  # by age, as the others
        self._strong: OrderedDict[Pin, None] = OrderedDict()
        self._by_expiry: list[tuple[float, int, Pin]] = []
        self._droppable: list[tuple[bool, int, Pin]] = []  # lazily cleaned of inactive ones
        self._serial = 0

    def __len__(self) -> int:
        return len(self._weak) + len(self._strong)

    def active(self) -> list[Pin]:
        """All active pins, in the order in which they go."""
        return [*self._weak, *self._strong]

    def last_first(self) -> Iterator[Pin]:
        """The active pins, those that go last first. Change none meanwhile."""
        return itertools.chain(reversed(self._strong), reversed(self._weak))

    def add(self, node: Node, expires: float | None, weak: bool) -> Pin:
        """A new pin, the youngest of its kind."""
        self._serial += 1
        pin = Pin(node, self._serial, expires, weak)
        self._kind(pin)[pin] = None
        self._push(pin)
        if expires is not None:
            heapq.heappush(self._by_expiry, (expires, pin.serial, pin))
        if node.own_pins is None:
            node.own_pins = []
        node.own_pins.append(pin)
        return pin

    def remove(self, pin: Pin) -> None:
        """Forgets an active pin."""
        pin.active = False
        del self._kind(pin)[pin]
        own = pin.node.own_pins or []
        own.remove(pin)
        if not own:
            pin.node.own_pins = None
        bound = 2 * len(self) + 64
        if len(self._droppable) > bound:
            self._droppable = [entry for entry in self._droppable if entry[2].active]
            heapq.heapify(self._droppable)
        if len(self._by_expiry) > bound:
            self._by_expiry = [entry for entry in self._by_expiry if entry[2].active]
            heapq.heapify(self._by_expiry)

    def first(self) -> Pin | None:
        """The active pin that goes first."""
        return next(iter(self._weak or self._strong), None)

    def next_expired(self, now: float) -> Pin | None:
        """An active pin whose time is up, or None."""
        heap = self._by_expiry
        while heap and (not heap[0][2].active or heap[0][0] <= now):
            pin = heapq.heappop(heap)[2]
            if pin.active:
                return pin
        return None

    def next_droppable(self) -> Pin | None:
        """The active pin that goes first of those whose nodes are not held; held ones wait until
        `wake`."""
        heap = self._droppable
        while heap:
            pin = heapq.heappop(heap)[2]
            if not pin.active:
                continue
            if pin.node.holds:
                pin.parked = True
                continue
            return pin
        return None

    def wake(self, node: Node) -> None:
        """The node is held no more: its pins may be taken again."""
        for pin in node.own_pins or ():
            if pin.parked:
                pin.parked = False
                self._push(pin)

    def _kind(self, pin: Pin) -> OrderedDict[Pin, None]:
        return self._weak if pin.weak else self._strong

    def _push(self, pin: Pin) -> None:
        heapq.heappush(self._droppable, (not pin.weak, pin.serial, pin))
