"""Living states keep soft pins: what is asked for, when it is released, and what it is good for."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import espalier as esp
from espalier.errors import ProgramError
from espalier.frontend_lang.holds import Holds
from espalier.types import Hold

State = Any
CAPACITY = 256
PREFIX = "The quick brown fox jumps over the lazy dog, and it's 12:45 already. " * 3


# -- asking and releasing --------------------------------------------------------------------------


def test_a_state_holds_its_tokens_until_the_run_ends() -> None:
    backend = esp.Scripted("ab")

    @esp.function
    def body(s: State) -> None:
        s += "Say: " + esp.gen("x")
        s["x"]
        seen.append(dict(backend.held))
        s += "again: " + esp.gen("y", n=2) + esp.select("z", ["a", "b"])
        s["y"]
        seen.append(dict(backend.held))

    backend = esp.Scripted({"x": "ab", "y": ["c", "d"], "z": "a"})
    seen: list[dict[int, Hold]] = []
    state = body.run(backend=backend)
    assert state.error() is None
    [first], [second] = ([*held] for held in seen)
    assert first == second  # one state, one key
    assert seen[0][first].tokens is None
    assert seen[0][first].seconds is not None
    assert backend.held == {}
    state += "more" + esp.gen("after", overwrite=True)
    state.sync()
    assert backend.held == {}  # the run has ended


def test_a_branch_holds_what_was_said_above_it() -> None:
    backend = esp.Scripted("ab")

    @esp.function
    def body(s: State) -> None:
        s += "one two three"
        [outer] = s.fork(1)
        outer += " four five"
        [inner] = outer.fork(1)
        inner += " six" + esp.gen("x")
        inner["x"]
        held.extend(backend.held.values())
        inner += esp.gen("y")
        inner["y"]
        assert len(backend.held) == 3

    held: list[Hold] = []
    body.run(backend=backend)
    own, middle, top = held
    assert own.tokens is None
    assert middle.tokens is not None
    assert top.tokens is not None
    assert 0 < top.tokens < middle.tokens
    assert len({hold.key for hold in held}) == 3
    assert backend.held == {}


def test_a_state_that_is_gone_holds_nothing() -> None:
    backend = esp.Scripted("ab")

    @esp.function
    def body(s: State) -> None:
        s += "one two" + esp.gen("x")
        forks = s.fork(3)
        forks += esp.gen("y")
        forks.wait()
        assert len(backend.held) == 4
        del forks
        gc.collect()
        s += "three" + esp.gen("z")
        s["z"]
        assert len(backend.held) == 1

    body.run(backend=backend)


def test_a_program_that_raises_holds_nothing() -> None:
    backend = esp.Scripted("ab")

    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("x")
        s["x"]
        assert backend.held
        raise ValueError

    with pytest.raises(ValueError):
        body.run(backend=backend)
    assert backend.held == {}
    with pytest.raises(ProgramError):
        list(body.run(backend=backend, stream=True).text_iter())
    body.run_batch([{}] * 3, backend=backend)
    assert backend.held == {}


# -- on the engine, with little memory -------------------------------------------------------------


@pytest.fixture
def small(tiny: tuple[Path, Any]) -> Iterator[esp.Engine]:
    with esp.Engine(str(tiny[0]), inline=True, max_total_tokens=CAPACITY, max_running=8) as engine:
        yield engine
        engine.check_invariants()
        assert engine.stats()["held"] == 0


def crowd(engine: esp.Engine, count: int = 12) -> None:
    """Unrelated traffic, several times the memory."""
    prompts = [[40 + number] * 60 for number in range(count)]
    for prompt in prompts:
        engine.generate(input_ids=[prompt], sampling_params={"max_tokens": 4, "ignore_eos": True})


def forked_then_crowded(engine: esp.Engine) -> tuple[int, list[int], Any]:
    """The prefix's length, and how much of it each branch found again after the crowd."""

    @esp.function
    def body(s: State) -> tuple[int, list[int]]:
        s += PREFIX
        forks = s.fork(2)
        forks += esp.gen("x", 4, ignore_eos=True)
        forks.wait()
        crowd(engine)
        forks += esp.gen("y", 2, ignore_eos=True)
        found = [branch.get_meta_info("y")["cached_tokens"] for branch in forks]
        return len(s.token_ids()), found

    state = body.run(backend=engine, seed=1)
    assert state.error() is None
    return (*state.ret_value, state)


