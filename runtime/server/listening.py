"""uvicorn around the application: who may still come while it drains, and what it logs."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from .app import make_app
from .connections import connections
from .open_files import AT_ONCE, within_open_files
from .state import Server

_log = logging.getLogger("espalier.server")
_TELL_SECONDS = 2.0  # that those who are cut off get to be told so
_WAITING = 2048  # connections that the system keeps until they are accepted


class Uvicorn(uvicorn.Server):
    """uvicorn with a drain before its own end: whoever comes meanwhile is told 503."""

    def __init__(self, config: uvicorn.Config, server: Server, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._server = server
        self._ready = ready
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failed = False
        server.supervisor.when_failed = self._fail

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for sock in sockets or ():  # asyncio accepts as many in a turn as it has told the system
            sock.listen(_WAITING)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The first signal drains; a second one ends at once."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        admission = self._server.admission
        _log.info("shutting down: %d requests in work", admission.inflight)
        try:
            if not await admission.drain(self._server.settings.shutdown_timeout):
                _log.warning("%d requests are cut off", admission.inflight)
            await self._server.supervisor.close()  # which tells those who still wait for the engine
            await admission.drain(_TELL_SECONDS)
        finally:
            self.config.timeout_graceful_shutdown = int(_TELL_SECONDS)
            self.should_exit = True

    def _fail(self) -> None:
        self.failed = True
        self.should_exit = True


def run(server: Server, sock: socket.socket, ready: Callable[[], None]) -> int:
    """Serve on a socket that is bound. ready: called once it listens."""
    settings = server.settings
    config = uvicorn.Config(
        make_app(server),
        http=connections(within_open_files(settings.limits)),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=settings.limits.header_bytes,
        backlog=AT_ONCE,
        timeout_keep_alive=int(settings.limits.head_seconds) or 1,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_without_trace)
    uvicorn_server = Uvicorn(config, server, ready)
    # A body makes up to a million objects. What stays is gone through again after two million:
    # after every 7,000, 4 MiB took four times as long to read, in which nobody else has a turn.
    # What is new is gone through often: a collector that comes late leaves holes behind.
    gc.set_threshold(10_000, 200, 20)
    gc.collect()
    gc.freeze()  # what is there stays: later collections look at what requests leave
    uvicorn_server.run(sockets=[sock])
    if uvicorn_server.force_exit:
        server.supervisor.kill()  # whoever waits for it would hold the end up
    return 1 if uvicorn_server.failed else 0


def _without_trace(record: logging.LogRecord) -> bool:
    """Traces may quote prompts and name paths: logs tell an error's kind, debug logs all."""
    if record.exc_info and record.exc_info[1] is not None and not _log.isEnabledFor(logging.DEBUG):
        record.msg = f"{record.getMessage().strip()}: {type(record.exc_info[1]).__name__}"
        record.args, record.exc_info, record.exc_text = (), None, None
    return True
