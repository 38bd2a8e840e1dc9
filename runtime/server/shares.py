"""A number of places that keys share, so that no key's requests shut those of another out."""

from __future__ import annotations

from collections import Counter


class Shares:
    """Half of the places are whoever's comes first; the other half belongs to the keys in even
    parts. A key has its part free for it whatever the others have taken, and needs places of the
    first half for what goes beyond it.

    Where there is one key, it may have all places. With more keys than half of the places, a key's
    part is one place, which it has while that half is not full of others'.
    """

    def __init__(self, limit: int, keys: int) -> None:
        self.limit = limit
        self._part = max(1, limit // 2 // keys)
        self._common = limit - min(limit // 2, self._part * keys)
        self._of: Counter[str] = Counter()
        self.taken = self._beyond = 0

    @property
    def most(self) -> int:
        """Places that one key may have at once."""
        return min(self.limit, self._common + self._part)

    def take(self, key: str, places: int) -> bool:
        """Whether they were free for the key; if so, they are taken."""
        beyond = self._beyond + self._over(key, places)
        if self.taken + places > self.limit or beyond > self._common:
            return False
        self._of[key] += places
        self.taken, self._beyond = self.taken + places, beyond
        return True

    def give(self, key: str, places: int) -> None:
        """They are free again."""
        self._of[key] -= places
        self.taken -= places
        self._beyond -= self._over(key, places)
        if not self._of[key]:
            del self._of[key]

    def _over(self, key: str, places: int) -> int:
        """How many more of a key's places lie beyond its part, with so many more of them."""
        had = self._of[key]
        return max(0, had + places - self._part) - max(0, had - self._part)