@pytest.mark.timeout(900)
def test_a_forked_prefix_survives_unrelated_traffic(
    tiny: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under plain LRU: the policy that learns from uses may keep a prefix that two branches have
    used without being asked to, and what a hold adds would not show."""
    small = esp.Engine(
        str(tiny[0]), inline=True, max_total_tokens=CAPACITY, max_running=8, eviction="lru"
    )
    length, found, state = forked_then_crowded(small)
    assert 40 < length < CAPACITY / 2
    assert min(found) >= length
    small.flush_cache()
    monkeypatch.setattr(Holds, "give", lambda _self, _holds: ())
    length, found, unheld = forked_then_crowded(small)
    assert min(found) < length  # without holds it is lost, and one branch computes it again
    assert unheld.text() == state.text()  # and only computed again
    small.check_invariants()
    small.shutdown()


@pytest.mark.timeout(900)
def test_a_parent_finds_its_prefix_when_its_branches_are_gone(small: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += PREFIX
        length = len(s.token_ids())
        forks = s.fork(2)
        forks += esp.gen("x", 4)
        forks.wait()
        del forks
        gc.collect()
        crowd(small)
        s += esp.gen("y", 2)
        assert s.get_meta_info("y")["cached_tokens"] >= length - 1

    assert body.run(backend=small).error() is None


@pytest.mark.timeout(900)
def test_holds_beyond_their_share_hold_nobody_up(small: esp.Engine) -> None:
    """More living states than memory could hold, in threads, and a prompt that needs all of it."""

    @esp.function
    def body(s: State, number: int) -> None:
        s += f"{number} " * 10
        forks = s.fork(4)
        for branch in range(4):
            forks[branch] += f"branch {branch} of {number}: " + esp.gen("x", 6, ignore_eos=True)
        forks.wait()
        barrier.wait(timeout=60)  # all states are alive now
        forks += esp.select("z", ["yes", "no"])
        forks += esp.gen("y", 6, ignore_eos=True)
        forks.join()
        assert [len(s[name]) for name in ("x", "y", "z")] == [4, 4, 4]

    count = 6
    barrier = threading.Barrier(count)
    states = body.run_batch([{"number": n} for n in range(count)], backend=small)
    assert [state.error() for state in states] == [None] * count

    @esp.function
    def greedy(s: State) -> None:
        s += PREFIX + esp.gen("x", 2)
        s["x"]
        assert small.stats()["held"] == 1
        [result] = small.generate(
            input_ids=[[9] * (CAPACITY - 1)], sampling_params={"max_tokens": 1}
        )
        assert result.generated_tokens == 1
        s += esp.gen("y", 2)

    assert greedy.run(backend=small).error() is None


def test_a_users_pin_outlives_programs_holds(small: esp.Engine) -> None:
    mine = [7] * 40
    small.generate(input_ids=[mine], sampling_params={"max_tokens": 1})
    pin = small.pin(mine)

    @esp.function
    def body(s: State) -> None:
        s += PREFIX
        forks = s.fork(3)
        for branch in range(3):
            forks[branch] += f" branch {branch}" * 3 + esp.gen("x", 4)
        forks.wait()
        crowd(small, 4)
        assert small.explain(mine)["matched"] == len(mine)

    assert body.run(backend=small).error() is None
    small.unpin(pin)


def test_bad_holds_are_refused(small: esp.Engine) -> None:
    async def ask(*holds: Any) -> Any:
        return await small.agenerate(input_ids=[[3]], holds=holds)

    import asyncio

    for wrong in ("x", Hold(key="x"), Hold(key=1, tokens=0.5), Hold(key=1, seconds=-1)):  # type: ignore[arg-type]
        with pytest.raises(esp.InvalidRequestError):
            asyncio.run(ask(wrong))
    with pytest.raises(esp.InvalidRequestError):
        small.release(["x"])  # type: ignore[list-item]
    asyncio.run(ask(Hold(key=1), Hold(key=2, tokens=0)))
    assert small.stats()["held"] <= 1
    small.release([1, 2, 99])
