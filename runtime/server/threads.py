"""Threads for what blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ..turns import Turns

_T = TypeVar("_T")


class FairThread:
    """One thread that works for keys in turn; a key's works keep their order. So whoever brings
    much to do keeps no other key waiting for more than one work."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._turns: Turns[Future[Any]] = Turns()
        self._works: dict[Future[Any], Callable[[], Any]] = {}

    def submit(self, key: str, work: Callable[[], _T]) -> Future[_T]:
        """The work's outcome; cancelling it before its turn leaves it out, and lets go of it."""
        outcome: Future[_T] = Future()
        with self._lock:
            self._turns.push(key, outcome)
            self._works[outcome] = work
        outcome.add_done_callback(partial(self._left, key))
        self._pool.submit(self._next)
        return outcome

    def _left(self, key: str, outcome: Future[Any]) -> None:
        if outcome.cancelled():
            with self._lock:
                self._turns.remove(key, outcome)
                self._works.pop(outcome, None)

    def _next(self) -> None:
        with self._lock:
            outcome = self._turns.pop()
            work = None if outcome is None else self._works.pop(outcome)
        if outcome is None or work is None:
            return  # who wanted it has left, or it was shut down
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)
        del outcome, work  # an exception's frames would hold what holds it

    def shutdown(self) -> None:
        """Take no more; what waits is left out."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            waiting = list(self._works)
        for outcome in waiting:
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
