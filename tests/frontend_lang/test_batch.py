"""Batches: order, bounds, failures, progress, and repeatable seeds."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import espalier as esp
from espalier.errors import EngineError, InvalidRequestError, ProgramError
from espalier.frontend_lang.batch import _Runner

State = Any


@esp.function
def ask(s: State, topic: str, question: str = "?") -> None:
    s += f"{topic}: {question}" + esp.gen("answer")


def echo(asked: Any) -> str:
    if "bad" in asked.prompt:
        raise EngineError("boom")
    return asked.prompt.removeprefix("<|bos|>").upper()


def test_results_are_in_order() -> None:
    batch = [{"topic": topic} for topic in "dbca"] + [("tuple", "!"), ["list"]]
    states = ask.run_batch(batch, backend=esp.Scripted(echo))
    assert [state["answer"] for state in states] == [
        *("D: ?", "B: ?", "C: ?", "A: ?"),
        *("TUPLE: !", "LIST: ?"),
    ]


def test_entries_that_share_their_beginning_start_side_by_side() -> None:
    batch = [{"topic": topic, "question": question} for question in "xyz" for topic in "ab"]
    given = esp.Scripted(echo)
    ask.run_batch(batch, backend=given, num_threads=1, order="given")
    assert [asked.prompt[7] for asked in given.asked] == list("ababab")
    by_prefix = esp.Scripted(echo)
    ask.run_batch(batch, backend=by_prefix, num_threads=1)
    assert [asked.prompt[7] for asked in by_prefix.asked] == list("aaabbb")


def test_every_result_comes_back_and_failed_ones_are_marked() -> None:
    batch = [{"topic": "a"}, {"topic": "bad"}, {"tpic": "c"}, 3, {"topic": "d"}]
    states = ask.run_batch(batch, backend=esp.Scripted(echo))
    assert len(states) == 5
    assert [state.error() is None for state in states] == [True, False, False, False, True]
    assert states[4]["answer"] == "D: ?"
    with pytest.raises(ProgramError, match="boom"):
        states[1]["answer"]
    assert "batch[2]" in str(states[2].error())
    assert "tpic" in str(states[2].error())
    assert "batch[3]" in str(states[3].error())
    with pytest.raises(ProgramError, match="tpic"):
        states[2]["answer"]


def test_a_body_that_raises_harms_its_own_entry() -> None:
    @esp.function
    def body(s: State, x: int) -> None:
        s += "bad" if x == 1 else "fine"
        s += esp.gen("y")
        if x == 2:
            raise ValueError("mine")
        s["z"] = s["y"] + "!"

    states = body.run_batch([(x,) for x in range(4)], backend=esp.Scripted(echo))
    assert [s["z"] for s in (states[0], states[3])] == ["FINE!", "FINE!"]
    assert "boom" in str(states[1].error())
    second = states[2].error()
    assert isinstance(second, ProgramError)
    assert isinstance(second.__cause__, ValueError)
    assert __file__ in str(second.where)


def test_an_empty_batch() -> None:
    assert ask.run_batch([], backend=esp.Scripted("x")) == []
    assert list(ask.run_batch([], backend=esp.Scripted("x"), generator_style=True)) == []


def test_batches_are_taken_from_iterators() -> None:
    entries = ({"topic": str(i)} for i in range(5))
    states = ask.run_batch(entries, backend=esp.Scripted(echo))
    assert [state["answer"] for state in states] == [f"{i}: ?" for i in range(5)]


def test_generators_are_taken_from_only_as_needed() -> None:
    taken: list[int] = []

    def entries() -> Iterator[dict[str, str]]:
        for number in range(10_000):
            taken.append(number)
            yield {"topic": str(number)}

    states = ask.run_batch(
        entries(), backend=esp.Scripted(echo), generator_style=True, num_threads=2
    )
    assert [next(states)["answer"] for _ in range(3)] == [f"{i}: ?" for i in range(3)]
    assert len(taken) < 20
    states.close()  # type: ignore[attr-defined]


def test_programs_at_a_time_are_bounded() -> None:
    running = peak = 0
    lock = threading.Lock()

    @esp.function
    def body(s: State, x: int) -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        s += "a" + esp.gen("y")
        s["y"]
        with lock:
            running -= 1

    body.run_batch([(x,) for x in range(20)], backend=esp.Scripted("x", delay=0.01), num_threads=3)
    assert peak == 3


def test_a_batch_runs_at_once() -> None:
    started = time.perf_counter()
    ask.run_batch([(str(i),) for i in range(60)], backend=esp.Scripted(echo, delay=0.1))
    assert time.perf_counter() - started < 3


def test_seeds_of_a_batch() -> None:
    def seeds(**options: Any) -> list[int]:
        states = ask.run_batch(
            ["a", "b"] and [("a",), ("a",)], backend=esp.Scripted("x"), **options
        )
        return [state.seed for state in states]

    assert seeds(seed=1) == seeds(seed=1)
    assert len(set(seeds(seed=1))) == 2
    assert seeds() != seeds()
    with pytest.raises(InvalidRequestError):
        seeds(seed="x")


def test_the_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    backend = esp.Scripted(echo)
    ask.run_batch([("a",), ("b",)], backend=backend, progress_bar=True)
    assert "2/2" in capsys.readouterr().err
    list(ask.run_batch([("a",)], backend=backend, progress_bar=True, generator_style=True))
    assert "1/1" in capsys.readouterr().err
    ask.run_batch([("a",)], backend=backend)
    assert capsys.readouterr().err == ""


def test_a_batch_that_is_stopped_cancels_what_runs() -> None:
    started = time.perf_counter()
    entries = ({"topic": str(i)} for i in range(1000))
    backend = esp.Scripted(lambda a: esp.Reply("x", delay=0.0 if "0:" in a.prompt else 60.0))
    states = ask.run_batch(entries, backend=backend, generator_style=True, num_threads=4)
    assert next(states)["answer"] == "x"
    states.close()  # type: ignore[attr-defined]
    assert time.perf_counter() - started < 30


def test_an_interrupted_batch_cancels_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        time.sleep(0.1)  # let the programs begin
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupt)
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        ask.run_batch([("a",), ("b",)], backend=esp.Scripted("x", delay=60), num_threads=2)
    assert time.perf_counter() - started < 30


def test_a_program_that_begins_as_the_batch_is_stopped_is_cancelled_too() -> None:
    """It has left the queue, and `stop` does not find it among those that run."""
    runner = _Runner(ask, {"backend": esp.Scripted("x", delay=60)}, 1)
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        runner.stop(pool)
        assert "stopped" in str(runner.one(0, ("a",)).error())
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize(
    ("batch", "options", "told"),
    [
        ({"topic": "a"}, {}, "list"),
        ("abc", {}, "list"),
        (3, {}, "list"),
        ([("a",)], {"num_threads": 0}, "num_threads"),
        ([("a",)], {"num_threads": "many"}, "num_threads"),
        ([("a",)], {"order": "random"}, "order"),
        ([("a",)], {"stream": True}, "stream"),
        ([("a",)], {"temprature": 1}, "Did you mean 'temperature'"),
        ([("a",)], {"max_tokens": 0}, "max_tokens"),
    ],
)
def test_bad_batches(batch: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequestError, match=told):
        ask.run_batch(batch, backend=esp.Scripted("x"), **options)


def test_an_entry_that_is_cancelled_or_exits_fails_alone() -> None:
    @esp.function
    async def waits(s: State, how: str) -> None:
        if how == "cancel":
            raise asyncio.CancelledError
        if how == "exit":
            sys.exit(4)
        await s.gen("x")

    states = waits.run_batch(
        [{"how": "go"}, {"how": "cancel"}, {"how": "exit"}, {"how": "go"}],
        backend=esp.Scripted(default="d"),
    )
    assert [state.error() is None for state in states] == [True, False, False, True]


def test_an_input_that_fails_on_its_way_loses_nothing_that_it_gave() -> None:
    def entries() -> Iterator[dict[str, str]]:
        yield from ({"topic": str(i)} for i in range(3))
        raise OSError("the disk is gone")

    backend = esp.Scripted(default="d")
    states = ask.run_batch(entries(), backend=backend, generator_style=True)
    assert [next(states)["answer"] for _ in range(3)] == ["d"] * 3
    with pytest.raises(OSError, match="the disk is gone"):
        next(states)


def test_arguments_without_a_text_are_in_some_order() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise ValueError("no text")

        __str__ = object.__repr__

    batch = [{"topic": Silent()}, {"topic": "b"}]
    states = ask.run_batch(batch, backend=esp.Scripted(default="d"))
    assert [state.error() for state in states] == [None, None]
