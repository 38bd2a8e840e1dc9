"""A clock for tests: its time passes when nobody has anything to do but wait for it.

Then it jumps to the next moment that somebody waits for, so that a program that takes a minute is
done at once, and takes exactly a minute. Somebody has something to do while a program's function
runs and waits for no call, while a callback is due on the loop of the calls (or on the loop of an
`async def` program), and while a connection is waited for: what comes over a real one is not
hurried.

Invariant (checked by `check_invariants`)
- T1 No moment that is waited for lies in the past.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any
from weakref import WeakSet

from ..errors import InvalidRequestError, InvariantError
from .clock import here
from .driver import driver

_TURNS = 8  # of a loop, in which a callback may cause another
_ROUNDS = 4  # in which nothing may have changed
_POLL = 0.002


class ManualClock:
    """See the module's docstring. auto: jump by itself; else time passes by `advance` alone."""

    def __init__(self, *, auto: bool = True) -> None:
        self.auto = auto
        self._now = 0.0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._functions = 0  # threads that run a program's function
        self._waiting: dict[int, Callable[[], bool]] = {}  # of those, for what
        self._loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()  # that wait, or run programs
        self._busy = 0
        self._changes = 0
        self._watching = False

    def advance(self, seconds: float) -> None:
        """Let time pass: what is waited for comes at its moment, in order."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise InvalidRequestError(expected="seconds >= 0", got=repr(seconds), where="advance")
        passing = self._pass(self._now + seconds)
        if driver().is_here():
            driver().start(passing)
            return
        asyncio.run_coroutine_threadsafe(passing, driver().loop).result()

    # -- a clock -----------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the clock was made."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Until so many seconds have passed."""
        loop = self._know(asyncio.get_running_loop())
        done: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        with self._timer(seconds, lambda: _call(loop, wake)):
            await done

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[Any]:
        """A block that raises TimeoutError where it takes longer."""
        return asyncio.timeout(None) if seconds is None else self._timeout(seconds)

    @contextlib.asynccontextmanager
    async def _timeout(self, seconds: float) -> AsyncIterator[None]:
        loop = self._know(asyncio.get_running_loop())
        async with asyncio.timeout(None) as block:

            def end() -> None:
                with contextlib.suppress(RuntimeError):  # it has ended already
                    block.reschedule(loop.time())

            with self._timer(seconds, lambda: _call(loop, end)):
                yield

    def wait(
        self, changed: threading.Condition, ready: Callable[[], bool], timeout: float | None
    ) -> bool:
        """Block this thread until `ready` or the timeout; what `ready` says then."""
        late: list[None] = []

        def end() -> None:
            with changed:
                late.append(None)
                changed.notify_all()

        def over() -> bool:
            return bool(late) or ready()

        timer = self._timer(timeout, end) if timeout is not None else contextlib.nullcontext()
        with timer, self.waiting(over), changed:
            changed.wait_for(over)
            return ready()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """A block in which this thread, or this loop, runs a program's function."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            before = getattr(here, "clock", None)
            if before is self:  # a program that runs inside another one
                yield
                return
            here.clock = self
            with self._changed():
                self._functions += 1
            try:
                yield
            finally:
                here.clock = before
                with self._changed():
                    self._functions -= 1
            return
        self._know(loop)
        yield

    @contextlib.contextmanager
    def waiting(self, ready: Callable[[], bool]) -> Iterator[None]:
        """A block in which a thread that runs a function waits until `ready`."""
        if getattr(here, "clock", None) is not self:
            yield
            return
        number = next(self._numbers)
        with self._changed():
            self._waiting[number] = ready
        try:
            yield
        finally:
            with self._changed():
                del self._waiting[number]

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """A block that waits for a connection."""
        with self._changed():
            self._busy += 1
        try:
            yield
        finally:
            with self._changed():
                self._busy -= 1

    def check_invariants(self) -> None:
        """Raise InvariantError naming the one that broke."""
        with self._lock:
            if self._timers and min(self._timers)[0] < self._now:
                raise InvariantError("T1: a moment that has passed", got=str(min(self._timers)[0]))

    def _know(self, loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        with self._lock:
            self._loops.add(loop)
        return loop

    # -- passing -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changed(self) -> Iterator[None]:
        """Change what the clock knows; somebody must look whether time may pass now."""
        with self._lock:
            yield
            self._changes += 1
            if self._watching or not self.auto or not self._timers:
                return
            self._watching = True
        driver().call(lambda: driver().start(self._watch()))

    @contextlib.contextmanager
    def _timer(self, seconds: float, fire: Callable[[], None]) -> Iterator[None]:
        with self._changed():
            timer = (self._now + max(0.0, seconds), next(self._numbers), fire)
            heapq.heappush(self._timers, timer)
        try:
            yield
        finally:
            with self._changed():
                if timer in self._timers:
                    self._timers.remove(timer)
                    heapq.heapify(self._timers)

    async def _watch(self) -> None:
        """Jump from moment to moment, as long as somebody waits for one."""
        try:
            while True:
                await self._quiet()
                with self._lock:
                    if not self._timers:
                        self._watching = False
                        return
                    self._fire()
        except BaseException:
            self._watching = False
            raise

    async def _pass(self, until: float) -> None:
        await self._turns()
        while True:
            with self._lock:
                if not self._timers or self._timers[0][0] > until:
                    self._now = max(self._now, until)
                    return
                self._fire()
            await self._turns()

    def _fire(self) -> None:
        """The next moment has come."""
        when, _, fire = heapq.heappop(self._timers)
        self._now = max(self._now, when)
        self._changes += 1
        fire()

    async def _quiet(self) -> None:
        """Until nobody has anything to do."""
        rounds, seen = 0, -1
        while rounds < _ROUNDS:
            await self._turns()
            with self._lock:
                still = not self._busy and len(self._waiting) >= self._functions
                still = still and not any(ready() for ready in self._waiting.values())
                rounds = rounds + 1 if still and seen == self._changes else 0
                seen = self._changes
            if not still:
                await asyncio.sleep(_POLL)  # of the machine's time: a thread has the word

    async def _turns(self) -> None:
        """Let what is due on each loop be done."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        with self._lock:
            others = [*{*self._loops} - {asyncio.get_running_loop()}]
        for loop in others:
            await _turns_of(loop)


async def _turns_of(loop: asyncio.AbstractEventLoop) -> None:
    """Wait for some turns of another thread's loop, as long as it runs."""
    own, done = asyncio.get_running_loop(), asyncio.Event()

    def turn(left: int) -> None:
        if left:
            loop.call_soon(turn, left - 1)
        else:
            _call(own, done.set)

    _call(loop, lambda: turn(_TURNS))
    while loop.is_running() and not done.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), 10 * _POLL)


def _call(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # closed: nobody waits any more
        loop.call_soon_threadsafe(action)
