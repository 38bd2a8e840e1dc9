"""Inboxes: what comes wakes who waits for it, in a thread or on an event loop, each once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from espalier.errors import EngineDeadError
from espalier.runtime.inbox import Inbox, Switchboard
from espalier.types import Chunk, Result


def piece(number: int, text: str) -> Chunk:
    return Chunk(request_id=number, text=text)


def last(number: int) -> Chunk:
    return Chunk(request_id=number, result=Result(request_id=number))


def test_a_thread_gets_what_comes_in_order() -> None:
    board = Switchboard()
    inbox = board.open([1, 2])
    inbox.listen(on_loop=False)
    sent = [[piece(1, "a")], [piece(2, "b"), piece(1, "c")], [last(2), last(1)]]
    thread = threading.Thread(target=lambda: [board.deliver(chunks) for chunks in sent])
    thread.start()
    texts = []
    while not inbox.drained:
        if not inbox.complete:
            inbox.wait()
        texts += [chunk.text for chunk in inbox.take() if chunk.result is None]
    thread.join(5)
    assert texts == ["a", "b", "c"]
    assert [result.request_id for result in inbox.results()] == [1, 2]
    assert inbox.unfinished == []


def test_a_loop_is_woken_once_for_all_that_came_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Switchboard()
    woken: list[Any] = []

    async def wait(inbox: Inbox) -> int:
        inbox.listen(on_loop=True)
        while not inbox.complete:
            await inbox.wait_async()
        return len(inbox.results())

    async def both() -> list[int]:
        inboxes = [board.open([number]) for number in (1, 2, 3)]
        waiting = [asyncio.create_task(wait(inbox)) for inbox in inboxes]
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        call = loop.call_soon_threadsafe
        monkeypatch.setattr(
            loop, "call_soon_threadsafe", lambda *args: (woken.append(args), call(*args))
        )
        threading.Thread(target=board.deliver, args=([last(1), last(2), last(3)],)).start()
        return await asyncio.wait_for(asyncio.gather(*waiting), 5)

    assert asyncio.run(both()) == [1, 1, 1]
    assert len(woken) == 1


def test_a_dead_engine_ends_them_all() -> None:
    board = Switchboard()
    thread, loop = board.open([1]), board.open([2])
    thread.listen(on_loop=False)

    async def wait() -> None:
        loop.listen(on_loop=True)
        board.fail(EngineDeadError("gone"))
        await asyncio.wait_for(loop.wait_async(), 5)

    asyncio.run(wait())
    thread.wait()
    for inbox in (thread, loop):
        assert isinstance(inbox.results()[0].error, EngineDeadError)


def test_what_nobody_waits_for_is_dropped() -> None:
    board = Switchboard()
    inbox = board.open([1, 2])
    inbox.listen(on_loop=False)
    board.close([2])
    board.deliver([last(2), last(3), last(1)])
    assert inbox.unfinished == [2]
