"""Slots: room for one token's KV each, handed out in pages.

Invariants (checked by `SlotAllocator.check_invariants`):
A1  every page below the watermark is either marked as handed out or on the stack of freed pages,
    never both and never twice; no page above the watermark is either.
A2  `available` counts exactly the pages that are not handed out.
"""

from __future__ import annotations

import numpy as np

from ..errors import InvalidRequestError, InvariantError
from .runs import Ints

_TAKEN = 1 << 62  # so that no number, not one below 0 either, has a mark of 0


class SlotAllocator:
    """Hands out slots 0..capacity-1 in pages of `page_size` contiguous, aligned slots.

    Freed pages are taken again before fresh ones, in the order they were freed in, and a pool that
    is all free begins anew: a sequence that decodes alone lies in order, and is read in place.
    Making a pool touches no memory per slot, and `alloc` and `free` touch what they are given:
    their cost does not depend on the capacity.
    """

    def __init__(self, capacity: int, page_size: int = 1) -> None:
        if page_size < 1 or capacity < page_size or capacity % page_size:
            raise InvalidRequestError(
                expected="page_size >= 1 and a capacity that is a positive multiple of it",
                got=f"capacity {capacity}, page_size {page_size}",
                where="SlotAllocator",
            )
        self.capacity = capacity
        self.page_size = page_size
        self.available = capacity
        pages = capacity // page_size
        self._stack = np.empty(pages, np.int64)  # freed pages, the next to be taken on top
        self._top = 0
        self._watermark = 0  # pages from here on were never handed out
        # A page's number and _TAKEN where it is handed out; else 0. Untouched until used (calloc).
        self._marks = np.zeros(pages, np.int64)
        self._within = np.arange(page_size, dtype=np.int64)

    def alloc(self, n: int) -> Ints | None:
        """`n` slots, page by page, or None when there are too few.

        Raises InvalidRequestError unless n is a multiple of page_size.
        """
        pages, rest = divmod(n, self.page_size)
        if rest or n < 0:
            raise InvalidRequestError(
                expected=f"a multiple of the page size {self.page_size}",
                got=str(n),
                where="SlotAllocator.alloc",
            )
        if n > self.available:
            return None
        reused = min(pages, self._top)
        taken = self._stack[self._top - reused : self._top][::-1]
        if reused < pages:
            end = self._watermark + pages - reused
            fresh = np.arange(self._watermark, end, dtype=np.int64)
            taken = np.concatenate((taken, fresh)) if reused else fresh
            self._watermark = end
        elif self.page_size == 1:
            taken = taken.copy()
        self._top -= reused
        self.available -= n
        self._marks[taken] = taken | _TAKEN
        if self.page_size == 1:
            return taken
        return (taken[:, None] * self.page_size + self._within).ravel()

    def free(self, slots: Ints) -> None:
        """Takes back whole pages.

        Raises InvariantError, and takes nothing back, when a slot is not handed out (a double free
        or a foreign slot), is named twice, or stands outside its whole page.
        """
        pages = self._pages_of(slots)
        count = len(pages)
        if not count:
            return
        marks, order = self._marks, np.arange(count)
        try:  # bytes compare in a tenth of the time that ndarray.all() takes for a few slots
            handed_out = marks[pages].tobytes() == (pages | _TAKEN).tobytes()
        except IndexError:
            handed_out = False
        if not handed_out:
            raise self._not_handed_out(pages)
        marks[pages] = order
        if marks[pages].tobytes() != order.tobytes():
            marks[pages] = pages | _TAKEN
            raise InvariantError(
                "A1: a slot freed twice in one call", got=_few(slots), where="free"
            )
        marks[pages] = 0
        self._stack[self._top : self._top + count] = pages[::-1]
        self._top += count
        self.available += count * self.page_size
        if self.available == self.capacity:
            self._top = self._watermark = 0

    def _not_handed_out(self, pages: Ints) -> InvariantError:
        unknown = pages[pages.view(np.uint64) >= self._watermark]
        if len(unknown):
            bad, why = unknown, "that were never handed out"
        else:
            bad, why = pages[self._marks[pages] == 0], "that are already free"
        got = _few(bad * self.page_size)
        return InvariantError(f"A1: freed slots {why}", got=got, where="free")

    def _pages_of(self, slots: Ints) -> Ints:
        size = self.page_size
        if size == 1:
            return slots
        rows = slots.reshape(-1, size) if len(slots) % size == 0 else None
        if rows is None or not (
            (rows[:, 0] % size == 0).all() and (rows == rows[:, :1] + self._within).all()
        ):
            raise InvariantError(
                f"A1: freed slots are not whole pages of {size}", got=_few(slots), where="free"
            )
        pages: Ints = rows[:, 0] // size
        return pages

    def handed_out(self) -> Ints:
        """All slots handed out, ascending. O(capacity): for checks."""
        pages = np.flatnonzero(self._marks[: self._watermark])
        return (pages[:, None] * self.page_size + self._within).ravel()

    def check_invariants(self) -> None:
        """Raises InvariantError beginning with the name of the invariant that broke."""
        stack = self._stack[: self._top]
        seen = np.zeros(len(self._marks), np.int64)
        np.add.at(seen, stack, 1)
        seen[self._marks != 0] += 1
        if (seen[: self._watermark] != 1).any() or seen[self._watermark :].any():
            raise InvariantError("A1: pages are not split into handed out and freed")
        marked = np.flatnonzero(self._marks)
        if (self._marks[marked] != marked | _TAKEN).any():
            raise InvariantError("A1: a page is marked as another")
        count = len(self._marks) - len(marked)
        if self.available != count * self.page_size:
            raise InvariantError(
                "A2: available is off",
                expected=str(count * self.page_size),
                got=str(self.available),
            )


def _few(slots: Ints) -> str:
    head = ", ".join(str(slot) for slot in slots[:8].tolist())
    return f"{head}{', ...' if len(slots) > 8 else ''} ({len(slots)} slots)"
