"""Programs over HTTP say what they say beside an engine."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

import espalier as esp
from espalier.errors import (
    EngineDeadError,
    EngineError,
    GrammarError,
    InvalidRequestError,
    NotSupportedError,
)
from espalier.runtime.engine import Engine
from espalier.runtime.http_client import HTTPClient
from espalier.runtime.http_protocol import Ask, Piece, encode, read_answer, read_ask
from espalier.runtime.protocol import framed
from espalier.runtime.server import routes_native
from espalier.runtime.server.failures import HTTPError
from espalier.types import Chunk, Result, SamplingParams
from tests.runtime.serving import InProcess


class Sync(httpx.BaseTransport):
    def __init__(self, serving: InProcess) -> None:
        self._serving = serving

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._serving.request(
            request.method, request.url.path, headers=dict(request.headers)
        )
        return httpx.Response(answer.status_code, content=answer.content)


def client(serving: InProcess, key: str | None = None) -> HTTPClient:
    transport = httpx.ASGITransport(serving.app)  # type: ignore[arg-type]
    return HTTPClient(
        "http://localhost", api_key=key, transport=transport, sync_transport=Sync(serving)
    )


@pytest.fixture
def backend(sprig: InProcess) -> esp.HTTPBackend:
    made = esp.HTTPBackend("http://localhost")
    made.client = client(sprig)
    return made


@dataclasses.dataclass
class Person:
    name: str
    age: int


@esp.function
def program(s: Any) -> None:
    s += esp.user("Extract name, age as JSON: Ida is 41 years old and lives in Bergen.")
    s += esp.assistant(esp.gen("person", Person, max_tokens=60))
    branches = s.fork(2)
    for number, branch in enumerate(branches):
        branch += esp.user(f"What is {number + 3} + 48?")
        branch += esp.assistant(esp.gen("sum", max_tokens=30, temperature=0.7))
    branches.join()
    s += esp.user("Is this review positive or negative? " + branches[0]["sum"])
    s += esp.assistant(esp.select("mood", ["positive", "negative"]))


def test_a_program_is_the_same_as_beside_an_engine(
    backend: esp.HTTPBackend, sprig_engine: Engine
) -> None:
    here = program.run(backend=sprig_engine, seed=7)
    there = program.run(backend=backend, seed=7)
    assert there.text() == here.text()
    assert there["person"] == here["person"]
    assert there["mood"] == here["mood"]
    assert "".join(program.run(backend=backend, seed=7, stream=True).text_iter()) == here.text()


def test_what_it_is(backend: esp.HTTPBackend, sprig_engine: Engine) -> None:
    assert backend.info()["model"] == "sprig"
    assert backend.stats()["capacity"] == sprig_engine.stats()["capacity"]
    assert backend.flush_cache() >= 0
    with pytest.raises(NotSupportedError, match="do not cross"):
        backend.pin([1], "", None)


def test_errors_keep_their_kind(sprig: InProcess) -> None:
    http = client(sprig)

    def run(**more: Any) -> None:
        asyncio.run(http.run(Ask(**{"prompts": [[3]], "params": SamplingParams(), **more})))

    with pytest.raises(GrammarError):
        run(grammar=esp.GrammarSpec.regex("("))
    with pytest.raises(InvalidRequestError, match="token ids in") as caught:
        run(prompts=[[10**6]])
    assert caught.value.where == "prompt[0]"
    with pytest.raises(InvalidRequestError, match="at most 128"):
        run(params=SamplingParams(n=1000))

    async def stream(**more: Any) -> None:
        async for _ in http.stream(Ask(prompts=[[]], params=SamplingParams(), stream=True)):
            pass

    with pytest.raises(InvalidRequestError, match="expected one prompt"):
        asyncio.run(stream())
    assert sprig.left_over() == (0, 0, 0)


def test_a_programs_stream_can_be_aborted(sprig: InProcess) -> None:
    """By whoever aborts everybody's."""

    async def both() -> list[Any]:
        ask = Ask(
            prompts=[[3]], params=SamplingParams(max_tokens=1500, ignore_eos=True), stream=True
        )

        async def read() -> list[Any]:
            return [chunk async for chunk in client(sprig).stream(ask)]

        reading = asyncio.ensure_future(read())
        core = sprig.engine.link.core  # type: ignore[attr-defined]
        began = core.scheduler.counters.generated_tokens
        while core.scheduler.counters.generated_tokens < began + 3:
            await asyncio.sleep(0)
        assert sprig.server.named.abort_all(sprig.engine) == 1
        return await reading

    last = asyncio.run(both())[-1]
    assert last.result.finish_reason == "abort"
    assert sprig.left_over() == (0, 0, 0)


