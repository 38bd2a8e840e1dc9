"""A heap of entries that may have stopped counting: they are left where they are, and leave later.

Those that come first leave when they are looked for. The others would stay for as long as better
ones come, so when they are most of the heap it is given up bit by bit: a few entries at each push,
never all at once, however long it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

Entry = TypeVar("Entry", bound=tuple[object, ...])

_SPARE = 64  # stale entries kept before they are swept
_SWEPT = 8  # entries at a time


class LazyHeap(Generic[Entry]):
    """counts: whether an entry does still; one that does not never does again. No two are equal."""

    def __init__(self, counts: Callable[[Entry], bool]) -> None:
        self._counts = counts
        self._heap: list[Entry] = []
        self._old: list[
            Entry
        ] = []  # a heap that grew too long: what counts of it goes to the other

    def __len__(self) -> int:
        return len(self._heap) + len(self._old)

    def push(self, entry: Entry) -> None:
        """One more entry."""
        heapq.heappush(self._heap, entry)

    def first(self) -> Entry | None:
        """The least entry that counts, or None; what comes before it leaves."""
        tops = [top for heap in (self._heap, self._old) if (top := self._top(heap)) is not None]
        return min(tops, default=None)

    def sweep(self, live: int) -> None:
        """To be called as often as `push`. live: about how many entries count."""
        if not self._old and len(self._heap) > max(_SPARE, 4 * live):
            self._old, self._heap = self._heap, []
        for _ in range(min(_SWEPT, len(self._old))):
            entry = self._old.pop()  # the last of a heap: what is left is one still
            if self._counts(entry):
                heapq.heappush(self._heap, entry)

    def clear(self) -> None:
        """No entry counts any more."""
        self._heap.clear()
        self._old.clear()

    def _top(self, heap: list[Entry]) -> Entry | None:
        while heap and not self._counts(heap[0]):
            heapq.heappop(heap)
        return heap[0] if heap else None
