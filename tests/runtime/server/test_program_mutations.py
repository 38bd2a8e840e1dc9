"""Programs changed at random: each is refused or run, never a 5xx, and nothing of it stays."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.runtime.server.test_programs import ROUTE, branching, graph_of, scoped
from tests.runtime.serving import InProcess

Path = tuple[Any, ...]
ODD: list[Any] = [
    None, True, 0, 1, -1, 3, 2**63, -(2**70), 0.5, 1e308, "", "x", "\x00", "=a", ".__class__",
    "a" * 3000,
    "9999999999d", "x:²", "builtins:int", "os:system", [], [[]], [0], [1, 1], ["x"], {}, {"": ""},
    {"type": "slot", "value": 0}, {"type": "slot", "argument": "number", "path": ["=x"]},
    {"type": "constant", "data": [1]}, {"type": "items", "kind": "list", "items": []},
    {"op": "gen", "stream": 0, "where": "x:1", "value": 50}, {"max_tokens": None},
    {"stop_regex": ["("]},
    "concate_and_append", "assistant",
]  # fmt: skip


def paths(found: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(found, dict | list):
        for key, child in found.items() if isinstance(found, dict) else enumerate(found):
            yield from paths(child, (*path, key))


def at(found: Any, path: Path) -> Any:
    for key in path:
        found = found[key]
    return found


def mutated(graph: Any, rng: random.Random) -> Any:
    graph = copy.deepcopy(graph)
    for _ in range(rng.choice([1, 1, 2, 3])):
        known = [path for path in paths(graph) if path]
        path = rng.choice(known)
        parent, how = at(graph, path[:-1]), rng.random()
        if how < 0.5:
            parent[path[-1]] = copy.deepcopy(rng.choice(ODD))
        elif how < 0.65:
            del parent[path[-1]]
        elif how < 0.85:
            parent[path[-1]] = copy.deepcopy(at(graph, rng.choice(known)))
        elif isinstance(parent, list):
            parent.insert(0, copy.deepcopy(parent[path[-1]]))
    return graph


@pytest.mark.parametrize("seed", range(4))
def test_mutated_programs(sprig: InProcess, seed: int) -> None:
    rng = random.Random(seed)
    program, arguments = rng.choice(
        [(branching, {"number": 1}), (scoped, {"words": ["a"], "deep": {"a": [1, "b"]}})]
    )
    graph = graph_of(program)
    for number in range(40):
        body = {
            "program": mutated(graph, rng),
            "arguments": arguments,
            "sampling_params": {"max_tokens": 4},
            "stream": number % 3 == 0,
            "deadline": 10.0,
        }
        answer = sprig.post(ROUTE, body)
        assert answer.status_code in (200, 400), (answer.text, json.dumps(body)[:2000])
        assert "internal_error" not in answer.text, (answer.text, json.dumps(body)[:2000])
    assert sprig.left_over() == (0, 0, 0)
    assert sprig.engine.stats()["pinned_slots"] == 0
