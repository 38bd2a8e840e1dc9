"""Mask rows of one vocabulary, each content once.

A row number stands for a mask: the device keeps a copy of the pool, and a step uploads numbers.
Invariants (`check_invariants`): R1 no two rows in use have the same content; R2 every row in use is
found by its content; R3 free and used rows partition the pool; R4 a row handed out since the last
`begin_step` is in use and unchanged.
"""

from __future__ import annotations

import hashlib
import mmap

import numpy as np

from ..errors import InvariantError

MOST_ROWS = 1 << 16
BUDGET = 256 << 20
"""Bytes of a pool's rows."""
Words = np.ndarray


def most_rows(words: int, budget: int = BUDGET) -> int:
    """How many rows of so many words a pool has, but where a step wants more of them at once."""
    return min(max(budget // (words * 4), 64), MOST_ROWS)


class MaskPool:
    """rows uint32[capacity, words]. Row 0 allows every token that the tokenizer has (special ones
    too): an unconstrained request's mask; it is never recycled.

    budget: bytes of rows at most, but never fewer than 64 rows, and rows handed out since the last
    `begin_step` are never recycled: the pool grows past the budget before it would do that.
    `rows` is replaced when that happens; row numbers stay. `rows[:used]` is what was ever written.
    """

    def __init__(self, words: int, free_text: Words, budget: int = BUDGET) -> None:
        self.words = words
        self.limit = most_rows(words, budget)
        # All of it at once: pages that were never written take no memory, and growing would copy.
        self.rows = _room(self.limit, words)
        self.used = 0  # rows ever written: a device copy needs this many
        self._free: list[int] = []
        self._by_content: dict[bytes, int] = {}
        self._content: list[bytes] = []
        self._last = np.zeros(len(self.rows), dtype=np.int64)  # the step a row was last wanted in
        self._generation: list[int] = []
        self._dirty: set[int] = set()
        self._handed: dict[int, bytes] = {}
        self._step = 1
        self.recycled = 0
        self.add(free_text)

    def __len__(self) -> int:
        """Rows in use."""
        return self.used - len(self._free)

    def begin_step(self) -> None:
        """Rows handed out before may be recycled from now on."""
        self._step += 1
        self._handed.clear()

    def add(self, mask: Words) -> tuple[int, int]:
        """The row with this content, and its generation: `valid` tells whether it is still that."""
        content = _digest(mask)
        row = self._by_content.get(content)
        if row is None:
            row = self._take()
            self.rows[row] = mask
            self._by_content[content] = row
            self._content[row] = content
            self._dirty.add(row)
        self._last[row] = self._step - 1
        return row, self._generation[row]

    def valid(self, row: int, generation: int) -> bool:
        return self._generation[row] == generation

    def hand_out(self, row: int) -> int:
        """Marks the row as wanted by the current step."""
        self._last[row] = self._step
        self._handed[row] = self._content[row]
        return row

    def touch(self, row: int) -> None:
        """Marks the row as read just now, without holding it."""
        if self._last[row] < self._step - 1:
            self._last[row] = self._step - 1

    def drain_dirty(self) -> list[int]:
        """Rows written since the last call, ascending."""
        rows = sorted(self._dirty)
        self._dirty.clear()
        return rows

    def _take(self) -> int:
        if not self._free and self.used >= self.limit:
            self._recycle()
        if self._free:
            return self._free.pop()
        row = self.used
        if row == len(self.rows):
            more = max(row // 4, 64)
            larger = _room(row + more, self.words)
            larger[:row] = self.rows
            self.rows = larger
            self._last = np.concatenate([self._last, np.zeros(more, dtype=np.int64)])
        self.used += 1
        self._content.append(b"")
        self._generation.append(0)
        return row

    def _recycle(self) -> None:
        """Frees the sixteenth of the rows that were not wanted for the longest time."""
        order = np.argsort(self._last[1 : self.used], kind="stable")[: max(self.used // 16, 1)] + 1
        for row in order.tolist():
            if self._last[row] < self._step:
                del self._by_content[self._content[row]]
                self._content[row] = b""
                self._generation[row] += 1
                self._free.append(row)
                self._dirty.discard(row)
                self.recycled += 1

    def check_invariants(self) -> None:
        free = set(self._free)
        used = [row for row in range(self.used) if row not in free]
        contents = [_digest(self.rows[row]) for row in used]
        if len(set(contents)) != len(contents):
            raise InvariantError("R1: two rows have the same content")
        for row, content in zip(used, contents, strict=True):
            if self._by_content.get(content) != row:
                raise InvariantError(f"R2: row {row} is not found by its content")
        if len(free) != len(self._free) or not free <= set(range(1, self.used)):
            raise InvariantError("R3: the free rows are not rows, or row 0 is among them")
        if len(self._by_content) != len(used):
            raise InvariantError("R3: contents and used rows differ in number")
        for row, content in self._handed.items():
            if row in free or _digest(self.rows[row]) != content:
                raise InvariantError(f"R4: row {row} was handed out and is gone")


def _room(rows: int, words: int) -> Words:
    """Zeros, in small pages. (numpy asks for large ones, of which the kernel clears 2 MiB when the
    first of its rows is written: measured, 5.4 ms in the middle of a step.)"""
    memory = mmap.mmap(-1, max(rows * words * 4, 1))
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype=np.uint32, count=rows * words).reshape(rows, words)


def _digest(mask: Words) -> bytes:
    """Bits that stand for the content: the pool would otherwise hold everything twice. (SHA-256
    has instructions of its own on most processors: 9 us for 16 KB, where BLAKE2 takes 31.)"""
    return hashlib.sha256(np.ascontiguousarray(mask).data).digest()
