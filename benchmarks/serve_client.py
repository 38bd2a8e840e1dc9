"""A load generator's HTTP: one keep-alive connection, as little work per piece as can be."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_USAGE = b'"completion_tokens":'
_EVENT = b"data: "
_FAILED = _EVENT + b'{"error"'  # no text of a model: its quotes would be escaped


@dataclass
class Timed:
    """One request. began: when it should have been sent; pieces: when each came (seconds of
    `time.perf_counter`), the last being its end. status 0: the connection broke. fault: what kind
    of failure it was; said: in whose words, the server's or the system's."""

    began: float
    status: int = 0
    pieces: list[float] = field(default_factory=list)
    tokens: int = 0
    fault: str = "no answer"
    said: str = ""

    @property
    def good(self) -> bool:
        return not self.fault

    @property
    def first(self) -> float:
        return self.pieces[0] - self.began

    @property
    def whole(self) -> float:
        return self.pieces[-1] - self.began

    @property
    def gaps(self) -> list[float]:
        """Between pieces, the closing ones left out."""
        return [after - before for before, after in zip(self.pieces, self.pieces[1:], strict=False)]


class Connection:
    """Sends one request after the other to `url`."""

    def __init__(self, url: str, key: str | None = None) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._named = parts.netloc
        self._key = f"authorization: Bearer {key}\r\n" if key else ""
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: dict[str, Any], timed: Timed) -> None:
        """Send it and note when what comes back came."""
        try:
            reader = await self._send(path, json.dumps(body).encode())
            await self._read(reader, timed)
        except (OSError, EOFError, ValueError, LookupError) as error:
            read = isinstance(error, OSError | EOFError)
            timed.fault = type(error).__name__ if read else "an answer that cannot be read"
            timed.status, timed.said = 0, str(error)
            self.close()

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    async def _send(self, path: str, data: bytes) -> asyncio.StreamReader:
        if self._open is None:
            self._open = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        reader, writer = self._open
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._named}\r\ncontent-type: application/json\r\n"
            f"{self._key}content-length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode() + data)
        await writer.drain()
        return reader

    async def _read(self, reader: asyncio.StreamReader, timed: Timed) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        failed = b""
        if "transfer-encoding: chunked" not in head:
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            data = await reader.readexactly(length)
            timed.pieces.append(time.perf_counter())
            if status == 200:
                timed.tokens = json.loads(data)["usage"]["completion_tokens"]
            else:
                failed = data
        else:
            while (size := int(await reader.readuntil(b"\r\n"), 16)) > 0:
                data = await reader.readexactly(size + 2)
                _count(data, timed)
                if status != 200:
                    failed += data[:-2]
                elif _FAILED in data:
                    failed = data[data.index(_FAILED) + len(_EVENT) :]
            await reader.readexactly(2)
        if "connection: close" in head:
            self.close()
        timed.status = status
        if failed or status != 200:
            timed.fault, timed.said = fault_of(status, failed)
        else:
            timed.fault = "" if timed.pieces else "200, without text"


def _count(data: bytes, timed: Timed) -> None:
    """Note what a chunk of a stream brought."""
    now = time.perf_counter()
    pieces = data.count(b'"content":"') - data.count(b'"role"')
    if pieces > 0:
        timed.pieces.append(now)
        timed.tokens += pieces
    if _USAGE in data:  # tokens that were no text of their own count too
        timed.tokens = int(data.partition(_USAGE)[2].partition(b",")[0])


def fault_of(status: int, body: bytes) -> tuple[str, str]:
    """What kind of failure an answer was, by its status and the error's code, and the message.
    body: begins with the error in JSON, where the server tells one."""
    text = body.decode("utf-8", "replace")
    try:
        told: Any = json.JSONDecoder().raw_decode(text)[0]
    except ValueError:
        told = None
    error = told.get("error", told) if isinstance(told, dict) else None
    if not isinstance(error, dict):
        return str(status), text
    names = (error.get(key) for key in ("code", "type"))
    name = next((name for name in names if isinstance(name, str)), "")
    return f"{status} {name}".strip(), str(error.get("message", text))
