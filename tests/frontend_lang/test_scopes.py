"""Scopes of a state: priority, and a prefix that stays in the cache; structural tags of a gen."""

from __future__ import annotations

from typing import Any

import pytest

import espalier as esp
from espalier.errors import InvalidRequestError, NotSupportedError
from espalier.frontend_lang.backends.base import Call, Scoring
from tests.frontend_lang.test_holds import PREFIX

State = Any


class Noting(esp.Scripted):
    """Notes the priority of each call."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.priorities: dict[str | None, int] = {}

    async def generate(self, call: Call) -> Any:
        self.priorities[call.name] = call.priority
        return await super().generate(call)

    async def score(self, scoring: Scoring) -> Any:
        self.priorities[scoring.name] = scoring.priority
        return await super().score(scoring)


def test_priority() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("before")
        with s.priority(5):
            s += esp.gen("inside")
            [branch] = s.fork()
            branch += esp.gen("branch")
            with s.priority(-1):
                s += esp.select("lower", ["x", "y"])
            s += esp.gen("again")
        s += esp.gen("behind")
        with pytest.raises(InvalidRequestError, match="priority"), s.priority("high"):
            pass

    backend = Noting({"lower": "x"}, default="a")
    body.run(backend=backend, priority=2).sync()
    assert backend.priorities == {
        "before": 2, "inside": 5, "branch": 5, "lower": -1, "again": 5, "behind": 2,
    }  # fmt: skip

    @esp.function
    async def awaited(s: esp.AsyncState) -> None:
        s += "a"
        with s.priority(7):
            await s.gen("inside")

    awaited.run(backend=backend)
    assert backend.priorities["inside"] == 7


def test_a_pin() -> None:
    backend = esp.Scripted(default="a")

    @esp.function
    def body(s: State) -> None:
        with pytest.raises(InvalidRequestError, match="said before"):
            s.pin()
        s += "a prefix"
        with s.pin(ttl=60) as pin:
            assert backend.pins == {1: s.token_ids()}
            assert pin.tokens == len(s.token_ids())
            s += esp.gen("x")
        assert backend.pins == {}
        pin.release()
        s.pin()

    body.run(backend=backend)
    assert backend.pins == {}  # none of a run without a ttl outlives it

    @esp.function
    async def awaited(s: esp.AsyncState) -> None:
        s += "a prefix"
        with await s.pin():
            await s.gen("x")

    awaited.run(backend=backend)
    with pytest.raises(NotSupportedError, match="deterministic"):
        body.run(backend=backend, deterministic=True)


def test_a_pinned_prefix_survives_other_traffic(tiny: tuple[Any, Any]) -> None:
    @esp.function
    def reader(s: State) -> None:
        s += PREFIX
        if s.seed == 1:
            s.pin(ttl=600)
        s += esp.gen("x", 2, ignore_eos=True)

    @esp.function
    def other(s: State, number: int) -> None:
        s += f"{number} " * 40 + esp.gen("x", 2)

    with esp.Engine(str(tiny[0]), inline=True, max_total_tokens=400) as engine:
        for seed in (1, 2):
            reader.run(backend=engine, seed=seed)
            other.run_batch([{"number": n} for n in range(30)], backend=engine, num_threads=1)
        state = reader.run(backend=engine, seed=3)
        assert state.get_meta_info("x")["cached_tokens"] > len(state.token_ids()) - 8
        engine.check_invariants()


TAGS = {
    "tags": [{"begin": "<n>", "end": "</n>", "schema": {"type": "integer"}}],
    "triggers": ["<n>"],
}


def test_structural_tags() -> None:
    @esp.function
    def body(s: State, given: Any) -> None:
        s += "go: " + esp.gen("x", structural_tag=given)

    good = esp.Scripted("free <n>12</n> free")
    assert body.run(given=TAGS, backend=good)["x"] == "free <n>12</n> free"
    wire = {"type": "structural_tag", "structures": TAGS["tags"], "triggers": ["<n>"]}
    assert body.run(given=wire, backend=good)["x"] == "free <n>12</n> free"
    once = {**TAGS, "at_least_one": True}
    for given, text in ((TAGS, "<n>twelve</n>"), (once, "free")):
        with pytest.raises(esp.ProgramError, match="does not match"):
            body.run(given=given, backend=esp.Scripted(text))["x"]
    for given in (
        3,
        {"tags": []},
        {"triggers": ["<n>"]},
        {**TAGS, "other": 1},
        {**TAGS, "triggers": ["<m>"]},
    ):
        with pytest.raises((InvalidRequestError, esp.GrammarError)):
            esp.gen("x", structural_tag=given)


def add(a: int, b: int) -> int:
    return a + b


def test_what_is_not_compiled() -> None:
    def tooled(s: State) -> None:
        s += "a" + esp.gen("x", tools=[add])

    def pinned(s: State) -> None:
        s += "a"
        s.pin()

    for body in (tooled, pinned):
        with pytest.raises(esp.EspalierError, match="cannot be compiled"):
            esp.function(body).compile()
