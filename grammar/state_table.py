"""Terminals' states by number, with their transitions as arrays, for walks by arrays."""

from __future__ import annotations

import numpy as np

from .arena import Arena
from .derivatives import segments
from .node import ALT, CAT, LITERAL, Node
from .utf8 import CHARS, LEADS, TAILS

Ints = np.ndarray

TABLE_LIMIT = 1 << 15  # numbered states (1 KiB each) before the table starts over
_ASCII = (1 << 128) - 1
_WORD = (1 << 64) - 1


class StateTable:
    """Number 0 is dead. delta int32[n, 256]: the next state's number, -1 in rows not filled yet.

    In filled rows: stays uint64[n, 3], the bytes that lead from the state to itself, as bit sets:
    ASCII in two words, and those from C0 on that begin characters, all of which lead back to it;
    within int32[n, CHARS], the states in the middle of such a character (utf8.py numbers them), and
    where there are none the state itself; rests bool[n]: whether anything leads from the state to
    itself. keeps uint64[n, 3]: those of stays, and perhaps more, under which the state may grow but
    loses no text and never ends; for a row that is all one needs to know of what lies below a node.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.reset()

    def reset(self) -> None:
        self.states: list[Node] = [self._arena.empty]
        self._numbers: dict[Node, int] = {self._arena.empty: 0}
        self._allocate(64)
        self.delta[0] = 0

    def _allocate(self, rows: int) -> None:
        self.delta = np.full((rows, 256), -1, dtype=np.int32)
        self.stays = np.zeros((rows, 3), dtype=np.uint64)
        self.keeps = np.zeros((rows, 3), dtype=np.uint64)
        self.within = np.zeros((rows, CHARS), dtype=np.int32)
        self.rests = np.zeros(rows, dtype=bool)

    def _arrays(self) -> tuple[Ints, ...]:
        return self.delta, self.stays, self.keeps, self.within, self.rests

    def begin(self) -> None:
        """Called before a walk: forgets everything if the table has grown too large."""
        if len(self.states) > TABLE_LIMIT:
            self.reset()

    def number(self, state: Node) -> int:
        found = self._numbers.get(state)
        if found is not None:
            return found
        found = self._numbers[state] = len(self.states)
        self.states.append(state)
        if found >= len(self.delta):
            before = self._arrays()
            self._allocate(2 * found)
            for old, new in zip(before, self._arrays(), strict=True):
                new[:found] = old
        self.within[found] = found
        return found

    def fill(self, numbers: Ints) -> None:
        """Fills the rows that are not filled yet."""
        missing = numbers[self.delta[:, 0].take(numbers) < 0]
        if missing.size:
            for number in np.unique(missing).tolist():
                self._fill(number)

    def next(self, current: Ints, byte: Ints) -> Ints:
        """The numbers of the next states, elementwise. Fills rows as needed."""
        at = (current.astype(np.intp) << 8) + byte
        found: Ints = self.delta.reshape(-1).take(at)
        if found.size and int(found.min()) < 0:
            self.fill(current[found < 0])
            found = self.delta.reshape(-1).take(at)
        return found

    def _fill(self, number: int) -> None:
        state = self.states[number]
        row = np.zeros(256, dtype=np.int32)
        stays = 0
        for low, high, rest in segments(self._arena, state):
            row[low : high + 1] = self.number(rest)
            if rest is state:
                stays |= (1 << high + 1) - (1 << low)
        self.delta[number] = row
        leads = self._leads(number)
        self.stays[number] = stays & _WORD, (stays & _ASCII) >> 64, leads
        keeps = self._keeps(state)
        if not keeps & ~stays:
            keeps = stays
        self.keeps[number] = keeps & _WORD, (keeps & _ASCII) >> 64, leads
        self.rests[number] = (stays | keeps) & _ASCII or leads

    def _keeps(self, state: Node) -> int:
        """The bytes after which what remains has all texts of the state again, as a bit set; but
        for the last byte of all its texts, so that none of them ends under the others."""
        last = state
        while last.kind == CAT:
            last = last.b
        if last.kind != LITERAL:
            return 0
        keeps = 0
        for low, high, rest in segments(self._arena, state):
            if has_all(self._arena, rest, state):
                keeps |= (1 << high + 1) - (1 << low)
        return keeps & ~(1 << last.text[-1])

    def _leads(self, number: int) -> int:
        """The bytes from C0 on with which every character that begins so leads from a state back to
        it, as a bit set; notes the states in the middle of these characters."""
        state, inside = self.states[number], {0: self.states[number]}
        found = 0
        for low, high, rest in segments(self._arena, state):
            if high < LEADS[0][0]:
                continue
            for first, last, place in LEADS:
                start, end = max(low, first), min(high, last)
                if start <= end and self._comes_back(rest, place, inside):
                    found |= (1 << end - 0xBF) - (1 << start - 0xC0)
        for place, middle in inside.items():
            if place:
                self.within[number, place] = self.number(middle)
        return found

    def _comes_back(self, state: Node, place: int, inside: dict[int, Node]) -> bool:
        """Whether `state`, in the middle of a character, comes back at its end and nowhere else;
        inside: the states known to be in the middle of such characters, by place."""
        if place in inside:
            return inside[place] is state
        parts = segments(self._arena, state)
        low, high, after = TAILS[place - 1]
        if len(parts) != 1 or parts[0][:2] != (low, high):
            return False
        if not self._comes_back(parts[0][2], after, inside):
            return False
        inside[place] = state
        return True


def has_all(arena: Arena, one: Node, other: Node, depth: int = 4) -> bool:
    """Whether `one` has all texts of `other`, as far as their forms tell."""
    if one is other:
        return True
    if depth == 0:
        return False
    if other.kind == ALT:
        return all(has_all(arena, one, item, depth - 1) for item in other.items)
    if one.kind == ALT:
        return any(has_all(arena, item, other, depth - 1) for item in one.items)
    if one.kind != CAT:
        return False
    if other.kind == CAT and one.a is other.a:
        return has_all(arena, one.b, other.b, depth - 1)
    if one.a.kind != ALT:
        return False
    return any(has_all(arena, arena.cat(way, one.b), other, depth - 1) for way in one.a.items)
