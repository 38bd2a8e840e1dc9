"""Soft pins: prefixes that are evicted last. Losing one costs recomputation, never progress.

The registry answers three questions in O(log pins) or better: which pin is the oldest, which have
expired, and which is the oldest whose prefix nobody holds (the next to lose under pressure).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

from .node import Node


class Pin:
    """A handle on a pinned prefix.

    length: tokens it covers from the root (0: nothing was cached). expires: clock time or None.
    active: False once dropped, expired or lost. `node` is the tree's own.
    """

    __slots__ = ("active", "expires", "length", "namespace", "node", "parked", "serial")

    def __init__(self, node: Node, serial: int, expires: float | None) -> None:
        self.node = node
        self.namespace = node.namespace
        self.length = node.end
        self.serial = serial
        self.expires = expires
        self.active = True
        self.parked = False  # out of the heap of droppable pins until its node is held no more

    def __repr__(self) -> str:
        state = "active" if self.active else "gone"
        return f"<Pin {self.serial} {self.namespace!r} 0..{self.length} {state}>"


class PinRegistry:
    """The active pins by age, by expiry, and those that pressure may take. Counts nothing."""

    def __init__(self) -> None:
        self._by_age: OrderedDict[Pin, None] = OrderedDict()
        self._by_expiry: list[tuple[float, int, Pin]] = []
        self._droppable: list[tuple[int, Pin]] = []  # lazily cleaned of inactive ones
        self._serial = 0

    def __len__(self) -> int:
        return len(self._by_age)

    def active(self) -> list[Pin]:
        """All active pins, the oldest first."""
        return list(self._by_age)

    def add(self, node: Node, expires: float | None) -> Pin:
        """A new pin, the youngest."""
        self._serial += 1
        pin = Pin(node, self._serial, expires)
        self._by_age[pin] = None
        heapq.heappush(self._droppable, (pin.serial, pin))
        if expires is not None:
            heapq.heappush(self._by_expiry, (expires, pin.serial, pin))
        if node.own_pins is None:
            node.own_pins = []
        node.own_pins.append(pin)
        return pin

    def remove(self, pin: Pin) -> None:
        """Forgets an active pin."""
        pin.active = False
        del self._by_age[pin]
        own = pin.node.own_pins or []
        own.remove(pin)
        if not own:
            pin.node.own_pins = None
        bound = 2 * len(self._by_age) + 64
        if len(self._droppable) > bound:
            self._droppable = [entry for entry in self._droppable if entry[1].active]
            heapq.heapify(self._droppable)
        if len(self._by_expiry) > bound:
            self._by_expiry = [entry for entry in self._by_expiry if entry[2].active]
            heapq.heapify(self._by_expiry)

    def oldest(self) -> Pin | None:
        """The oldest active pin."""
        return next(iter(self._by_age), None)

    def next_expired(self, now: float) -> Pin | None:
        """An active pin whose time is up, or None."""
        heap = self._by_expiry
        while heap and (not heap[0][2].active or heap[0][0] <= now):
            pin = heapq.heappop(heap)[2]
            if pin.active:
                return pin
        return None

    def next_droppable(self) -> Pin | None:
        """The oldest active pin whose node is not held; held ones wait until `wake`."""
        heap = self._droppable
        while heap:
            pin = heapq.heappop(heap)[1]
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
                heapq.heappush(self._droppable, (pin.serial, pin))
