"""Compiled runs end as the interpreted ones do: threads, deadlines, options, figures."""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

import espalier as esp
from espalier.errors import InvalidRequestError, ProgramError

State = Any


@esp.function
def simple(s: State) -> None:
    s += "Q" + esp.gen("x")


@esp.function
def two(s: State, topic: str, count: int) -> None:
    s += f"{topic}{count}" + esp.gen("x")


@esp.opaque
def answer_line(text: str) -> str:
    return next(line for line in text.splitlines() if "Answer:" in line)


@esp.opaque
def leaf(text: str) -> str:
    return text + "!"


@esp.function
def inner(s: State, q: str) -> None:
    s += q + esp.gen("x")
    s += leaf(s["x"])


INNER = inner.compile()


@esp.opaque
def sub(q: str) -> str:
    return INNER.run(q=q, backend=esp.Scripted(default="d")).text()


@esp.function
def outer(s: State, q: str) -> None:
    s += q
    s += sub(q) + esp.gen("y")


def within(seconds: float, run: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(run()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive()
    return found[0]


def test_stop_iteration_of_an_opaque_function_ends_the_run() -> None:
    @esp.function
    def program(s: State) -> None:
        s += "Q" + esp.gen("x")
        s += answer_line(s["x"])

    [state] = within(
        20, lambda: program.compile().run_batch([{}], backend=esp.Scripted(default="none"))
    )
    assert isinstance(state.error(), ProgramError)
    assert "StopIteration" in str(state.error())


def test_opaque_functions_that_run_programs_have_threads_enough() -> None:
    batch = [{"q": str(number)} for number in range(80)]
    run = outer.compile().run_batch
    states = within(60, lambda: run(batch, num_threads=80, backend=esp.Scripted(default="d")))
    assert [state.error() for state in states] == [None] * 80


def test_a_deadline_begins_when_the_run_does() -> None:
    slow = esp.Scripted(default="d", delay=0.1)
    states = simple.compile().run_batch([{}] * 6, num_threads=1, deadline=0.4, backend=slow)
    assert [state.error() for state in states] == [None] * 6


class Array:
    """As numpy's: neither equal nor not."""

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


class Mute:
    def __repr__(self) -> str:
        raise ValueError("no repr")


def test_arguments_that_cannot_be_compared_or_told() -> None:
    @esp.function
    def program(s: State, v: Any) -> None:
        s += "Q" + esp.gen("x")
        s += f"{v}"

    class Bounded(esp.Scripted):
        def info(self) -> dict[str, Any]:
            return {**super().info(), "capacity": 1000}

    compiled = program.compile()
    states = compiled.run_batch([{"v": Array()}, {"v": Array()}], backend=Bounded(default="d"))
    assert [state.error() for state in states] == [None, None]
    states = compiled.run_batch([{"v": Mute()}, {"v": 1}], backend=Bounded(default="d"))
    assert isinstance(states[0].error(), ProgramError)
    assert states[1].error() is None


def test_options_are_saved() -> None:
    compiled = simple.compile(temperature=0.9, max_tokens=5, seed=7, stop=["z"])
    loaded = esp.CompiledProgram.from_json(compiled.to_json())
    told = []
    for each in (compiled, loaded):
        backend = esp.Scripted(default="a")
        state = each.run(backend=backend)
        params = backend.asked[0].params
        assert params is not None
        told.append((params.temperature, params.max_tokens, params.seed, params.stop, state.seed))
    assert told[0] == told[1]
    assert told[0][:2] == (0.9, 5)
    with pytest.raises(InvalidRequestError, match="a backend cannot be saved"):
        simple.compile(backend=esp.Scripted()).to_json()
    wrong = compiled.to_json().replace('"temperature"', '"temprature"')
    with pytest.raises(InvalidRequestError, match="temperature"):
        esp.CompiledProgram.from_json(wrong)


def test_text_written_ahead_and_a_kinds_defaults_are_saved() -> None:
    @esp.function(num_api_spec_tokens=50)
    def program(s: State) -> None:
        s += "Name:" + esp.gen("a", stop="\n") + "\nAge:" + esp.gen("b", stop="\n")

    compiled = program.compile()
    for each in (compiled, esp.CompiledProgram.from_json(compiled.to_json())):
        backend = esp.Scripted([" Ada\nAge: 3\n", "x"])
        assert each.run(backend=backend)["b"] == " 3"
        assert len(backend.asked) == 1
    from espalier.compat.programs import SglFunction

    def body(s: State) -> None:
        s += "Q" + esp.gen("x")

    aliased: Any = SglFunction(body)
    backend = esp.Scripted(default="d")
    esp.CompiledProgram.from_json(aliased.compile().to_json()).run(backend=backend)
    assert backend.asked[0].params is not None
    assert backend.asked[0].params.temperature == 1.0


def test_positional_arguments_are_those_that_are_left() -> None:
    compiled = two.compile(topic="t")
    for each in (compiled, esp.CompiledProgram.from_json(compiled.to_json())):
        assert each.run(3, backend=esp.Scripted(default="d")).text() == "t3d"
        with pytest.raises(InvalidRequestError):
            each.run(3, count=4, backend=esp.Scripted(default="d"))


def test_bounds_count_all_samples() -> None:
    @esp.function
    def program(s: State) -> None:
        s += "Q" + esp.gen("x", 10, n=5)

    found = program.compile().bounds(esp.Scripted())
    assert found.generated == 50
    assert found.peak >= 1 + 50
    assert found.longest < 20


def test_a_picture_of_control_characters_is_xml() -> None:
    @esp.function
    def program(s: State) -> None:
        s += "a\x1b[0m\x00" + esp.gen("x", 5)

    ElementTree.fromstring(program.compile().graph("svg"))
