"""Many requests over HTTP, right and wrong, answered and left: does a server grow, or fail?

Chats and completions, streamed or not, of one sample and of several, free and under grammars old
and new; embeddings and tokens; compiled programs, whole and streamed; bodies that are wrong in
every way; clients that leave after their request, in the midst of a stream, or in the midst of
their own head. Every answer must have the status that its request deserves. Ten times the load
stands still: everything must be idle then and every slot free or in the tree, which is emptied (it
may grow); then the memory and open files of both processes are told.

Grammars that are asked for once each are kept up to a bound, which is set so low that it is reached
in the first half: what comes after it is growth without end, or none.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from ..errors import EngineError, InvalidRequestError
from ..frontend_lang import function, gen
from .report import Row, finish, parser
from .serve import served

TOLD = 10  # times that memory is looked at
_TEXT = "/v1/completions"
_CHAT = "/v1/chat/completions"
_PROGRAM = "/v1/programs"
_GRAMMAR_BYTES = 16 << 20  # 250 small grammars, of 50 new ones in 1,000 requests
_QUIET = 0.5  # seconds, in which an engine looks for garbage
_FREE = {"max_tokens": 8, "ignore_eos": True}
_LEFT = _FREE | {"max_tokens": 5_000}


class Ask:
    """A request. status: what it deserves. leave: after so many bytes of it, or (below 0) of its
    answer, the client is gone."""

    def __init__(
        self, kind: str, path: str, body: Any, status: int = 200, leave: int | None = None
    ) -> None:
        self.kind = kind
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        )
        self.data = head.encode() + data
        self.status = status
        self.leave = leave


@function
def _described(s: Any, said: str) -> None:
    s += "A " + said + " thing is " + gen("first")
    branches = s.fork(2)
    for branch in branches:
        branch += ", and " + gen("more")
    branches.join()
    s += " or ".join([f"{more}" for more in s["more"]])


_GRAPH = json.loads(_described.compile().to_json())


def drawn(rng: random.Random) -> Ask:
    """Some request of some kind."""
    said = " ".join(rng.choices(("red", "blue", "round", "flat", "old", "new"), k=12))
    text = {"prompt": said, **_FREE}
    chat = {"messages": [{"role": "user", "content": said}], **_FREE}
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    run = {"program": _GRAPH, "arguments": {"said": said}, "sampling_params": _FREE}
    seldom = rng.random() < 0.05
    kinds = [
        Ask("chat", _CHAT, chat),
        Ask("streamed chat", _CHAT, chat | streamed),
        Ask("samples", _TEXT, text | {"n": 3, "logprobs": 2, "temperature": 1.0}),
        Ask("prompts", _TEXT, text | {"prompt": [said, said + " x"]} | streamed),
        Ask("grammar", _CHAT, chat | {"max_tokens": 20, "regex": rng.choice(("[ab]{3}", "x|y"))}),
        Ask("embedding", "/v1/embeddings", {"input": [said, "x"]}),
        Ask("tokens", "/tokenize", {"prompt": said}),
        Ask("program", _PROGRAM, run),
        Ask("streamed program", _PROGRAM, run | {"stream": True}),
        Ask("wrong program", _PROGRAM, run | {"arguments": {"told": said}}, 400),
        Ask("no JSON", _CHAT, b'{"messages": [', 400),
        Ask("unknown field", _CHAT, chat | {f"f{rng.random()}": 1}, 400),
        Ask("bad grammar", _TEXT, text | {"regex": f"({rng.randint(0, 99)}"}, 400),
        Ask("bad value", _TEXT, text | {"temperature": -1}, 400),
        Ask("no such path", f"/{rng.random()}", {}, 404),
        Ask("leaves at once", _TEXT, text | _LEFT, leave=1 << 30),
        Ask("leaves a stream", _TEXT, text | _LEFT | {"stream": True}, leave=-300),
        Ask(
            "leaves a program",
            _PROGRAM,
            run | {"sampling_params": _LEFT, "stream": True},
            leave=-400,
        ),
        Ask("leaves a head", _TEXT, text, leave=rng.randint(1, 150)),
    ]
    if seldom:
        word = "".join(rng.choices("abcdefgh", k=6))
        kinds = [Ask("new grammar", _TEXT, text | {"regex": f"{word}[0-9]{{2}}", "max_tokens": 20})]
    return rng.choice(kinds)


class Client:
    """Sends one request after the other; what was answered otherwise than it should be is in
    `wrong`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._place = parts.hostname or "127.0.0.1", parts.port or 80
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.wrong: list[str] = []

    async def send(self, ask: Ask) -> None:
        if self._open is None:
            self._open = await asyncio.open_connection(*self._place)
        reader, writer = self._open
        leave = ask.leave
        writer.write(ask.data if leave is None or leave < 0 else ask.data[:leave])
        if leave is not None:
            if leave < 0:
                await reader.readexactly(-leave)
            await writer.drain()
            self.close()
            return
        status = await self._status(reader)
        if status != ask.status:
            self.wrong.append(f"{ask.kind}: status {status}")
            self.close()

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    async def _status(self, reader: asyncio.StreamReader) -> int:
        """Of an answer, which is read to its end. An error in a stream counts as one."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        if "content-length: " in head:
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            await reader.readexactly(length)
            return status
        while (size := int(await reader.readuntil(b"\r\n"), 16)) > 0:
            if b'"error":{' in await reader.readexactly(size + 2):
                status = 500
        await reader.readexactly(2)
        return status


def measure(url: str, requests: int, clients: int, seed: int) -> list[Row]:
    """The rows. Raises EngineError at a wrong answer, and at what is left when nobody asks."""
    rng = random.Random(seed)
    kinds: Counter[str] = Counter()
    told: list[dict[str, float]] = []
    begin = time.perf_counter()
    for _ in range(TOLD):
        wrong = asyncio.run(_load(url, rng, requests // TOLD, clients, kinds))
        if wrong:
            raise EngineError(f"{len(wrong)} answers are wrong, the first: {wrong[0]}")
        told.append(_still(url))
        print(" ".join(f"{name} {value:,.0f}" for name, value in told[-1].items()), flush=True)
    later = told[TOLD // 2 - 1 :]
    per = requests // TOLD
    rows = [
        Row(name="requests", value=sum(kinds.values()), unit="requests"),
        *(Row(name=f"of kind {kind}", value=n, unit="requests") for kind, n in kinds.items()),
        Row(name="time", value=time.perf_counter() - begin, unit="s"),
    ]
    for name in told[0]:
        values = [one[name] for one in later]
        unit = "KiB" if name.endswith("memory") else "files"
        rows.append(Row(name=f"{name}, half way", value=values[0], unit=unit))
        rows.append(Row(name=f"{name}, at the end", value=values[-1], unit=unit))
        slope = _slope(values) / per * 1000
        rows.append(Row(name=f"{name}, growth after", value=slope, unit=f"{unit}/1000 requests"))
    return rows


async def _load(
    url: str, rng: random.Random, requests: int, clients: int, kinds: Counter[str]
) -> list[str]:
    left = iter(range(requests))

    async def client() -> list[str]:
        made = Client(url)
        for _ in left:
            ask = drawn(rng)
            kinds[ask.kind] += 1
            await made.send(ask)
        made.close()
        return made.wrong

    found = await asyncio.gather(*(client() for _ in range(clients)))
    return [wrong for one in found for wrong in one]


def _still(url: str) -> dict[str, float]:
    """Memory and files of both processes, once nobody asks for anything."""
    until = time.monotonic() + 30
    while (left := _left(url)) is not None:
        if time.monotonic() > until:
            raise EngineError(f"nobody asks, and there is {left}")
        time.sleep(0.05)
    time.sleep(_QUIET)
    for ask in (f"{url}/health_generate", Request(f"{url}/flush_cache", method="POST")):
        with urlopen(ask, timeout=30) as answer:
            assert answer.status == 200
    parent, engine = _processes()
    return {
        f"{name} {what}": value
        for name, pid in (("server", parent), ("engine", engine))
        for what, value in (("memory", _resident(pid)), ("files", _files(pid)))
    }


def _left(url: str) -> dict[str, int] | None:
    """What is not as it is when nobody asks; None when all is."""
    with urlopen(Request(f"{url}/server_info"), timeout=30) as answer:
        told = json.load(answer)
    stats = told["stats"]
    left = {
        "inflight": told["inflight"],
        **{name: stats[name] for name in ("running", "waiting", "pinned_slots")},
        "slots": stats["capacity"] - stats["free_slots"] - stats["evictable_slots"],
    }
    return left if any(left.values()) else None


def _processes() -> tuple[int, int]:
    """The server that this process started, and its engine."""
    [server] = _children(os.getpid())
    [engine] = [pid for pid in _children(server) if b"engine_process" in _command(pid)]
    return server, engine


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def _command(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def _resident(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def _files(pid: int) -> float:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _slope(values: Sequence[float]) -> float:
    """Of the straight line that fits them best, per step."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    over = sum((place - middle) * (value - mean) for place, value in enumerate(values))
    return over / sum((place - middle) ** 2 for place in range(len(values)))


def main(argv: Sequence[str]) -> int:
    """`espalier bench soak_server`."""
    options = parser("soak_server", __doc__ or "")
    options.add_argument("--requests", type=int, default=50_000)
    options.add_argument("--clients", type=int, default=32, help="at once (default: 32)")
    options.add_argument("--model", default="null")
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args(argv)
    if args.requests < TOLD or args.clients < 1:
        raise InvalidRequestError(
            expected=f"at least {TOLD} requests and one client", where="--requests, --clients"
        )
    with served(args.model, "--grammar-bytes", str(_GRAMMAR_BYTES)) as url:
        rows = measure(url, args.requests, args.clients, args.seed)
    finish("soak_server", argv, args.json, rows)
    return 0