def test_keys_and_bad_bodies(sprig_engine: Engine) -> None:
    locked = InProcess(sprig_engine, api_keys=("key",))
    with pytest.raises(InvalidRequestError, match=r"refuses with 401: .* --api-key on"):
        client(locked).tokenizer.encode("x")
    assert client(locked, "key").tokenizer.encode("x") == sprig_engine.tokenizer.encode("x")
    with pytest.raises(InvalidRequestError, match="admin key"):
        client(locked, "key").post("/flush_cache")
    headers = {"authorization": "Bearer key", "content-type": "application/msgpack"}
    for content in (b"", b"\xc1", encode(Ask(prompts=[], params=SamplingParams()))):
        answer = locked.request("POST", "/native", content=content, headers=headers)
        assert answer.status_code == 400
        assert isinstance(read_answer(answer.content).error, InvalidRequestError)  # type: ignore[union-attr]
    del headers["content-type"]
    assert locked.request("POST", "/native", content=b"x", headers=headers).status_code == 415


class Full(httpx.AsyncBaseTransport):
    """A server that is full at first, then answers as the one behind it does."""

    def __init__(self, behind: httpx.AsyncBaseTransport, status: int, times: int) -> None:
        self._behind = behind
        self._status = status
        self.left = times

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.left:
            self.left -= 1
            return httpx.Response(self._status, headers={"retry-after": "0"}, json={})
        return await self._behind.handle_async_request(request)


@pytest.mark.parametrize("status", [429, 503])
def test_a_full_server_is_asked_again(sprig: InProcess, status: int) -> None:
    full = Full(httpx.ASGITransport(sprig.app), status, 5)  # type: ignore[arg-type]
    ask = Ask(prompts=[[5, 6]], params=SamplingParams(max_tokens=2, ignore_eos=True))
    made = HTTPClient("http://localhost", transport=full)
    assert len(asyncio.run(made.run(ask))[0].token_ids) == 2
    full.left = 3

    async def streamed() -> list[Chunk]:
        return [chunk async for chunk in made.stream(msgspec.structs.replace(ask, stream=True))]

    assert asyncio.run(streamed())[-1].result is not None
    assert full.left == 0


