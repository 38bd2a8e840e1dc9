"""Requests in work, by the id that answers give them, so that they can be aborted by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..engine import Engine


class Named:
    """The engine's numbers of requests, by their owner's namespace and their id."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], list[list[int]]] = {}

    @contextmanager
    def under(self, owner: str, id: str) -> Iterator[list[int]]:
        """A list for the numbers of a request, which may be aborted while the block runs."""
        numbers: list[int] = []
        together = self._numbers.setdefault((owner, id), [])
        together.append(numbers)
        try:
            yield numbers
        finally:
            together[:] = [other for other in together if other is not numbers]
            if not together:
                self._numbers.pop((owner, id), None)

    def abort(self, engine: Engine, owner: str, id: str) -> int:
        """End the owner's request of this id. How many there were: none, or one."""
        together = self._numbers.get((owner, id))
        if together is None:
            return 0
        for number in [number for numbers in together for number in numbers]:
            engine.abort(number)
        return 1

    def abort_all(self, engine: Engine) -> int:
        """End everybody's."""
        return sum(self.abort(engine, owner, id) for owner, id in list(self._numbers))
