"""Clients that send more than one request at once, and leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from espalier.runtime.server.connections import connections
from espalier.runtime.server.settings import Limits

REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


def served(app: Any, work: Callable[[Reader, Writer], Coroutine[Any, Any, None]]) -> None:
    """A client's work on a connection to the application."""

    async def run() -> None:
        config = uvicorn.Config(app, http=connections(Limits()), log_config=None)
        config.load()
        state = ServerState()
        made: Any = config.http_protocol_class
        server = await asyncio.get_running_loop().create_server(
            lambda: made(config=config, server_state=state, app_state={}), "127.0.0.1"
        )
        async with server, asyncio.timeout(10):
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await work(reader, writer)
            finally:
                writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("extra", [b"\r\n", b"G", REQUEST, b"x" * 40_000])
def test_a_client_that_leaves_is_noticed_whatever_it_has_sent(extra: bytes, apart: bool) -> None:
    gone, asked = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async def leave(reader: Reader, writer: Writer) -> None:
        writer.write(REQUEST if apart else REQUEST + extra)
        await asked.wait()
        if apart:
            writer.write(extra)
            await asyncio.sleep(0.1)
        writer.close()
        await gone.wait()

    served(app, leave)


def test_requests_that_come_together_are_answered_in_turn() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": scope["path"][-1:].encode()})

    async def ask(reader: Reader, writer: Writer) -> None:
        asked = [REQUEST.replace(b"/ ", b"/%d " % number) for number in range(5)]
        writer.write(b"".join(asked[:3]))
        await asyncio.sleep(0.02)
        writer.write(b"".join(asked[3:]))
        for number in range(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(1) == b"%d" % number

    served(app, ask)
