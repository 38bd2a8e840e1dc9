"""Starts a server and ends it in good order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from ...errors import InvalidRequestError
from ..engine import Engine
from ..options import EngineOptions
from .app import make_app
from .connections import connections
from .settings import ServerSettings
from .state import Server

_log = logging.getLogger("espalier.server")
_TELL_SECONDS = 2.0  # that those who are cut off get to be told so


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


def serve(options: EngineOptions, settings: ServerSettings, began: float | None = None) -> int:
    """Serve until a signal. Returns the exit code: 1 when the engine could not be kept alive.

    began: `time.monotonic()` at which the process was started, for the line that says what each
    second of the start went to. Raises what `Engine` and `ServerSettings.check` raise, and
    InvalidRequestError where the address cannot be had.
    """
    began = time.monotonic() if began is None else began
    settings.check()
    sock = _bind(settings)
    listening = time.monotonic()
    try:
        server = Server(settings, lambda: Engine(**_given(options)))
        started = time.monotonic()
        engine = server.engine
        engine.generate(input_ids=[[0]], sampling_params={"max_tokens": 1}, namespace="health")
        first_token = time.monotonic() - started
    except BaseException:
        sock.close()
        raise
    seconds = engine.info.seconds
    parts = {
        "imports": listening - began,
        "engine process": started - listening - sum(seconds.values()),
        **seconds,
        "first token": first_token,
    }
    host, port = sock.getsockname()[:2]

    def tell() -> None:
        spent = ", ".join(f"{name} {value:.2f}" for name, value in parts.items())
        scheme = "https" if settings.tls_cert else "http"
        shown = f"[{host}]" if ":" in host else host
        with contextlib.suppress(OSError):  # a full disk: nobody reads it, but many may be served
            sys.stderr.write(
                f"espalier serve: {server.model_name} ready on {scheme}://{shown}:{port} "
                f"in {time.monotonic() - began:.2f} s ({spent})\n"
            )
            sys.stderr.flush()

    return run(server, sock, tell)


def run(server: Server, sock: socket.socket, ready: Callable[[], None]) -> int:
    """Serve on a socket that is bound. ready: called once it listens."""
    settings = server.settings
    config = uvicorn.Config(
        make_app(server),
        http=connections(settings.limits),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=settings.limits.header_bytes,
        timeout_keep_alive=int(settings.limits.head_seconds) or 1,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_without_trace)
    uvicorn_server = Uvicorn(config, server, ready)
    # A body makes up to a million objects. Gone through after every 700 of them, 4 MiB took 1.2 s
    # to read, in which nobody else has a turn; so, 0.2.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
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


def _given(options: EngineOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in EngineOptions.__struct_fields__}


def _bind(settings: ServerSettings) -> socket.socket:
    """A listening socket, before the model is loaded: a port that is taken is told at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((settings.host, settings.port))
        sock.set_inheritable(False)
    except OSError as error:
        sock.close()
        raise InvalidRequestError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            where="--port",
            hint="Another server may be there; --port 0 takes a free one.",
        ) from None
    return sock
