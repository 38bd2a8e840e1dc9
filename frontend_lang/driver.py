"""The one thread on which programs' calls wait: an asyncio loop, started when first needed.

It holds no backend. Program functions run in their callers' threads; what they ask for runs here,
so that thousands of forks need no threads of their own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar

from ..errors import ProgramError

T = TypeVar("T")


class Driver:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: deque[tuple[Context, Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = self._stopping = self._ended = False
        self._thread = threading.Thread(target=self._run, name="espalier-programs", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._ended:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                continue  # of some callback: asyncio lets them out of the loop, which others need

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Run `function` on the loop, soon and in the caller's context; from any thread.

        The loop is woken once for all who call before it looks: waking it costs a system call.
        """
        self._calls.append((copy_context(), function, args))
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._run_calls)
            except BaseException:  # an interrupt in between: the next caller wakes it
                self._woken = False
                raise

    def _run_calls(self) -> None:
        self._woken = False  # first: who calls from now on wakes the loop again
        try:
            for _ in range(len(self._calls)):
                context, function, args = self._calls.popleft()
                try:
                    context.run(function, *args)
                except Exception as error:  # as the loop does it: the others are called
                    self.loop.call_exception_handler({"message": f"{function}", "exception": error})
        finally:  # where one left the loop (`_run`), the others are called nevertheless
            if self._calls:
                self.loop.call_soon(self._run_calls)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task, held until it ends. On the loop's thread only."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def is_here(self) -> bool:
        """Whether the caller is on the loop's own thread, where waiting would never end."""
        return threading.current_thread() is self._thread

    def close(self) -> None:
        """Cancel what runs and end the thread."""
        if not self._thread.is_alive() or self.pid != os.getpid():
            return
        self.call(self._stop)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self.loop.close()

    def cancelled_by(self) -> str:
        """Who cancels a call that no program cancelled."""
        return "the process is ending" if self._stopping else "its backend cancelled it"

    def _stop(self) -> None:
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()

        async def finish() -> None:
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ended = True
            self.loop.stop()

        self._closing = self.loop.create_task(finish())


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """What the function returns or raises, run in a thread of its own: any number may wait for
    each other, and any exception comes through, also those that a future does not carry
    (StopIteration) or a loop ends with (SystemExit)."""
    done: asyncio.Future[tuple[T | None, BaseException | None]]
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    context = copy_context()

    def run() -> None:
        value: T | None = None
        failure: BaseException | None = None
        try:
            value = context.run(function, *args, **kwargs)
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # closed: nobody waits any more
            loop.call_soon_threadsafe(tell, value, failure)

    def tell(value: T | None, failure: BaseException | None) -> None:
        if not done.done():
            done.set_result((value, failure))

    threading.Thread(target=run, name="espalier-call", daemon=True).start()
    value, failure = await done
    if isinstance(failure, StopIteration):
        raise ProgramError("StopIteration was raised", hint="next(..., default) does not raise.")
    if failure is not None:
        raise failure
    return value  # type: ignore[return-value]  # as the function returned it


_lock = threading.Lock()
_driver: Driver | None = None


def driver() -> Driver:
    """The process's driver; a forked child process gets its own."""
    global _driver
    found = _driver
    if found is not None and found.pid == os.getpid():
        return found
    with _lock:
        if _driver is None or _driver.pid != os.getpid():
            _driver = Driver()
            atexit.register(_driver.close)
        return _driver


def refuse_to_wait_here() -> None:
    """Raise where waiting for a program's call would never end: on the thread that runs them."""
    if _driver is not None and _driver.is_here():
        raise ProgramError(
            "a program's value is read on the thread that runs its calls",
            hint="A backend's or a script's callback cannot wait for a program.",
        )
