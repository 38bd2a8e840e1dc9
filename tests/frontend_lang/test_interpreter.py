"""The queue of one state, its variables and feeds, the driver's thread, and cancelling."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import espalier as esp
from espalier.errors import (
    EngineError,
    InvariantError,
    ProgramError,
    RequestCancelledError,
)
from espalier.frontend_lang.driver import Driver, driver
from espalier.frontend_lang.expr import Expr, Text
from espalier.frontend_lang.interpreter import Interpreter, Op, as_program_error, op_of
from espalier.frontend_lang.records import Node
from espalier.frontend_lang.session import Machine, Session
from espalier.frontend_lang.streams import follow, follow_async
from espalier.frontend_lang.variables import Feed, Variable, again
from espalier.frontend_lang.where import Where
from tests.support import ROOT

State = Any
AT = Where("program.py", 3)


def interpreter(script: Any = "x", **options: Any) -> Interpreter:
    session = Session(Machine(esp.Scripted(script, **options)))
    return Interpreter(session, Node(), session.content())


def say(made: Interpreter, *exprs: Expr) -> list[Variable]:
    variables = []
    for expr in exprs:
        variables.append(Variable(getattr(expr, "name", None)))
        made.submit(op_of(expr, variables[-1]))
    return variables


def test_what_needs_no_waiting_is_done_at_once() -> None:
    made = interpreter()
    say(made, Text("a", AT), Text("b", AT))
    assert made.idle()
    assert made.content.text() == "ab"
    made.check_invariants()


def test_order_is_kept() -> None:
    made = interpreter(["1", "2"], delay=0.01)
    variables = say(made, esp.gen("x"), Text("a", AT), esp.gen("y"), Text("b", AT))
    assert not made.idle()
    made.wait()
    assert made.content.text() == "1a2b"
    assert [variables[0].value, variables[2].value] == ["1", "2"]
    made.check_invariants()


def test_broken_interpreters_are_caught() -> None:
    made = interpreter()
    made._queue.append(Op("x", AT))
    with pytest.raises(InvariantError, match="I1"):
        made.check_invariants()
    made = interpreter()
    made.calls = 1
    with pytest.raises(InvariantError, match="I2"):
        made.check_invariants()


def test_cancelling_reaches_calls_that_run_and_calls_that_wait() -> None:
    made = interpreter("x", delay=60)
    first, second = say(made, esp.gen("x"), esp.gen("y"))
    time.sleep(0.05)
    made.cancel("enough")
    made.wait()
    assert isinstance(first.error, ProgramError)
    assert isinstance(first.error.__cause__, RequestCancelledError)
    assert isinstance(second.error, ProgramError)
    assert "not reached" in str(second.error)


def test_cancelling_before_anything_has_started() -> None:
    made = interpreter("x", delay=60)
    blocker = threading.Event()
    driver().call(blocker.wait)  # the loop starts nothing meanwhile
    [variable] = say(made, esp.gen("x"))
    made.cancel("enough")
    blocker.set()
    made.wait()
    assert "enough" in str(variable.error)


def test_any_exception_becomes_a_program_error_with_its_line() -> None:
    wrapped = as_program_error("gen('x')", AT, ZeroDivisionError("by zero"))
    assert str(wrapped) == "gen('x') failed: ZeroDivisionError: by zero (at program.py:3)"
    assert isinstance(wrapped.__cause__, ZeroDivisionError)
    inner = ProgramError("wrong role")
    placed = as_program_error("user()", AT, inner)
    assert (type(placed), placed.message, inner.where) == (ProgramError, "wrong role", None)
    assert placed.where == "program.py:3"
    assert as_program_error("x", Where("other.py", 9), placed) is placed


def test_an_unknown_op_is_refused() -> None:
    made = interpreter()
    made.submit(Op("odd", AT, expr=Expr()))
    assert "cannot be run" in str(made.error)


def test_an_error_is_raised_afresh() -> None:
    error = EngineError("boom", hint="wait")
    error.__cause__ = ValueError("x")
    copy = again(error)
    assert copy is not error
    assert (type(copy), str(copy), copy.__cause__) == (EngineError, str(error), error.__cause__)


def test_feeds_have_many_readers() -> None:
    feed = Feed()
    feed.put("a")
    seen: list[list[str]] = [[], []]

    def read(into: list[str]) -> None:
        into.extend(text for text, _ in follow(feed))

    threads = [threading.Thread(target=read, args=(into,)) for into in seen]
    for thread in threads:
        thread.start()
    for piece in "bcd":
        feed.put(piece)
    feed.close()
    feed.close(EngineError("late"))  # the first end counts
    for thread in threads:
        thread.join(5)
    assert seen == [list("abcd")] * 2


def test_feeds_end_in_their_error() -> None:
    feed = Feed()
    feed.put("a")
    feed.close(EngineError("boom"))
    pieces = []
    with pytest.raises(EngineError, match="boom"):
        pieces.extend(text for text, _ in follow(feed))

    async def read() -> None:
        async for text, _ in follow_async(feed):
            pieces.append(text)

    with pytest.raises(EngineError, match="boom"):
        asyncio.run(read())
    assert pieces.count("a") >= 1


def test_an_async_reader_that_leaves_is_forgotten() -> None:
    feed = Feed()

    async def read() -> str:
        pieces = follow_async(feed)
        feed.put("a")
        async for text, _ in pieces:
            await pieces.aclose()  # type: ignore[attr-defined]
            return text
        return ""

    assert asyncio.run(read()) == "a"
    assert feed._listeners == []
    feed.put("b")


def test_async_readers_wait_without_blocking_their_loop() -> None:
    feed = Feed()

    async def read() -> list[str]:
        async def write() -> None:
            feed.put("a")
            await asyncio.sleep(0)
            feed.put("b")
            feed.close()

        writing = asyncio.create_task(write())  # runs only if the reader gives way
        found = [text async for text, _ in follow_async(feed)]
        await writing
        return found

    assert asyncio.run(read()) == ["a", "b"]


def test_one_driver_for_the_process() -> None:
    assert driver() is driver()
    assert not driver().is_here()
    where: list[bool] = []
    done = threading.Event()
    driver().call(lambda: (where.append(driver().is_here()), done.set()))
    assert done.wait(5)
    assert where == [True]


def test_calls_of_the_driver_keep_their_order_and_their_contexts() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[str] = []
    done = threading.Event()
    begin = threading.Event()

    def fail() -> None:
        raise ValueError

    def call_all() -> None:  # while the loop is busy, so that it is woken once for all
        driver().call(begin.wait, 5)
        for value in "abc":
            variable.set(value)
            driver().call(lambda: seen.append(variable.get()))
            driver().call(fail)
        driver().call(done.set)
        begin.set()

    contextvars.copy_context().run(call_all)
    assert done.wait(5)
    assert seen == ["a", "b", "c"]


def test_a_call_that_leaves_the_loop_takes_no_other_with_it() -> None:
    made = Driver()
    done = threading.Event()
    begin = threading.Event()
    made.call(begin.wait, 5)
    made.call(sys.exit)
    made.call(done.set)
    begin.set()
    assert done.wait(5)
    made.close()
    assert made.loop.is_closed()


def test_a_session_forgets_states_that_are_gone() -> None:
    session = interpreter().session
    kept = [Interpreter(session, Node(), session.content()) for _ in range(3)]
    for _ in range(1000):
        Interpreter(session, Node(), session.content())
    assert set(kept) <= set(session.states())
    assert len(session._interpreters) < 200
    waited = [Interpreter(session, Node(), session.content()) for _ in range(500)]
    assert set(session.states()) == {*kept, *waited}


def test_a_driver_closes_with_work_left() -> None:
    made = Driver()
    ended = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    made.call(lambda: made.start(forever()))
    time.sleep(0.05)
    made.close()
    assert ended.is_set()
    assert made.loop.is_closed()
    made.close()  # again does nothing


def test_a_forked_process_has_a_driver_of_its_own() -> None:
    held = driver()
    held.pid = -1
    try:
        assert driver() is not held
    finally:
        held.pid = os.getpid()
        held.close()


def test_a_process_ends_while_calls_run() -> None:
    code = """
import espalier as esp
@esp.function
def body(s):
    s += "a" + esp.gen("x")
esp.function
state = body.run(backend=esp.Scripted("slow", delay=60), stream=True)
"""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert time.perf_counter() - started < 30


def test_an_interrupt_in_the_middle_of_an_op_leaves_the_queue_open() -> None:
    made = interpreter()

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.submit(Op("x", AT, action=interrupted))
    assert made.idle()


def test_waiting_on_the_loops_own_thread_is_refused() -> None:
    held: list[State] = []

    @esp.function
    def body(s: State) -> None:
        held.append(s)
        s += "a" + esp.gen("x")

    for wait in (lambda s: s["x"], lambda s: s.sync()):
        held.clear()
        state = body.run(backend=esp.Scripted(lambda asked, wait=wait: wait(held[0])))
        with pytest.raises(ProgramError, match="on the thread that runs its calls"):
            state["x"]


def test_interrupting_a_run_cancels_it() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("x")
        raise KeyboardInterrupt

    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        body.run(backend=esp.Scripted("x", delay=60))
    assert time.perf_counter() - started < 10
