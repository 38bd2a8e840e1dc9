"""Corners of the language that were wrong once, each by the smallest program that shows it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from typing import Any

import pytest

import espalier as esp
from espalier.errors import InvalidRequestError, NotSupportedError, ProgramError
from espalier.frontend_lang.driver import driver

State = Any


def test_a_seed_in_sampling_params_is_the_program_s() -> None:
    seeds: list[int | None] = []

    @esp.function
    def branches(s: State) -> None:
        forks = s.fork(3)
        forks += esp.gen("x")
        forks.join()

    def answer(asked: Any) -> str:
        seeds.append(asked.params.seed)
        return "a"

    for params in ({"seed": 5}, esp.SamplingParams(seed=5)):
        state = branches.run(backend=esp.Scripted(answer), sampling_params=params)
        assert state.seed == 5
    assert len({*seeds}) == 3  # each branch its own, the same in both runs
    assert branches.run_batch([{}], backend=esp.Scripted(answer), sampling_params={"seed": 5})
    own = branches.run(backend=esp.Scripted(answer), sampling_params={"seed": 5}, seed=6)
    assert own.seed == 6


def test_a_join_s_timeout_does_not_wait_for_what_stands_before_the_fork() -> None:
    @esp.function
    def slow(s: State) -> None:
        s += "Q" + esp.gen("slow")
        forks = s.fork(2)
        forks += "A" + esp.gen("a")
        with forks[0].loop():
            deeper = forks[0].fork(2)
            deeper += esp.gen("b")
        began = time.monotonic()
        with pytest.raises(ExceptionGroup, match="not done within"):
            forks.join(timeout=0.1)
        assert time.monotonic() - began < 5
        s.cancel("enough")

    backend = esp.Scripted({"slow": esp.Reply("x", delay=20.0)}, default="y")
    state = slow.run(backend=backend)
    assert "enough" in str(state.error())


def test_joined_again_a_branch_brings_what_it_said_since() -> None:
    @esp.function
    def twice(s: State) -> None:
        s += "Q"
        forks = s.fork(2)
        forks += ["1", "2"]
        forks.join("concate_and_append")
        forks += ["3", "4"]
        forks.join("concate_and_append")

    assert twice.run(backend=esp.Scripted()).text() == "Q1234"


def test_a_pin_ends_with_its_run_at_the_latest() -> None:
    backend = esp.Scripted(default="a")

    @esp.function
    def pinned(s: State) -> None:
        s += "Q"
        s.pin()
        s.pin(ttl=60)
        assert len(backend.pins) == 2

    pinned.run(backend=backend)
    assert len(backend.pins) == 1  # the one with a time of its own


def test_a_pin_that_comes_too_late_is_released() -> None:
    backend = esp.Scripted(esp.Reply("a", delay=0.3), default="b")

    @esp.function
    async def late(s: esp.AsyncState) -> None:
        s += "Q"
        async with asyncio.timeout(0.05):
            await s.pin()

    with pytest.raises(TimeoutError):
        late.run(backend=backend)
    time.sleep(0.6)
    assert backend.pins == {}


def test_a_run_that_is_cancelled_stops_computing_its_pin() -> None:
    @esp.function
    def pinned(s: State) -> None:
        s += "Q"
        threading.Timer(0.1, s.session.cancel, ["by the test"]).start()
        s.pin()

    began = time.monotonic()
    with pytest.raises(esp.RequestCancelledError, match="by the test"):
        pinned.run(backend=esp.Scripted(esp.Reply("a", delay=20.0)))
    assert time.monotonic() - began < 10


def test_a_message_is_closed_where_its_block_raises() -> None:
    @esp.function
    def caught(s: State) -> None:
        with contextlib.suppress(ValueError), s.user():
            s += "Q"
            raise ValueError("mine")
        with contextlib.suppress(ValueError), s.var_scope("said"):
            s += esp.assistant("A")
            raise ValueError("mine")

    state = caught.run(backend=esp.Scripted())
    assert [message["role"] for message in state.messages()] == ["user", "assistant"]
    assert "A" in state["said"]


def test_what_yields_or_returns_a_coroutine_is_no_program() -> None:
    def yields(s: State) -> Any:
        yield s

    async def yields_later(s: State) -> Any:
        yield s

    for body in (yields, yields_later):
        with pytest.raises(InvalidRequestError, match="does not yield"):
            esp.function(body)

    async def own(s: State) -> None: ...

    @esp.function
    @functools.wraps(own)
    def wrapped(s: State) -> Any:
        return own(s)

    with pytest.raises(ProgramError, match="has not run"):
        wrapped.run(backend=esp.Scripted())
    with pytest.raises(ProgramError, match="has not run"):
        asyncio.run(wrapped.arun(backend=esp.Scripted()))


def test_an_async_program_that_is_awaited_cannot_do_each_call_at_once() -> None:
    @esp.function
    async def waits(s: esp.AsyncState) -> None:
        await s.gen("x")

    with pytest.raises(NotSupportedError, match="before it goes on"):
        asyncio.run(waits.arun(backend=esp.Scripted("a"), use_thread=False))


def test_tools_are_used_for_one_answer() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    @esp.function
    def asks(s: State) -> None:
        s.use_tools("Q", [add], n=2)

    with pytest.raises(InvalidRequestError, match="one answer"):
        asks.run(backend=esp.Scripted("a"))


def test_an_empty_choice_has_no_mean() -> None:
    with pytest.raises(InvalidRequestError, match="an empty choice"):
        esp.select("x", ["", "yes"], choices_method="token_length_normalized")
    esp.select("x", ["", "yes"])


def test_a_backend_s_own_cancellation_says_so() -> None:
    @esp.function
    def asks(s: State) -> None:
        s += "Q" + esp.gen("x")

    error = asks.run(backend=esp.Scripted(asyncio.CancelledError())).error()
    assert "its backend cancelled it" in str(error)


def test_an_interrupted_wake_up_does_not_silence_the_loop(monkeypatch: Any) -> None:
    here = driver()
    true = here.loop.call_soon_threadsafe

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(here.loop, "call_soon_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            here.call(print)
    assert here.loop.call_soon_threadsafe == true
    ran = threading.Event()
    here.call(ran.set)
    assert ran.wait(10)


def test_the_first_who_cancels_is_why() -> None:
    @esp.function
    def asks(s: State) -> None:
        s += "Q" + esp.gen("x")
        for reason in ("first", "second", "third"):
            s.cancel(reason)

    error = asks.run(backend=esp.Scripted(esp.Reply("a", delay=20.0))).error()
    assert "cancelled: first" in str(error)
