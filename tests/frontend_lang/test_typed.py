"""Typed values: the grammar of a type, the value of a text, and reads that must not pretend."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Literal

import msgspec
import pydantic
import pytest

import espalier as esp
from espalier.errors import EngineError, GrammarError, IncompleteError, ProgramError
from espalier.frontend_lang.backends.conform import conforms
from espalier.frontend_lang.typed import grammar_of

State = Any


@dataclasses.dataclass
class Person:
    name: str
    age: int


class Order(msgspec.Struct):
    item: str
    price: float | None = None


class Event(pydantic.BaseModel):
    title: str
    seats: list[int]

    @pydantic.field_validator("seats")
    @classmethod
    def _not_empty(cls, seats: list[int]) -> list[int]:
        if not seats:
            raise ValueError("no seats")
        return seats


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


def introduce(person: Person, loudly: bool = False) -> str:
    return f"{person.name}{'!' if loudly else ''}"


def run(dtype: Any, answer: Any, **options: Any) -> State:
    @esp.function
    def body(s: State) -> None:
        s += "value: " + esp.gen("x", dtype, **options) + " end"

    return body.run(backend=esp.Scripted({"x": answer}))


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        (int, "12", 12),
        (float, "-1.5", -1.5),
        (bool, "true", True),
        (str, '"a \\"b\\""', 'a "b"'),
        (list[int], "[1, 2]", [1, 2]),
        (Person, '{"name": "Ada", "age": 36}', Person("Ada", 36)),
        (introduce, '{"person": {"name": "Ada", "age": 36}}', {"person": Person("Ada", 36)}),
        (Order, '{"item": "mug", "price": 2.5}', Order("mug", 2.5)),
        (Event, '{"title": "Jazz", "seats": [3]}', Event(title="Jazz", seats=[3])),
        (Mood, '"good"', Mood.GOOD),
        (Literal["a", "b"], '"b"', "b"),
    ],
)
def test_values(dtype: Any, text: str, value: Any) -> None:
    state = run(dtype, text)
    assert state["x"] == value
    assert type(state["x"]) is type(value)
    assert state.text() == f"value: {text} end"
    assert state.get_meta_info("x")["text"] == text


def test_samples_are_values() -> None:
    assert run(int, ["1", "2", "3"], n=3)["x"] == [1, 2, 3]


def test_a_cut_value_raises_at_its_read_alone() -> None:
    state = run(Person, esp.Reply('{"name": "Ad', finish_reason="length"))
    assert state.error() is None
    with pytest.raises(IncompleteError, match=r"gen\('x'\) was cut.*length") as caught:
        state["x"]
    assert __file__ in str(caught.value.where)
    assert state.get_meta_info("x")["text"] == '{"name": "Ad'
    assert state.text().endswith('{"name": "Ad end')


@pytest.mark.parametrize(
    "constraint",
    [{"regex": "[0-9]{5}"}, {"json_schema": int}, {"json_schema": {"type": "integer"}}],
)
def test_a_cut_text_of_a_grammar_raises_at_its_read(constraint: dict[str, Any]) -> None:
    @esp.function
    def body(s: State) -> None:
        s += "value: " + esp.gen("x", **constraint) + esp.gen("two", n=2, **constraint)

    cut = esp.Reply("1" * 3, finish_reason="length")
    whole = "1" * 5
    if "json_schema" in constraint:
        cut = esp.Reply("-", finish_reason="length")
    state = body.run(backend=esp.Scripted({"x": cut, "two": [whole, cut]}))
    assert state.error() is None
    for name in ("x", "two"):
        with pytest.raises(IncompleteError, match=r"was cut.*length") as caught:
            state[name]
        assert caught.value.text == cut.text
    assert state.get_meta_info("x")["text"] == cut.text
    assert state.text() == f"value: {cut.text}{whole}"


def test_a_cut_value_in_a_branch() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a"
        forks = s.fork(2)
        forks += esp.gen("x", int)
        forks.join(errors="keep")

    script = ["1", esp.Reply("-", finish_reason="length")]
    state = body.run(backend=esp.Scripted(script))
    assert state["x"][0] == 1
    assert isinstance(state["x"][1], esp.BranchError)


def test_a_types_own_check_refuses_at_the_read() -> None:
    state = run(Event, '{"title": "Jazz", "seats": []}')
    with pytest.raises(
        ProgramError, match=r"^gen\('x'\): the text is no Event: 1 validation error(?s:.*)no seats"
    ):
        state["x"]


def test_constrained_text_stays_text() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("x", json_schema=Person) + esp.gen("y", regex=r"\d+")
        s += esp.gen("z", choices=["p", "q"])

    script = {"x": '{"name": "Ada", "age": 3}', "y": "12", "z": "q"}
    state = body.run(backend=esp.Scripted(script))
    assert (state["x"], state["y"], state["z"]) == ('{"name": "Ada", "age": 3}', "12", "q")


@pytest.mark.parametrize("answer", ["x1", "1x", ""])
def test_a_scripted_answer_outside_its_grammar(answer: str) -> None:
    state = run(int, answer)
    with pytest.raises(ProgramError, match="does not match") as caught:
        state["x"]
    assert isinstance(caught.value.__cause__, EngineError)


def test_stop_strings_that_cut_a_value() -> None:
    state = run(str, '"Ada Lovelace"', stop=" ")
    with pytest.raises(IncompleteError, match="stop string"):
        state["x"]
    assert run(int, "12 apples", stop=" ")["x"] == 12


def test_verdicts() -> None:
    assert conforms(grammar_of(int), "12") == "complete"
    assert conforms(grammar_of(int), "-") == "prefix"
    assert conforms(grammar_of(int), "a") == "no"


def test_a_type_without_a_grammar() -> None:
    with pytest.raises(GrammarError):
        esp.gen("x", complex)


def test_unchecked_scripts() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("x", regex="[ab]+")

    state = body.run(backend=esp.Scripted("zzz", check_grammar=False))
    assert state["x"] == "zzz"


@pytest.mark.parametrize(
    ("reason", "cure", "other"),
    [("length", "Raise max_tokens", "deadline"), ("deadline", "longer deadline", "max_tokens")],
)
def test_a_cut_value_says_what_would_have_let_it_end(reason: Any, cure: str, other: str) -> None:
    @esp.function
    def program(s: State) -> None:
        s += "a" + esp.gen("x", regex="[a-z]{9}")

    state = program.run(backend=esp.Scripted(esp.Reply("abc", reason)))
    with pytest.raises(IncompleteError, match=cure) as caught:
        state["x"]
    assert other not in str(caught.value)
