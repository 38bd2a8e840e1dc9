"""Who is refused what, and that it is counted: priorities, a full queue, every kind of error."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from espalier.errors import EngineError
from espalier.runtime.engine import Engine
from espalier.runtime.http_protocol import CONTENT_TYPE, Ask, encode
from espalier.runtime.server import supervisor as supervisor_module
from espalier.types import SamplingParams
from tests.runtime.serving import InProcess, call_until, user

KEY, ADMIN = "user-key", "admin-key"
TEXT = {"prompt": "x", "max_tokens": 1}
ASKING: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": [user("x")], "max_tokens": 1}),
    ("/v1/completions", TEXT),
    ("/generate", {"text": "x", "sampling_params": {"max_new_tokens": 1}}),
    ("/v1/embeddings", {"input": "x"}),
]
READING: list[tuple[str, dict[str, Any]]] = [
    ("/tokenize", {"prompt": "x"}),
    ("/detokenize", {"tokens": [3]}),
    ("/cache/explain", {"prompt": "x"}),
]


@pytest.fixture
def locked(null_engine: Engine) -> InProcess:
    return InProcess(
        null_engine, served_model_names=("null",), api_keys=(KEY,), admin_key=ADMIN, max_inflight=2
    )


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("path", "body"), ASKING)
def test_only_the_admin_goes_before_others_as_far_as_they_like(
    locked: InProcess, path: str, body: dict[str, Any]
) -> None:
    for priority, status in ((10, 200), (-(2**31), 200), (11, 400), (2**31 - 1, 400)):
        answer = locked.post(path, body | {"priority": priority}, headers=bearer(KEY))
        assert answer.status_code == status, answer.text
        if status == 400:
            assert answer.json()["error"]["param"] == "priority"
            assert "without the admin key" in answer.json()["error"]["message"]
        assert locked.post(path, body | {"priority": priority}, headers=bearer(ADMIN)).is_success


def test_programs_have_no_priority_of_their_own(locked: InProcess) -> None:
    for stream in (False, True):
        ask = Ask(prompts=[[3]], params=SamplingParams(max_tokens=1), priority=11, stream=stream)
        headers = bearer(KEY) | {"content-type": CONTENT_TYPE}
        answer = locked.request("POST", "/native", content=encode(ask), headers=headers)
        assert answer.status_code == 400
        headers |= bearer(ADMIN)
        answer = locked.request("POST", "/native", content=encode(ask), headers=headers)
        assert answer.status_code == 200


@pytest.mark.parametrize(("path", "body"), ASKING + READING)
def test_a_full_server_and_one_that_ends_take_nothing(
    locked: InProcess, path: str, body: dict[str, Any]
) -> None:
    admission = locked.server.admission
    with admission.entered("", 2):
        assert locked.post(path, body, headers=bearer(KEY)).status_code == 429
        assert locked.get("/metrics", headers=bearer(ADMIN)).status_code == 200
    assert locked.post(path, body, headers=bearer(KEY)).status_code == 200
    admission.draining = True
    assert locked.post(path, body, headers=bearer(KEY)).status_code == 503


def test_readiness_costs_one_token_however_many_ask(
    null: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes before everybody: one for each who asks would hold them all up."""
    asked: list[SamplingParams] = []
    agenerate = null.engine.agenerate

    async def counted(**given: Any) -> Any:
        asked.append(given["sampling_params"])
        return await agenerate(**given)

    async def ask() -> None:
        probe = null.server.probe
        await asyncio.gather(*(probe.asked(null.engine) for _ in range(50)))

    monkeypatch.setattr(null.engine, "agenerate", counted)
    asyncio.run(ask())
    monkeypatch.undo()
    assert [params.max_tokens for params in asked] == [1]
    assert null.get("/health_generate").status_code == 200

    def broken(**_: object) -> None:
        raise EngineError("no token")

    monkeypatch.setattr(null.engine, "agenerate", broken)
    assert null.get("/health_generate").status_code == 500
    monkeypatch.undo()
    assert null.get("/health_generate").status_code == 200


