"""What was made before and may be wanted again, within a bound of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Kept(Generic[_K, _V]):
    """The values used last, of at most `limit` bytes in all; the last one is kept whatever its
    size. What somebody else holds lives on when it leaves. gone: bytes that have left so far."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._values: OrderedDict[_K, tuple[_V, int]] = OrderedDict()
        self.size = self.gone = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: _K) -> _V | None:
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: _K, value: _V, size: int) -> None:
        """size: bytes that key and value take, by estimate."""
        if key in self._values:
            self.size -= self._values.pop(key)[1]
        self._values[key] = value, size
        self.size += size
        while self.size > self.limit and len(self._values) > 1:
            _, (_, gone) = self._values.popitem(last=False)
            self.size -= gone
            self.gone += gone
