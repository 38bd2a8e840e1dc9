"""Where a client's results arrive: one inbox per call, filled by whatever thread reads the link."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterable

from ..errors import EspalierError
from ..types import Chunk, Result


class Inbox:
    """Chunks of several requests, until each has its result.

    Sync callers wait on `wait`, async ones on `wait_async`, then `take` what came, in order. The
    last chunk may come while the caller is busy with an earlier one: a reader goes on until the
    inbox is `drained`, not until it is `complete`.
    """

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids
        self._open = set(ids)
        self._chunks: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        self._results: dict[int, Result] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self._news: asyncio.Event | None = None
        self._arrived: threading.Event | None = None

    @property
    def unfinished(self) -> list[int]:
        """Requests whose result has not come."""
        return [i for i in self._ids if i in self._open]

    @property
    def complete(self) -> bool:
        return not self._open

    @property
    def drained(self) -> bool:
        """Complete, and every chunk taken."""
        return not self._open and self._chunks.empty()

    def results(self) -> list[Result]:
        """All results, in the order of the requests; only when complete."""
        return [self._results[i] for i in self._ids]

    def listen(self, *, on_loop: bool) -> None:
        """Who wants to be woken by what comes: the running event loop, or this thread."""
        if on_loop:
            self.loop = asyncio.get_running_loop()
            self._news = asyncio.Event()
        else:
            self._arrived = threading.Event()

    def put(self, chunk: Chunk) -> None:
        """From any thread, which wakes those who wait then (`wake`)."""
        self._chunks.put(chunk)
        if chunk.result is not None:
            self._results[chunk.request_id] = chunk.result
            self._open.discard(chunk.request_id)

    def tell(self) -> None:
        """Something has come: on the loop that listens, or from any thread."""
        if self._news is not None:
            self._news.set()
        elif self._arrived is not None:
            self._arrived.set()

    def fail(self, error: EspalierError) -> None:
        """The engine is gone: every open request ends in `error`."""
        for request_id in self.unfinished:
            result = Result(request_id=request_id, finish_reason="error", error=error)
            self.put(Chunk(request_id=request_id, result=result))

    def take(self) -> list[Chunk]:
        """What has come since the last call; does not wait."""
        chunks = []
        while not self._chunks.empty():
            chunks.append(self._chunks.get())
        return chunks

    def wait(self) -> None:
        """Until something comes."""
        assert self._arrived is not None
        self._arrived.wait()
        self._arrived.clear()

    async def wait_async(self) -> None:
        """Until something comes."""
        assert self._news is not None
        await self._news.wait()
        self._news.clear()


def wake(inboxes: Iterable[Inbox]) -> None:
    """Tell those who wait for these that something has come; each event loop is woken once."""
    loops: dict[asyncio.AbstractEventLoop, list[Inbox]] = {}
    for inbox in inboxes:
        if inbox.loop is None:
            inbox.tell()
        else:
            loops.setdefault(inbox.loop, []).append(inbox)
    for loop, theirs in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_tell, theirs)


def _tell(inboxes: list[Inbox]) -> None:
    for inbox in inboxes:
        inbox.tell()


class Switchboard:
    """Which inbox a chunk belongs to. The link's thread holds this and not the engine, so that an
    engine nobody holds any more can be collected, and so closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inboxes: dict[int, Inbox] = {}
        self._dead: EspalierError | None = None
        self._tell: list[Callable[[EspalierError], None]] = []

    def open(self, ids: list[int]) -> Inbox:
        inbox = Inbox(ids)
        with self._lock:
            self._inboxes.update((request_id, inbox) for request_id in ids)
        return inbox

    def close(self, ids: list[int]) -> None:
        """Nobody waits for these any more."""
        with self._lock:
            for request_id in ids:
                self._inboxes.pop(request_id, None)

    def deliver(self, chunks: Iterable[Chunk]) -> None:
        """From the link's thread, or whoever steps an inline core."""
        reached: dict[Inbox, None] = {}
        with self._lock:
            for chunk in chunks:
                if chunk.result is None:
                    inbox = self._inboxes.get(chunk.request_id)
                else:
                    inbox = self._inboxes.pop(chunk.request_id, None)
                if inbox is not None:
                    inbox.put(chunk)
                    reached[inbox] = None
        wake(reached)

    def fail(self, error: EspalierError) -> None:
        """The engine is gone."""
        with self._lock:
            inboxes = list({id(inbox): inbox for inbox in self._inboxes.values()}.values())
            self._inboxes.clear()
            self._dead, tell, self._tell = error, self._tell, []
        for inbox in inboxes:
            inbox.fail(error)
        wake(inboxes)
        for watcher in tell:
            watcher(error)

    def when_dead(self, tell: Callable[[EspalierError], None]) -> None:
        """Call `tell` once the engine is gone; at once if it is."""
        with self._lock:
            dead = self._dead
            if dead is None:
                self._tell.append(tell)
        if dead is not None:
            tell(dead)
