"""Who must be done by when. Costs what is due, and memory for those that still live."""

from __future__ import annotations

import heapq


class Deadlines:
    """Times by request id. Those that end before their time leave with `discard`; the heap forgets
    them when they are most of it."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._at)

    def add(self, request_id: int, at: float) -> None:
        """`at`: the clock's time, in seconds. One per id."""
        self._at[request_id] = at
        heapq.heappush(self._heap, (at, request_id))

    def discard(self, request_id: int) -> None:
        """It has ended, or never had a deadline."""
        if self._at.pop(request_id, None) is None:
            return
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = [(at, request_id) for request_id, at in self._at.items()]
            heapq.heapify(self._heap)

    def next(self) -> float | None:
        """The time of the next one, if any."""
        heap = self._heap
        while heap and self._at.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> int | None:
        """A request whose time has come, or None."""
        at = self.next()
        if at is None or at > now:
            return None
        request_id = heapq.heappop(self._heap)[1]
        del self._at[request_id]
        return request_id
