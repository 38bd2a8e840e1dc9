"""What the machine and its users do to a server, and that nothing of it is left: every test ends in
`Served.fine`."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.runtime.served import LONG, Served, served, start, until

SHORT = LONG | {"max_tokens": 1}
PATH = "/v1/completions"


@pytest.fixture(scope="module")
def server(text_folder: Path) -> Iterator[Served]:
    """Of little patience."""
    flags = ("null", "--tokenizer", str(text_folder))
    with served(*flags, head_seconds=2.5, body_seconds=2.5, send_seconds=1) as made:
        yield made


@pytest.fixture(autouse=True)
def _all_is_well_in_the_end(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").fine()


def head(body: bytes, more: str = "") -> bytes:
    lines = (
        f"POST {PATH} HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"content-length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n" + more.encode() + b"\r\n"


def asked(made: Served, body: dict[str, Any]) -> socket.socket:
    """A connection that has sent a request, and takes little of the answer."""
    data = json.dumps(body).encode()
    sock = socket.create_connection(made.address, timeout=20)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.sendall(head(data) + data)
    return sock


# -- processes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.1, 0.5, 0.9])
def test_sigterm_in_the_start(text_folder: Path, seconds: float) -> None:
    process = start("null", "--tokenizer", str(text_folder))
    time.sleep(seconds)
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.communicate(timeout=20)
    assert psutil.wait_procs(children, timeout=15)[1] == []


def test_sigterm_in_compile_prefill_and_decode(text_folder: Path) -> None:
    """Those who are not done in time are told so, each of them, and no process is left."""
    flags = ("null", "--tokenizer", str(text_folder), "--shutdown-timeout", "0.3")
    flags += ("--step-tokens", "8")
    bodies = {
        "compile": SHORT | {"regex": "b"},
        "prefill": SHORT | {"prompt": [3] * 400_000},
        "decode": LONG,
        "stream": LONG | {"stream": True},
    }
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(served(*flags))
        post = stack.enter_context(httpx.Client(base_url=made.url, timeout=30)).post
        pool = stack.enter_context(ThreadPoolExecutor(4))
        assert post(PATH, json=SHORT | {"regex": "a"}).status_code == 200
        [worker] = made.workers()
        worker.suspend()
        children = psutil.Process(made.process.pid).children(recursive=True)
        waiting = {name: pool.submit(post, PATH, json=body) for name, body in bodies.items()}
        until(lambda: _in_work(made) == 4)
        made.process.terminate()
        answers = {name: request.result() for name, request in waiting.items()}
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.resume()
        assert made.process.wait(timeout=20) == 0
        assert psutil.wait_procs(children, timeout=15)[1] == []
    *_, error, _, done, _, _ = answers.pop("stream").text.split("\n")
    assert '"engine_dead"' in error
    assert done == "data: [DONE]"
    for name, answer in answers.items():
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_dead"), name


def _in_work(made: Served) -> int:
    inflight: int = httpx.get(f"{made.url}/server_info", timeout=10).json()["inflight"]
    return inflight


def test_a_worker_that_is_killed_over_a_grammar(server: Served) -> None:
    """Another one reads it."""
    with httpx.Client(base_url=server.url, timeout=30) as client, ThreadPoolExecutor(1) as pool:
        assert client.post(PATH, json=SHORT | {"regex": "x"}).status_code == 200
        [worker] = server.workers()
        worker.suspend()
        waiting = pool.submit(client.post, PATH, json=SHORT | {"regex": "y"})
        until(lambda: _in_work(server) == 1)
        worker.kill()
        assert waiting.result().json()["choices"][0]["text"] == "y"
        assert worker not in server.workers()


def test_a_stuck_engine_is_ended_though_many_ask_for_it(text_folder: Path) -> None:
    """Nobody has a request in work: controls alone wait, more of them than there are threads."""
    flags = ("null", "--tokenizer", str(text_folder), "--watchdog-timeout", "2")
    with served(*flags) as made, ThreadPoolExecutor(40) as pool:
        made.engine.suspend()
        asking = [pool.submit(httpx.get, f"{made.url}/metrics", timeout=30) for _ in range(40)]
        assert all(request.result().status_code in (200, 503) for request in asking)
        until(lambda: httpx.get(f"{made.url}/health_generate", timeout=30).status_code == 200)
        made.engine.send_signal(signal.SIGUSR1)  # as the watchdog does to one that still runs
        until(lambda: any("most recent call first" in line for line in made.said))
        made.fine()


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_a_server_with_a_stuck_engine_ends(text_folder: Path, signals: int) -> None:
    """After ten seconds, or at once; whoever waits for the engine is told the first time."""
    with served("null", "--tokenizer", str(text_folder)) as made:
        engine = made.engine
        engine.suspend()
        with ThreadPoolExecutor(10) as pool:
            tree = f"{made.url}/cache/tree"
            asking = [pool.submit(httpx.get, tree, timeout=30) for _ in range(10)]
            time.sleep(0.3)
            made.process.terminate()
            if signals == 2:
                time.sleep(0.3)
                made.process.terminate()
            assert made.process.wait(timeout=25 if signals == 1 else 8) == 0
            for request in asking:
                with contextlib.suppress(*([httpx.HTTPError] if signals == 2 else [])):
                    assert request.result().json()["error"]["code"] == "engine_dead"
        assert psutil.wait_procs([engine], timeout=15)[1] == []


def test_one_port_and_no_call_outward(server: Served) -> None:
    """Of the server, its engine and its grammars' readers, while they work."""
    with httpx.Client(base_url=server.url, timeout=20) as client:
        assert client.post(PATH, json=SHORT | {"regex": "p"}).status_code == 200
        process = psutil.Process(server.process.pid)
        found = [
            connection
            for one in (process, *process.children(recursive=True))
            for connection in one.net_connections(kind="inet")
        ]
    listening = [one.laddr for one in found if one.status == psutil.CONN_LISTEN]
    assert listening == [server.address]
    assert {one.laddr for one in found} == {server.address}, "a connection that we began"


