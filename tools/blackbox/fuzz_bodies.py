"""Bodies that Sprig's server takes: it refuses nearly all that is made of its schema alone.

Hardly any random body names the one model there is, asks for few tokens and for one grammar: the
first field that is wrong ends a request. So most bodies are made of parts that go together, with a
field or two of a random one in them.
"""

from __future__ import annotations

import random
from typing import Any

from . import fuzz_programs

_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 5}, "n": {"type": "integer"}},
    "required": ["city"],
}
_TOOL = {"type": "function", "function": {"name": "weather", "parameters": _SCHEMA}}
_CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
_TEXTS = ("Hello!", "What is 37 + 48?", "é🙂\x00", " ", "<|end|>", "a " * 40)
_MESSAGES: list[list[dict[str, Any]]] = [
    *([{"role": "user", "content": text}] for text in _TEXTS),
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}],
    [{"role": "user", "content": [{"type": "text", "text": "Hello!"}]}],
    [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ],
]
_STRUCTURED: list[dict[str, Any]] = [
    {"regex": "[ab]{1,4}"},
    {"choice": ["yes", "no"]},
    {"guided_regex": "x|y"},
    {"guided_json": _SCHEMA},
    {"json_schema": {"type": "integer"}},
    {"ebnf": 'root ::= "a" root | "b"'},
    {"structured_outputs": {"json_object": True}},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": _SCHEMA}}},
]
_SAMPLING: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 1.7, "top_p": 0.9, "top_k": 7, "min_p": 0.01},
    {"presence_penalty": 1, "frequency_penalty": -1.5, "repetition_penalty": 1.3},
    {"logit_bias": {"5": 3, "6": -100}},
    {"stop": ["e", " "]},
    {"stop": "a"},
    {"stop_token_ids": [5, 6]},
    {"stop_regex": "[0-9]"},
    {"ignore_eos": True},
    {"deterministic": True},
    {"n": 3},
    {},
]
_SEED = [{"seed": 7}, {"seed": 2**63 - 1}]
_CALLER: list[dict[str, Any]] = [
    {"model": "sprig"},
    {"priority": -3},
    {"deadline": 0.01},
    {"deadline": 60.0},
    {"cache_salt": "s"},
    {},
]
_OPENAI: list[dict[str, Any]] = [
    {"user": "u"},
    {"min_tokens": 2},
    {"request_id": "r"},
]
_STREAM: list[dict[str, Any]] = [
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    {"stream": False},
    {"prompt_logprobs": 1},
    {},
]

Parts = list[list[dict[str, Any]]]
PARTS: dict[str, Parts] = {
    "/v1/chat/completions": [
        [{"messages": messages} for messages in _MESSAGES],
        [{"max_tokens": 5}, {"max_completion_tokens": 5}],
        _SAMPLING + _OPENAI + _SEED,
        [*_STRUCTURED, {}, {}, {}, {}],
        _CALLER,
        _STREAM,
        [
            {"logprobs": True},
            {"logprobs": True, "top_logprobs": 3},
            {"tools": [_TOOL]},
            {"tools": [_TOOL], "tool_choice": "required", "parallel_tool_calls": False},
            {"tools": [_TOOL], "tool_choice": "none"},
            {"tools": [_TOOL], "tool_choice": _TOOL | {"function": {"name": "weather"}}},
            {"separate_reasoning": False},
            {},
        ],
    ],
    "/v1/completions": [
        [
            *({"prompt": text} for text in _TEXTS),
            {"prompt": ["a", "b c"]},
            {"prompt": [3, 4, 5]},
            {"prompt": [[3], [4, 5]]},
        ],
        [{"max_tokens": 5}, {"max_tokens": 1}],
        _SAMPLING + _OPENAI + _SEED,
        [*_STRUCTURED, {}, {}, {}, {}],
        _CALLER,
        [*_STREAM, {"best_of": 3}],
        [{"logprobs": 0}, {"logprobs": 2}, {"echo": True}, {"echo": True, "logprobs": 1}, {}],
    ],
    "/generate": [
        [
            *({"text": text} for text in _TEXTS),
            {"text": ["a", "b c"]},
            {"input_ids": [3, 4, 5]},
            {"input_ids": [[3], [4, 5]]},
        ],
        [
            {"sampling_params": {"max_new_tokens": 4, **sampling, **structured}}
            for sampling in [*_SAMPLING, {"sampling_seed": 7}, {"min_new_tokens": 2}]
            for structured in [{}, *_STRUCTURED[:6]]
        ],
        _CALLER,
        [
            {"return_logprob": True},
            {"return_logprob": True, "top_logprobs_num": 2, "return_text_in_logprobs": True},
            {"rid": "r"},
            {},
        ],
        [
            {"stream": True},
            {"stream": True},
            {"return_logprob": True, "logprob_start_len": 0},
            {},
        ],
    ],
    "/v1/embeddings": [
        [
            *({"input": text} for text in _TEXTS),
            {"input": ["a", "b c"]},
            {"input": [3, 4, 5]},
            {"input": [[3], [4, 5]]},
        ],
        [{"encoding_format": "float"}, {"encoding_format": "base64"}, {}],
        [{"pooling": "last"}, {"pooling": "mean", "normalize": True}, {}],
        _CALLER,
        [{"user": "u"}, {"dimensions": None}, {}],
    ],
    "/tokenize": [
        [
            *({"prompt": text} for text in _TEXTS),
            *({"content": text, "with_pieces": True} for text in _TEXTS),
            *({"messages": messages} for messages in _MESSAGES),
            {"messages": _MESSAGES[0], "tools": [_TOOL], "add_generation_prompt": False},
        ],
        [{"add_special_tokens": True}, {"add_special_tokens": False}, {}],
        [{"return_token_strs": True}, {"model": "sprig"}, {}],
    ],
    "/detokenize": [
        [{"tokens": tokens} for tokens in ([], [3], [5, 6, 7], [0, 1, 2], [900] * 20)],
        [{"skip_special_tokens": True}, {"skip_special_tokens": False}, {}],
        [{"model": "sprig"}, {}],
    ],
    "/cache/explain": [
        [*({"prompt": text} for text in _TEXTS), {"prompt": [3, 4, 5]}],
        [{"cache_salt": "s"}, {}],
    ],
    "/grammar/check": [[*_STRUCTURED, {"regex": "("}, {"structural_tag": "{}"}]],
    "/abort_request": [[{"rid": "r"}, {"abort_all": True}]],
    "/v1/programs": fuzz_programs.PARTS,
}


def near(path: str, body: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A body made of parts that go together; unless `body` is empty, one time in three with some
    fields of it, and a program one time in three with something wrong about it."""
    made: dict[str, Any] = {}
    for parts in PARTS[path]:
        made |= rng.choice(parts)
    if body and "program" in made and rng.random() < 1 / 3:
        made |= fuzz_programs.wrong(made, rng)
    if body and rng.random() < 1 / 3:
        for name in rng.sample(sorted(body), min(len(body), rng.choice((1, 1, 2)))):
            made[name] = body[name]
    return made
