"""Each way a program can go wrong ends in the right error, on an engine; and the engine goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import espalier as esp
from espalier.errors import (
    BranchError,
    EngineError,
    EspalierError,
    GrammarError,
    ProgramError,
    RequestCancelledError,
    VariableError,
)
from espalier.frontend_lang.backends.base import Call
from espalier.frontend_lang.backends.engine import EngineBackend
from espalier.frontend_lang.driver import driver
from espalier.runtime.client import ProcessLink
from espalier.types import Chunk

State = Any
PROMPT = "The quick brown fox jumps over the lazy dog, and it's 12:45 already. "


@pytest.fixture(scope="module")
def slow(tiny: tuple[Path, Any]) -> Iterator[esp.Engine]:
    """A few tokens a step: a prompt takes many."""
    with esp.Engine(str(tiny[0]), inline=True, step_tokens=8, chunk_tokens=8) as engine:
        yield engine


class Breaking(EngineBackend):
    """Fails in the middle of the gen called `bad`."""

    async def stream(self, call: Call) -> AsyncIterator[Chunk]:
        count = 0
        async for chunk in super().stream(call):
            count += 1
            if call.name == "bad" and count == 3:
                raise EngineError("the device is gone")
            yield chunk


def at_rest(engine: esp.Engine) -> None:
    """Nothing runs, and every slot is free or could be."""
    until = time.monotonic() + 10
    while (stats := engine.stats())["running"] + stats["waiting"] and time.monotonic() < until:
        time.sleep(0.01)
    assert (stats["running"], stats["waiting"]) == (0, 0)
    assert stats["free_slots"] + stats["evictable_slots"] == stats["capacity"]
    engine.check_invariants()


def line_of(error: EspalierError) -> None:
    assert error.where is not None
    assert error.where.startswith(__file__)


def test_the_backend_fails_in_the_middle_of_a_gen(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += PROMPT + esp.gen("good", 4, ignore_eos=True)
        s += esp.gen("bad", 20, ignore_eos=True) + esp.gen("after", 4)

    state = body.run(backend=Breaking(engine), stream=True)
    pieces = []
    with pytest.raises(ProgramError, match="the device is gone") as caught:
        pieces.extend(state.text_iter("bad"))
    line_of(caught.value)
    assert isinstance(caught.value.__cause__, EngineError)
    assert state["good"]
    with pytest.raises(ProgramError, match="not reached") as caught:
        state["after"]
    assert state.error() is not None
    at_rest(engine)


def test_one_of_three_branches_fails(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State, errors: Any) -> None:
        s += PROMPT
        forks = s.fork(3)
        for number, branch in enumerate(forks):
            schema = {"type": "nothing"} if number == 1 else {"type": "integer", "maximum": 9}
            branch += f" {number}: " + esp.gen("x", json_schema=schema)
        forks.join(errors=errors)

    with pytest.raises(ExceptionGroup) as caught:
        body.run(errors="raise", backend=engine)
    [error] = caught.value.exceptions
    assert isinstance(error, BranchError)
    cause = error.__cause__
    assert cause is not None
    assert isinstance(cause.__cause__, GrammarError)
    values = body.run(errors="keep", backend=engine)["x"]
    assert isinstance(values[1], BranchError)
    assert [int(values[0]) <= 9, int(values[2]) <= 9] == [True, True]
    at_rest(engine)


def test_a_batch_whose_body_reads_a_failed_variable(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State, number: int) -> str:
        schema: Any = {"type": "nothing"} if number == 1 else {"type": "integer"}
        s += PROMPT + esp.gen("x", 8, json_schema=schema, ignore_eos=True)
        return f"read {s.get_meta_info('x')['text']}"

    states = body.run_batch([{"number": n} for n in range(3)], backend=engine)
    error = states[1].error()
    assert isinstance(error, ProgramError)
    line_of(error)
    with pytest.raises(ProgramError):
        _ = states[1].ret_value
    assert [states[n].ret_value.startswith("read") for n in (0, 2)] == [True, True]
    at_rest(engine)


def test_user_code_raises_while_it_streams(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += PROMPT + esp.gen("x", 4, ignore_eos=True)
        s["x"]
        s += esp.gen("y", 500, ignore_eos=True)
        raise ZeroDivisionError("by hand")

    state = body.run(backend=engine, stream=True)
    assert "".join(state.text_iter("x")) == state["x"]
    for read in (lambda: list(state.text_iter()), lambda: state["never"], lambda: state.ret_value):
        with pytest.raises(ProgramError, match="by hand") as caught:
            read()
        line_of(caught.value)
    assert isinstance(state.error(), ProgramError)
    at_rest(engine)


def test_a_name_twice(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += PROMPT + esp.gen("x", 2)
        s += esp.gen("x", 2)

    with pytest.raises(VariableError, match="set already") as caught:
        body.run(backend=engine)
    line_of(caught.value)
    at_rest(engine)


def test_gens_without_names_in_a_loop(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += PROMPT
        for number in range(4):
            s += f" {number}:" + esp.gen(max_tokens=3, ignore_eos=True, temperature=1.0)

    state = body.run(backend=engine, seed=5)
    values = state.unnamed()
    assert len(values) == 4
    assert state.text() == PROMPT + "".join(f" {n}:{value}" for n, value in enumerate(values))


def test_arguments_that_are_called_like_options(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State, n: int, stop: str, backend: str, temperature: str) -> str:
        s += PROMPT + esp.gen("x", 3, ignore_eos=True)
        return f"{n} {stop} {backend} {temperature}"

    given = {"n": 3, "stop": "here", "backend": "none", "temperature": "warm"}
    program = body.using(backend=engine, temperature=0.0)
    assert program.run(**given).ret_value == "3 here none warm"
    [state] = program.run_batch([given])
    assert state.ret_value == "3 here none warm"
    assert isinstance(state["x"], str)  # one sample: n was the program's


def cancelled(state: State, name: str) -> None:
    state.cancel("enough")
    with pytest.raises(ProgramError, match="enough") as caught:
        state[name]
    cause: BaseException | None = caught.value
    while cause is not None and not isinstance(cause, RequestCancelledError):
        cause = cause.__cause__
    assert cause is not None


def started(engine: esp.Engine) -> None:
    until = time.monotonic() + 10
    while not engine.stats()["running"] and time.monotonic() < until:
        time.sleep(0.001)


def test_cancel_during_prefill(slow: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += PROMPT * 12 + esp.gen("x", 4, ignore_eos=True)

    state = body.run(backend=slow, stream=True)
    started(slow)
    cancelled(state, "x")
    at_rest(slow)
    assert slow.stats()["generated_tokens"] == 0


def test_cancel_during_decode(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += PROMPT + esp.gen("x", 900, ignore_eos=True)

    state = body.run(backend=engine, stream=True)
    pieces = state.text_iter("x")
    next(pieces)
    cancelled(state, "x")
    at_rest(engine)


def test_cancel_while_a_grammar_compiles(engine: esp.Engine) -> None:
    word = "|".join(f"w{number}[a-z]{{3,90}}" for number in range(300))

    @esp.function
    def body(s: State) -> None:
        s += PROMPT + esp.gen("x", 900, regex=f"(({word}) )*", ignore_eos=True)

    state = body.run(backend=engine, stream=True)
    cancelled(state, "x")
    at_rest(engine)


def test_cancel_during_a_join(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += PROMPT
        forks = s.fork(3)
        forks += lambda i: f" {i}" + esp.gen("x", 900, ignore_eos=True)
        forks.join()

    state = body.run(backend=engine, stream=True)
    started(engine)
    state.cancel("enough")
    error = state.error()
    assert error is not None
    assert "enough" in str(error)
    at_rest(engine)


def test_a_dead_engine(tiny: tuple[Path, Any]) -> None:
    @esp.function
    def body(s: State) -> None:
        s += PROMPT + esp.gen("x", 900, ignore_eos=True)

    with esp.Engine(str(tiny[0])) as engine:
        state = body.run(backend=engine, stream=True)
        next(state.text_iter("x"))
        assert isinstance(engine.link, ProcessLink)
        psutil.Process(engine.link.pid).kill()
        with pytest.raises(ProgramError) as caught:
            state["x"]
        assert isinstance(caught.value.__cause__, esp.EngineDeadError)
        line_of(caught.value)


@esp.function
def answers(s: State) -> None:
    s += "Q" + esp.gen("x")


def test_an_exit_inside_a_backend_fails_its_call_alone() -> None:
    with pytest.raises(esp.ProgramError, match="SystemExit"):
        answers.run(backend=esp.Scripted(SystemExit(3)))["x"]
    assert answers.run(backend=esp.Scripted("a"))["x"] == "a"


def test_an_exit_on_the_driver_s_loop_does_not_end_it() -> None:
    def leave() -> None:
        raise SystemExit(3)

    driver().loop.call_soon_threadsafe(leave)
    assert answers.run(backend=esp.Scripted("a"))["x"] == "a"


def test_a_plain_program_that_raises_stop_iteration_ends_when_awaited() -> None:
    @esp.function
    def seek(s: State) -> str:
        return next(line for line in ["a"] if line == "b")

    with pytest.raises(esp.ProgramError, match="StopIteration"):
        asyncio.run(asyncio.wait_for(seek.arun(backend=esp.Scripted("a")), 30))


def test_any_number_of_plain_programs_may_be_awaited_at_once() -> None:
    meeting = threading.Barrier(40, timeout=30)

    @esp.function
    def meet(s: State) -> None:
        meeting.wait()

    async def all_of_them() -> None:
        await asyncio.gather(*(meet.arun(backend=esp.Scripted("a")) for _ in range(40)))

    asyncio.run(all_of_them())


def test_an_error_that_is_raised_twice_names_each_line() -> None:
    failure = esp.ProgramError("no more")

    @esp.function
    def other(s: State) -> None:
        s += "Q" + esp.gen("x")

    places = set()
    for program in (answers, other):
        error = program.run(backend=esp.Scripted(failure)).error()
        assert error is not None
        places.add(error.where)
    assert len(places) == 2
    assert failure.where is None
