"""What every client is asked, and what it must get: the same of each.

The scripts beside this file run in an environment of their own, where a client is installed; they
import nothing of this project. `main` runs a script's checks, each a function of one of NAMES, and
prints a line of JSON for each: `{"check", "error"}`.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pydantic

NAMES = ("chat", "stream", "tools", "parallel_tools", "parse", "embeddings", "at_once")
SUM = "What is 37 + 48?"
ANSWER = "37+48: 7+8=15, 3+4+1=8, so 85"
WEATHER = "What is the weather in Paris?"
IDA = "Extract name, age, city as JSON: Ida is 41 years old and lives in Bergen."
CITIES = ["Oslo", "Rome", "Paris"]


class Servers(NamedTuple):
    """sprig: a server of the embedded model. random: of one that calls tools at random, often
    several at once."""

    sprig: str
    random: str


class Person(pydantic.BaseModel):
    name: str
    age: int
    city: str


def tool(*cities: str) -> dict[str, Any]:
    """`weather(city)`; of these cities alone, where some are given."""
    city: dict[str, Any] = {"type": "string", **({"enum": list(cities)} if cities else {})}
    parameters = {
        "type": "object",
        "properties": {"city": city},
        "required": ["city"],
        "additionalProperties": False,
    }
    function = {"name": "weather", "description": "Tells the weather.", "parameters": parameters}
    return {"type": "function", "function": function}


def check_calls(whole: list[tuple[str, Any]], streamed: list[tuple[str, Any]]) -> None:
    """Several calls, each of the tool and with valid arguments, streamed as they are whole."""
    assert len(whole) > 1, whole
    assert all(name == "weather" and args["city"] in CITIES for name, args in whole), whole
    assert streamed == whole, (whole, streamed)


def check_vectors(one: list[float], other: list[float], same: list[float]) -> None:
    """Of the same text the same but for rounding, of another one another."""

    def far(a: list[float], b: list[float]) -> float:
        assert len(a) == len(b) > 100
        return max(abs(x - y) for x, y in zip(a, b, strict=True))

    assert far(one, same) < 1e-4 < 1e-2 < far(one, other)


def check_many(ask: Callable[[str], str]) -> None:
    """64 questions at once have the answers that 8 of them have."""
    questions = [f"What is {number % 8 + 10} + 48?" for number in range(64)]
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask, questions))
    assert all(answers), answers
    assert all(answers[number] == answers[number % 8] for number in range(64)), answers


def main(checks: Mapping[str, Callable[[Servers], None]]) -> None:
    """Run the checks of a script against the servers that its arguments name."""
    servers = Servers(*sys.argv[1:])
    for name in NAMES:
        error = None
        try:
            checks[name](servers)
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"check": name, "error": error}), flush=True)
