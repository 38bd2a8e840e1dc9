"""A queue in which namespaces take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Turns(Generic[_T]):
    """First in, first out inside a namespace; who has much to do keeps no other waiting."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[_T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def push(self, namespace: str, item: _T) -> None:
        self._queues.setdefault(namespace, deque()).append(item)

    def pop(self) -> _T | None:
        """The next item; None where there is none."""
        if not self._queues:
            return None
        namespace, queue = self._queues.popitem(last=False)
        item = queue.popleft()
        if queue:
            self._queues[namespace] = queue  # behind the others
        return item

    def remove(self, namespace: str, item: _T) -> None:
        """Take an item out, if it is there."""
        queue = self._queues.get(namespace, ())
        if item in queue:
            assert isinstance(queue, deque)
            queue.remove(item)
            if not queue:
                del self._queues[namespace]
