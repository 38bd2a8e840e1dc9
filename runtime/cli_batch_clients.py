"""Who answers a batch: a server elsewhere, or one in this process that listens nowhere."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx

from .engine import Engine
from .options import EngineOptions
from .server.app import make_app
from .server.settings import ServerSettings
from .server.state import Server

_UNBOUNDED = 2**31  # our own requests alone are in work, and `connections` bounds them
_CONNECT = 20.0  # seconds; an answer may take as long as it takes


@contextlib.asynccontextmanager
async def remote(url: str, key: str | None, connections: int) -> AsyncIterator[httpx.AsyncClient]:
    """A server at `url`."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    timeout = httpx.Timeout(None, connect=_CONNECT)
    async with httpx.AsyncClient(
        base_url=url.rstrip("/").removesuffix("/v1"),
        headers=headers,
        limits=limits,
        timeout=timeout,
    ) as client:
        yield client


@contextlib.asynccontextmanager
async def own(options: EngineOptions, names: tuple[str, ...]) -> AsyncIterator[httpx.AsyncClient]:
    """An engine of its own, behind the server's application, without a socket: what a body means
    is what it means there."""
    settings = ServerSettings(served_model_names=names, max_inflight=_UNBOUNDED)
    given = {name: getattr(options, name) for name in EngineOptions.__struct_fields__}
    app = make_app(Server(settings, lambda: Engine(**given)))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", timeout=None
        ) as client:
            yield client