def _piece(index: int, *, last: bool) -> bytes:
    result = Result(request_id=index, index=index) if last else None
    return framed(encode(Piece(Chunk(request_id=index, index=index, result=result))))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "before its result"),
        (_piece(0, last=False), "before its result"),
        (_piece(0, last=True) + _piece(1, last=False), "before its result.*2 samples.*1"),
        (_piece(0, last=True) + _piece(1, last=True)[:-1], "before its result"),
        (b'data: {"error":{}}\n\ndata: [DONE]\n\n', "before its result"),
        (framed(b"\xc1"), "cannot be read"),
    ],
)
def test_an_answer_that_ends_early_is_an_error(content: bytes, says: str) -> None:
    cut = httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    made = HTTPClient("http://localhost", transport=cut)

    async def streamed() -> None:
        params = SamplingParams(n=2)
        async for _ in made.stream(Ask(prompts=[[1]], params=params, stream=True)):
            pass

    with pytest.raises(EngineError, match=says):
        asyncio.run(streamed())


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (RuntimeError("secret"), EngineError, "the server failed; its log says how"),
        (EngineError("the step failed: secret"), EngineError, "the step failed"),
        (EngineDeadError("the engine's process is gone"), EngineDeadError, "is gone"),
        (HTTPError(400, "not so", kind="x", code="y"), InvalidRequestError, "not so"),
    ],
)
def test_a_stream_that_fails_ends_in_its_error(
    sprig: InProcess,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[Exception],
    says: str,
) -> None:
    """Of whatever kind, in frames; and the words of what failed stay in the server."""

    async def failing(**_: Any) -> AsyncIterator[Chunk]:
        yield Chunk(request_id=1, text="x")
        raise error

    monkeypatch.setattr(sprig.engine, "astream", failing)
    ask = Ask(prompts=[[3]], params=SamplingParams(), stream=True)

    got: list[str] = []

    async def read() -> None:
        async for chunk in client(sprig).stream(ask):
            got.append(chunk.text)

    with pytest.raises(kind, match=says) as caught:
        asyncio.run(read())
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)
    assert got == ["x"]
    assert sprig.left_over() == (0, 0, 0)


@pytest.mark.parametrize("start", [None, [1]])
def test_what_is_asked_may_be_aborted(text_folder: Path, start: list[int] | None) -> None:
    """Scores, too."""
    ask = Ask(prompts=[[3] * 400], params=SamplingParams(max_tokens=90), start=start)
    with Engine("null", tokenizer=text_folder, inline=True, step_tokens=16) as engine:
        serving = InProcess(engine, served_model_names=("null",))

        async def aborted() -> list[Result]:
            asked = asyncio.ensure_future(client(serving).run(ask))
            while not engine.stats()["computed_tokens"]:
                await asyncio.sleep(0)
            assert serving.server.named.abort_all(engine) == 1
            return await asked

        [result] = asyncio.run(aborted())
        assert result.finish_reason == "abort"
        assert engine.stats()["computed_tokens"] < 100
        assert serving.left_over() == (0, 0, 0)


def test_nobody_there() -> None:
    for wrong in ("localhost:3000", "http://localhost:3x", "http://:3000", "http://localhost:0"):
        with pytest.raises(InvalidRequestError, match="http://host:port"):
            esp.HTTPBackend(wrong)
    gone = HTTPClient("http://127.0.0.1:9")
    with pytest.raises(EngineDeadError, match="does not answer"):
        gone.get("/health")
    with pytest.raises(EngineDeadError, match="does not answer"):
        asyncio.run(gone.run(Ask(prompts=[[1]], params=SamplingParams())))


def test_a_body_of_a_million_prompts_is_told_by_its_length(sprig: InProcess) -> None:
    """Four bytes of it would be hundreds of bytes here."""
    ask = encode(Ask(prompts=[[]] * 1_000_000, params=SamplingParams()))
    before = time.thread_time()
    with pytest.raises(msgspec.ValidationError, match="length <= 10000"):
        read_ask(ask)
    assert time.thread_time() - before < 0.05
    headers = {"content-type": "application/msgpack"}
    assert sprig.request("POST", "/native", content=ask, headers=headers).status_code == 400


def test_a_long_answer_is_made_beside_the_loop(
    sprig: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by: list[threading.Thread] = []

    def noted(message: Any) -> bytes:
        made_by.append(threading.current_thread())
        return encode(message)

    monkeypatch.setattr(routes_native, "encode", noted)
    params = SamplingParams(max_tokens=20, n=8, logprobs=20, ignore_eos=True)
    [result] = asyncio.run(client(sprig).run(Ask(prompts=[[3]], params=params)))
    assert [len(sample.logprobs or []) for sample in result.samples or []] == [20] * 8
    assert len(made_by) == 1
    assert made_by[0] is not threading.main_thread()
    assert sprig.left_over() == (0, 0, 0)