# -- the machine -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_more_files(server: Served) -> None:
    """With every descriptor taken, those who are in go on, and the others wait for a place: the
    idle are shown out."""
    process = psutil.Process(server.process.pid)
    usual, (soft, hard) = process.num_fds(), process.rlimit(psutil.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack, httpx.Client(base_url=server.url, timeout=20) as client:
        assert client.post(PATH, json=SHORT).status_code == 200
        process.rlimit(psutil.RLIMIT_NOFILE, (usual + 10, hard))
        stack.callback(process.rlimit, psutil.RLIMIT_NOFILE, (soft, hard))
        for _ in range(25):
            stack.enter_context(socket.create_connection(server.address, timeout=20))
        until(lambda: process.num_fds() >= usual + 10)
        assert client.post(PATH, json=SHORT).status_code == 200
        assert httpx.post(f"{server.url}{PATH}", json=SHORT, timeout=20).status_code == 200
    until(lambda: process.num_fds() <= usual + 2)


def test_a_full_disk(text_folder: Path) -> None:
    """Neither logs nor anything else can be written."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ("null", "--tokenizer", str(text_folder), "--log-level", "debug")
    with open("/dev/full", "w") as full:
        process = start(*flags, port=port, stderr=full)
    psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE, (0, 0))
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        assert process.poll() is None
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/health").status_code == 200
        return False

    try:
        until(up)
        for more in ({}, {"regex": "a|b"}, {"stream": True}, {"temperature": -1}):
            answer = httpx.post(f"{url}{PATH}", json=SHORT | more, timeout=20)
            assert answer.status_code == (400 if "temperature" in more else 200)
        assert httpx.get(f"{url}/health_generate", timeout=20).status_code == 200
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0


# -- clients ---------------------------------------------------------------------------------------


def test_who_reads_a_byte_a_second(server: Served) -> None:
    """A stream, and an answer that is large: both are cut off, and hold up nobody meanwhile."""
    process = psutil.Process(server.process.pid)
    usual = process.num_fds()
    bodies = [
        LONG | {"stream": True, "logprobs": 0},
        {"prompt": [3] * 50_000, "max_tokens": 1, "echo": True, "logprobs": 5},
    ]
    slow = [asked(server, body) for body in bodies]
    until(lambda: _in_work(server) == 0)  # the stream's is no more, nor is the answer made again
    ended = time.monotonic() + 20
    for sock in slow:
        with contextlib.suppress(ConnectionResetError):
            while process.num_fds() > usual and sock.recv(1):
                assert time.monotonic() < ended
                time.sleep(0.5)
        sock.close()
    until(lambda: process.num_fds() <= usual + 1)


def test_heads_that_trickle_in(server: Served) -> None:
    """200 connections send a byte at a time; who comes meanwhile is answered at once."""
    sockets = [socket.create_connection(server.address, timeout=20) for _ in range(200)]
    line = head(b"{}")
    for place in range(10):
        for sock in sockets:
            with contextlib.suppress(ConnectionError):
                sock.sendall(line[place : place + 1])
        began = time.monotonic()
        assert httpx.post(f"{server.url}{PATH}", json=SHORT, timeout=20).status_code == 200
        assert time.monotonic() - began < 5
    for sock in sockets:
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(10) == b""
        sock.close()


class Stream:
    """A stream that goes on while the block runs. Its longest gap before `mark` says how busy the
    machine is, and the longest after it what was done to the stream."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self._gaps: list[tuple[float, float]] = []
        self._marked = 0.0
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Stream:
        self._reading = self._pool.submit(self._read)
        until(lambda: len(self._gaps) > 200)
        self._marked = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._reading.result()
        self._pool.shutdown()

    def unharmed(self, seconds: float) -> bool:
        """Whether nothing held it up for so long, beyond what the machine did before."""
        calm = max(gap for at, gap in self._gaps if at < self._marked)
        after = max((gap for at, gap in self._gaps if at >= self._marked), default=0)
        print(f"longest gap {after:.3f} s, {calm:.3f} before")
        return after < seconds + 5 * calm

    def _read(self) -> None:
        last = time.monotonic()
        body = LONG | {"stream": True}
        with httpx.stream("POST", f"{self._server.url}{PATH}", json=body, timeout=60) as stream:
            for _ in stream.iter_bytes():
                now = time.monotonic()
                self._gaps.append((now, now - last))
                last = now
                if self._stop.is_set():
                    break


HOSTILE: dict[str, tuple[dict[str, Any] | bytes, int]] = {
    "a long text": ({"prompt": " " * 1_000_000}, 200),
    "wrong entries": (b'{"prompt":[' + b",".join([b"{}"] * 1_000_000) + b"]}", 400),
    "wrong names": (b"{" + b",".join(b'"%07d":0' % n for n in range(300_000)) + b"}", 400),
    "deep": (b'{"prompt":' * 100_000, 400),
    "deep within": (SHORT | {"guided_json": '{"a":' * 50_000}, 400),
    "not the least a number": (b'{"prompt":"x","n":' + b"9" * 1_000_000 + b"}", 400),
    "a regex": (SHORT | {"regex": "(((a{1,1000}){1,1000}){1,1000}){1,1000}b"}, 200),
    "too many states": (SHORT | {"regex": "(.*a.{40}|.*b.{50}){20}&"}, 200),
    "a grammar": (SHORT | {"ebnf": "root ::= " + "(" * 5_000 + '"a"' + ")" * 5_000}, 400),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_holds_up_no_stream(server: Served, name: str) -> None:
    body, status = HOSTILE[name]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    with Stream(server) as stream:
        answer = httpx.post(f"{server.url}{PATH}", content=data, headers=headers, timeout=60)
    assert answer.status_code == status, answer.text[:500]
    assert stream.unharmed(1)


def test_long_texts_hold_up_no_short_one(server: Served) -> None:
    """Whoever comes while three others' megabytes are encoded is answered before them."""
    with httpx.Client(base_url=server.url, timeout=60) as client, ThreadPoolExecutor(3) as pool:
        body = SHORT | {"prompt": "the cat " * 125_000}
        waiting = [pool.submit(client.post, PATH, json=body) for _ in range(3)]
        until(lambda: _in_work(server) == 3)
        assert client.post(PATH, json=SHORT | {"prompt": "the cat"}).status_code == 200
        assert sum(request.done() for request in waiting) < 2
        assert all(request.result().status_code == 200 for request in waiting)


def test_a_body_of_tiny_chunks(server: Served) -> None:
    """uvicorn takes up to 256 KiB of them in one go."""
    data = b'{"prompt":"' + b"x" * 200_000 + b'","max_tokens":1}'
    wire = head(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    wire += b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n"
    with Stream(server) as stream, socket.create_connection(server.address, timeout=60) as sock:
        sock.sendall(wire)
        assert sock.recv(200).startswith((b"HTTP/1.1 200", b"HTTP/1.1 408"))
    assert stream.unharmed(0.4)
