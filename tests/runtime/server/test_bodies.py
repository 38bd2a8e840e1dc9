"""What of bodies is held, whatever their senders do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from espalier.errors import InvalidRequestError
from espalier.runtime.engine import Engine
from espalier.runtime.http_protocol import CONTENT_TYPE, Ask, encode
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
    bodies, held = serving.server.bodies, list[int]()
    body = {"prompt": "a " * 20_000, "with_pieces": True}
    take = bodies.take

    def noted(key: str, places: int) -> bool:
        held.append(places)
        return take(key, places)

    monkeypatch.setattr(bodies, "take", noted)
    sent = asyncio.run(call_until(serving.app, "/tokenize", body, lambda _: False))
    pieces = [len(message["body"]) for message in sent[1:]]
    assert sent[0]["type"] == "http.response.start"
    assert max(pieces) == 64 * KIB
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(pieces) - 1) + [False]
    whole = b"".join(message["body"] for message in sent[1:])
    assert len(json.loads(whole)["tokens"]) == json.loads(whole)["count"]
    assert (b"content-length", str(len(whole)).encode()) in sent[0]["headers"]
    assert held == [len(whole) - 64 * KIB]
    assert bodies.taken == 0


def test_a_long_answer_without_room_is_another(null_engine: Engine) -> None:
    serving = InProcess(null_engine, served_model_names=("null",), limits=SMALL)
    bodies = serving.server.bodies
    body = {"prompt": "a " * 20_000, "with_pieces": True}
    assert bodies.take("", bodies.limit - 10)
    answer = serving.post("/tokenize", body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"]["code"] == "answers_full"
    assert serving.post("/tokenize", {"prompt": "a"}).status_code == 200
    stream = {"prompt": [3], "max_tokens": 3, "ignore_eos": True, "stream": True}
    assert serving.post(PATH, stream).text.endswith("data: [DONE]\n\n")
    bodies.give("", bodies.limit - 10)
    assert len(serving.post("/tokenize", body).content) > 400 * KIB
    larger = {"prompt": "a " * 60_000, "with_pieces": True}
    assert len(serving.post("/tokenize", larger).content) > bodies.limit  # while it is alone
    assert bodies.taken == 0
