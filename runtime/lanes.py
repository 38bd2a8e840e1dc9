"""Waiting requests by namespace: who is next inside one, and which namespace is next.

Inside a namespace: priority first, which grows by one for every `ageing` seconds of waiting; then
the longest cached prefix, then arrival. As all age at one rate, the order of two requests never
changes: what counts is the span of time they arrived in, less their priority.

Between namespaces the tokens served are shared by weight (start-time fair queueing; Goyal, Vin and
Cheng, 1997): a namespace's clock runs by the tokens it is served, over its weight, and the one
whose clock is furthest behind is next. One that was away does not come back with savings.
"""

from __future__ import annotations

import heapq

from .sequence import Sequence

_Entry = tuple[int, int, int, int, Sequence]
_SPARE = 64  # namespaces and stale entries kept before they are swept
_SWEPT = 8  # entries at a time


class Lane:
    """One namespace's requests. count: those waiting. served: its clock. old: a heap that grew too
    long with entries that count no more; `heap` takes over what is left of it."""

    def __init__(self, weight: float, served: float) -> None:
        self.heap: list[_Entry] = []
        self.old: list[_Entry] = []
        self.weight = weight
        self.served = served
        self.count = 0


class Lanes:
    """See the module's docstring. live: the number of a sequence's entry that counts."""

    def __init__(self, live: dict[int, int], shares: dict[str, float], ageing: float) -> None:
        self._live = live
        self._shares = shares
        self._ageing = ageing
        self._lanes: dict[str, Lane] = {}
        self._order: list[tuple[float, int, str]] = []  # of lanes with requests; stale ones stay
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

    def push(self, seq: Sequence, depth: int, number: int) -> None:
        """Its place, with `depth` tokens cached; entries of other numbers count no more."""
        arrived = int(seq.submitted // self._ageing) - seq.priority
        lane = self._lanes[seq.tenant]
        heapq.heappush(lane.heap, (arrived, -depth, seq.arrival, number, seq))
        self._sweep_lane(lane)

    def remove(self, seq: Sequence) -> None:
        """It waits no more."""
        lane = self._lanes[seq.tenant]
        lane.count -= 1
        if not lane.count:
            self._busy -= 1
            self._busy_weight = self._busy_weight - lane.weight if self._busy else 0.0
            lane.heap.clear()
            lane.old.clear()
        self._sweep_lane(lane)

    def charge(self, namespace: str, tokens: int, ahead: int = 0) -> None:
        """So many tokens were served to a namespace, and so many promised (below 0: no longer)."""
        lane = self._lane(namespace)
        lane.served += (tokens + ahead) / lane.weight
        # Time passes for who waits too, or newcomers without end would all be first.
        self._clock += tokens / max(self._busy_weight, lane.weight)
        if lane.count:
            self._line_up(namespace, lane)
        elif not self._busy:
            self._clock = max(self._clock, lane.served)

    def first(self) -> Sequence | None:
        """Who is next, or None when nobody waits."""
        while self._order:
            served, _, name = self._order[0]
            lane = self._lanes.get(name)
            if lane is None or not lane.count or lane.served != served:
                heapq.heappop(self._order)
                continue
            self._clock = max(self._clock, served)
            tops = [top for heap in (lane.heap, lane.old) if (top := self._top(heap)) is not None]
            return min(tops)[4]
        return None

    def _top(self, heap: list[_Entry]) -> _Entry | None:
        """The first entry that counts; those before it leave the heap."""
        while heap:
            top = heap[0]
            if self._live.get(top[4].id) == top[3]:
                return top
            heapq.heappop(heap)
        return None

    def _sweep_lane(self, lane: Lane) -> None:
        """Drop entries that count no more, a few each time: never all of a long heap at once."""
        if not lane.old and len(lane.heap) > max(_SPARE, 4 * lane.count):
            lane.old, lane.heap = lane.heap, []
        for _ in range(min(_SWEPT, len(lane.old))):
            entry = lane.old.pop()  # the last of a heap: what is left is one still
            if self._live.get(entry[4].id) == entry[3]:
                heapq.heappush(lane.heap, entry)

    def _lane(self, namespace: str) -> Lane:
        lane = self._lanes.get(namespace)
        if lane is None:
            if len(self._lanes) > self._sweep_at:
                self._sweep()
                self._sweep_at = max(_SPARE, 2 * len(self._lanes))
            weight = self._shares.get(namespace, 1.0)
            lane = self._lanes[namespace] = Lane(weight, self._clock)
        return lane

    def _line_up(self, namespace: str, lane: Lane) -> None:
        self._pushes += 1
        heapq.heappush(self._order, (lane.served, self._pushes, namespace))

    def _sweep(self) -> None:
        """Forget the idle whose clock is behind: they would come back at the same place."""
        self._lanes = {
            name: lane
            for name, lane in self._lanes.items()
            if lane.count or lane.served > self._clock
        }
