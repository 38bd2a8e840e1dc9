"""`espalier batch`: what is asked, what is written, and how a run goes on after another."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from espalier.runtime import cli, cli_batch, cli_batch_file
from espalier.runtime.cli_batch_file import Entry, Output, entries
from tests.runtime.served import served

CHAT = "/v1/chat/completions"
Answer = Callable[[dict[str, Any]], httpx.Response]


def line(custom_id: str, url: str = CHAT, **body: Any) -> str:
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


class Here:
    """A folder with an input of numbered requests, whose answers `answer` gives."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.input, self.output = folder / "in.jsonl", folder / "out.jsonl"
        self.asked: list[int] = []
        self.answer: Answer = lambda body: httpx.Response(200, json={"id": "x", "n": body["n"]})
        self.most = self.now = 0
        monkeypatch.setattr(cli_batch.Batch, "_client", lambda _: self._client())
        monkeypatch.setattr(cli_batch, "_LONGEST", 0.001)
        self.write(range(20))

    def write(self, numbers: Any) -> None:
        self.input.write_text("\n".join(line(f"c{n}", n=n) for n in numbers) + "\n")

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        async def handle(request: httpx.Request) -> httpx.Response:
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await cli_batch.asyncio.sleep(0)
                body = json.loads(request.content)
                self.asked.append(body["n"])
                return self.answer(body)
            finally:
                self.now -= 1

        transport = httpx.MockTransport(handle)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            yield client

    def run(self, *flags: str) -> int:
        self.asked = []
        return cli.main(["batch", str(self.input), str(self.output), "--quiet", *flags])

    @property
    def answered(self) -> list[str]:
        return sorted((one["custom_id"] for one in written(self.output)), key=lambda c: int(c[1:]))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(tmp_path, monkeypatch)


def test_every_request_is_answered_once(here: Here) -> None:
    assert here.run("--concurrency", "3") == 0
    assert sorted(here.asked) == list(range(20))
    assert here.most == 3
    assert here.answered == [f"c{n}" for n in range(20)]
    for one in written(here.output):
        assert set(one) == {"id", "custom_id", "response", "error"}
        assert one["response"]["status_code"] == 200
        assert (one["response"]["request_id"], one["error"]) == ("x", None)
        assert f"c{one['response']['body']['n']}" == one["custom_id"]
    assert here.run() == 0
    assert here.asked == []


def test_a_run_goes_on_where_another_was_cut_off(here: Here) -> None:
    here.run()
    whole = here.output.read_bytes().splitlines(keepends=True)
    here.output.write_bytes(b"".join(whole[:7]) + whole[7][:-5])  # killed in the midst of a line
    assert here.run() == 0
    assert len(here.asked) == 13
    assert here.answered == [f"c{n}" for n in range(20)]


def test_an_interrupted_run_goes_on(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(body: dict[str, Any]) -> httpx.Response:
        if body["n"] == 9:
            raise KeyboardInterrupt
        return httpx.Response(200, json={})

    original, here.answer = here.answer, interrupted
    assert here.run("--concurrency", "2") == 130
    assert "of 20 are answered; the same command goes on" in capsys.readouterr().err
    first = here.answered
    assert 0 < len(first) < 20
    here.answer = original
    assert here.run() == 0
    assert len(here.asked) == 20 - len(first)
    assert here.answered == [f"c{n}" for n in range(20)]


def test_errors_are_kept_and_asked_again_when_told(here: Here) -> None:
    def third(body: dict[str, Any]) -> httpx.Response:
        error = {"error": {"message": "no"}}
        return httpx.Response(400, json=error) if body["n"] % 3 == 0 else httpx.Response(200)

    original, here.answer = here.answer, third
    assert here.run() == 1
    failed = [one for one in written(here.output) if one["response"]["status_code"] == 400]
    assert len(failed) == 7
    assert failed[0]["response"]["body"] == {"error": {"message": "no"}}
    assert here.run() == 1
    assert here.asked == []
    here.answer = original
    assert here.run("--retry-failed") == 0
    assert sorted(here.asked) == [0, 3, 6, 9, 12, 15, 18]
    assert here.answered == [f"c{n}" for n in range(20)]


def test_a_busy_server_is_asked_again(here: Here) -> None:
    refused: set[int] = set()

    def busy(body: dict[str, Any]) -> httpx.Response:
        if body["n"] not in refused:
            refused.add(body["n"])
            if body["n"] % 2:
                raise httpx.ConnectError("away")
            return httpx.Response(429, headers={"retry-after": "1"}, json={})
        return httpx.Response(200, json={})

    here.answer = busy
    assert here.run() == 0
    assert len(here.asked) == 40


def test_a_busy_server_is_asked_as_long_as_others_of_ours_are_answered(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_batch, "_PATIENCE", 6)
    asked: Counter[int] = Counter()

    def full(body: dict[str, Any]) -> httpx.Response:
        asked[body["n"]] += 1
        if body["n"] == 0 and sum(asked.values()) - asked[0] < 19:
            return httpx.Response(429, headers={"retry-after": "0"}, json={})
        return httpx.Response(200, json={})

    here.answer = full
    assert here.run("--concurrency", "2") == 0
    assert asked[0] > 6


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (
            lambda _: httpx.Response(503, json={"error": {"message": "dead"}}),
            1,
            "answers 503: dead",
        ),
        (lambda _: httpx.Response(401, json={}), 2, "knows no such key"),
        (lambda _: (_ for _ in ()).throw(httpx.ConnectError("x")), 1, "cannot be reached: Connect"),
    ],
)
def test_what_would_befall_all_ends_the_run(
    here: Here, capsys: pytest.CaptureFixture[str], answer: Answer, code: int, words: str
) -> None:
    here.answer = answer
    assert here.run("--concurrency", "2") == code
    assert words in capsys.readouterr().err
    assert written(here.output) == []


