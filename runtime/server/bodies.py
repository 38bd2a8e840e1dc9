"""How much of requests' bodies is held, over all connections: a slow or a large body is memory that
no admission has counted yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .failures import HTTPError
from .shares import Shares

if TYPE_CHECKING:
    from starlette.types import Message

FREE = 64 << 10
"""Of each body, and of each answer: as much as a connection holds anyway."""


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
        if self._seen > FREE and not self._refused:
            self._take(max(self._seen, self._length) - FREE - self._taken)
        if not self._refused:
            return message
        if not message.get("more_body", False):
            raise too_many_bytes()
        return {**message, "body": b""}

    def _take(self, more: int) -> None:
        if more <= 0:
            return
        if self._of is None:
            self._of = self._key()
        self._refused = not self._shares.take(self._of, more)
        self._taken += 0 if self._refused else more

    def close(self) -> int:
        """Its request has ended. The bytes that were counted."""
        taken, self._taken = self._taken, 0
        if self._of is not None and taken:
            self._shares.give(self._of, taken)
        return taken
