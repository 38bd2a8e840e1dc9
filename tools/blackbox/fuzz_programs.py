"""Bodies of /v1/programs: programs as `save` writes them, and some that are none.

A program made of its schema alone is `{}` or a dict of anything. Those that are right say all that
a graph can: text, values, roles, gens of every kind, selects, scopes, forks and both ways to join,
switches, values set by hand. The wrong ones are right but for one thing each.
"""

from __future__ import annotations

import copy
import random
from typing import Any

_Made = dict[str, Any]
_AT = "program.py:1"
_VALUE = {"type": "slot", "value": 0}
_ARGUMENT = {"type": "slot", "argument": "text"}


def _op(kind: str, stream: int = 0, **fields: Any) -> _Made:
    return {"op": kind, "stream": stream, "where": _AT, **fields}


def _say(*pieces: Any, stream: int = 0) -> _Made:
    return _op("say", stream, pieces=list(pieces))


def _gen(value: int, stream: int = 0, **fields: Any) -> _Made:
    params = {"max_tokens": 3, **fields.pop("params", {})}
    return _op("gen", stream, value=value, params=params, **fields)


def _turn(role: str, *ops: _Made) -> list[_Made]:
    return [_op("role", role=role, opens=True), *ops, _op("role", role=role, opens=False)]


def _program(
    *ops: _Made, returns: Any = None, switch: Any = None, parameters: Any = (), **fields: Any
) -> _Made:
    block = {"ops": list(ops), "returns": returns or {"type": "constant", "data": None}}
    if switch is not None:
        block["switch"] = switch
    return {
        "format": "espalier-program", "version": 1, "name": "p", "where": _AT,
        "parameters": list(parameters), "block": block, **fields,
    }  # fmt: skip


def _case(value: Any, *ops: _Made) -> _Made:
    return {"values": [value], "block": {"ops": list(ops), "returns": _VALUE}}


def _grammar(kind: str, source: str) -> _Made:
    return {"kind": kind, "source": source}


_SELECT = _op("select", value=0, choices=[["yes"], ["no", _ARGUMENT]], name="good")
_TEXT = [{"name": "text"}]
_NUMBER = _gen(0, name="n", type="builtins:int", grammar=_grammar("regex", "[0-9]{2}"))

# Each with what a run of it takes.
RIGHT: list[_Made] = [
    {"program": _program(_say("Hello"), _gen(0), returns=_VALUE)},
    {"program": _program()},
    {
        "program": _program(
            *_turn("user", _say("What is ", _ARGUMENT, "?")),
            *_turn("assistant", _gen(0, name="x", params={"n": 2, "temperature": 1.0})),
            parameters=_TEXT,
        ),
        "arguments": {"text": "é🙂\x00"},
    },
    {
        "program": _program(
            *_turn("user", _say(_ARGUMENT)),
            *_turn(
                "assistant", _gen(0, name="x", reasoning={"value": 1, "start": "a", "end": "e"})
            ),
            parameters=[{"name": "text", "optional": True, "default": "Hello!"}],
        )
    },
    {
        "program": _program(
            _op("scope", name="all"),
            _say("a"),
            _gen(0, name="x", params={"stop": ["e"], "logprobs": 2, "seed": 3}),
            _op("scope", name="all", value=1),
            _op("fork", branches=[1, 2]),
            _say(" ", {"type": "slot", "value": 1, "spec": ">9"}, stream=1),
            _gen(2, 1, name="y", params={"logit_bias": {"5": 2.0, "6": None}}),
            _gen(3, 2, name="y"),
            _op("join", branches=[1, 2], names={"y": 4}),
            _say({"type": "slot", "value": 0, "meta": True, "path": ["=completion_tokens"]}),
            returns={"type": "slot", "value": 4, "path": [1]},
        )
    },
    {
        "program": _program(
            _say("Is it?"),
            _SELECT,
            switch={
                "slot": _VALUE,
                "where": _AT,
                "cases": [_case("yes", _gen(1)), _case("nox", _say("."))],
            },
            parameters=_TEXT,
        ),
        "arguments": {"text": "x"},
    },
    {
        "program": _program(
            _say("7 + 8 = "),
            _NUMBER,
            _say({"type": "slot", "value": 0, "spec": "05d"}),
            _op(
                "set",
                name="v",
                value=1,
                data={
                    "type": "table",
                    "keys": ["n"],
                    "items": [{"type": "items", "kind": "list", "items": [_VALUE]}],
                },
            ),
            returns={"type": "slot", "value": 1, "path": ["=n", 0]},
        )
    },
    {
        "program": _program(
            _op("fork", branches=[1]),
            _say("a", stream=1),
            _gen(0, 1, grammar=_grammar("json_schema", '{"type": "boolean"}'), priority=2),
            _op("join", branches=[1], mode="concate_and_append", keeps=[0]),
        )
    },
]


