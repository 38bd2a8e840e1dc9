"""Waiting requests by namespace: who is next inside one, and which namespace is next.

Inside a namespace: priority first, which grows by one for every `ageing` seconds of waiting; then
a rank (the longest cached prefix first), then arrival. As all age at one rate, the order of two
requests never changes: what counts is the span of time they arrived in, less their priority.

Between namespaces the tokens served are shared by weight (start-time fair queueing; Goyal, Vin and
Cheng, 1997): a namespace's clock runs by the tokens it is served, over its weight, and the one
whose clock is furthest behind is next. One that was away does not come back with savings.
"""

from __future__ import annotations

from .lazy_heap import LazyHeap
from .sequence import Sequence

_Entry = tuple[int, int, int, int, Sequence]
_SPARE = 64  # namespaces kept before they are swept


class Lane:
    """One namespace's requests. count: those waiting. served: its clock. entry: the number of its
    entry in the order of lanes; 0 while nobody waits."""

    def __init__(self, weight: float, served: float, heap: LazyHeap[_Entry]) -> None:
        self.heap = heap
        self.weight = weight
        self.served = served
        self.count = self.entry = 0


class Lanes:
    """See the module's docstring. live: the number of a sequence's entry that counts."""

    def __init__(self, live: dict[int, int], shares: dict[str, float], ageing: float) -> None:
        self._live = live
        self._shares = shares
        self._ageing = ageing
        self._lanes: dict[str, Lane] = {}
        self._order: LazyHeap[tuple[float, int, str]] = LazyHeap(self._stands)
        self._clock = 0.0
        self._pushes = self._busy = 0
        self._busy_weight = 0.0
        self._sweep_at = _SPARE

    def add(self, seq: Sequence) -> None:
        """One more waits in its namespace; `push` says where."""
        lane = self._lane(seq.tenant)
        if not lane.count:
            self._busy += 1
            self._busy_weight += lane.weight
            lane.served = max(lane.served, self._clock)
            self._line_up(seq.tenant, lane)
        lane.count += 1

    def push(self, seq: Sequence, rank: int, number: int) -> None:
        """Its place, lower ranks first; entries of other numbers count no more."""
        arrived = int(seq.submitted // self._ageing) - seq.priority
        lane = self._lanes[seq.tenant]
        lane.heap.push((arrived, rank, seq.arrival, number, seq))
        lane.heap.sweep(lane.count)

    def remove(self, seq: Sequence) -> None:
        """It waits no more."""
        lane = self._lanes[seq.tenant]
        lane.count -= 1
        if not lane.count:
            self._busy -= 1
            self._busy_weight = self._busy_weight - lane.weight if self._busy else 0.0
            lane.heap.clear()
            lane.entry = 0
        lane.heap.sweep(lane.count)

    def charge(self, namespace: str, tokens: int, ahead: int = 0) -> None:
        """So many tokens were served to a namespace, and so many promised (below 0: no longer)."""
        lane = self._lane(namespace)
        before = lane.served
        lane.served += (tokens + ahead) / lane.weight
        # Time passes for who waits too, or newcomers without end would all be first.
        self._clock += tokens / max(self._busy_weight, lane.weight)
        if lane.count:
            if lane.served != before:
                self._line_up(namespace, lane)
        elif not self._busy:
            self._clock = max(self._clock, lane.served)

    def first(self) -> Sequence | None:
        """Who is next, or None when nobody waits."""
        top = self._order.first()
        if top is None:
            return None
        served, _, name = top
        self._clock = max(self._clock, served)
        entry = self._lanes[name].heap.first()
        assert entry is not None
        return entry[4]

    def _waits(self, entry: _Entry) -> bool:
        return self._live.get(entry[4].id) == entry[3]

    def _stands(self, entry: tuple[float, int, str]) -> bool:
        lane = self._lanes.get(entry[2])
        return lane is not None and lane.entry == entry[1]

    def _lane(self, namespace: str) -> Lane:
        lane = self._lanes.get(namespace)
        if lane is None:
            if len(self._lanes) > self._sweep_at:
                self._sweep()
                self._sweep_at = max(_SPARE, 2 * len(self._lanes))
            weight = self._shares.get(namespace, 1.0)
            lane = self._lanes[namespace] = Lane(weight, self._clock, LazyHeap(self._waits))
        return lane

    def _line_up(self, namespace: str, lane: Lane) -> None:
        self._pushes += 1
        lane.entry = self._pushes
        self._order.push((lane.served, self._pushes, namespace))
        self._order.sweep(self._busy)

    def _sweep(self) -> None:
        """Forget the idle whose clock is behind: they would come back at the same place."""
        self._lanes = {
            name: lane
            for name, lane in self._lanes.items()
            if lane.count or lane.served > self._clock
        }
