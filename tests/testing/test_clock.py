"""The clock of tests: exact times, the same each time, and none of the machine's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

import espalier as esp
from espalier.errors import BranchError, DeadlineError, InvalidRequestError
from espalier.frontend_lang.clock import SYSTEM, clock_of
from espalier.testing import Clock

State = Any


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 20  # of the machine's; the programs here take hours


def seconds(**by_name: float) -> Any:
    """A script in which each call takes so long."""
    return {name: esp.Reply(name, delay=delay) for name, delay in by_name.items()}


@esp.function
def three(s: State) -> None:
    s += "x" + esp.gen("a")
    forks = s.fork(3)
    for number, branch in enumerate(forks):
        branch += f"{number}" + esp.gen(f"b{number}")
    forks.join(errors="keep", timeout=100)
    s += esp.gen("c")


@pytest.mark.parametrize("attempt", range(5))
def test_a_report_has_the_clocks_times(attempt: int) -> None:
    @esp.function
    def program(s: State) -> None:
        s += "x" + esp.gen("a")
        s["a"]
        forks = s.fork(2)
        for number, branch in enumerate(forks):
            branch += f"{number}" + esp.gen(f"b{number}")
        forks.join()
        s += esp.gen("c")

    clock = Clock()
    script = seconds(a=3600, b0=10, b1=30, c=0.25)
    report = program.run(backend=esp.Scripted(script, clock=clock)).report()
    assert {call.name: (call.began, call.ended) for call in report.calls()} == {
        "a": (0, 3600),
        "b0": (3600, 3610),
        "b1": (3600, 3630),
        "c": (3630, 3630.25),
    }
    assert (report.seconds(), clock.now()) == (3630.25, 3630.25)


def test_a_join_in_time() -> None:
    @esp.function
    def race(s: State, **options: Any) -> Any:
        s += "x"
        forks = s.fork(3)
        for number, branch in enumerate(forks):
            branch += f"{number}" + esp.gen("b")
        forks.join(**options)
        return s["b"]

    def answer(asked: Any) -> esp.Reply:
        return esp.Reply("b", delay=60.0 * (1 + asked.path[1]))

    clock = Clock()
    backend = esp.Scripted(answer, clock=clock)
    late = race.run(timeout=150, errors="keep", backend=backend).ret_value
    assert late[:2] == ["b", "b"]
    assert isinstance(late[2], BranchError)
    assert "within 150 s" in str(late[2])
    assert clock.now() == 150
    assert race.run(first=1, backend=backend).ret_value == ["b", None, None]
    assert clock.now() == 150 + 60


def test_a_deadline_of_a_run() -> None:
    clock = Clock()
    backend = esp.Scripted(seconds(a=3600, b0=1, b1=1, b2=1, c=1), clock=clock)
    error = three.run(backend=backend, deadline=60).error()
    assert error is not None
    assert isinstance(error.__cause__, DeadlineError)


def test_asynchronous_programs() -> None:
    @esp.function
    async def program(s: esp.AsyncState) -> Any:
        s += "x"

        async def one(branch: esp.AsyncState, number: int) -> Any:
            branch += f"{number}"
            await branch.gen("a")
            return await branch.gen("b")

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(b, n)) for n, b in enumerate(s.fork(3))]
        forks = s.fork(2)
        forks += "y" + esp.gen("c")
        await forks.join(timeout=500, errors="keep")
        return [task.result() for task in tasks]

    delays = {"a": 100.0, "b": 10.0, "c": 1000.0}
    for run in ("run", "arun"):
        clock = Clock()
        backend = esp.Scripted(
            lambda asked: esp.Reply(asked.name, delay=delays[asked.name]), clock=clock
        )
        given = {"backend": backend}
        state = program.run(**given) if run == "run" else asyncio.run(program.arun(**given))
        assert state.ret_value == ["b"] * 3
        assert state.report().seconds() == 110 + 500


def test_batches() -> None:
    @esp.function
    def program(s: State, number: int) -> None:
        s += f"{number}" + esp.gen("a") + esp.gen("b")

    clock = Clock()
    delays = {"a": 10.0, "b": 20.0}
    backend = esp.Scripted(lambda ask: esp.Reply("x", delay=delays[ask.name]), clock=clock)
    states = program.run_batch([{"number": n} for n in range(8)], backend=backend, num_threads=3)
    assert [state.report().seconds() for state in states] == [30.0] * 8
    assert clock.now() == 90


def test_streams_and_a_program_inside_another() -> None:
    clock = Clock()

    @esp.function
    def inner(s: State) -> str:
        s += "x" + esp.gen("a")
        return str(s["a"])

    @esp.function
    def outer(s: State) -> None:
        s += inner.run(backend=backend).ret_value + esp.gen("b")

    backend = esp.Scripted(seconds(a=10, b=20), clock=clock)
    state = outer.run(backend=backend, stream=True)
    assert "".join(state.text_iter("b")) == "b"
    assert clock.now() == 30


def test_pins_and_holds_end() -> None:
    clock = Clock()
    backend = esp.Scripted(default="x", clock=clock)

    @esp.function
    def program(s: State) -> None:
        s += "a prefix" + esp.gen("a")
        s.pin(ttl=60)
        assert len(backend.pins) == len(backend.held) == 1
        clock.advance(61)
        assert backend.pins == {}
        clock.advance(600)
        assert backend.held == {}

    assert program.run(backend=backend).error() is None


def test_by_hand() -> None:
    clock = Clock(auto=False)
    backend = esp.Scripted(seconds(a=10), clock=clock)

    @esp.function
    def program(s: State) -> None:
        s += "x" + esp.gen("a")

    state = program.run(backend=backend, stream=True)
    while not backend.asked:
        time.sleep(0.001)
    clock.advance(9)
    assert clock.now() == 9
    assert state.variable("a").done is False
    clock.advance(1)
    assert state["a"] == "a"
    for wrong in (-1, "1", True):
        with pytest.raises(InvalidRequestError, match="seconds >= 0"):
            clock.advance(wrong)


def test_what_waits_comes_in_order() -> None:
    clock = Clock(auto=False)
    came: list[tuple[float, str]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            came.append((clock.now(), name))

    async def main() -> None:
        tasks = [asyncio.create_task(sleeper("a", 3, 3)), asyncio.create_task(sleeper("b", 2, 2))]
        await asyncio.sleep(0)
        with clock.running():
            await asyncio.to_thread(clock.advance, 5)
        assert came == [(2, "b"), (3, "a"), (4, "b")]
        with clock.running():
            await asyncio.to_thread(clock.advance, 5)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert came[-1] == (6, "a")
    assert clock.now() == 10


def test_a_timeout_that_does_not_come() -> None:
    clock = Clock()

    async def main() -> None:
        async with clock.timeout(5):
            await clock.sleep(2)
        async with clock.timeout(None):
            await clock.sleep(2)
        with pytest.raises(TimeoutError):
            async with clock.timeout(5):
                await clock.sleep(50)

    asyncio.run(main())
    assert clock.now() == 2 + 2 + 5


def test_other_backends_have_the_machines_clock() -> None:
    assert clock_of(object()) is SYSTEM
    assert esp.Scripted().clock is SYSTEM
