"""The load generator measures what it sends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree

import pytest

from espalier.benchmarks import serve
from espalier.benchmarks.serve_client import Timed
from espalier.errors import InvalidRequestError


def test_figures_are_of_what_was_timed() -> None:
    timed = [
        Timed(0.0, 200, [0.1 * n, 0.1 * n + 0.01, 0.1 * n + 0.03], tokens=3, fault="")
        for n in range(1, 11)
    ]
    rows = {row.name: row.value for row in serve.figures("x", [*timed, Timed(began=0.0)], 2.0)}
    assert rows["x: requests a second"] == 5
    assert rows["x: tokens a second"] == 15
    assert rows["x: failed"] == rows["x: failed, no answer"] == 1
    assert rows["x: time to first token, p50"] == pytest.approx(600)
    assert rows["x: whole answer, p99"] == pytest.approx(1030)
    assert rows["x: between tokens, p50"] == pytest.approx(20)


@pytest.mark.parametrize("kind", [["--concurrency", "4"], ["--rate", "50"], ["--no-stream"]])
def test_a_server_of_its_own_answers_all(kind: list[str], tmp_path: Path) -> None:
    file = tmp_path / "serve.json"
    small = ["--model", "null", "--requests", "12", "--max-tokens", "5", "--json", str(file)]
    assert serve.main([*small, *kind]) == 0
    rows = {row["name"].partition(": ")[2]: row["value"] for row in json.loads(file.read_text())}
    assert rows["failed"] == 0
    assert rows["requests a second"] > 0
    assert rows["tokens a second"] == pytest.approx(5 * rows["requests a second"])


def test_sweeps_are_plotted(tmp_path: Path) -> None:
    """A chart for each: six waiting times at each of their loads."""
    file = tmp_path / "serve.svg"
    small = ["--model", "null", "--requests", "4", "--max-tokens", "3", "--svg", str(file)]
    assert serve.main([*small, "--concurrency", "1", "2", "4", "--rate", "40", "80"]) == 0
    root = ElementTree.fromstring(file.read_text())
    charts = root.findall("{http://www.w3.org/2000/svg}svg")
    assert [chart.get("y") for chart in charts] == ["0", "400"]
    for chart, loads in zip(charts, (3, 2), strict=True):
        lines = chart.findall("{http://www.w3.org/2000/svg}polyline")
        assert len(lines) == 9
        assert {len(line.get("points", "").split()) for line in lines} == {loads}
    with pytest.raises(InvalidRequestError, match="two loads or more"):
        serve.main([*small, "--concurrency", "1", "--rate", "40"])


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(InvalidRequestError):
        serve.main(["--requests", "0"])
    with pytest.raises(InvalidRequestError):
        serve.main(["--rate", "nan"])


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def answering(*answers: Answer) -> Iterator[str]:
    """A server that gives these answers, one after the other."""
    left = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            next(left)(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def streamed(*events: str) -> Answer:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("transfer-encoding", "chunked")
        to.end_headers()
        for event in (*events, "[DONE]"):
            data = f"data: {event}\n\n".encode()
            to.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        to.wfile.write(b"0\r\n\r\n")

    return answer


def whole(status: int, body: str, *, close: bool = False) -> Answer:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(status)
        to.send_header("content-length", str(len(body)))
        if close:
            to.send_header("connection", "close")
        to.end_headers()
        to.wfile.write(body.encode())

    return answer


def broken(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.end_headers()
    to.close_connection = True


TEXT = '{"choices":[{"delta":{"content":"a"}}]}'


def test_failures_are_counted_by_kind(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good = streamed(TEXT, TEXT)
    full = whole(429, '{"error": {"message": "all\\n2 are taken", "code": "queue_full"}}')
    answers = [
        *(good, good, full, full),  # the first is to warm up
        whole(503, "not now", close=True),
        whole(400, '{"message": "no such model", "type": "BadRequest", "code": 400}'),
        streamed(TEXT, '{"error":{"message":"it died","code":"engine_dead"}}'),
        streamed('{"choices":[{"delta":{}}]}'),
        broken,
    ]
    file = tmp_path / "rows.json"
    with answering(*answers) as url:
        given = ["--url", url, "--requests", str(len(answers) - 1), "--concurrency", "1"]
        assert serve.main([*given, "--json", str(file)]) == 1
    out, err = capsys.readouterr()
    assert "1 at once: 1 of 8 answered in " in err
    rows = {row["name"]: row["value"] for row in json.loads(file.read_text())}
    counted = {
        name.partition("failed, ")[2]: rows[name]
        for name in rows
        if name.startswith("1 at once: f")
    }
    assert counted == {
        "": 7,
        "429 queue_full": 2,
        "503": 1,
        "400 BadRequest": 1,
        "200 engine_dead": 1,
        "200, without text": 1,
        "an answer that cannot be read": 1,
    }
    for words in ("429 queue_full: all 2 are taken", "503: not now", "engine_dead: it died"):
        assert f"{words}\n" in out


def test_a_server_that_does_not_answer_is_told_why() -> None:
    full = whole(401, '{"error": {"message": "no such key", "code": "invalid_api_key"}}')
    with answering(full) as url, pytest.raises(InvalidRequestError) as caught:
        serve.main(["--url", url])
    assert "401 invalid_api_key no such key. Give its key with --api-key." in str(caught.value)
