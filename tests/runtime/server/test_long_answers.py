"""Long answers are made beside the event loop, so that no other stream waits for them."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from espalier.runtime.server import chat_job, replies, routes_tokens, state
from espalier.runtime.server.routes_tokens import Detokenized, Tokenized
from tests.runtime.serving import InProcess, user

LOGPROBS = {"max_tokens": 20, "n": 8, "ignore_eos": True}
LONG: list[tuple[str, dict[str, Any]]] = [
    ("/tokenize", {"prompt": "a " * 100, "with_pieces": True}),
    ("/detokenize", {"tokens": [70] * 100, "skip_special_tokens": False}),
    ("/v1/embeddings", {"input": [[7]] * 64}),
    (
        "/v1/chat/completions",
        {**LOGPROBS, "messages": [user("x")], "logprobs": True, "top_logprobs": 20},
    ),
    ("/v1/completions", {**LOGPROBS, "prompt": "x", "logprobs": 20}),
    (
        "/v1/completions",
        {"prompt": [7] * 200, "stream": True, "echo": True, "logprobs": 20, "max_tokens": 2},
    ),
    (
        "/generate",
        {
            "text": "x",
            "return_logprob": True,
            "top_logprobs_num": 100,
            "return_text_in_logprobs": True,
            "sampling_params": {"max_new_tokens": 30, "ignore_eos": True},
        },
    ),
]


@pytest.mark.parametrize(("path", "body"), LONG)
def test_who_makes_them(
    sprig: InProcess, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    entries: Counter[str] = Counter()

    def noted(name: str, where: Any) -> None:
        work = getattr(where, name)

        def note(*args: Any, **more: Any) -> Any:
            entries[threading.current_thread().name] += 1
            return work(*args, **more)

        monkeypatch.setattr(where, name, note)

    noted("finite", replies)
    for name in ("routes_completions", "routes_generate"):
        noted("finite", __import__(f"espalier.runtime.server.{name}", fromlist=["finite"]))
    noted("token_text", routes_tokens)
    noted("_with_special", routes_tokens)
    noted("EmbeddingData", routes_tokens)
    response = sprig.post(path, body)
    assert response.status_code == 200, response.text
    loop = entries.pop("MainThread", 0)
    assert loop < 50, "all but the short rest of a stream"
    assert len(entries) == 1


def test_they_are_what_their_models_say(sprig: InProcess) -> None:
    text = "ab é<|end|>🙂"
    plain = sprig.ok("/tokenize", prompt=text)
    Tokenized.model_validate(plain, strict=True)
    both = sprig.ok("/tokenize", prompt=text, with_pieces=True, return_token_strs=True)
    Tokenized.model_validate(both, strict=True)
    assert [piece["id"] for piece in both["tokens"]] == plain["tokens"]
    said = b""
    for piece in (token["piece"] for token in both["tokens"]):
        said += piece.encode() if isinstance(piece, str) else bytes(piece)
    assert said.decode() == text
    assert len(both["token_strs"]) == plain["count"] == len(plain["tokens"])
    back = sprig.ok("/detokenize", tokens=plain["tokens"])
    assert Detokenized.model_validate(back, strict=True).text == text


def test_alternatives_are_bounded_over_all_samples(null: InProcess) -> None:
    body = {"prompt": [3], "logprobs": 20, "max_tokens": 2_000, "n": 128}
    error = null.refused("/v1/completions", **body)
    assert error["param"] == "logprobs"
    assert "samples (n)" in error["message"]


def test_tools_and_schemas_are_read_beside_the_loop(
    sprig: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    for name in ("plan_tools", "grammar_of"):
        work = getattr(chat_job, name)

        def note(*given: Any, work: Any = work) -> Any:
            threads.append(threading.current_thread().name)
            return work(*given)

        monkeypatch.setattr(chat_job, name, note)
    sprig.chat("x", max_tokens=1)
    assert len(threads) == 2
    assert "MainThread" not in threads


@pytest.mark.parametrize("path", ["/openapi.json", "/native/tokenizer"])
def test_long_files_are_made_beside_the_loop(
    sprig: InProcess, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    threads: list[str] = []
    monkeypatch.setattr(state, "_MANY", 100)  # the embedded model's vocabulary is small
    submit = sprig.server._tellers.submit

    def noted(key: str, work: Any) -> Any:
        threads.append(key)
        return submit(key, work)

    monkeypatch.setattr(sprig.server._tellers, "submit", noted)
    assert sprig.get(path).status_code == 200
    assert threads
