"""Answers to clients that may vanish, read slowly, or be told to stop.

Whatever is awaited for a client is cancelled with it: its requests leave the engine within one
step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ...errors import EspalierError
from .access import log_failure
from .failures import HTTPError, as_http, body_of, forget
from .metrics import CLIENT_GONE, Metrics
from .state import server_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_T = TypeVar("_T")
Events = AsyncGenerator[bytes, None]
DONE = b"data: [DONE]\n\n"


def model_response(model: BaseModel) -> Response:
    """A response model as JSON; fields that were never set stay out."""
    return Response(
        model.model_dump_json(exclude_unset=True).encode(), media_type="application/json"
    )


def event(model: BaseModel) -> bytes:
    """A response model as a server-sent event."""
    return b"data: " + model.model_dump_json(exclude_unset=True).encode() + b"\n\n"


async def _vanished(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answered(request: Request, job: Coroutine[Any, Any, _T]) -> _T:
    """The job's result. A client that vanishes cancels it. Raises ClientDisconnect then."""
    task = asyncio.ensure_future(job)
    gone = asyncio.ensure_future(_vanished(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        await _cancelled(task, gone)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Format:
    """How a stream is written. failed: its end, where it fails."""

    media_type: str
    failed: Callable[[Exception], bytes]


def _failed_event(error: Exception) -> bytes:
    return b"data: " + msgspec.json.encode(body_of(error)) + b"\n\n" + DONE


EVENTS = Format("text/event-stream", _failed_event)


async def begun(request: Request, events: Events, format: Format = EVENTS) -> Response:
    """A stream's response, once its first event is there: what fails before has a status of its
    own."""
    try:
        first = await answered(request, _first(events))
    except BaseException:
        await events.aclose()
        raise
    return EventStream(first, events, server_of(request).metrics, format)


async def _first(events: Events) -> bytes:
    return await anext(events)


class EventStream(Response):
    """Server-sent events. Ends, and closes the generator, when the client vanishes; one that does
    not read is made to (connections.py)."""

    def __init__(self, first: bytes, events: Events, metrics: Metrics, format: Format) -> None:
        super().__init__(media_type=format.media_type, headers={"cache-control": "no-store"})
        self._format = format
        del self.headers["content-length"]
        self._first = first
        self._events = events
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writing = asyncio.ensure_future(self._write(scope, send))
        gone = asyncio.ensure_future(_vanished(receive))
        try:
            await asyncio.wait({writing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
            else:
                self._metrics.failed(CLIENT_GONE)
        finally:
            await _cancelled(writing, gone)
            await self._events.aclose()

    async def _write(self, scope: Scope, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        await _send(send, self._first)
        try:
            async for piece in self._events:
                await _send(send, piece)
        except Exception as error:  # its status is sent: the stream itself tells
            if not isinstance(error, EspalierError | HTTPError):
                log_failure(error, scope["path"])
            self._metrics.failed(as_http(error).code)
            forget(error)
            await _send(send, self._format.failed(error))
        await send({"type": "http.response.body", "body": b""})


async def _send(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})
