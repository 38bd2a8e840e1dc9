"""Python functions as tools: what may be written, what is run, and where the loop ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest

import espalier as esp
from espalier.errors import EngineError, IncompleteError, InvalidRequestError, ProgramError
from espalier.frontend_lang.backends.conform import conforms
from espalier.frontend_lang.tools import ToolCalls

State = Any


def weather(city: str) -> str:
    return {"Paris": "sunny"}.get(city, "no report")


def add(a: int, b: int = 1) -> int:
    return a + b


def fail(why: str) -> None:
    raise ValueError(why)


TOOLS = [weather, add, fail]


def test_what_may_be_written() -> None:
    grammar = ToolCalls(tuple(TOOLS)).grammar
    for text in (
        '{"tool": "weather", "args": {"city": "Oslo"}}',
        '{"tool": "add", "args": {"a": 1, "b": 2}}',
        '{"tool": "add", "args": {"a": 1}}',
        "It is sunny.\nVery.",
    ):
        assert conforms(grammar, text) == "complete", text
    for text in ('{"tool": "other"', '{"tool": "add", "args": {"b"', '{"a": 1}', ""):
        assert conforms(grammar, text) != "complete", text


def step(answer: Any, **options: Any) -> Any:
    @esp.function
    def body(s: State) -> None:
        s += "go: " + esp.gen("x", tools=TOOLS, **options)

    return body.run(backend=esp.Scripted(answer))["x"]


def test_a_call_is_a_value() -> None:
    call = step('{"tool": "add", "args": {"a": 40, "b": 2}}')
    assert isinstance(call, esp.ToolCall)
    assert (call.name, call.arguments) == ("add", {"a": 40, "b": 2})
    assert call.run() == 42
    assert call.told() == "Result: 42"
    assert step('{"tool": "weather", "args": {"city": "Paris"}}').told() == "Result: sunny"
    told = step('{"tool": "fail", "args": {"why": "no"}}').told()
    assert told == "Error: ValueError: no"
    assert step("just text") == "just text"


def test_what_is_cut() -> None:
    with pytest.raises(IncompleteError):
        step(esp.Reply('{"tool": "add", "ar', finish_reason="length"))
    assert step(esp.Reply("an ans", finish_reason="length")) == "an ans"
    with pytest.raises(ProgramError):
        step(EngineError("gone"))


async def later(a: int) -> int:
    return a


@pytest.mark.parametrize(
    "tools", [[later], [], [lambda a: a], [add, add], "add", [3], add, [esp.Scripted]]
)
def test_what_is_no_tool(tools: Any) -> None:
    with pytest.raises(InvalidRequestError, match="plain Python functions"):
        esp.gen("x", tools=tools)
    with pytest.raises(InvalidRequestError, match="one of"):
        esp.gen("x", int, tools=[add])


@esp.function
def ask(s: State, question: str, max_calls: int = 3) -> str:
    answer: str = s.use_tools(question, [weather, add], max_calls=max_calls)
    s += "after"
    return answer


def test_the_loop() -> None:
    backend = esp.Scripted(
        [
            '{"tool": "weather", "args": {"city": "Paris"}}',
            '{"tool": "add", "args": {"a": 2}}',
            "It is sunny, and 3.",
        ]
    )
    state = ask.run(question="Weather in Paris, and 2 + 1?", backend=backend)
    assert state.ret_value == state["answer"] == "It is sunny, and 3."
    assert state["answer_call0"].name == "weather"
    contents = [message["content"] for message in state.messages()]
    assert contents == [
        "Tools: weather(city), add(a, b)\nWeather in Paris, and 2 + 1?",
        '{"tool": "weather", "args": {"city": "Paris"}}',
        "Result: sunny",
        '{"tool": "add", "args": {"a": 2}}',
        "Result: 3",
        "It is sunny, and 3.",
    ]
    assert state.text().endswith("after")


def test_the_loop_ends() -> None:
    call = '{"tool": "add", "args": {"a": 2}}'

    def again(asked: Any) -> str:
        return "enough" if asked.name == "answer" else call

    backend = esp.Scripted(again)
    state = ask.run(question="?", backend=backend)
    assert state["answer"] == "enough"
    assert len(backend.asked) == 4
    assert conforms(backend.asked[-1].grammar, call) == "no"  # type: ignore[arg-type]
    assert ask.run(question="?", max_calls=0, backend=backend)["answer"] == "enough"
    with pytest.raises(InvalidRequestError, match="max_calls"):
        ask.run(question="?", max_calls=-1, backend=backend)


def test_for_asyncio() -> None:
    @esp.function
    async def body(s: esp.AsyncState) -> str:
        return await s.use_tools("2 + 1?", [add])

    backend = esp.Scripted(['{"tool": "add", "args": {"a": 2}}', "3"])
    assert body.run(backend=backend).ret_value == "3"


def test_cancelling_the_task_ends_the_loop() -> None:
    states: list[esp.AsyncState] = []

    @esp.function
    async def body(s: esp.AsyncState) -> None:
        states.extend(s.fork())
        async with asyncio.timeout(0.2):
            await states[0].use_tools("2 + 1?", [add])

    started = time.perf_counter()
    with pytest.raises(TimeoutError):
        body.run(backend=esp.Scripted(default="no", delay=60))
    assert time.perf_counter() - started < 30
    assert "task was cancelled" in str(states[0].state.error())


def test_cancelling_the_task_between_two_calls_ends_the_loop() -> None:
    states: list[esp.AsyncState] = []
    told, gone = threading.Event(), threading.Event()

    def slow(a: int) -> int:
        told.set()
        assert gone.wait(30)
        return a

    @esp.function
    async def body(s: esp.AsyncState) -> None:
        states.extend(s.fork())
        task = asyncio.create_task(states[0].use_tools("2?", [slow]))
        while not told.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        gone.set()

    backend = esp.Scripted(['{"tool": "slow", "args": {"a": 2}}', "no more"])
    body.run(backend=backend)
    assert "task was cancelled" in str(states[0].state.error())
    assert len(backend.asked) == 1


def test_on_the_embedded_model() -> None:
    with esp.Engine("sprig", inline=True) as engine:
        state = ask.run(question="What is 12 plus 30?", backend=engine)
    call = state["answer_call0"]
    assert (call.name, call.arguments) == ("add", {"a": 12, "b": 30})
    assert "42" in state["answer"]
