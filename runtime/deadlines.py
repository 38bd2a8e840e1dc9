"""Who must be done by when. Costs what is due, and memory for those that still live."""

from __future__ import annotations

from .lazy_heap import LazyHeap


class Deadlines:
    """Times by request id. Those that end before their time leave with `discard`."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._heap: LazyHeap[tuple[float, int]] = LazyHeap(self._counts)

    def __len__(self) -> int:
        return len(self._at)

    def add(self, request_id: int, at: float) -> None:
        """`at`: the clock's time, in seconds. One per id."""
        self._at[request_id] = at
        self._heap.push((at, request_id))

    def discard(self, request_id: int) -> None:
        """It has ended, or never had a deadline."""
        if self._at.pop(request_id, None) is not None:
            self._heap.sweep(len(self._at))

    def next(self) -> float | None:
        """The time of the next one, if any."""
        first = self._heap.first()
        return None if first is None else first[0]

    def pop_due(self, now: float) -> int | None:
        """A request whose time has come, or None."""
        first = self._heap.first()
        if first is None or first[0] > now:
            return None
        del self._at[first[1]]
        return first[1]

    def _counts(self, entry: tuple[float, int]) -> bool:
        return self._at.get(entry[1]) == entry[0]
