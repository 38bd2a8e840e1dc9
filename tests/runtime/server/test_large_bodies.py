"""Bodies that are large, right or wrong, hold up nobody else."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from espalier.runtime.engine import Engine
from espalier.runtime.server import app, fields
from tests.runtime.server.test_refusals import ASKING, TEXT
from tests.runtime.serving import InProcess, call_until


def _bodies() -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = [fields.Fields]
    for kind in found:
        found += kind.__subclasses__()
    return found


def _lists(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "list":
            yield schema
        for part in schema.values():
            yield from _lists(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _lists(part)


def test_a_body_of_a_million_mistakes_is_told_of_one() -> None:
    """Telling of each took a minute, in which nobody was answered."""
    assert app.ROUTERS
    for kind in _bodies():
        lists = list(_lists(kind.__pydantic_core_schema__))
        assert all(one.get("fail_fast") for one in lists), (kind, lists)


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[' + b",".join([b"{}"] * 1_000_000) + b"]}",
        b'{"messages":[' + b",".join([b'{"role":"user","content":"x"}'] * 100_000) + b"]}",
        b'{"messages":[{' + b",".join(b'"%06d":0' % n for n in range(300_000)) + b"}]}",
        b'{"messages":[],"tools":[' + b",".join([b"[]"] * 1_000_000) + b"]}",
    ],
    ids=["items", "messages", "names", "lists"],
)
def test_large_and_wrong_is_soon_answered(null: InProcess, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    before = time.thread_time()
    answer = null.request("POST", "/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert time.thread_time() - before < 3  # 0.1 to 0.6 s of a core of its own; it was 5 to 15


def tagged(parts: int) -> dict[str, Any]:
    """A structural tag of so many, and one around them."""
    inside = {"type": "sequence", "elements": [{"type": "any_text"}] * parts}
    return {"type": "structural_tag", "format": inside}


TAGGED = {"response_format": tagged(5_000)}
PART = {"type": "text", "text": "x"}
CALL = {"id": "1", "function": {"name": "f", "arguments": ""}}
TOO_MUCH: list[tuple[str, dict[str, Any], str]] = [
    (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": [PART] * 10_001}]},
        "messages",
    ),
    (
        "/tokenize",
        {"messages": [{"role": "assistant", "tool_calls": [CALL] * 5_001}] * 2},
        "messages",
    ),
    ("/v1/completions", TEXT | {"logit_bias": {str(n): 0.0 for n in range(4097)}}, "logit_bias"),
    ("/v1/completions", TEXT | {"stop": ["x" * 1_025, "y" * 1_024]}, "stop"),
    ("/v1/completions", TEXT | {"prompt": [[3]] * 10_001}, "prompt"),
    ("/v1/embeddings", {"input": ["x"] * 10_001}, "input"),
    ("/generate", {"input_ids": [[3]] * 10_001}, "input_ids"),
    ("/generate", {"text": ["x"], "sampling_params": [{}] * 1_025}, "sampling_params"),
    ("/generate", {"text": ["x"] * 2, "sampling_params": [TAGGED] * 2}, "response_format"),
    ("/grammar/check", {"response_format": tagged(10_000)}, "response_format"),
    ("/v1/completions", TEXT | {"structural_tag": json.dumps(tagged(10_000))}, "response_format"),
]


@pytest.mark.parametrize(("path", "body", "param"), TOO_MUCH)
def test_what_would_take_long_to_look_at(
    null: InProcess, path: str, body: dict[str, Any], param: str
) -> None:
    error = null.refused(path, **body)
    assert error["param"] == param
    assert "at most" in error["message"]


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/generate", "/grammar/check"]
)
def test_grammars_are_read_beside_the_event_loop(
    null: InProcess, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Some take a second to write down."""
    read_by: list[threading.Thread] = []
    for name in ("chat_job", "routes_completions", "routes_generate", "routes_grammar"):
        module = importlib.import_module(f"espalier.runtime.server.{name}")

        def watched(*given: Any, read: Any = module.grammar_of) -> Any:
            read_by.append(threading.current_thread())
            return read(*given)

        monkeypatch.setattr(module, "grammar_of", watched)
    asking = {**dict(ASKING), "/grammar/check": {}}
    body = asking[path]
    regex = {"regex": "a|b"}
    if path == "/generate":
        body = body | {"sampling_params": {"max_new_tokens": 1, **regex}}
    else:
        body = body | regex
    null.ok(path, **body)
    assert len(read_by) == 1
    assert read_by[0] is not threading.main_thread()


def test_a_long_name_is_cut(null: InProcess) -> None:
    response = null.post("/v1/completions", TEXT | {"messages tools seed " * 10_000: 1})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "unknown_parameter"
    assert len(response.content) < 1_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"prompt": "x"}),
        ("/cache/explain", {"prompt": "x"}),
        ("/v1/completions", TEXT),
    ],
)
def test_texts_of_who_leaves_are_not_encoded(
    null: InProcess, path: str, body: dict[str, Any]
) -> None:
    """While others' wait for their turn."""
    begun, busy = threading.Event(), threading.Event()
    encoder = null.server._encoder
    first = encoder.submit("", lambda: begun.set() or busy.wait())
    assert begun.wait(10)
    waiting: list[int] = []

    def encoding(_: Any) -> bool:
        waiting.append(len(encoder._turns))
        return bool(waiting[-1])

    try:
        asyncio.run(call_until(null.app, path, body, encoding))
        assert waiting[-1] == 1, "the text came to wait for its turn"
        assert null.left_over() == (0, 0, 0)
        assert (len(encoder._turns), encoder._works) == (0, {}), "and is not there any more"
    finally:
        busy.set()
    assert first.result(10)


def test_a_prompt_that_cannot_be_is_not_explained(null: InProcess) -> None:
    """The engine would read it between two steps of everybody."""
    ids = [3] * (null.engine.info.max_context + 1)
    assert null.refused("/cache/explain", prompt=ids)["code"] == "context_length_exceeded"
    assert null.refused("/cache/explain", prompt=[])["param"] == "prompt"


def test_explanations_name_no_key(null_engine: Engine) -> None:
    """Nor its hash, which a namespace begins with."""
    locked = InProcess(null_engine, served_model_names=("null",), api_keys=("key",))
    headers = {"authorization": "Bearer key"}
    namespace = hashlib.sha256(b"espalier key\0key").hexdigest()[:32]
    for prompt in ([5, 6], [5, 6, 7]):
        answer = locked.post("/cache/explain", {"prompt": prompt}, headers=headers)
        assert answer.status_code == 200
        assert namespace[:8] not in answer.text
        ask = {"prompt": prompt, "max_tokens": 1}
        assert locked.post("/v1/completions", ask, headers=headers).status_code == 200
    null_engine.flush_cache()
    gone = locked.post("/cache/explain", {"prompt": [5, 6]}, headers=headers)
    assert "nothing is cached" in gone.text
    assert namespace[:8] not in gone.text
