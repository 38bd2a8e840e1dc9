"""The constant prefix of a compiled batch: what it is, who holds it, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

import espalier as esp
from espalier.benchmarks.programs import Recording
from espalier.frontend_lang.compiler.prefix import constant_tokens
from espalier.frontend_lang.holds import Holds
from espalier.frontend_lang.session import Machine
from espalier.types import Hold, Result

State = Any


@esp.function
def plain(s: State, name: str) -> None:
    s += "Say something nice about "
    s += f"the person {name}:" + esp.gen("x", 4)


@esp.function
def chat(s: State, name: str) -> None:
    s += esp.system("You are kind.")
    s += esp.user(f"Who is {name}?")
    s += esp.assistant(esp.gen("x", 4))


@esp.function
def at_once(s: State, name: str) -> None:
    s += name + ":" + esp.gen("x", 4)


@esp.function
def fixed(s: State) -> None:
    s += "All of it is constant:" + esp.gen("x", 4)
    s += " and more" + esp.gen("y", 4)


@esp.function
def forked(s: State, name: str) -> None:
    s += "Before the fork, "
    for branch in s.fork(2):
        branch += name + esp.gen("x", 4)


def prefix(program: Any) -> tuple[int, list[list[int]]]:
    """How many tokens it is said to have, and the first prompts of two runs."""
    backend = esp.Scripted(default="yes")
    compiled = program.compile()
    tokens = constant_tokens(compiled.ir, Machine(backend))
    entries = [("Ada",), ("Bo",)] if compiled.arg_names else [(), ()]
    compiled.run_batch(entries, backend=backend)
    first = [asked for asked in backend.asked if asked.index == 0 and not any(asked.path[1:])]
    return tokens, [asked.input_ids for asked in first]


@pytest.mark.parametrize("program", [plain, fixed, forked])
def test_every_run_begins_with_it(program: Any) -> None:
    tokens, prompts = prefix(program)
    assert tokens >= 10
    assert len({tuple(ids[:tokens]) for ids in prompts}) == 1
    assert all(len(ids) > tokens for ids in prompts)


def test_in_a_chat() -> None:
    compiled = chat.compile()
    with esp.Engine("null", tokenizer="sprig", inline=True, max_total_tokens=4096) as engine:
        backend = Recording(engine)
        tokens = constant_tokens(compiled.ir, Machine(backend))
        compiled.run_batch([("Ada",), ("Bo",)], backend=backend)
        assert engine.stats()["held"] == 0
    [ada, bo] = [ids for ids, _ in backend.asked]
    assert tokens >= 8
    assert ada[:tokens] == bo[:tokens]
    assert ada[tokens : tokens + 4] != bo[tokens : tokens + 4]


def test_none_where_an_argument_comes_first() -> None:
    tokens, _ = prefix(at_once)
    assert tokens <= 1  # BOS at most


class Seen(esp.Scripted):
    """Notes how many tokens were held when each call came."""

    def __init__(self) -> None:
        super().__init__(default="yes")
        self.lent: list[list[Hold]] = []
        self.before: list[set[int]] = []

    async def generate(self, call: Any) -> Result:
        self.lent.append(list(call.holds))
        self.before.append(set(self.held))
        return await super().generate(call)


def test_the_batch_holds_it_until_it_ends() -> None:
    backend = Seen()
    compiled = plain.compile()
    tokens = constant_tokens(compiled.ir, Machine(backend))
    states = compiled.run_batch([("Ada",), ("Bo",), ("Cy",)], backend=backend, num_threads=1)
    assert all(state.error() is None for state in states)
    lent = [hold for holds in backend.lent for hold in holds if hold.tokens == tokens]
    assert len(lent) == 3  # each run asks for it anew
    [key] = {hold.key for hold in lent}
    assert [key in held for held in backend.before] == [False, True, True]
    assert backend.held == {}  # nothing is left of the batch


def test_a_lazy_batch_holds_it_until_it_is_closed() -> None:
    backend = Seen()
    states = plain.compile().run_batch(
        [("Ada",), ("Bo",)], backend=backend, generator_style=True, num_threads=1
    )
    next(states)
    assert backend.held
    states.close()  # type: ignore[attr-defined]
    assert backend.held == {}


def test_what_is_borrowed_is_not_released_by_who_borrows() -> None:
    backend = esp.Scripted()
    lender, run = Holds(backend), Holds(backend)
    own, lent = run.key(), lender.key()
    run.borrow(lender.give((lent.hold(5),)))
    given = run.give((own.hold(),))
    assert [hold.key for hold in given] == [own.number, lent.number]
    assert run.give((own.hold(),)) == (own.hold(),)  # asked for once
    backend._hold(given)
    run.close()
    assert list(backend.held) == [lent.number]
    lender.close()
    assert backend.held == {}
