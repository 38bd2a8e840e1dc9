"""Clients that send more than one request at once, that leave, and that are too many."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from espalier.runtime.server.connections import connections
from espalier.runtime.server.settings import Limits

REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


def served(
    app: Any, work: Callable[[Reader, Writer], Coroutine[Any, Any, None]], most: int = 100
) -> None:
    """A client's work on a connection to the application. most: connections at once."""

    async def run() -> None:
        config = uvicorn.Config(app, http=connections(Limits(connections=most)), log_config=None)
        config.load()
        state = ServerState()
        kind: Any = config.http_protocol_class
        made: list[Any] = []

        def accepted() -> Any:
            made.append(kind(config=config, server_state=state, app_state={}))
            return made[-1]

        server = await asyncio.get_running_loop().create_server(accepted, "127.0.0.1")
        async with server, asyncio.timeout(10):
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await work(reader, writer)
            finally:
                writer.close()
            while not all(each.transport.is_closing() for each in made):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)

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


async def _hello(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hi"})


async def _answer(reader: Reader) -> tuple[int, dict[str, str], bytes]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def _another(writer: Writer) -> tuple[Reader, Writer]:
    return await asyncio.open_connection(*writer.get_extra_info("peername"))


async def _greeted(reader: Reader, writer: Writer) -> None:
    writer.write(REQUEST)
    assert (await _answer(reader))[2] == b"hi"


@pytest.fixture
def idle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.runtime.server.connections._IDLE_SECONDS", 0)


@pytest.mark.parametrize("body", [0, 1_000_000])
def test_one_too_many_is_told_so(body: int) -> None:
    """With a status and a code of its own, whatever it sends; and there is room again later."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await go_on.wait()
        await _hello(scope, receive, send)

    async def ask(reader: Reader, writer: Writer) -> None:
        writer.write(REQUEST)
        await begun.wait()
        other, third = await _another(writer)
        length = b"\r\ncontent-length: %d\r\n\r\n" % body
        third.write(REQUEST[:-4] + length + b"x" * body)
        await third.drain()
        status, headers, told = await _answer(other)
        assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
        assert json.loads(told)["error"]["code"] == "connections_full"
        third.close()
        go_on.set()
        assert (await _answer(reader))[0] == 200
        writer.close()
        await asyncio.sleep(0.1)
        again, fourth = await _another(writer)
        fourth.write(REQUEST)
        assert (await _answer(again))[0] == 200
        fourth.close()

    served(app, ask, most=1)


@pytest.mark.usefixtures("idle_at_once")
def test_who_asks_for_nothing_makes_room() -> None:
    """However many: who asks gets in."""

    async def ask(reader: Reader, writer: Writer) -> None:
        silent = [await _another(writer) for _ in range(20)]
        last = await _another(writer)
        await _greeted(*last)
        for at, (one, asking) in enumerate(silent):
            assert at >= 18 or await one.read() == b""
            asking.close()
        last[1].close()

    served(_hello, ask, most=3)


def test_who_has_just_come_makes_no_room() -> None:
    """What it asks may lie there already."""

    async def ask(reader: Reader, writer: Writer) -> None:
        other, third = await _another(writer)
        for asking in (writer, third):
            asking.write(REQUEST)
        assert [(await _answer(one))[0] for one in (reader, other)] == [200, 503]
        third.close()

    served(_hello, ask, most=1)


@pytest.mark.usefixtures("idle_at_once")
def test_idle_connections_make_room_the_longest_first() -> None:
    async def ask(reader: Reader, writer: Writer) -> None:
        others = [await _another(writer) for _ in range(2)]
        order = [(reader, writer), others[1], others[0]]
        for client in order:
            await _greeted(*client)
        newer = await _another(writer)
        assert await reader.read() == b""  # closed
        for client in (newer, *order[1:]):
            await _greeted(*client)
        for _, asking in (newer, *others):
            asking.close()

    served(_hello, ask, most=3)


def test_one_too_many_that_says_nothing_is_gone_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.runtime.server.connections._TELL_SECONDS", 0.05)

    async def ask(reader: Reader, writer: Writer) -> None:
        writer.write(REQUEST[:-1])
        await asyncio.sleep(0.05)
        other, third = await _another(writer)
        assert await other.read() == b""
        third.close()
        writer.write(REQUEST[-1:])
        assert (await _answer(reader))[2] == b"hi"

    served(_hello, ask, most=1)


async def _refused(writer: Writer) -> bool:
    other, third = await _another(writer)
    third.write(REQUEST)
    status = (await _answer(other))[0]
    third.close()
    return status == 503


def test_who_has_taken_a_long_answer_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before: what lies in the buffer when the answer ends is still being taken."""
    monkeypatch.setattr("espalier.runtime.server.connections._IDLE_SECONDS", 0.2)
    long = 8_000_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        size = int(scope["path"][1:] or 2)
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * size})

    async def ask(reader: Reader, writer: Writer) -> None:
        writer.write(REQUEST.replace(b"/ ", b"/%d " % long))
        await asyncio.sleep(0.4)
        assert await _refused(writer)
        assert len((await _answer(reader))[2]) == long
        assert await _refused(writer)  # it may be asking for more
        await asyncio.sleep(0.4)
        assert not await _refused(writer)
        assert await reader.read() == b""

    served(app, ask, most=1)


def test_who_is_still_asking_makes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose body is not whole came with the one before it."""
    monkeypatch.setattr("espalier.runtime.server.connections._IDLE_SECONDS", 0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await _hello(scope, receive, send)

    async def ask(reader: Reader, writer: Writer) -> None:
        writer.write(REQUEST + REQUEST[:-4] + b"\r\ncontent-length: 2\r\n\r\nx")
        assert (await _answer(reader))[0] == 200
        assert await _refused(writer)
        writer.write(b"x")
        assert (await _answer(reader))[0] == 200

    served(app, ask, most=1)


def test_only_so_many_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.runtime.server.connections.TOLD", 3)

    async def ask(reader: Reader, writer: Writer) -> None:
        writer.write(REQUEST[:-1])
        await asyncio.sleep(0.05)
        told = [await _another(writer) for _ in range(3)]
        for _ in range(20):
            other, third = await _another(writer)
            async with asyncio.timeout(1):  # of the two that who is told has
                assert await other.read() == b""
            third.close()
        for other, third in told:
            third.write(REQUEST)
            assert (await _answer(other))[0] == 503
            third.close()
        await asyncio.sleep(0.05)
        assert await _refused(writer)  # there is room to be told again

    served(_hello, ask, most=1)


def test_a_connection_leaves_nothing_in_cycles() -> None:
    served_at: list[Any] = []

    async def ask(reader: Reader, writer: Writer) -> None:
        served_at.append(writer.get_extra_info("peername"))
        writer.write(REQUEST)
        assert (await _answer(reader))[2] == b"hi"

    gc.collect()
    gc.disable()
    try:
        served(_hello, ask)
        found = [each for each in gc.get_objects() if issubclass(type(each), asyncio.Transport)]
        assert found  # the client's own
        assert served_at[0] not in [each.get_extra_info("sockname") for each in found]
    finally:
        gc.enable()
