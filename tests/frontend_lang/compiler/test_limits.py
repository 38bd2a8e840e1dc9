"""A program that a stranger wrote is refused, by its line and in bounded time, before it runs."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import espalier as esp
from espalier.errors import EspalierError, InvalidRequestError, NotSupportedError
from espalier.frontend_lang.compiler import ir
from espalier.frontend_lang.compiler.hosted import weight
from espalier.frontend_lang.compiler.limits import ProgramLimits, cost, limited

Graph = dict[str, Any]
LIMITS = ProgramLimits()


@esp.function
def program(s: Any, who: str = "Ida") -> Any:
    s += f"Hi {who}" + esp.gen("x", max_tokens=4)
    forks = s.fork(2)
    for fork in forks:
        fork += f"{s['x']}" + esp.gen("y", max_tokens=4, n=3)
    forks.join()
    s += esp.select("z", ["a", "b"])
    if s["z"] == "a":
        s += "A" + esp.gen("last", max_tokens=100)
    return s["z"]


@pytest.fixture(scope="module")
def good() -> Graph:
    graph: Graph = json.loads(program.compile().to_json())
    return graph


def say(*pieces: Any, **more: Any) -> Graph:
    return {"op": "say", "stream": 0, "where": "file.py:9", "pieces": [*pieces], **more}


def gen(value: int, **more: Any) -> Graph:
    return {"op": "gen", "stream": 0, "where": "file.py:9", "value": value, **more}


def slot(value: int, **more: Any) -> Graph:
    return {"type": "slot", "value": value, **more}


def fork(*branches: int, stream: int = 0) -> Graph:
    return {"op": "fork", "stream": stream, "where": "file.py:9", "branches": [*branches]}


def join(*branches: int, **more: Any) -> Graph:
    given = {"op": "join", "stream": 0, "where": "file.py:9", "branches": [*branches]}
    return given | more


def ops(*added: Graph) -> Callable[[Graph], None]:
    def put(graph: Graph) -> None:
        graph["block"]["ops"][:0] = copy.deepcopy([*added])

    return put


def switches(depth: int, ways: int) -> Callable[[Graph], None]:
    def put(graph: Graph) -> None:
        block: Graph = {"ops": [gen(99, type="builtins:bool")]}
        for _ in range(depth):
            cases = [{"values": [True], "block": copy.deepcopy(block)} for _ in range(ways)]
            block = {"ops": [gen(99)], "switch": {"slot": slot(99), "where": "x", "cases": cases}}
        graph["block"] = block

    return put


APPEND = {"mode": "concate_and_append"}
HOSTILE: dict[str, tuple[Callable[[Graph], None], str]] = {
    "code": (
        ops({"op": "call", "stream": 0, "where": "file.py:9", "value": 90,
             "function": "os:system", "arguments": [{"type": "constant", "data": "true"}]}),
        "os:system is Python code",
    ),
    "a type that is used": (
        ops(gen(90, name="p", type="this_module:Thing"), say(slot(90))),
        "a value whose type only its author has",
    ),
    "an item of such a type": (
        ops(gen(90, type="antigravity:x"), say(slot(90, path=["=name"]))), "only its author has",
    ),
    "a joined list of such a type": (
        ops(fork(90), gen(90, type="a:B", name="p", stream=90), join(90, names={"p": 91}),
            say(slot(91))),
        "only its author has",
    ),
    "an attribute": (
        ops(gen(90), say(slot(90, path=[".__class__", ".__mro__"]))), "attribute",
    ),
    "an attribute of an argument": (
        ops(say({"type": "slot", "argument": "who", "path": [".__init__"]})), "attribute",
    ),
    "a width": (ops(gen(90), say(slot(90, spec=">9999999999"))), "widths up to"),
    "a width in other digits": (ops(gen(90), say(slot(90, spec=">٩٩٩٩٩٩"))), "widths up to"),
    "a value of itself": (ops(gen(90), gen(90)), "a value that is new"),
    "a later value": (ops(say(slot(90)), gen(90)), "a value that is there"),
    "a stream of itself": (ops(fork(0)), "streams that are new"),
    "a stream twice": (ops(fork(90, 90)), "each once"),
    "another's branch": (ops(fork(90), fork(91, stream=90), join(91)), "that this one forked"),
    "a branch twice": (ops(fork(90), join(90, 90)), "that this one forked"),
    "a text appended twice": (ops(fork(90), join(90, **APPEND), join(90, **APPEND)), "once"),
    "too many streams": (ops(fork(*range(90, 400))), "at most 256 streams"),
    "too many ops": (ops(*[say("x")] * 4500), "at most 4,096 ops"),
    "too many ways": (switches(9, 2), "at most 4,096 ops"),
    "too many values": (ops(say(*["x"] * 60_000)), "at most 50,000 values"),
    "open scopes": (
        ops(*({"op": "scope", "stream": 0, "where": "x", "name": f"s{n}"} for n in range(65))),
        "at most 64 open scopes",
    ),
    "a join of many names": (
        ops(fork(*range(90, 300)), join(*range(90, 300), names={f"n{i}": 1000 + i
                                                               for i in range(400)})),
        "that a join gathers",
    ),
    "a long name": (ops(gen(90, name="n" * 300)), "1 to 200 printable"),
    "a name of controls": (ops(gen(90, name="a\nb")), "1 to 200 printable"),
    "a mark that never ends": (
        ops(gen(90, name="r", reasoning={"value": 91, "start": "", "end": "x"})), "not empty",
    ),
    "a long mark": (
        ops(gen(90, name="r", reasoning={"value": 91, "start": "<" * 99, "end": "x"})),
        "at most 64",
    ),
    "reasoning of nothing": (
        ops(gen(90, reasoning={"value": 91, "start": "<", "end": "x"})), "a name",
    ),
    "an unknown field of a call": (ops(gen(90, params={"max_tokns": 3})), "max_tokns"),
    "a wrong field of a call": (ops(gen(90, params={"top_p": 9})), "top_p"),
    "log probabilities of prompts": (ops(gen(90, params={"prompt_logprobs": 1})), "are not told"),
    "a stop that is no regex": (ops(gen(90, params={"stop_regex": [1]})), "stop_regex"),
    "an unknown op": (ops({"op": "exec", "stream": 0, "where": "x", "code": "1"}), "exec"),
    "a grammar of no kind": (ops(gen(90, grammar={"kind": "python", "source": "1"})), "python"),
    "an unhashable key": (
        ops({"op": "set", "stream": 0, "where": "x", "name": "t", "value": 90,
             "data": {"type": "table", "keys": [[]], "items": [{"type": "constant"}]}}),
        "a dict's keys",
    ),
    "a dict of too few": (
        ops({"op": "set", "stream": 0, "where": "x", "name": "t", "value": 90,
             "data": {"type": "table", "keys": ["a", "b"], "items": [{"type": "constant"}]}}),
        "a value for each",
    ),
    "a parameter that is none": (
        lambda g: g["parameters"].append({"name": "not a name"}), "not a valid parameter name",
    ),
    "a version": (lambda g: g.update(version=2), "of version 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_are_refused(good: Graph, name: str) -> None:
    change, message = HOSTILE[name]
    graph = copy.deepcopy(good)
    change(graph)
    before = set(sys.modules)
    began = time.thread_time()
    with pytest.raises(EspalierError, match=message) as caught:
        esp.CompiledProgram.from_json(
            json.dumps(graph), names={}
        ) if name == "a parameter that is none" else limited(graph, LIMITS)
    assert time.thread_time() - began < 0.5
    assert isinstance(caught.value, InvalidRequestError | NotSupportedError)
    assert "antigravity" not in set(sys.modules) - before


def test_a_good_one_is_the_graph_that_it_was(good: Graph) -> None:
    graph = limited(good, LIMITS)
    assert graph == program.compile().ir == ir.convert(good)
    found = cost(graph, {}, 2048)
    assert found.tokens == 4 + 2 * 3 * 4 + 100
    assert found.at_once == 2 + 3 + 3
    assert cost(graph, {"max_tokens": 7, "n": 2}, 2048).tokens == 8 + 24 + 200
    endless = copy.deepcopy(good)
    ops(gen(90, params={"max_tokens": None}))(endless)
    assert cost(limited(endless, LIMITS), {}, 2048).tokens == found.tokens + 2048


def test_a_typed_value_that_nobody_uses_stands_as_its_text(good: Graph) -> None:
    graph = copy.deepcopy(good)
    ops(gen(90, name="p", type="antigravity:Thing"))(graph)
    limited(graph, LIMITS)
    assert "antigravity" not in sys.modules


def test_the_weight_of_a_value() -> None:
    assert weight("abc", 100) == 5
    assert weight({"a": [1, None, 2.5, True]}, 10_000) < 250
    shared: list[Any] = ["x"]
    for _ in range(50):  # 2**50 of them, were it written out
        shared = [shared, shared]
    began = time.thread_time()
    assert weight(shared, 10_000) > 10_000
    assert time.thread_time() - began < 0.2
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InvalidRequestError, match="too deep"):
        weight(deep, 10_000)
    assert weight(10**5000, 100_000) > 5000
