"""The client's end of a server: an engine's calls over HTTP (http_protocol.py)."""

from __future__ import annotations

import asyncio
import functools
import random
import ssl
import tempfile
import time
from collections.abc import AsyncGenerator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ..errors import (
    DeadlineError,
    EngineDeadError,
    EngineError,
    EspalierError,
    InvalidRequestError,
)
from ..types import Chunk, Result
from .http_protocol import CONTENT_TYPE, Ask, Piece, Told, encode, read_answer, read_files
from .protocol import Frames
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS = 10.0
_PATIENCE_SECONDS = 300.0
_LONGEST_SECONDS = 10.0


def check_url(url: str, where: str) -> None:
    """Raise InvalidRequestError for what is no server's address."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port that is none
        good = False
    if not good:
        raise InvalidRequestError(expected="http://host:port", got=repr(url)[:200], where=where)


class HTTPClient:
    """Calls the server at `url` (http://host:port), with the API key it asks for.

    Connections are one call's: calls come from several event loops. Raises what the engine there
    raises; EngineDeadError where nobody answers. `transport` is for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sync_transport: httpx.BaseTransport | None = None,
    ) -> None:
        check_url(url, "url")
        self.url = url.rstrip("/").removesuffix("/v1")
        self._headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._transport = transport
        self._sync_transport = sync_transport

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The server's tokenizer, here."""
        files = read_files(self.get("/native/tokenizer"))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file, text in files.items():
                if "/" in file or file.startswith("."):
                    raise EngineError("the server names a file outside of its folder", got=file)
                (folder / file).write_text(text, encoding="utf-8")
            made = Tokenizer.from_folder(folder)
        made.folder = None
        return made

    async def run(self, ask: Ask) -> list[Result]:
        """The results of a call. Raises the first error."""
        waited = Patience(ask)
        while True:
            async with self._client() as client:
                body = self._body(waited.ask)
                response = await _reached(client.post("/native", **body), self.url)
            if not await waited.for_room(response):
                return _told(response.status_code, response.content).results

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk, None]:
        """The chunks of a streamed call. Raises EngineError where an answer ends before the results
        of all samples."""
        import httpx

        waited, ended, asked = Patience(ask), 0, False
        async with self._client() as client:
            try:
                while not asked:
                    body = self._body(waited.ask)
                    async with client.stream("POST", "/native", **body) as response:
                        if response.status_code != 200:
                            said = await response.aread()
                            if await waited.for_room(response):
                                continue
                            _told(response.status_code, said)
                        asked = True
                        async for chunk in _chunks(response):
                            ended += chunk.result is not None
                            yield chunk
            except httpx.TransportError as error:
                raise _unreachable(self.url, error) from error
        if ended < ask.params.n:
            raise EngineError(
                "the server's answer ended before its result",
                expected=f"{ask.params.n} samples",
                got=str(ended),
            )

    def get(self, path: str) -> bytes:
        """A GET; its body."""
        return self._call("GET", path)

    def post(self, path: str) -> bytes:
        """A POST without a body; the answer's."""
        return self._call("POST", path)

    def post_json(self, path: str, body: dict[str, Any]) -> Any:
        """A POST of JSON, answered with JSON whenever it is done."""
        return msgspec.json.decode(self._call("POST", path, body))

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        import httpx

        seconds = 60.0 if body is None else None  # what is asked of a model takes what it takes
        try:
            with httpx.Client(
                base_url=self.url,
                headers=self._headers,
                transport=self._sync_transport,
                timeout=httpx.Timeout(seconds, connect=_CONNECT_SECONDS),
            ) as client:
                response = client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise _unreachable(self.url, error) from error
        if response.status_code != 200:
            _told(response.status_code, response.content)
        return response.content

    def _client(self) -> httpx.AsyncClient:
        import httpx

        # An answer may take as long as the model does: `deadline` bounds it, not the connection.
        return httpx.AsyncClient(
            base_url=self.url,
            headers=self._headers,
            transport=self._transport,
            verify=_certificates() if self.url.startswith("https") else False,
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
        )

    def _body(self, ask: Ask) -> dict[str, Any]:
        return {"content": encode(ask), "headers": {"content-type": CONTENT_TYPE}}


class Patience:
    """A server that is full, or restarts, is asked again when it says so, for some minutes after it
    first did: beside an engine of its own a program's calls wait in its queue. ask: what to ask for
    now; a deadline is of all attempts."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self._deadline, self._began = ask.deadline, time.monotonic()
        self._ends: float | None = None
        self._next = 0.1

    async def for_room(self, response: httpx.Response) -> bool:
        """Whether to ask again, after a while. Raises DeadlineError where that is too late."""
        if response.status_code not in (429, 503):
            return False
        now = time.monotonic()
        if self._ends is None:
            self._ends = now + _PATIENCE_SECONDS
        told = response.headers.get("retry-after", "")
        wait = float(told) if told.isdigit() else self._next
        wait *= random.uniform(0.5, 1.0)  # who was refused together does not come back together
        if now + wait > self._ends:
            return False
        if self._deadline is not None:
            left = self._deadline - (now + wait - self._began)
            if left <= 0:
                raise DeadlineError("the deadline passed before the server had room")
            self.ask = msgspec.structs.replace(self.ask, deadline=left)
        self._next = min(2 * self._next, _LONGEST_SECONDS)
        await asyncio.sleep(wait)
        return True


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Reading them takes 25 ms, so once for all clients."""
    import httpx

    return httpx.create_ssl_context()


async def _chunks(response: httpx.Response) -> AsyncGenerator[Chunk, None]:
    frames = Frames()
    async for data in response.aiter_bytes():
        for body in frames.feed(data):
            try:
                answer = read_answer(body)
            except msgspec.MsgspecError as error:
                raise EngineError(f"the server's answer cannot be read: {error}") from None
            if isinstance(answer, Piece):
                yield answer.chunk
            elif answer.error is not None:
                raise answer.error


async def _reached(call: Any, url: str) -> Any:
    import httpx

    try:
        return await call
    except httpx.TransportError as error:
        raise _unreachable(url, error) from error


def _unreachable(url: str, error: Exception) -> EngineDeadError:
    return EngineDeadError(
        f"the server at {url} does not answer ({type(error).__name__})",
        hint="Is `espalier serve` running there?",
    )


def _told(status: int, body: bytes) -> Told:
    """The answer; raises the error that it tells."""
    try:
        answer = read_answer(body)
    except msgspec.MsgspecError:
        raise _refused(status, body) from None
    if not isinstance(answer, Told):
        raise EngineError("the server answers what was not asked")
    if answer.error is not None:
        raise answer.error
    return answer


def _refused(status: int, body: bytes) -> EspalierError:
    """An error that HTTP alone knows: a wrong key, a full queue."""
    try:
        said = msgspec.json.decode(body)["error"]["message"]
    except (msgspec.MsgspecError, KeyError, TypeError):
        said = "no answer of an Espalier server"
    kind = InvalidRequestError if 400 <= status < 500 and status != 429 else EngineError
    hint = "Give its key: api_key=..., or --api-key on a command line." if status == 401 else None
    return kind(f"the server refuses with {status}: {said}", hint=hint)
