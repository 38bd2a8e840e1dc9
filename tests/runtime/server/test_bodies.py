"""What of bodies is held, whatever their senders do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from espalier.errors import InvalidRequestError
from espalier.runtime.engine import Engine
from espalier.runtime.http_protocol import CONTENT_TYPE, Ask, encode
from espalier.runtime.server.answers import Room
from espalier.runtime.server.bodies import Body
from espalier.runtime.server.failures import HTTPError
from espalier.runtime.server.settings import Limits, ServerSettings
from espalier.runtime.server.shares import Shares
from espalier.types import SamplingParams
from tests.runtime.served import served, until
from tests.runtime.serving import InProcess, call_until

PATH = "/v1/completions"
KIB = 1 << 10
JSON = {"content-type": "application/json"}
SMALL = Limits(body_bytes=512 * KIB, bodies_bytes=1024 * KIB)


def _piece(size: int, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


def test_a_body_is_counted_whole_once_it_is_long() -> None:
    shares = Shares(1000 * KIB, 1)
    body = Body(shares, lambda: "", 564 * KIB)
    body.read(_piece(64 * KIB))
    assert shares.taken == 0
    assert body.read(_piece(1)) == _piece(1)
    assert shares.taken == 500 * KIB
    body.read(_piece(400 * KIB))
    assert shares.taken == 500 * KIB
    body.close()
    assert shares.taken == 0


def test_one_of_unknown_length_is_counted_as_it_comes() -> None:
    shares = Shares(1000 * KIB, 1)
    body = Body(shares, lambda: "", 0)
    for _ in range(3):
        body.read(_piece(64 * KIB))
    assert shares.taken == 128 * KIB
    body.close()


def test_one_too_many_is_read_to_its_end_and_dropped() -> None:
    shares = Shares(300 * KIB, 1)
    first, second = (Body(shares, lambda: "", 264 * KIB) for _ in range(2))
    for body in (first, second):
        body.read(_piece(64 * KIB))
    assert first.read(_piece(100 * KIB))["body"]
    assert second.read(_piece(100 * KIB))["body"] == b""
    first.close()
    assert second.read(_piece(50 * KIB))["body"] == b""  # a part of it is lost already
    with pytest.raises(HTTPError, match="max-total-body-bytes") as caught:
        second.read(_piece(50 * KIB, more=False))
    assert (caught.value.status, caught.value.headers["retry-after"]) == (429, "1")
    assert second.read({"type": "http.disconnect"}) == {"type": "http.disconnect"}
    second.close()
    assert shares.taken == 0


def test_keys_share_it() -> None:
    shares = Shares(1000 * KIB, 2)
    held = [Body(shares, lambda: "a", 314 * KIB) for _ in range(4)]
    for body in held:
        body.read(_piece(65 * KIB))
    assert shares.taken == 750 * KIB
    other = Body(shares, lambda: "b", 314 * KIB)
    assert other.read(_piece(65 * KIB))["body"]


async def _pieces(size: int) -> AsyncIterator[bytes]:
    yield b'{"prompt":[3],"max_tokens":1,"user":"'
    for _ in range(size // KIB):
        yield b"x" * KIB
    yield b'"}'


def _long(size: int) -> bytes:
    return json.dumps({"prompt": [3], "max_tokens": 1, "user": "x" * size}).encode()


CONTENT: list[Callable[[], Any]] = [lambda: _long(200 * KIB), lambda: _pieces(200 * KIB)]


@pytest.mark.parametrize("content", CONTENT)
def test_a_full_server_says_so_and_gives_back(
    null_engine: Engine, content: Callable[[], Any]
) -> None:
    serving = InProcess(null_engine, served_model_names=("null",), limits=SMALL)
    bodies = serving.server.bodies

    def status() -> int:
        return serving.request("POST", PATH, content=content(), headers=JSON).status_code

    assert status() == 200
    assert bodies.taken == 0
    assert bodies.take("", bodies.limit - 100 * KIB)
    answer = serving.request("POST", PATH, content=content(), headers=JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["error"]["code"] == "bodies_full"
    assert serving.post(PATH, {"prompt": [3], "max_tokens": 1}).status_code == 200
    ask = encode(Ask(prompts=[[3] * 200_000], params=SamplingParams(max_tokens=1)))
    native = {"content-type": CONTENT_TYPE}
    assert serving.request("POST", "/native", content=ask, headers=native).status_code == 429
    bodies.give("", bodies.limit - 100 * KIB)
    assert status() == 200
    assert serving.request("POST", "/native", content=ask, headers=native).status_code == 200
    assert bodies.taken == 0


def test_the_budget_holds_a_body() -> None:
    with pytest.raises(InvalidRequestError, match="max-total-body-bytes"):
        ServerSettings(limits=Limits(body_bytes=4 << 20, bodies_bytes=7 << 20)).check()


def test_a_hundred_bodies_without_their_ends(text_folder: Path) -> None:
    """Neither their bytes nor anybody else's request is the worse for them."""
    flags = ("null", "--tokenizer", str(text_folder), "--max-total-body-bytes", str(8 << 20))
    body = _long(1 << 20)
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    begun = head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body[:-1]
    with served(*flags) as made, contextlib.ExitStack() as stack:
        process = psutil.Process(made.process.pid)
        client = stack.enter_context(httpx.Client(base_url=made.url, timeout=60))
        assert client.post(PATH, content=body, headers=JSON).status_code == 200
        before = process.memory_info().rss
        waiting = []
        for _ in range(100):
            sock = stack.enter_context(socket.create_connection(made.address, timeout=60))
            sock.sendall(begun)
            waiting.append(sock)
        assert client.post(PATH, json={"prompt": [3], "max_tokens": 1}).status_code == 200
        refused = client.post(PATH, content=body, headers=JSON)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert process.memory_info().rss - before < 48 << 20  # 8 of them, and some KiB of each
        waiting[-1].sendall(body[-1:])
        assert waiting[-1].recv(100).startswith(b"HTTP/1.1 429")
        waiting[0].sendall(body[-1:])
        assert waiting[0].recv(100).startswith(b"HTTP/1.1 200")
        for sock in waiting:
            sock.close()
        until(lambda: client.post(PATH, content=body, headers=JSON).status_code == 200)
        made.fine()


