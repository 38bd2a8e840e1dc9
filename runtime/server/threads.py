"""Threads for what blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ..turns import Turns

_T = TypeVar("_T")


class FairThread:
    """One thread that works for keys in turn; a key's works keep their order. So whoever brings
    much to do keeps no other key waiting for more than one work."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._turns: Turns[tuple[Future[Any], Callable[[], Any]]] = Turns()

    def submit(self, key: str, work: Callable[[], _T]) -> Future[_T]:
        """The work's outcome; cancelling it before its turn leaves it out, and lets go of it."""
        outcome: Future[_T] = Future()
        item = outcome, work

        def left(_: Future[_T]) -> None:
            if outcome.cancelled():
                with self._lock:
                    self._turns.remove(key, item)

        with self._lock:
            self._turns.push(key, item)
        outcome.add_done_callback(left)
        self._pool.submit(self._next)
        return outcome

    def _next(self) -> None:
        with self._lock:
            found = self._turns.pop()
        if found is None:
            return  # what it was for has left, or it was shut down
        outcome, work = found
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)
        del found, outcome, work  # an exception's frames would hold what holds it

    def shutdown(self) -> None:
        """Take no more; what waits is left out."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        waiting = []
        with self._lock:
            while (found := self._turns.pop()) is not None:
                waiting.append(found)
        for outcome, _ in waiting:
            outcome.cancel()


def in_thread(work: Callable[[], _T], name: str) -> Future[_T]:
    """The work's outcome, of a thread of its own, which the end of the process does not wait for.

    Not of a pool's: its threads may all wait already for what the work is to end."""
    outcome: Future[_T] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome
