"""Whatever a body says, the answer is one of ours: never a 5xx, never a hang, nothing left over."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from pydantic import TypeAdapter

from espalier.runtime.server.api_chat import ChatCompletion, ChatRequest
from espalier.runtime.server.api_completion import Completion, CompletionRequest
from espalier.runtime.server.api_generate import Generated, GenerateParams, GenerateRequest
from espalier.runtime.server.fields import REFUSED
from espalier.runtime.server.routes_tokens import (
    EmbeddingRequest,
    Embeddings,
    Tokenized,
    TokenizeRequest,
)
from tests.runtime.serving import InProcess, user
from tools.blackbox.fuzz_bodies import PARTS, near
from tools.blackbox.fuzz_programs import FAILING, RIGHT, WRONG

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 2**31, 2**63, -(2**63), 10**40, 0.5, -0.0, 1e308, 1e-320, "",
    "x", "\x00", "é🙂", "a" * 5000, "\u202e", "null", [], [[]], [None], ["x"], ["", "x"], [1], [-1],
    [[1], [2]], [1e5], {}, {"": ""}, {"type": "x"}, {"type": "json_schema"}, {"type": "function"},
    {"1": 1}, {"1": 1e308}, {"a": {"b": [1, {"c": None}]}}, {"json": {}}, {"regex": "("},
    ["(", "a+"], [{"role": "user", "content": "x"}], [{"role": "user", "content": [{}]}],
    [{"role": "assistant"}],
    [{"type": "function", "function": {"name": "f"}}], {"type": "object"}, "[0-9]{1,3}",
]  # fmt: skip
ROUTES: list[tuple[str, Any, dict[str, Any]]] = [
    ("/v1/chat/completions", ChatRequest, {"messages": [user("x")], "max_tokens": 3}),
    ("/v1/completions", CompletionRequest, {"prompt": "x", "max_tokens": 3}),
    ("/generate", GenerateRequest, {"text": "x", "sampling_params": {"max_new_tokens": 3}}),
    ("/v1/embeddings", EmbeddingRequest, {"input": "x"}),
    ("/tokenize", TokenizeRequest, {"prompt": "x"}),
]


ANSWERS: dict[str, Any] = {
    "/v1/chat/completions": TypeAdapter(ChatCompletion),
    "/v1/completions": TypeAdapter(Completion),
    "/generate": TypeAdapter(Generated | list[Generated]),
    "/v1/embeddings": TypeAdapter(Embeddings),
    "/tokenize": TypeAdapter(Tokenized),
}


def check(serving: InProcess, path: str, body: dict[str, Any]) -> None:
    try:
        json.dumps(body).encode()
    except UnicodeEncodeError:
        return
    response = serving.post(path, body)
    assert response.status_code in (200, 400, 404, 408), (response.status_code, body)
    if response.status_code == 200:
        if not body.get("stream"):
            ANSWERS[path].validate_json(response.content)
    else:
        error = response.json()["error"]
        assert error["message"], body
        assert len(response.content) < 10_000, body


@pytest.mark.parametrize(("path", "model", "plain"), ROUTES, ids=[route[0] for route in ROUTES])
@pytest.mark.slow
def test_every_field_with_every_odd_value(
    sprig: InProcess, path: str, model: Any, plain: dict[str, Any]
) -> None:
    fields = [field.alias or name for name, field in model.model_fields.items()]
    for field in fields:
        for value in ODD:
            check(
                sprig,
                path,
                {"deadline": 5.0} | plain | {field: value}
                if _dated(model)
                else plain | {field: value},
            )
    for field in [*REFUSED, "nobody_knows"]:
        check(sprig, path, plain | {field: "x"})
    assert sprig.left_over() == (0, 0, 0)


def _dated(model: Any) -> bool:
    return "deadline" in model.model_fields


def test_every_sampling_parameter_with_every_odd_value(sprig: InProcess) -> None:
    for field in GenerateParams.model_fields:
        for value in ODD:
            params = {"max_new_tokens": 3, field: value}
            check(sprig, "/generate", {"text": "x", "sampling_params": params, "deadline": 5.0})
    assert sprig.left_over() == (0, 0, 0)


@pytest.mark.parametrize(("path", "model", "plain"), ROUTES[:3], ids=[r[0] for r in ROUTES[:3]])
def test_fields_together(sprig: InProcess, path: str, model: Any, plain: dict[str, Any]) -> None:
    """Pairs and more of fields, with values that each could stand alone."""
    rng = random.Random(path)
    fine: dict[str, list[Any]] = {
        "temperature": [0, 1.5], "top_p": [0.1, 1], "top_k": [-1, 1, 5], "min_p": [0.0, 1.0],
        "n": [1, 2, 3], "seed": [0, 2**63 - 1], "stop": ["a", ["b", "c"]], "logprobs": [True, 0, 2],
        "top_logprobs": [0, 3], "best_of": [1, 3], "echo": [True, False], "stream": [True, False],
        "logit_bias": [{}, {"5": -100, "6": 100}], "frequency_penalty": [2, -2.0],
        "presence_penalty": [1], "repetition_penalty": [0.5, 2], "min_tokens": [0, 2],
        "regex": ["[ab]+"], "choice": [["x", "y"]], "guided_json": [{"type": "integer"}],
        "ignore_eos": [True], "prompt_logprobs": [0, 1], "deterministic": [True],
        "priority": [5, -5], "cache_salt": ["s"], "stream_options": [{"include_usage": True}],
        "tools": [[{"type": "function", "function": {"name": "f"}}]],
        "tool_choice": ["none", "auto", "required"], "parallel_tool_calls": [False],
        "return_logprob": [True], "top_logprobs_num": [2], "logprob_start_len": [0, -1, 5],
    }  # fmt: skip
    known = [name for name in fine if name in model.model_fields]
    good = 0
    for _ in range(150):
        body = dict(plain)
        for name in rng.sample(known, rng.randint(1, min(5, len(known)))):
            body[name] = rng.choice(fine[name])
        response = sprig.post(path, body)
        assert response.status_code in (200, 400), (response.text[:500], body)
        good += response.status_code == 200
    assert good > 30
    assert sprig.left_over() == (0, 0, 0)


@pytest.mark.parametrize("path", PARTS)
def test_what_the_fuzzer_takes_for_right_is_taken(sprig: InProcess, path: str) -> None:
    """Or it would try refusals alone."""
    rng = random.Random(path)
    answers = [sprig.post(path, near(path, {}, rng)) for _ in range(40)]
    assert sum(answer.status_code == 200 for answer in answers) > 34
    assert sprig.left_over() == (0, 0, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_the_fuzzer_s_programs(sprig: InProcess, stream: bool) -> None:
    """All that it takes for right are taken, and what it takes for wrong is refused."""
    for bodies, status in ((RIGHT, 200), (FAILING, 200), (WRONG, 400)):
        for number, body in enumerate(bodies):
            answer = sprig.post("/v1/programs", body | {"stream": stream})
            assert answer.status_code == status, (number, answer.text)
    assert sprig.left_over() == (0, 0, 0)
