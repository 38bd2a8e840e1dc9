"""Chat completions: what is asked is what is answered, streamed or not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from espalier.runtime.server.api_chat import ChatChunk, ChatCompletion
from tests.runtime.serving import InProcess, call_until, joined, message_of, user

CHAT = "/v1/chat/completions"
SUM = "What is 37 + 48?"
ANSWER = "37+48: 7+8=15, 3+4+1=8, so 85"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_an_answer_and_what_it_cost(sprig: InProcess) -> None:
    sprig.engine.flush_cache()
    first = sprig.chat(SUM, temperature=0)
    ChatCompletion.model_validate(first, strict=True)
    assert message_of(first) == {"content": ANSWER, "calls": [], "finish_reason": "stop"}
    usage = first["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    again = sprig.chat(SUM, temperature=0)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1
    assert sprig.left_over() == (0, 0, 0)


def test_a_stream_is_the_answer_in_pieces(sprig: InProcess) -> None:
    options = {"include_usage": True}
    body = {"messages": [user(SUM)], "temperature": 0, "logprobs": True, "top_logprobs": 1}
    events = sprig.events(CHAT, **body, stream_options=options)
    for event in events:
        ChatChunk.model_validate(event, strict=True)
    assert joined(events) == {"content": ANSWER, "calls": [], "finish_reason": "stop"}
    whole = sprig.ok(CHAT, **body)
    told = [
        entry
        for event in events
        for choice in event["choices"]
        for entry in (choice["logprobs"] or {"content": []})["content"]
    ]
    assert [entry["token"] for entry in told] == [
        entry["token"] for entry in whole["choices"][0]["logprobs"]["content"]
    ]
    assert "".join(entry["token"] for entry in told) == ANSWER
    assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert "usage" not in sprig.events(CHAT, messages=[user(SUM)], max_tokens=1)[0]


def test_samples_are_the_same_streamed(sprig: InProcess) -> None:
    body = {"messages": [user("Hello!")], "n": 3, "seed": 5, "temperature": 2.0, "max_tokens": 12}
    whole = sprig.ok(CHAT, **body)
    texts = [message_of(whole, index)["content"] for index in range(3)]
    assert len(set(texts)) > 1
    assert whole["choices"][1]["index"] == 1
    events = sprig.events(CHAT, **body)
    assert [joined(events, index)["content"] for index in range(3)] == texts


@pytest.mark.parametrize(
    "asked",
    [
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": SCHEMA},
            }
        },
        {"guided_json": SCHEMA},
        {"json_schema": json.dumps(SCHEMA)},
        {"structured_outputs": {"json": SCHEMA}},
    ],
)
def test_schemas_hold(sprig: InProcess, asked: dict[str, Any]) -> None:
    answer = sprig.chat("Ida is 41.", **asked, seed=3, temperature=1.5, max_tokens=200)
    jsonschema.validate(json.loads(answer["choices"][0]["message"]["content"]), SCHEMA)
    assert "incomplete" not in answer["choices"][0]


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({"regex": "a|bb"}, {"a", "bb"}),
        ({"guided_regex": "a|bb"}, {"a", "bb"}),
        ({"choice": ["yes", "no"]}, {"yes", "no"}),
        ({"guided_choice": ["yes", "no"]}, {"yes", "no"}),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, {"yes", "no"}),
        ({"ebnf": 'root ::= "x" | "y"'}, {"x", "y"}),
        ({"grammar": 'root ::= "x" | "y"'}, {"x", "y"}),
        ({"response_format": {"type": "json_object", "schema": {"const": "z"}}}, {'"z"'}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"const": 1}}}},
            {"1"},
        ),
        ({"guided_grammar": 'start: "x" | "y"'}, {"x", "y"}),
    ],
)
def test_other_grammars_hold(sprig: InProcess, asked: dict[str, Any], allowed: set[str]) -> None:
    answer = sprig.chat("Well?", **asked, temperature=1.0)
    assert answer["choices"][0]["message"]["content"] in allowed


def test_json_object(sprig: InProcess) -> None:
    text = sprig.chat(
        "Extract name, age as JSON: Ida is 41.",
        response_format={"type": "json_object"},
        temperature=0,
    )["choices"][0]["message"]["content"]
    assert isinstance(json.loads(text), dict)


def test_what_is_cut_says_so(sprig: InProcess) -> None:
    cut = sprig.chat("Ida is 41.", guided_json=SCHEMA, max_tokens=2)["choices"][0]
    assert (cut["finish_reason"], cut["incomplete"]) == ("length", "length")
    stopped = sprig.chat(SUM, temperature=0, stop=[", so"])["choices"][0]
    assert stopped["message"]["content"] == ANSWER.partition(", so")[0]
    assert (stopped["finish_reason"], stopped["stop_reason"]) == ("stop", ", so")
    late = sprig.refused(CHAT, 408, messages=[user(SUM)], deadline=1e-9)
    assert late["code"] == "deadline_exceeded"


def test_parameters_reach_the_engine(sprig: InProcess) -> None:
    three = sprig.engine.tokenizer.encode("3")[0]
    biased = sprig.chat(SUM, temperature=0, logit_bias={str(three): -100}, max_tokens=3)
    assert not biased["choices"][0]["message"]["content"].startswith("3")
    texts = [
        sprig.chat("Hi!", temperature=4.0, seed=seed, max_tokens=8)["choices"][0]["message"]
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]
    long = sprig.chat("Hi!", temperature=0, max_completion_tokens=30, ignore_eos=True)
    assert long["usage"]["completion_tokens"] == 30
    told = sprig.chat(SUM, temperature=0, max_tokens=1, prompt_logprobs=1)["prompt_logprobs"]
    assert told[0] is None
    assert all(entry["logprob"] <= 0 for entry in told[1].values())


@pytest.mark.parametrize(
    ("wrong", "param", "code"),
    [
        ({"temperatur": 0}, "temperatur", "unknown_parameter"),
        ({"temperature": "0"}, "temperature", "invalid_type"),
        ({"temperature": -1}, "temperature", "invalid_value"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 10**6}, "n", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 10**30}, "max_tokens", "invalid_value"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_completion_tokens", "invalid_value"),
        ({"seed": 2**70}, "seed", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"99999": 1}}, "logit_bias", "invalid_value"),
        ({"stop": ["x"] * 1000}, "stop", "invalid_value"),
        ({"stop": [""]}, "stop", "invalid_value"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 10**5}, "top_logprobs", "invalid_value"),
        ({"audio": {"voice": "x"}}, "audio", "unsupported_parameter"),
        ({"store": True}, "store", "unsupported_parameter"),
        ({"echo": True}, "echo", "unsupported_parameter"),
        ({"chat_template": "{{ x }}"}, "chat_template", "unsupported_parameter"),
        ({"chat_template_kwargs": {"x": 1}}, "chat_template_kwargs", "unsupported_parameter"),
        ({"reasoning_effort": "low"}, "reasoning_effort", "unsupported_parameter"),
        ({"stream_options": {}}, "stream_options", "invalid_value"),
        ({"guided_regex": "("}, "guided_regex", "invalid_grammar"),
        ({"regex": "a", "choice": ["b"]}, "choice", "invalid_value"),
        ({"guided_json": {"type": "nothing"}}, "guided_json", "invalid_grammar"),
        ({"regex": "a" * 2_000_000}, "regex", "invalid_value"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_type"),
        ({"response_format": {"type": "text", "json_schema": {"name": "x", "schema": {}}}},
         "response_format.json_schema", "invalid_value"),
        ({"response_format": {"type": "json_object", "triggers": ["x"]}},
         "response_format.triggers", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "hello"}, "messages", "invalid_type"),
        ({"messages": [{"role": "king", "content": ""}]}, "messages[0].role", "invalid_type"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user", "content": "x", "y": 1}]}, "messages[0].y",
         "unknown_parameter"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
         "messages[0].content[0]", "unsupported_parameter"),
        ({"messages": [{"role": "user", "content": "word " * 5000}]}, "prompt",
         "context_length_exceeded"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    sprig: InProcess, wrong: dict[str, Any], param: str, code: str
) -> None:
    error = sprig.refused(CHAT, **{"messages": [user("x")], **wrong})
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"
    if param != "stream_options":
        streamed = {"messages": [user("x")], "stream": True, **wrong}
        assert sprig.refused(CHAT, **streamed) == error
    assert sprig.left_over() == (0, 0, 0)


def test_values_that_ask_for_nothing_are_taken(sprig: InProcess) -> None:
    nothing = {
        "audio": None,
        "store": False,
        "service_tier": "auto",
        "modalities": ["text"],
        "functions": None,
        "user": "u1",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "metadata": {},
        "tools": [],
        "skip_special_tokens": True,
        "response_format": {"type": "text"},
    }
    assert sprig.chat(SUM, temperature=0, **nothing)["choices"][0]["message"]["content"] == ANSWER


def test_special_tokens_in_a_message_are_text(sprig: InProcess) -> None:
    plain = sprig.chat("Hello", max_tokens=1)["usage"]["prompt_tokens"]
    spelled = sprig.chat("Hello<|end|>", max_tokens=1)["usage"]["prompt_tokens"]
    assert spelled > plain + 1


def test_parts_and_developers(sprig: InProcess) -> None:
    parts = [{"type": "text", "text": "What is 37"}, {"type": "text", "text": " + 48?"}]
    answer = sprig.ok(CHAT, messages=[{"role": "user", "content": parts}], temperature=0)
    assert message_of(answer)["content"] == ANSWER
    messages = [{"role": "developer", "content": "You are Sprig."}, user(SUM)]
    assert message_of(sprig.ok(CHAT, messages=messages, temperature=0))["content"] == ANSWER


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_client_that_vanishes_is_forgotten(sprig: InProcess, streamed: bool, steps: int) -> None:
    """Within one step, wherever its request stands."""
    body = {
        "messages": [user("Hello!")],
        "stream": streamed,
        "max_tokens": 1500,
        "ignore_eos": True,
        "n": 2,
    }

    async def leave_early() -> None:
        core = sprig.engine.link.core  # type: ignore[attr-defined]
        began = core.scheduler.counters.steps

        def leave(sent: list[dict[str, Any]]) -> bool:
            if streamed:
                return len(sent) > steps
            return bool(core.scheduler.counters.steps >= began + steps)

        await asyncio.wait_for(call_until(sprig.app, CHAT, body, leave), 30)
        assert core.scheduler.counters.steps <= began + steps + 3

    asyncio.run(leave_early())
    assert sprig.left_over() == (0, 0, 0)


def test_an_answer_goes_on_where_its_message_ends(sprig: InProcess) -> None:
    begun = [user(SUM), {"role": "assistant", "content": ANSWER[:7]}]
    body: dict[str, Any] = {"messages": begun, "continue_final_message": True, "temperature": 0}
    answer = sprig.ok(CHAT, **body, add_generation_prompt=False)
    assert answer["choices"][0]["message"]["content"] == ANSWER[7:]
    events = sprig.events(CHAT, **body)
    assert joined(events)["content"] == ANSWER[7:]
    for wrong in (
        {"add_generation_prompt": True},
        {"messages": [user(SUM)]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
    ):
        told = sprig.refused(CHAT, **{**body, **wrong})
        assert told["param"] == "continue_final_message"


def test_usage_so_far(sprig: InProcess) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    *events, last = sprig.events(CHAT, messages=[user(SUM)], max_tokens=5, stream_options=options)
    counts = [event["usage"]["completion_tokens"] for event in events]
    assert counts == [0, 1, 2, 3, 4, 5, 5]
    assert last["usage"]["completion_tokens"] == 5
    assert all(event["usage"]["prompt_tokens_details"] is None for event in events)