def errors(serving: InProcess) -> Counter[str]:
    text = serving.get("/metrics", headers=bearer(ADMIN)).text
    found = re.findall(r'espalier:request_errors_total\{code="(\w+)"\} (\d+)', text)
    return Counter({code: int(count) for code, count in found})


@contextlib.contextmanager
def counted(serving: InProcess, *codes: str) -> Iterator[None]:
    """What happens inside is counted so, and as nothing else."""
    before = errors(serving)
    yield
    assert errors(serving) - before == Counter(codes)


def test_every_error_is_counted(locked: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    key = bearer(KEY)
    path = "/v1/completions"
    with counted(locked, "not_found", "method_not_allowed"):
        locked.get("/nothing", headers=key)
        locked.get(path, headers=key)
    with counted(locked, "invalid_api_key", "admin_key_needed"):
        locked.post(path, TEXT)
        locked.get("/metrics", headers=key)
    with counted(locked, "host_not_allowed", "origin_not_allowed", "head"):
        locked.get("/health", headers={"host": "evil.example"})
        locked.get("/health", headers={"origin": "http://evil.example"})
        locked.get("/health", headers={"x": "y" * 70_000})
    with counted(locked, "unknown_parameter", "invalid_type", "invalid_value", "invalid_json"):
        locked.post(path, TEXT | {"nobody_knows": 1}, headers=key)
        locked.post(path, TEXT | {"n": "x"}, headers=key)
        locked.post(path, TEXT | {"temperature": -1}, headers=key)
        headers = key | {"content-type": "application/json"}
        locked.request("POST", path, content=b"{", headers=headers)
    with counted(locked, "body_too_large", "invalid_value"):
        locked.post(path, {"prompt": "x" * (5 << 20)}, headers=key)
        ask = Ask(prompts=[[3]], params=SamplingParams(max_tokens=1), priority=11)
        headers = key | {"content-type": CONTENT_TYPE}
        locked.request("POST", "/native", content=encode(ask), headers=headers)
    with counted(locked, "internal_error"):
        monkeypatch.setattr(locked.server, "check_model", None)
        locked.post(path, TEXT, headers=key)
        monkeypatch.undo()


def test_what_ends_a_stream_is_counted(null: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error behind its first piece, and a client that leaves, at whatever place."""
    body = {"prompt": [3], "max_tokens": 200, "ignore_eos": True}
    core = null.engine.link.core  # type: ignore[attr-defined]
    launch, steps = core._runner.launch, iter(range(1000))

    def failing(plan: Any) -> Any:
        if next(steps) == 5:
            raise RuntimeError("secret")
        return launch(plan)

    monkeypatch.setattr(core._runner, "launch", failing)
    with counted(null, "engine_error"):
        answer = null.post("/v1/completions", body | {"stream": True})
    assert answer.status_code == 200
    assert answer.text.endswith("data: [DONE]\n\n")
    assert '"code":"engine_error"' in answer.text
    assert "secret" not in answer.text
    monkeypatch.undo()
    for more, enough in (({"stream": True}, 3), ({"stream": True}, 0), ({}, 0)):

        def leave(sent: list[Any], enough: int = enough) -> bool:
            return len(sent) >= enough

        with counted(null, "client_gone"):
            asyncio.run(call_until(null.app, "/v1/completions", body | more, leave))
    assert null.left_over() == (0, 0, 0)


SAYS_NOTHING: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "/v1/completions",
        TEXT | {"stream": True, "stream_options": {"continuous_usage_stats": True}},
        "stream_options.continuous_usage_stats",
        "include_usage",
    ),
    ("/generate", {"text": "x", "return_text_in_logprobs": True}, "return_text_in_logprobs", ""),
    ("/v1/completions", TEXT | {"n": 0}, "n", "expected at least 1, at most 128, got 0"),
    (
        "/v1/chat/completions",
        {"messages": [user("x")], "logprobs": True, "top_logprobs": 21},
        "top_logprobs",
        "at most 20",
    ),
]


@pytest.mark.parametrize(("path", "body", "param", "said"), SAYS_NOTHING)
def test_what_is_blamed(
    null: InProcess, path: str, body: dict[str, Any], param: str, said: str
) -> None:
    error = null.refused(path, **body)
    assert error["param"] == param
    assert said in error["message"]


def test_a_deadline_is_told(null: InProcess) -> None:
    """OpenAI's reasons and SGLang's have no word for it."""
    params = {"max_new_tokens": 1_000_000, "ignore_eos": True}
    body = {"input_ids": [3], "deadline": 0.05, "sampling_params": params}
    meta = null.ok("/generate", **body)["meta_info"]
    assert meta["finish_reason"]["type"] == "length"
    assert meta["stop_reason"] == "deadline"


def test_metrics_are_there_while_the_engine_is_away(null: InProcess) -> None:
    null.post("/v1/completions", TEXT)
    before = null.get("/metrics").text
    supervisor = null.server.supervisor
    supervisor.state = "restarting"
    try:
        again = null.get("/metrics")
        assert null.get("/v1/models").status_code == 200
    finally:
        supervisor.state = "ready"
    assert again.status_code == 200
    assert again.text.count("# TYPE") == before.count("# TYPE")


def test_metrics_do_not_wait_for_an_engine_that_is_stuck(
    null: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, supervisor = threading.Event(), null.server.supervisor
    engine = SimpleNamespace(link=SimpleNamespace(inline=False), stats=stuck.wait)
    monkeypatch.setattr(supervisor, "_engine", engine)
    monkeypatch.setattr(supervisor_module, "_PATIENCE", 0.05)
    try:
        assert "vllm:request_success_total" in null.get("/metrics").text
    finally:
        stuck.set()


def test_a_prompt_that_is_too_long_is_not_copied_first(
    null: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent(requests: list[Any]) -> None:
        raise AssertionError(f"{len(requests)} copies")

    monkeypatch.setattr(null.engine.link, "submit", sent)
    ids = [3] * (null.engine.info.max_context + 1)
    for stream in (False, True):
        body = {"prompt": ids, "n": 32, "stream": stream}
        assert null.refused("/v1/completions", **body)["code"] == "context_length_exceeded"
        ask = Ask(prompts=[ids], params=SamplingParams(n=32), stream=stream)
        headers = {"content-type": CONTENT_TYPE}
        answer = null.request("POST", "/native", content=encode(ask), headers=headers)
        assert answer.status_code == 400


def test_one_key_cannot_shut_out_another(null_engine: Engine) -> None:
    """By whatever route it came in."""
    shared = InProcess(
        null_engine, served_model_names=("null",), api_keys=("a", "b"), max_inflight=8
    )

    async def both() -> list[int]:
        long = {"prompt": [3], "max_tokens": 100_000, "ignore_eos": True, "n": 3}
        transport = httpx.ASGITransport(shared.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

            async def post(key: str, path: str, body: dict[str, Any]) -> int:
                return (await client.post(path, json=body, headers=bearer(key))).status_code

            first = [asyncio.ensure_future(post("a", "/v1/completions", long)) for _ in range(2)]
            while shared.server.admission.inflight < 6:
                await asyncio.sleep(0)
            told = [await post("a", *ASKING[1])]
            told += [await post("b", path, body) for path, body in ASKING + READING]
            for one in first:
                one.cancel()
            await asyncio.gather(*first, return_exceptions=True)
            return told

    refused, *others = asyncio.run(both())
    assert refused == 429
    assert others == [200] * len(ASKING + READING)
    assert shared.left_over() == (0, 0, 0)
