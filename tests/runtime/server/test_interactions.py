"""Features together: sampling, grammars, log probabilities, samples, streams and tools in all
combinations. Each is honoured beside the others, or refused by name, the same streamed or not."""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any

import jsonschema
import pytest

from tests.runtime.serving import InProcess, events_of, joined, message_of, user

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 6}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
PATTERN = "[a-z ]{1,9}[.!]"
Options = list[tuple[str, dict[str, Any]]]
SAMPLING: Options = [
    ("greedy", {"temperature": 0}),
    ("filters", {"temperature": 1.4, "top_k": 50, "top_p": 0.95, "min_p": 0.01}),
    ("penalties", {"presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.2}),
    ("biased", {"logit_bias": {"40": 3.0, "41": -100}, "min_tokens": 2}),
    ("stops", {"stop": ["e", "!"], "temperature": 1.2}),
    ("exact", {"deterministic": True, "temperature": 1.0}),
]
GRAMMARS: Options = [
    ("free", {}),
    ("schema", {"response_format": FORMAT}),
    ("regex", {"regex": PATTERN}),
    ("choice", {"choice": ["yes", "no", "perhaps"]}),
]
SAMPLES: Options = [("n1", {}), ("n3", {"n": 3})]
CALLS: Options = [
    ("no tools", {}),
    ("auto", {"tools": TOOLS}),
    ("required", {"tools": TOOLS, "tool_choice": "required"}),
    ("none", {"tools": TOOLS, "tool_choice": "none"}),
]
CHAT_LOGPROBS: Options = [
    ("", {}),
    ("own", {"logprobs": True}),
    ("top", {"logprobs": True, "top_logprobs": 2}),
]
PLAIN_LOGPROBS: Options = [("", {}), ("own", {"logprobs": 0}), ("top", {"logprobs": 2})]
ECHO: Options = [("", {}), ("echo", {"echo": True})]
BEST: Options = [("", {}), ("best", {"best_of": 4})]


def combinations(*options: Options) -> list[Any]:
    """All of them. Those without which some three options would never meet are always run, the
    others (marked exhaustive) by `make combinations`."""
    every = list(itertools.product(*options))
    names = [tuple(name for name, _ in chosen) for chosen in every]
    always = _share(names)
    made = []
    for name, chosen in zip(names, every, strict=True):
        body: dict[str, Any] = {}
        for _, part in chosen:
            body |= part
        marks = [] if name in always else [pytest.mark.exhaustive]
        made.append(pytest.param(body, id="-".join(filter(None, name)), marks=marks))
    return made


def _share(names: list[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Some in which every three options meet: first those that bring the most new threes."""
    met: set[object] = set()
    taken = set()
    most = math.comb(len(names[0]), 3)
    for least, name in itertools.product(range(most, 0, -1), names):
        threes = set(itertools.combinations(enumerate(name), 3))
        if len(threes - met) >= least:
            met |= threes
            taken.add(name)
    return taken


def streamed(serving: InProcess, path: str, body: dict[str, Any]) -> list[dict[str, Any]] | None:
    """None where it is refused."""
    options = {"stream_options": {"include_usage": True}}
    response = serving.post(path, {**body, "stream": True, **options})
    if response.status_code == 400:
        assert response.json()["error"]["param"]
        return None
    assert response.status_code == 200, response.text
    return events_of(response.text)


def choices(events: list[dict[str, Any]], index: int) -> list[dict[str, Any]]:
    return [choice for event in events for choice in event["choices"] if choice["index"] == index]


def costs(usage: dict[str, Any]) -> tuple[int, int]:
    return usage["prompt_tokens"], usage["completion_tokens"]


@pytest.mark.parametrize("asked", combinations(SAMPLING, GRAMMARS, SAMPLES, CALLS, CHAT_LOGPROBS))
def test_chats(sprig: InProcess, asked: dict[str, Any]) -> None:
    body = {"messages": [user("What is the weather in Oslo?")], "seed": 7, "max_tokens": 40}
    body |= asked
    response = sprig.post(CHAT, body)
    events = streamed(sprig, CHAT, body)
    if response.status_code == 400:  # tools beside a grammar that may begin as a call
        assert response.json()["error"]["param"] == "tools"
        assert asked["tools"]
        assert "regex" in asked
        assert events is None
        return
    assert response.status_code == 200, response.text
    assert events is not None
    whole = response.json()
    assert len(whole["choices"]) == asked.get("n", 1)
    assert costs(events[-1]["usage"]) == costs(whole["usage"])
    generated = 0
    for index, choice in enumerate(whole["choices"]):
        said = message_of(whole, index)
        assert joined(events, index) == said
        check_chat(asked, choice, said)
        parts = choices(events, index)
        assert parts[-1].get("stop_reason") == choice.get("stop_reason")
        assert parts[-1].get("incomplete") == choice.get("incomplete")
        told = choice["logprobs"]
        if "logprobs" not in asked:
            assert told is None
            assert all(part["logprobs"] is None for part in parts)
            continue
        entries = [
            entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]
        ]
        assert [entry["token"] for entry in entries] == [e["token"] for e in told["content"]]
        assert {len(entry["top_logprobs"]) for entry in told["content"]} <= {
            asked.get("top_logprobs", 0)
        }
        generated += len(told["content"])
    assert generated <= whole["usage"]["completion_tokens"] <= 40 * len(whole["choices"])
    assert sprig.left_over() == (0, 0, 0)


def check_chat(asked: dict[str, Any], choice: dict[str, Any], said: dict[str, Any]) -> None:
    """P2: complete, or marked as not."""
    must = asked.get("tool_choice") == "required"
    assert said["calls"] or not must or "incomplete" in choice
    if said["calls"]:
        assert asked.get("tool_choice") != "none"
        for name, arguments in said["calls"][: -1 if "incomplete" in choice else None]:
            assert name == "weather"
            jsonschema.validate(json.loads(arguments), SCHEMA)
    elif "incomplete" not in choice and not must:
        check_text(asked, said["content"])


def check_text(asked: dict[str, Any], text: str) -> None:
    if "response_format" in asked:
        jsonschema.validate(json.loads(text), SCHEMA)
    elif "regex" in asked:
        assert re.fullmatch(PATTERN, text)
    elif "choice" in asked:
        assert text in asked["choice"]


@pytest.mark.parametrize(
    "asked", combinations(SAMPLING, GRAMMARS, SAMPLES, ECHO, BEST, PLAIN_LOGPROBS)
)
def test_completions(sprig: InProcess, asked: dict[str, Any]) -> None:
    body = {"prompt": ["The cat", "2 + 2"], "seed": 7, "max_tokens": 24, **asked}
    response = sprig.post(PLAIN, body)
    events = streamed(sprig, PLAIN, body)
    assert response.status_code == 200, response.text
    whole = response.json()
    count = asked.get("n", 1)
    assert [choice["index"] for choice in whole["choices"]] == list(range(2 * count))
    for number, choice in enumerate(whole["choices"]):
        prompt = body["prompt"][number // count] if "echo" in asked else ""
        assert choice["text"].startswith(prompt)
        if "incomplete" not in choice:
            check_text(asked, choice["text"].removeprefix(prompt))
        check_places(choice["text"], choice["logprobs"], asked.get("logprobs"))
    if "best_of" in asked:  # the best is known at the end
        assert events is None
        return
    assert events is not None
    assert costs(events[-1]["usage"]) == costs(whole["usage"])
    for choice in whole["choices"]:
        parts = choices(events, choice["index"])
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [
            choice["finish_reason"]
        ]
        told = [part["logprobs"] for part in parts if part["logprobs"]]
        for name in ("tokens", "text_offset"):
            entries = [value for one in told for value in one[name]]
            assert entries == (choice["logprobs"] or {name: []})[name]
    assert sprig.left_over() == (0, 0, 0)


def check_places(text: str, told: dict[str, Any] | None, top: int | None) -> None:
    """Tokens stand in the text where they are said to."""
    assert (told is None) == (top is None)
    if told is None:
        return
    lengths = {len(values) for values in told.values()}
    assert len(lengths) == 1
    for token, place in zip(told["tokens"], told["text_offset"], strict=True):
        assert "\ufffd" in token or text[place : place + len(token)] == token[: len(text) - place]
    for entry in told["top_logprobs"]:
        assert entry is None or len(entry) in (top, (top or 0) + 1) or "\ufffd" in str(entry)