def test_lines_that_are_no_requests(here: Here) -> None:
    bad = {
        "{": "it is no JSON",
        "[" * 100_000: "it is no JSON",
        "[]": "expected a JSON object",
        '{"custom_id": 1}': "expected a text as custom_id",
        json.dumps({"custom_id": "g", "method": "GET"}): "expected POST",
        line("u", url="/flush_cache"): "expected one of /v1/chat/completions",
        json.dumps({"custom_id": "b", "method": "POST", "url": CHAT, "body": 1}): "as body",
        line("s", stream=True): "without stream",
        line("c1", n=1): "the custom_id stands twice",
    }
    here.input.write_text("\n\n".join([line("c1", n=0), *bad]) + "\n" + line("half", n=2))
    assert here.run() == 1
    assert sorted(here.asked) == [0, 2]
    faults = [one["error"]["message"] for one in written(here.output) if one["error"]]
    assert len(faults) == len(bad)
    for words in bad.values():
        assert any(words in message for message in faults), words
    assert here.run() == 1
    assert here.asked == []


def test_odd_texts_cross(here: Here) -> None:
    odd = "\ud800 \u2028 \x00 é"
    here.answer = lambda body: httpx.Response(
        200, content=json.dumps({"said": body["said"]}).encode()
    )
    here.input.write_text(line("a", n=0, said=odd) + "\n")
    assert here.run() == 0
    assert json.loads(here.output.read_bytes())["response"]["body"]["said"] == odd


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"id": "batch_req_1_x", "response": {"status_code": 200}, "error": null}\n',
            "answers no",
        ),
        ("something else\n", "is no answer of a batch"),
        ('{"precious": "no newline"}', "ends in what is no answer"),
    ],
)
def test_another_file_is_not_written_over(
    here: Here, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    here.output.write_text(text)
    assert here.run() == 2
    assert words in capsys.readouterr().err
    assert here.output.read_text() == text


def test_one_writer_at_a_time(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    with Output(str(here.output)):
        assert here.run() == 2
    assert "another process writes this file" in capsys.readouterr().err


def test_a_full_disk_leaves_whole_lines(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """Takes half of what is written, then nothing."""

        def __init__(self, file: Any) -> None:
            self._file, self._left = file, 40

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, data: bytes) -> int:
            if self._left <= 0:
                raise OSError(28, "No space left on device")
            taken = self._file.write(bytes(data[: self._left]))
            self._left = 0
            return int(taken)

    output = Output(str(here.output))
    monkeypatch.setattr(output, "_file", Full(output._file))
    with pytest.raises(cli_batch.InvalidRequestError, match="No space left"):
        output.write(Entry(id="a", custom_id="a", fault=("x" * 100, "y")), None)
    assert here.output.read_bytes() == b""
    output._file.close()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--concurrency", "0"], "expected at least 1, got 0"),
        (["--url", "localhost"], "expected http://"),
        (["--url", "http://x", "--model", "null"], "--url or an engine of its own"),
        (["--url", "http://x", "--no-radix-cache"], "--url or an engine of its own"),
        (["--api-key", "k"], "expected --url beside it"),
    ],
)
def test_flags(
    here: Here, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert here.run(*flags) == 2
    assert words in capsys.readouterr().err


def test_files(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["batch", str(here.input), str(here.input)]) == 2
    assert cli.main(["batch", "/no/such", str(here.output)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    here.input.write_text("\n")
    assert here.run() == 2
    assert list(entries(str(here.input))) == []
    assert cli_batch_file.URLS[0] == CHAT


def questions() -> list[str]:
    ask = [{"role": "user", "content": "What is 37 + 48?"}]
    return [
        line("chat", messages=ask, temperature=0),
        line("held", messages=ask, temperature=0, regex="[0-9]{3}", model="sprig"),
        line("plain", url="/v1/completions", prompt="What", max_tokens=3),
        line("vector", url="/v1/embeddings", input=["one", "two"]),
        line("other", messages=ask, model="gpt-4"),
        line("wrong", messages=ask, temperatur=0),
    ]


def test_an_engine_of_its_own_answers_as_a_server_does(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("\n".join(questions()))
    files = [str(tmp_path / "in.jsonl"), str(tmp_path / "own.jsonl")]
    assert cli.main(["batch", *files, "--quiet"]) == 1
    with served() as server:
        files[1] = str(tmp_path / "remote.jsonl")
        assert cli.main(["batch", *files, "--quiet", "--url", f"{server.url}/v1"]) == 1
    own = {one["custom_id"]: one["response"] for one in written(tmp_path / "own.jsonl")}
    remote = {one["custom_id"]: one["response"] for one in written(tmp_path / "remote.jsonl")}
    statuses = {name: one["status_code"] for name, one in own.items()}
    expected = dict.fromkeys(("chat", "held", "plain", "vector"), 200)
    assert statuses == {**expected, "other": 404, "wrong": 400}
    assert {name: one["status_code"] for name, one in remote.items()} == statuses
    for name in ("chat", "held"):
        said = [one[name]["body"]["choices"][0]["message"]["content"] for one in (own, remote)]
        assert said[0] == said[1]
    assert "37+48" in own["chat"]["body"]["choices"][0]["message"]["content"]
    assert own["wrong"]["body"]["error"]["code"] == "unknown_parameter"
