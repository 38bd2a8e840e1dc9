"""Following a feed: as an iterator in a thread, or as an async iterator on any event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from .variables import Feed

Pieces = tuple[str, dict[str, Any]]


def follow(feed: Feed) -> Iterator[Pieces]:
    """Every piece, from the first; raises at the end what ended the feed."""
    at = 0
    while True:
        pieces, closed = feed.take(at)
        if not pieces:
            if closed:
                return
            feed.wait(at)
            continue
        at += len(pieces)
        yield from pieces


async def follow_async(feed: Feed) -> AsyncIterator[Pieces]:
    """`follow` without blocking the running loop."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # closed: nobody follows any more
            loop.call_soon_threadsafe(changed.set)

    feed.listen(wake)
    try:
        at = 0
        while True:
            changed.clear()
            pieces, closed = feed.take(at)
            if not pieces:
                if closed:
                    return
                await changed.wait()
                continue
            at += len(pieces)
            for piece in pieces:
                yield piece
    finally:
        feed.unlisten(wake)
