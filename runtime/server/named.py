"""Requests in work, by the id that answers give them, so that they can be aborted by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..engine import Engine


class Numbers(list[int]):
    """The engine's, of what runs. aborted: whether nothing more is to begin."""

    aborted = False


@dataclass(eq=False)
class Work:
    """numbers: of what runs. stop: what ends work that would ask for more."""

    numbers: Numbers = field(default_factory=Numbers)
    stop: Callable[[], None] | None = None


class Named:
    """Requests in work, by their owner's namespace and their id."""

    def __init__(self) -> None:
        self._works: dict[tuple[str, str], list[Work]] = {}

    @contextmanager
    def under(
        self, owner: str, id: str, stop: Callable[[], None] | None = None
    ) -> Iterator[Numbers]:
        """For the numbers of a request, which may be aborted while the block runs."""
        work = Work(stop=stop)
        together = self._works.setdefault((owner, id), [])
        together.append(work)
        try:
            yield work.numbers
        finally:
            together.remove(work)
            if not together:
                self._works.pop((owner, id), None)

    def abort(self, engine: Engine, owner: str, id: str) -> int:
        """End the owner's request of this id. How many there were: none, or one."""
        together = self._works.get((owner, id))
        if together is None:
            return 0
        for work in together:
            work.numbers.aborted = True
            if work.stop is not None:
                work.stop()
            else:
                for number in list(work.numbers):
                    engine.abort(number)
        return 1

    def abort_all(self, engine: Engine) -> int:
        """End everybody's."""
        return sum(self.abort(engine, owner, id) for owner, id in list(self._works))
