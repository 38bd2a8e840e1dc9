"""How much of requests' bodies is held, over all connections: a slow or a large body is memory that
no admission has counted yet, and a long answer that is read slowly some that it counts no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .failures import HTTPError
from .shares import Shares

if TYPE_CHECKING:
    from starlette.types import Message, Send

_FREE = 64 << 10  # of each body: as much as a connection holds anyway


def too_many_bytes() -> HTTPError:
    """More of bodies than the server holds."""
    return HTTPError(
        429,
        "the server holds as many bytes of requests' bodies as it may, or as it may of this key "
        "(--max-total-body-bytes)",
        kind="rate_limit_error",
        code="bodies_full",
        headers={"retry-after": "1"},
    )


def no_room_for_answer() -> HTTPError:
    """More of answers than the server holds for who reads slowly."""
    return HTTPError(
        503,
        "the answer is long, and the server holds as many bytes as it may (--max-total-body-bytes)",
        kind="service_unavailable_error",
        code="answers_full",
        headers={"retry-after": "5"},
    )


class Answer:
    """A request's answer on its way: a long one goes out as fast as it is read, and counts with the
    body until then. One for which there is no room is another one: `instead`."""

    def __init__(self, body: Body, send: Send, instead: Callable[[], Awaitable[None]]) -> None:
        self._body = body
        self._send = send
        self._instead = instead
        self._start: Message | None = None
        self._refused = False

    async def send(self, message: Message) -> None:
        """For the application."""
        if message["type"] == "http.response.start":
            self._start = message  # until it is known how long the answer is
            return
        data = message.get("body", b"")
        if self._start is not None:
            self._refused = len(data) > _FREE and not self._body.hold(len(data) - _FREE)
            if self._refused:
                await self._instead()
            else:
                await self._send(self._start)
            self._start = None
        if self._refused:
            return
        last = max(0, len(data) - 1) // _FREE
        for number in range(last + 1):
            piece = data[number * _FREE : (number + 1) * _FREE]
            more = number < last or message.get("more_body", False)
            await self._send({**message, "body": piece, "more_body": more})


class Body:
    """A request's body as it comes, counted until the request has ended.

    What it says to be long is taken whole, so that of many that come at once some are read to
    their end. One for which there is no room is read on and dropped, and refused (429) where it
    ends: who still sends would not see the answer. key: whose it is, asked once it is long.
    """

    def __init__(self, shares: Shares, key: Callable[[], str], length: int) -> None:
        self._shares = shares
        self._key = key
        self._length = length
        self._of: str | None = None
        self._seen = self._taken = 0
        self._refused = False

    def read(self, message: Message) -> Message:
        """What of its next message is kept. Raises HTTPError at the end of one that is refused."""
        if message["type"] != "http.request":
            return message
        self._seen += len(message.get("body", b""))
        if self._seen > _FREE and not self._refused:
            self._take(max(self._seen, self._length) - _FREE - self._taken)
        if not self._refused:
            return message
        if not message.get("more_body", False):
            raise too_many_bytes()
        return {**message, "body": b""}

    def _take(self, more: int) -> None:
        self._refused = more > 0 and not self.hold(more)

    def hold(self, more: int) -> bool:
        """Count more bytes; False where there is no room for them. More than all that its key may
        have are held while it has nothing else."""
        if self._of is None:
            self._of = self._key()
        more = min(more, self._shares.most - self._taken)
        held = self._shares.take(self._of, more)
        self._taken += more if held else 0
        return held

    def close(self) -> int:
        """Its request has ended. The bytes that were counted."""
        taken, self._taken = self._taken, 0
        if self._of is not None and taken:
            self._shares.give(self._of, taken)
        return taken
