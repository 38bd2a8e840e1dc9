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


@dataclass
class Timed:
    """One request. began: when it should have been sent; pieces: when each came (seconds of
    `time.perf_counter`), the last being its end. status 0: the connection broke."""

    began: float
    status: int = 0
    pieces: list[float] = field(default_factory=list)
    tokens: int = 0

    @property
    def good(self) -> bool:
        return self.status == 200 and bool(self.pieces)

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
        except (OSError, asyncio.IncompleteReadError, ValueError):
            timed.status = 0
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
        if "transfer-encoding: chunked" not in head:
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            data = await reader.readexactly(length)
            timed.pieces.append(time.perf_counter())
            if status == 200:
                timed.tokens = json.loads(data)["usage"]["completion_tokens"]
            timed.status = status
            return
        while (size := int(await reader.readuntil(b"\r\n"), 16)) > 0:
            data = await reader.readexactly(size + 2)
            now = time.perf_counter()
            pieces = data.count(b'"content":"') - data.count(b'"role"')
            if pieces > 0:
                timed.pieces.append(now)
                timed.tokens += pieces
            if _USAGE in data:  # tokens that were no text of their own count too
                timed.tokens = int(data.partition(_USAGE)[2].partition(b",")[0])
        await reader.readexactly(2)
        timed.status = status
