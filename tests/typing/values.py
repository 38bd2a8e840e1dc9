"""What mypy --strict and pyright see of a program's values. Checked, never run.

The lines with an ignore are errors that a checker must find: both tell of an ignore that is unused.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, assert_type

import espalier as esp


@dataclass
class Person:
    name: str
    age: int


@esp.function
def plain(s: esp.ProgramState, topic: str, times: int = 1) -> None:
    s += topic + esp.gen("a", stop="\n")
    assert_type(s.gen("b"), str)
    assert_type(s.gen("b", 16, temperature=0.5), str)
    assert_type(s.gen(regex="[a-z]+"), str)
    assert_type(s.gen("c", n=3), list[str])
    person = s.gen("d", Person)
    assert_type(person, Person)
    assert_type(person.age, int)
    assert_type(s.gen("e", Person, n=2), list[Person])
    assert_type(s.gen("f", dtype=Person), Person)
    assert_type(s.gen("g", int, max_tokens=3), int)
    assert_type(s.gen("h", list[Person]), list[Person])
    assert_type(s.gen("i", dict[str, int]), dict[str, int])
    assert_type(s.gen("q", n=1), str)
    assert_type(s.gen("r", Person, n=1), Person)
    assert_type(s.gen("t", tools=[make]), Any)
    assert_type(s.gen("u", dtype="int"), Any)
    assert_type(s.select("j", ["x", "y"]), str)
    assert_type(s.select("k", ["x", "y"], seed=3), str)
    assert_type(s["a"], Any)
    print(s.gen("l", Person).size)  # type: ignore[attr-defined]
    s.gen("m", colour="red")  # type: ignore[call-overload]
    s.gen("n", temperature="hot")  # type: ignore[call-overload]
    s.gen("o", Person, regex="[a-z]")  # type: ignore[call-overload]
    s.select("p", ["x"], colour="red")  # type: ignore[call-arg]


def make(size: int) -> str:
    return str(size)


@esp.function(num_api_spec_tokens=3)
async def guessing(s: esp.AsyncState, topic: str) -> None:
    assert_type(await s.gen("a", n=1), str)
    assert_type(await s.gen("b", Person, n=1), Person)
    assert_type(await s.gen("c", tools=[make]), Any)


@esp.function
async def awaited(s: esp.AsyncState, topic: str) -> None:
    s += topic
    assert_type(await s.gen("a"), str)
    assert_type(await s.gen("b", n=2), list[str])
    assert_type(await s.gen("c", Person), Person)
    assert_type(await s.gen("d", Person, n=2), list[Person])
    assert_type(await s.gen("e", dtype=int), int)
    assert_type(await s.select("f", ["x", "y"]), str)
    assert_type(await s.get("f"), Any)
    forks = s.fork(3)
    assert_type(forks[0], esp.AsyncState)
    await forks.join(first=2, errors="keep")
    await forks.join(first="2")  # type: ignore[arg-type]
    s.gen("g").upper()  # type: ignore[attr-defined]


def expressions() -> None:
    assert_type(esp.gen("x", Person).name, str | None)
    mode: Literal["raise"] = "raise"
    plain.run(topic="tea", temperature=0.5)
    plain("tea", times=2)
    plain("tea", times="two")  # type: ignore[arg-type]
    awaited("tea")
    awaited(3)  # type: ignore[arg-type]
    plain.using(temperature=0.5, stop=["a"])
    plain.using(temprature=0.5)  # type: ignore[call-arg]
    assert_type(plain.run_batch([{"topic": "x"}]), list[esp.ProgramState])
    compiled = plain.compile()
    assert_type(compiled.run_batch([{"topic": "x"}]), list[esp.ProgramState])
    guessing("tea")
    guessing(3)  # type: ignore[arg-type]
    print(mode)