def test_a_long_answer_goes_out_as_it_is_read(
    null_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces, for each of which the connection may wait; counted until the last is out."""
    serving = InProcess(null_engine, served_model_names=("null",))
    answers, held = serving.server.answers._shares, list[int]()
    body = {"prompt": "a " * 20_000, "with_pieces": True}
    take = answers.take

    def noted(key: str, places: int) -> bool:
        held.append(places)
        return take(key, places)

    monkeypatch.setattr(answers, "take", noted)
    sent = asyncio.run(call_until(serving.app, "/tokenize", body, lambda _: False))
    pieces = [len(message["body"]) for message in sent[1:]]
    assert sent[0]["type"] == "http.response.start"
    assert max(pieces) == 64 * KIB
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(pieces) - 1) + [False]
    whole = b"".join(message["body"] for message in sent[1:])
    assert len(json.loads(whole)["tokens"]) == json.loads(whole)["count"]
    assert (b"content-length", str(len(whole)).encode()) in sent[0]["headers"]
    assert held == [len(whole) - 64 * KIB]
    assert answers.taken == 0


LONG = {"prompt": "a " * 20_000, "with_pieces": True}


def test_a_long_answer_without_room_is_another(null_engine: Engine) -> None:
    limits = Limits(body_bytes=512 * KIB, bodies_bytes=1024 * KIB, room_seconds=0.05)
    origin = {"origin": "http://page"}
    serving = InProcess(
        null_engine, served_model_names=("null",), limits=limits, cors_origins=("http://page",)
    )
    answers = serving.server.answers._shares
    assert answers.take("", answers.limit - 10)
    answer = serving.post("/tokenize", LONG, headers=origin)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"]["code"] == "answers_full"
    assert answer.headers["access-control-allow-origin"] == "http://page"
    assert serving.post("/tokenize", {"prompt": "a"}).status_code == 200
    stream = {"prompt": [3], "max_tokens": 3, "ignore_eos": True, "stream": True}
    assert serving.post(PATH, stream).text.endswith("data: [DONE]\n\n")
    assert serving.request("POST", PATH, content=_long(400 * KIB), headers=JSON).is_success
    answers.give("", answers.limit - 10)
    assert len(serving.post("/tokenize", LONG).content) > 400 * KIB
    larger = {"prompt": "a " * 60_000, "with_pieces": True}
    assert len(serving.post("/tokenize", larger).content) > answers.limit  # while it is alone
    assert answers.taken == 0


def test_long_answers_wait_for_room_and_for_no_bodies(null_engine: Engine) -> None:
    """None is made in vain, however full it is for a moment."""
    serving = InProcess(null_engine, served_model_names=("null",), limits=SMALL)
    room, shares = serving.server.answers, serving.server.answers._shares
    assert serving.server.bodies.take("", SMALL.bodies_bytes)  # what others send
    assert shares.take("", shares.limit - 10)

    async def ask() -> int:
        transport = httpx.ASGITransport(serving.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            asked = asyncio.ensure_future(client.post("/tokenize", json=LONG))
            while not room._waiting:
                await asyncio.sleep(0.01)
            assert not asked.done()
            room.give("", shares.limit - 10)
            return (await asked).status_code

    assert asyncio.run(ask()) == 200
    assert (room.taken, room._waiting) == (0, {})


def test_answers_of_a_key_come_in_turn_and_hold_up_no_other_key() -> None:
    async def order() -> list[str]:
        room, told = Room(Shares(1000, 2)), list[str]()
        assert await room.take("a", 700, 0) == 700

        async def wait(name: str, size: int) -> None:
            told.append(name if await room.take(name[0], size, 5) else f"no {name}")

        tasks = [asyncio.ensure_future(wait(*one)) for one in (("a1", 600), ("a2", 10), ("b", 250))]
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert told == ["b"]
        assert await room.take("a", 10, 0.01) == 0  # behind those that wait
        room.give("a", 700)
        await asyncio.gather(*tasks)
        room.give("a", 610)
        room.give("b", 250)
        assert (room.taken, room._waiting) == (0, {})
        return told

    assert asyncio.run(order()) == ["b", "a1", "a2"]


def test_who_reads_a_long_answer_too_slowly_is_left(text_folder: Path) -> None:
    """However steadily: what it holds of the budget is free again."""
    body = json.dumps({"prompt": "a " * 900_000, "with_pieces": True}).encode()
    head = "POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    asked = head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
    flags = ("null", "--tokenizer", str(text_folder))
    with (
        served(*flags, answer_seconds=1.0) as made,
        socket.create_connection(made.address, timeout=60) as sock,
    ):
        sock.sendall(asked)
        got = sock.recv(1000)
        assert got.startswith(b"HTTP/1.1 200")
        whole, read = int(got.split(b"content-length: ")[1].split(b"\r\n")[0]), len(got)
        for _ in range(25):
            time.sleep(0.1)
            read += len(sock.recv(20_000))
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(1 << 20):  # what the system held of it
                read += len(piece)
        assert read < whole - (4 << 20)
        made.fine()
