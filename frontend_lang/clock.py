"""The time that a run's deadlines, timeouts, back-offs and report go by: its backend's clock.

It is the machine's, but for a backend in a test that has another one (`espalier.testing.Clock`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

_NOTHING = contextlib.nullcontext()


class Clock(Protocol):
    """Seconds, and ways to wait for them."""

    def now(self) -> float:
        """Seconds since some beginning."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Until so many seconds have passed."""
        ...

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[Any]:
        """A block that raises TimeoutError where it takes longer; None: as long as it likes."""
        ...

    def wait(
        self, changed: threading.Condition, ready: Callable[[], bool], timeout: float | None
    ) -> bool:
        """Block this thread until `ready` or the timeout; what `ready` says then."""
        ...

    def running(self) -> AbstractContextManager[None]:
        """A block in which this thread, or this loop, runs a program's function."""
        ...

    def waiting(self, ready: Callable[[], bool]) -> AbstractContextManager[None]:
        """A block in which a thread that runs a function waits until `ready`."""
        ...

    def busy(self) -> AbstractContextManager[None]:
        """A block that waits for what no clock can hurry, such as a connection."""
        ...


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[Any]:
        return asyncio.timeout(seconds)

    def wait(
        self, changed: threading.Condition, ready: Callable[[], bool], timeout: float | None
    ) -> bool:
        with changed:
            return changed.wait_for(ready, timeout)

    def running(self) -> AbstractContextManager[None]:
        return _NOTHING

    def waiting(self, ready: Callable[[], bool]) -> AbstractContextManager[None]:  # noqa: ARG002
        return _NOTHING

    def busy(self) -> AbstractContextManager[None]:
        return _NOTHING


SYSTEM = SystemClock()
here = threading.local()
"""`clock`: the one that a program's function lives by, in the thread that runs it; for a test's."""


def waits(ready: Callable[[], bool]) -> AbstractContextManager[None]:
    """A block in which this thread does nothing until `ready`."""
    clock: Clock | None = getattr(here, "clock", None)
    return _NOTHING if clock is None else clock.waiting(ready)


def clock_of(backend: object) -> Clock:
    """A backend's clock; the machine's where it has none of its own."""
    found: Clock = getattr(backend, "clock", SYSTEM)
    return found
