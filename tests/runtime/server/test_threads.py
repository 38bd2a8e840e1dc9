"""A thread of all keys: each has its turn."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from functools import partial

import pytest

from espalier.runtime.server.threads import FairThread


@pytest.fixture
def thread() -> Iterator[FairThread]:
    made = FairThread("fair")
    yield made
    made.shutdown()


def test_keys_take_turns_and_each_keeps_its_order(thread: FairThread) -> None:
    begin, done = threading.Event(), list[str]()
    works = [thread.submit("a", begin.wait)]
    for key, count in (("a", 4), ("b", 2), ("c", 1)):
        for number in range(count):
            works.append(thread.submit(key, lambda what=f"{key}{number}": done.append(what)))  # type: ignore[misc]
    begin.set()
    for work in works:
        work.result(10)
    assert done == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


def test_what_fails_is_told_and_what_is_cancelled_left_out(thread: FairThread) -> None:
    begin, done = threading.Event(), list[int]()
    first = thread.submit("a", begin.wait)
    left, wrong = thread.submit("a", lambda: done.append(1)), thread.submit("b", lambda: 1 // 0)
    assert left.cancel()
    assert not first.cancel()
    begin.set()
    with pytest.raises(ZeroDivisionError):
        wrong.result(10)
    assert thread.submit("a", lambda: 7).result(10) == 7
    assert done == []


def test_what_is_cancelled_is_let_go_of_before_its_turn(thread: FairThread) -> None:
    class Body:
        """Megabytes of somebody who leaves."""

    begin, body = threading.Event(), Body()
    first = thread.submit("a", begin.wait)
    waiting = thread.submit("a", partial(id, body))
    gone = weakref.ref(body)
    del body
    assert waiting.cancel()
    del waiting
    gc.collect()
    assert gone() is None
    begin.set()
    assert first.result(10)


def test_nobody_waits_for_one_that_is_shut_down(thread: FairThread) -> None:
    begin = threading.Event()
    first = thread.submit("a", begin.wait)
    waiting = [thread.submit(key, lambda: 1) for key in "ab"]
    thread.shutdown()
    assert all(work.cancelled() for work in waiting)
    begin.set()
    assert first.result(10)
