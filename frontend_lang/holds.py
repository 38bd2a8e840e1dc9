"""What a living state keeps in the cache: a soft pin on its tokens, evicted last.

Each state has a number. Its calls ask the backend to hold, under that number, what they leave
cached; a branch's first call holds what the states above it had said, too, under theirs. A hold
that is lost (its time has passed, or memory is short) costs recomputation and nothing else.

A hold is released when its state is collected, or at the latest when its run ends. The collector
only notes the number: it may strike while a message is being written.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import deque
from typing import Protocol

from ..errors import EngineError
from ..types import Hold
from .backends.base import Backend
from .driver import driver

SECONDS = 600.0
"""How long a state that calls nothing keeps its hold."""

_numbers = itertools.count(1)  # of all runs of this process: they may share an engine


class Releasable(Protocol):
    def release(self) -> None: ...


class HoldKey:
    """A state's number among the holds. The collector of the last one who has it notes that."""

    __slots__ = ("_dead", "number")

    def __init__(self, number: int, dead: deque[int]) -> None:
        self.number = number
        self._dead = dead

    def hold(self, tokens: int | None = None) -> Hold:
        """A hold in its name, on so many tokens."""
        return Hold(self.number, tokens, SECONDS)

    def __del__(self) -> None:
        self._dead.append(self.number)


class Holds:
    """The holds of one run."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._given: set[int] = set()
        self._dead: deque[int] = deque()
        self._closed = False
        self._pins: list[Releasable] = []
        self._borrowed: tuple[Hold, ...] = ()
        self._lock = threading.Lock()

    def key(self) -> HoldKey:
        """A state's own key, which it keeps for as long as it lives."""
        return HoldKey(next(_numbers), self._dead)

    def give(self, holds: tuple[Hold, ...]) -> tuple[Hold, ...]:
        """The holds that a call may ask for; none once the run has ended."""
        if self._closed:
            return ()
        self._given.update(hold.key for hold in holds)
        self._release_dead()
        borrowed, self._borrowed = self._borrowed, ()
        return (*holds, *borrowed)

    def borrow(self, holds: tuple[Hold, ...]) -> None:
        """Of others, who release them: the run's first call asks for them, too."""
        self._borrowed = holds

    def keep(self, pin: Releasable) -> None:
        """A pin without a time of its own: it is released when the run ends, at the latest."""
        with self._lock:
            if not self._closed:
                self._pins.append(pin)
                return
        pin.release()  # who asked for it is gone

    def drop(self, number: int) -> None:
        """Nobody goes on from this state. On the driver's loop, which releases at once all that
        come to their end with it."""
        if number in self._given:
            self._dead.append(number)
            driver().loop.call_soon(self._release_dead)

    def close(self) -> None:
        """The run has ended: release all."""
        with self._lock:
            self._closed = True
            pins, self._pins = self._pins, []
        for pin in pins:
            pin.release()
        self._release([*self._given])
        self._given.clear()

    def _release_dead(self) -> None:
        if not self._dead:
            return
        dead = []
        with contextlib.suppress(IndexError):
            while True:
                dead.append(self._dead.popleft())
        self._release([number for number in dead if number in self._given])
        self._given.difference_update(dead)

    def _release(self, numbers: list[int]) -> None:
        if numbers:
            with contextlib.suppress(EngineError):  # an engine that is gone holds nothing
                self._backend.release(numbers)