def _changed(path: tuple[Any, ...], value: Any, number: int = 0) -> _Made:
    """RIGHT's with another value in one place."""
    made = copy.deepcopy(RIGHT[number])
    parent: Any = made["program"]
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return made


WRONG: list[_Made] = [
    {"program": {}},
    {"program": RIGHT[2]["program"]},  # an argument is missing
    {**RIGHT[0], "arguments": {"who": 1}},
    {**RIGHT[0], "sampling_params": {"max_tokens": 0}},
    {**RIGHT[0], "sampling_params": {"prompt_logprobs": 1}},
    _changed(("version",), 2),
    _changed(("block", "ops", 1, "stream"), 7),
    _changed(("block", "ops", 1, "value"), -1),
    _changed(("block", "ops", 1, "params"), {"temperature": "hot"}),
    _changed(("block", "ops", 1, "op"), "call"),
    _changed(("block", "ops", 0), _op("call", value=1, function="os:system")),
    _changed(("block", "ops", 0, "pieces"), [_VALUE]),  # a value that comes later
    _changed(("block", "ops", 0, "pieces"), [{**_VALUE, "spec": "9999999999d"}]),
    _changed(("block", "ops", 2, "opens"), "perhaps", 2),
    _changed(("block", "ops", 3, "value"), 0, 4),  # a number twice
    _changed(("block", "ops", 4, "branches"), [0, 1], 4),
    _changed(("block", "ops", 8, "branches"), [1, 3], 4),
    _changed(("block", "switch", "cases"), [], 5),
    _changed(("options",), {"max_tokens": 4}),
    _changed(("block", "returns"), {"type": "slot", "value": 1, "path": [".__class__"]}, 6),
]
_OPTIONS: list[_Made] = [
    {"sampling_params": {"max_tokens": 2, "temperature": 0.7, "top_k": 5}},
    {"sampling_params": {"stop": "a", "logit_bias": {"5": 3}, "repetition_penalty": 1.2}},
    {"sampling_params": {"n": 2, "logprobs": 1}},
    {},
    {},
]
PARTS: list[list[_Made]] = [
    RIGHT,
    _OPTIONS,
    [{"model": "sprig"}, {"seed": 7}, {"seed": 2**63 - 1}, {"request_id": "r"}, {}],
    [{"priority": -3}, {"deadline": 0.01}, {"deadline": 60.0}, {"cache_salt": "s"}, {}, {}],
    [{"stream": True}, {"stream": False}, {}],
]
# Whose wrong call fails alone: the run itself is an answer.
FAILING: list[_Made] = [
    _changed(("block", "ops", 1, "grammar"), _grammar("regex", "(")),
    _changed(("block", "ops", 1, "grammar"), _grammar("json_schema", '{"type": "x"}')),
]
_ODD: tuple[Any, ...] = (
    None, True, 0, -1, 3, 2**63, 0.5, "", "\x00", "=a", ".a", "a" * 3000, [], [0], {}, {"": ""},
    _VALUE, _ARGUMENT, "assistant", "espalier:x",
)  # fmt: skip


def wrong(body: _Made, rng: random.Random) -> _Made:
    """One of those that are wrong; or what `body` asks, with something else in one place of its
    program, or without it (which may be right)."""
    if rng.random() < 0.5:
        return copy.deepcopy(rng.choice([*WRONG, *FAILING]))
    made = copy.deepcopy({"program": body["program"]})
    places: list[tuple[Any, Any]] = [(made, "program")]
    for parent, key in places:  # which grows
        inner = parent[key]
        if isinstance(inner, dict | list):
            keys = inner if isinstance(inner, dict) else range(len(inner))
            places += [(inner, each) for each in keys]
    parent, key = rng.choice(places[1:])
    if rng.random() < 0.3:
        del parent[key]
    else:
        parent[key] = copy.deepcopy(rng.choice(_ODD))
    return made
