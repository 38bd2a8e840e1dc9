"""join: the first few, in time, and what a failure does to the others."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import espalier as esp
from espalier.errors import (
    BranchError,
    DeadlineError,
    EngineError,
    ProgramError,
    RequestCancelledError,
)

State = Any
LONG = 60.0


def branches(*answers: Any) -> esp.Scripted:
    """A backend whose branch i answers answers[i]: text, a Reply, an error."""
    return esp.Scripted(lambda asked: answers[asked.path[1]])


def late(text: str, seconds: float = LONG) -> esp.Reply:
    return esp.Reply(text, delay=seconds)


def join(backend: Any, count: int, **options: Any) -> tuple[State, esp.Forks]:
    found: list[esp.Forks] = []

    @esp.function
    def body(s: State) -> None:
        s += "a"
        forks = s.fork(count)
        found.append(forks)
        forks += lambda i: f"({i})" + esp.gen("x")
        forks.join(**options)

    started = time.perf_counter()
    state = body.run(backend=backend)
    assert time.perf_counter() - started < LONG / 2
    return state, found[0]


def test_the_first_two_of_four() -> None:
    backend = branches(late("0"), late("1", 0.1), late("2"), "3")
    state, forks = join(backend, 4, first=2)
    assert state["x"] == [None, "1", None, "3"]
    assert forks.finished == [3, 1]
    for branch in (0, 2):
        cause = forks[branch].error()
        assert isinstance(cause, ProgramError)
        assert isinstance(cause.__cause__, RequestCancelledError)
        assert "join(first=2) had enough" in str(cause)
    assert state.error() is None


def test_exactly_as_many_as_asked_for() -> None:
    state, forks = join(branches("0", "1", "2"), 3, first=2)
    assert [value is not None for value in state["x"]].count(True) == 2
    assert len(forks.finished) == 2


def test_first_appends_what_the_first_said_in_order() -> None:
    backend = branches(late("0", 0.2), late("1"), "2")
    state, _ = join(backend, 3, first=2, mode="concate_and_append")
    assert state.text() == "a(0)0(2)2"


def test_failures_before_the_first_do_not_matter() -> None:
    backend = branches(EngineError("gone"), late("1", 0.1), late("2"))
    state, forks = join(backend, 3, first=1)
    assert state["x"] == [None, "1", None]
    state, _ = join(backend, 3, first=1, errors="keep")
    assert isinstance(state["x"][0], BranchError)
    assert state["x"][1:] == ["1", None]
    assert forks.finished == [1]


def test_too_few_can_come_through() -> None:
    backend = branches(EngineError("gone"), EngineError("lost"), late("2"))
    with pytest.raises(ExceptionGroup) as caught:
        join(backend, 3, first=2)
    told = [str(error) for error in caught.value.exceptions]
    assert "gone" in told[0]
    assert "lost" in told[1]


def test_who_is_not_done_when_too_few_can_come_is_cancelled() -> None:
    state, forks = join(branches(EngineError("gone"), late("1")), 2, first=2, errors="keep")
    gone, cancelled = state["x"]
    assert "gone" in str(gone)
    assert isinstance(cancelled, BranchError)
    assert isinstance(cancelled.__cause__.__cause__, RequestCancelledError)
    assert forks.finished == []


def test_who_was_done_before_too_few_could_come_is_kept() -> None:
    @esp.function
    def body(s: State) -> list[int]:
        s += "a"
        forks = s.fork(2)
        forks += ["", esp.gen("x")]
        forks[1].sync()
        forks += [esp.gen("x"), ""]
        return forks.join(first=2, errors="keep").finished

    state = body.run(backend=branches(EngineError("gone"), "1"))
    gone, kept = state["x"]
    assert isinstance(gone, BranchError)
    assert kept == "1"
    assert state.ret_value == [1]


def test_in_time() -> None:
    backend = branches("0", late("1"))
    with pytest.raises(ExceptionGroup, match=r"branch 1: it was not done within 0.2 s"):
        join(backend, 2, timeout=0.2)
    state, forks = join(backend, 2, timeout=0.2, errors="keep")
    assert state["x"][0] == "0"
    assert isinstance(state["x"][1], BranchError)
    assert forks.finished == [0]
    state, _ = join(branches("0", "1"), 2, timeout=LONG)
    assert state["x"] == ["0", "1"]
    state, _ = join(branches("0", late("1"), late("2")), 3, timeout=0.2, first=2, errors="keep")
    assert state["x"][0] == "0"
    assert [type(value) for value in state["x"][1:]] == [BranchError] * 2


def test_a_failure_cancels_the_others() -> None:
    backend = branches(late("0"), late("1", 0.1), EngineError("gone"))
    with pytest.raises(ExceptionGroup) as caught:
        join(backend, 3, errors="cancel")
    [error] = caught.value.exceptions
    assert "branch 2 failed" in str(error)


def test_a_policy_for_each_branch() -> None:
    backend = branches(EngineError("gone"), "1", "2")
    state, _ = join(backend, 3, errors=["keep", "raise", "raise"])
    assert isinstance(state["x"][0], BranchError)
    assert state["x"][1:] == ["1", "2"]
    with pytest.raises(ExceptionGroup, match="1 of 3 branches failed"):
        join(backend, 3, errors=["raise", "keep", "keep"])


def test_what_a_branch_had_forked_is_cancelled_with_it() -> None:
    inner: list[esp.Forks] = []

    @esp.function
    def body(s: State) -> None:
        forks = s.fork(2)
        forks[0].__iadd__("a" + esp.gen("x"))
        inner.append(forks[1].fork(2))
        inner[0].__iadd__("b" + esp.gen("y"))
        forks += ["", esp.gen("x")]
        forks.join(first=1)
        for branch in inner[0]:
            assert isinstance(branch.error().__cause__, RequestCancelledError)

    def answer(asked: Any) -> esp.Reply:
        return esp.Reply("0") if asked.path == (0, 0) else late("1")

    state = body.run(backend=esp.Scripted(answer))
    assert state["x"] == ["0", None]


def test_cancelling_the_run_while_it_joins() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a"
        forks = s.fork(3)
        forks += esp.gen("x")
        forks.join(first=2, errors="keep")

    state = body.run(backend=esp.Scripted("x", delay=LONG), stream=True)
    time.sleep(0.1)
    state.cancel("enough")
    assert all(isinstance(value, BranchError) for value in state["x"])


def test_deadline_of_the_run_ends_branches_too() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("own")
        forks = s.fork(2)
        forks += esp.gen("x")
        time.sleep(0.15)
        forks += esp.gen("y")
        forks.join()

    with pytest.raises(ExceptionGroup) as caught:
        body.run(backend=esp.Scripted("x"), deadline=0.1)
    for error in caught.value.exceptions:
        cause = error.__cause__
        assert cause is not None
        assert isinstance(cause.__cause__, DeadlineError)


def test_ajoin_and_its_cancellation() -> None:
    @esp.function
    def body(s: State, results: list[Any]) -> None:
        async def wait() -> None:
            forks = s.fork(3)
            forks += esp.gen("x")
            await forks.ajoin(first=1)
            results.append(s["x"])
            more = s.fork(2)
            more += esp.gen("y")
            try:
                async with asyncio.timeout(0.1):
                    await more.ajoin()
            except TimeoutError:
                results.append([branch.error() for branch in more])

        s += "a"
        asyncio.run(wait())

    def answer(asked: Any) -> esp.Reply:
        return esp.Reply("1") if asked.path == (0, 1) else late("no")

    results: list[Any] = []
    body.run(results=results, backend=esp.Scripted(answer))
    assert results[0] == [None, "1", None]
    assert all("its task was cancelled" in str(error) for error in results[1])


def test_slots_come_back(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += "The quick brown"
        forks = s.fork(4)
        forks += lambda i: f" {i}" + esp.gen("x", 2 if i == 2 else 900, ignore_eos=True)
        forks.join(first=1)

    state = body.run(backend=engine)
    assert [value is None for value in state["x"]] == [True, True, False, True]
    stats = engine.stats()
    assert (stats["running"], stats["waiting"]) == (0, 0)
    assert stats["free_slots"] + stats["evictable_slots"] == stats["capacity"]
    engine.check_invariants()


def test_a_thousand_branches_are_cancelled_in_one_go() -> None:
    def answer(asked: Any) -> esp.Reply:
        return esp.Reply("1") if asked.path == (0, 500) else late("no")

    @esp.function
    def body(s: State) -> float:
        s += "a"
        forks = s.fork(1000)
        forks += esp.gen("x")
        before = time.thread_time()
        forks.join(first=1)
        return time.thread_time() - before

    state = body.run(backend=esp.Scripted(answer))
    assert state["x"][500] == "1"
    assert state.ret_value < 1.0
