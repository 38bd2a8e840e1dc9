"""What /openapi.json says is what is sent: every answer and every event, against its own schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

import espalier as esp
from tests.runtime.serving import InProcess, events_of, user

CHAT, PLAIN, PROGRAMS = "/v1/chat/completions", "/v1/completions", "/v1/programs"
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}]
HELLO = {"messages": [user("Hello!")], "max_tokens": 6}


@esp.function
def program(s: Any, text: str) -> Any:
    s += esp.user(text) + esp.assistant(esp.gen("x", max_tokens=3, logprobs=1, regex="[a-z]{9}"))
    with s.var_scope("all"):
        s += "y" + esp.separate_reasoning(esp.gen("z", max_tokens=2), model_type="qwen3")
    forks = s.fork(2)
    forks += lambda i: "no " * (2000 * i) + esp.gen("n", max_tokens=2, n=2)
    forks.join(errors="keep")
    s.set_var("told", [s["z"]])
    s += esp.select("which", ["a", "b"])
    return {"told": s["told"]}


GRAPH = json.loads(program.compile().to_json())
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    (PROGRAMS, {"program": GRAPH, "arguments": {"text": "a"}}),
    (PROGRAMS, {"program": GRAPH, "arguments": {"text": "no " * 2000}, "seed": 1}),
    (PROGRAMS, {"program": GRAPH}),
    (PROGRAMS, {"program": {}}),
    (CHAT, HELLO),
    (CHAT, {**HELLO, "logprobs": True, "top_logprobs": 2, "n": 2, "seed": 1}),
    (CHAT, {**HELLO, "prompt_logprobs": 1}),
    (CHAT, {**HELLO, "tools": TOOLS, "tool_choice": "required", "max_tokens": 60}),
    (CHAT, {**HELLO, "guided_json": SCHEMA, "max_tokens": 2}),
    (CHAT, {**HELLO, "stop": ["e", "a", "o"], "temperature": 0}),
    (CHAT, {**HELLO, "temperature": -1}),
    (CHAT, {**HELLO, "tempratur": 1}),
    (PLAIN, {"prompt": "a b"}),
    (PLAIN, {"prompt": ["a", "b c"], "n": 2, "echo": True, "logprobs": 1, "max_tokens": 3}),
    (PLAIN, {"prompt": "a b", "best_of": 3, "temperature": 1.5, "logprobs": 2}),
    (PLAIN, {"prompt": "a b", "prompt_logprobs": 1, "max_tokens": 1}),
    (PLAIN, {"prompt": "a b", "regex": "[0-9]{20}", "max_tokens": 2}),
    (PLAIN, {"prompt": "a b", "suffix": "x"}),
    ("/generate", {"text": "a b", "sampling_params": {"max_new_tokens": 3}}),
    ("/generate", {"text": ["a", "b"], "return_logprob": True, "top_logprobs_num": 1}),
    ("/generate", {"text": "a", "logprob_start_len": 0, "return_logprob": True}),
    ("/generate", {"text": "a", "input_ids": [1]}),
    ("/v1/embeddings", {"input": ["a", "b"]}),
    ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}),
    ("/tokenize", {"prompt": "a b"}),
    ("/tokenize", {"messages": [user("x")]}),
    ("/detokenize", {"tokens": [5, 6]}),
    ("/cache/explain", {"prompt": "a b"}),
    ("/flush_cache", {}),
    ("/abort_request", {"rid": "x"}),
]
STREAMS = (CHAT, PLAIN, "/generate", PROGRAMS)
STREAMED = [(path, body) for path, body in REQUESTS if path in STREAMS]


@pytest.fixture(scope="module")
def described(sprig_engine: Any) -> dict[str, Any]:
    document: dict[str, Any] = InProcess(sprig_engine).get("/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        if "properties" in schema and "additionalProperties" not in schema:
            schema["additionalProperties"] = False  # what is sent is all described
    return document


def conforms(described: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": described["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


@pytest.mark.parametrize(("path", "body"), REQUESTS, ids=lambda value: str(value)[:80])
def test_answers(
    sprig: InProcess, described: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    response = sprig.post(path, body)
    told = described["paths"][path]["post"]["responses"]
    schema = told[str(response.status_code)]["content"]["application/json"]["schema"]
    conforms(described, schema, response.json())


@pytest.mark.parametrize(("path", "body"), STREAMED, ids=lambda value: str(value)[:80])
def test_events(
    sprig: InProcess, described: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    plain = path in ("/generate", PROGRAMS)
    options = {} if plain else {"stream_options": {"include_usage": True}}
    response = sprig.post(path, {**body, "stream": True, **options})
    told = described["paths"][path]["post"]["responses"][str(response.status_code)]["content"]
    if response.status_code != 200:
        conforms(described, told["application/json"]["schema"], response.json())
        return
    schema = data_schema(told["text/event-stream"])
    for event in events_of(response.text):
        conforms(described, schema, event)


def data_schema(stream: dict[str, Any]) -> dict[str, Any]:
    """Of the JSON value in an event's data; that data itself is a text, or `[DONE]`."""
    event = stream["itemSchema"]
    for data in ("[DONE]", "{}"):
        jsonschema.validate({"data": data}, event)
    for wrong in ({}, {"data": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, event)
    found: dict[str, Any] = event["properties"]["data"]["anyOf"][1]["contentSchema"]
    return found


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/sprig", "/health", "/server_info"])
def test_what_is_read(sprig: InProcess, described: dict[str, Any], path: str) -> None:
    response = sprig.get(path)
    template = "/v1/models/{name}" if path.endswith("sprig") else path
    paths = described["paths"]
    found = paths.get(template) or next(v for k, v in paths.items() if k.startswith("/v1/models/"))
    content = found["get"]["responses"][str(response.status_code)]["content"]
    conforms(described, content["application/json"]["schema"], response.json())


def test_a_stream_that_fails_on_its_way(described: dict[str, Any]) -> None:
    failed = {"error": {"message": "x", "type": "server_error", "param": None, "code": None}}
    content = described["paths"][CHAT]["post"]["responses"]["200"]["content"]
    conforms(described, data_schema(content["text/event-stream"]), failed)


def test_the_document_itself(described: dict[str, Any]) -> None:
    """Every reference leads somewhere."""
    text = json.dumps(described)
    for place in text.split('"$ref": "#/components/schemas/')[1:]:
        assert place.split('"')[0] in described["components"]["schemas"]
