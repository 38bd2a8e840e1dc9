"""Runs that were evicted, remembered in a room of fixed size.

A table of rows of eight; where a row is full, what was used longest ago makes room. As plain ints
in arrays it takes 24 bytes a run, 1.5 MB in all, from the first run to the last: objects of
Python's took twelve times that.
"""

from __future__ import annotations

from array import array

REMEMBERED = 1 << 16  # runs
_WAYS = 8
_ROW_BITS = (REMEMBERED // _WAYS).bit_length() - 1
_MULTIPLIER = 0x9E3779B97F4A7C15
_PRIME = (1 << 61) - 1
_MASK = (1 << 64) - 1


def place_of(prefix: int, page: bytes) -> int:
    """The place of a run that begins with `page`, behind a prefix of that hash."""
    return (prefix * _MULTIPLIER + int.from_bytes(page, "little") % _PRIME) & _MASK


class Lost:
    """Evicted runs by place (`place_of`): requests made when each was last used, its uses (fewer
    than 4) and its tokens."""

    def __init__(self) -> None:
        self._places = array("Q", bytes(8 * REMEMBERED))
        self._seen = array("Q", bytes(8 * REMEMBERED))  # 0: nothing is here; else one more
        self._told = array("Q", bytes(8 * REMEMBERED))  # tokens and uses

    def get(self, place: int) -> tuple[int, int, int] | None:
        """(seen, uses, tokens) of the run that was evicted from there."""
        at = self._find(place)
        return None if at < 0 else self._read(at)

    def pop(self, place: int) -> tuple[int, int, int] | None:
        """As `get`, and it is forgotten."""
        at = self._find(place)
        if at < 0:
            return None
        found = self._read(at)
        self._seen[at] = 0
        return found

    def put(self, place: int, seen: int, uses: int, tokens: int) -> None:
        """A run is evicted."""
        at = self._find(place)
        if at < 0:
            row = _row(place)
            at = min(range(row, row + _WAYS), key=self._seen.__getitem__)
        self._places[at] = place
        self._seen[at] = seen + 1
        self._told[at] = tokens << 2 | uses

    def _find(self, place: int) -> int:
        row = _row(place)
        places = self._places[row : row + _WAYS]
        if place not in places:
            return -1
        at = row + places.index(place)
        return at if self._seen[at] else -1

    def _read(self, at: int) -> tuple[int, int, int]:
        told = self._told[at]
        return self._seen[at] - 1, told & 3, told >> 2


def _row(place: int) -> int:
    """Where the row of a place begins. Places below one prefix differ in their low bits alone."""
    return (place * _MULTIPLIER & _MASK) >> (64 - _ROW_BITS) << (_WAYS.bit_length() - 1)
