"""A server that speaks OpenAI's and Anthropic's wire formats, and fails in each way when told to.

    with FakeAPI(lambda prompt: " Ada.\\n") as api:
        backend = esp.OpenAI("fake", base_url=f"{api.url}/v1", api_key=KEY, is_chat_model=False)

Its model is a function of the prompt's text (of a chat: `role: content` in lines) that says what
follows. It knows no other fields than the packages' own methods do, so that a field that the API
does not have is an error here, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.apis import fake_answers
from tests.apis.fake_answers import Refused

KEY = "sk-the-key-of-the-tests"


@dataclass(frozen=True)
class Fault:
    """How one request fails. status: with that answer. cut: the connection ends after so many bytes
    of the answer's body. hang: nothing comes, until the client is gone. body: is sent as it is."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    cut: int | None = None
    hang: bool = False


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class FakeAPI:
    """See the module's docstring. faults: of the first requests, one each; None is none."""

    def __init__(
        self,
        model: Callable[[str], str],
        *,
        faults: Iterable[Fault | None] = (),
        logprob: Callable[[str, str], float] = lambda before, token: -1.0,
        extensions: bool = False,
        on_hang: Callable[[], None] = lambda: None,
    ) -> None:
        self.world = fake_answers.World(model, logprob, extensions)
        self.faults = deque(faults)
        self.seen: list[Seen] = []
        self.gone = threading.Event()  # a client left while its answer was still to come
        self.on_hang = on_hang
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What was asked."""
        return [seen.body for seen in self.seen]

    def __enter__(self) -> FakeAPI:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        async def stop() -> None:
            self._server.close()
            for writer in self._open:
                writer.transport.abort()
            mine = asyncio.current_task()
            await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not mine))

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                await writer.drain()
        self._open.discard(writer)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head.split("\r\n")
        headers = {n.lower(): v for n, _, v in (part.partition(": ") for part in rest if part)}
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        path = line.split()[1]
        body = json.loads(data) if data else {}
        self.seen.append(Seen(path, headers, body))
        fault = (self.faults.popleft() if self.faults else None) or Fault()
        if fault.hang:
            self.on_hang()
            await reader.read(1)  # the client goes
            self.gone.set()
            return False
        status, kind, chunks = self._answer(path, headers, body, fault)
        told = {"content-type": kind, "transfer-encoding": "chunked", **fault.headers}
        lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in told.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        left = fault.cut
        for chunk in chunks:
            if left is not None and len(chunk) > left:
                await writer.drain()
                return False
            left = None if left is None else left - len(chunk)
            writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        return True

    def _answer(
        self, path: str, headers: dict[str, str], body: dict[str, Any], fault: Fault
    ) -> tuple[int, str, list[bytes]]:
        if fault.body is not None:
            return fault.status, "application/json", [fault.body.encode()]
        anthropic = path.endswith("/messages")
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        try:
            if fault.status != 200:
                raise Refused(fault.status, f"told to fail with {fault.status}")
            if key != KEY:
                raise Refused(401, f"Incorrect API key provided: {key}", "invalid_api_key")
            told = self.world.answer(path, body)
        except Refused as refused:
            return (
                refused.status,
                "application/json",
                [json.dumps(refused.body(anthropic)).encode()],
            )
        if not isinstance(told, list):
            return 200, "application/json", [json.dumps(told).encode()]
        lines = [
            (f"event: {event['type']}\n" if anthropic else "") + f"data: {json.dumps(event)}\n\n"
            for event in told
        ]
        return (
            200,
            "text/event-stream",
            [line.encode() for line in [*lines, *([] if anthropic else ["data: [DONE]\n\n"])]],
        )
