"""How long a connection may take, and what it may hold up: uvicorn's HTTP with bounds.

uvicorn waits for ever for the rest of a head whose first byte has come, and for a reader that takes
one byte a second; and it reads as many tiny chunks of a body as fit into 256 KiB before anybody
else has a turn.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from .settings import Limits

_READ_BYTES = 16 << 10


def connections(limits: Limits) -> type[asyncio.Protocol]:
    """The class of a server's connections."""

    class Connection(H11Protocol):
        _head: asyncio.TimerHandle | None = None
        _taking: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if hasattr(transport, "max_size"):  # asyncio's own transports have it
                setattr(transport, "max_size", _READ_BYTES)  # noqa: B010 (no public name has it)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            for timer in (self._head, self._taking):
                if timer is not None:
                    timer.cancel()

        def on_response_complete(self) -> None:
            self._await_head()
            super().on_response_complete()

        def pause_writing(self) -> None:
            """More of the answers lies untaken than is kept for a reader."""
            super().pause_writing()
            self._taking = self.loop.call_later(limits.send_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._taking is not None:
                self._taking.cancel()

        def _await_head(self) -> None:
            """Of a connection's first request, or of the next one."""
            if self._head is not None:
                self._head.cancel()
            self._head = self.loop.call_later(limits.head_seconds, self._give_up, self._request())

        def _request(self) -> object:
            return getattr(self, "cycle", None)  # uvicorn types it as if it were always there

        def _give_up(self, last: object) -> None:
            if self._request() is not last:
                return
            if self.transport.get_write_buffer_size():  # the last answer's end is not taken yet
                self._head = self.loop.call_later(limits.send_seconds, self.transport.abort)
            self.transport.close()

    return Connection
