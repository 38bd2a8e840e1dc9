"""`espalier serve` as an API: what the OpenAI backend gets there is what the engine gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import espalier as esp
from tools.blackbox.servers import served

State = Any
SUM = "What is 37 + 48?"


@dataclass
class Person:
    name: str
    age: int
    city: str


@pytest.fixture(scope="module")
def engine() -> Iterator[esp.Engine]:
    with esp.Engine("sprig", inline=True) as running:
        yield running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(["sprig"]) as running:
        yield running


@pytest.fixture
def chats(url: str) -> Iterator[esp.OpenAI]:
    options: Any = {"base_url": f"{url}/v1", "api_key": "x"}
    with esp.OpenAI("sprig", continues=True, extensions="vllm", **options) as backend:
        yield backend


@pytest.fixture
def completes(url: str) -> Iterator[esp.OpenAI]:
    options: Any = {"base_url": f"{url}/v1", "api_key": "x"}
    with esp.OpenAI("sprig", is_chat_model=False, extensions="vllm", **options) as backend:
        yield backend


@pytest.mark.parametrize("streamed", [True, False])
def test_a_chat(streamed: bool, engine: esp.Engine, chats: esp.OpenAI) -> None:
    @esp.function
    def ask(s: State) -> None:
        s += esp.user(SUM) + esp.assistant(esp.gen("a", logprobs=1))
        s += esp.user("And 1 + 1?") + esp.assistant("1+1" + esp.gen("b", max_tokens=8))

    here, there = (ask.run(backend=backend, stream=streamed) for backend in (engine, chats))
    assert here.error() is None
    assert [there[name] for name in "ab"] == [here[name] for name in "ab"]
    near, far = (state.get_meta_info("a")["output_token_logprobs"] for state in (here, there))
    assert [logprob for logprob, *_ in far] == pytest.approx([lp for lp, *_ in near], abs=1e-3)
    one, other = (next(iter(state.report().calls())) for state in (here, there))
    assert (other.prompt, other.generated) == (one.prompt, one.generated)


def test_a_completion_with_a_stop(engine: esp.Engine, completes: esp.OpenAI) -> None:
    @esp.function
    def story(s: State) -> None:
        s += "Ada went to" + esp.gen("a", stop=["."], max_tokens=24) + ". Then"
        s += esp.gen("b", max_tokens=6)

    here, there = (story.run(backend=backend) for backend in (engine, completes))
    assert there.text() == here.text()
    matched = [state.get_meta_info("a")["finish_reason"] for state in (here, there)]
    assert matched[0] == matched[1]


def test_select(engine: esp.Engine, completes: esp.OpenAI) -> None:
    @esp.function
    def choose(s: State) -> None:
        s += "The cat sat on the" + esp.select("x", [" mat", " moon", " seventeen"])

    here, there = (choose.run(backend=backend) for backend in (engine, completes))
    near, far = (state.get_meta_info("x")["probabilities"] for state in (here, there))
    assert there["x"] == here["x"]
    assert far == pytest.approx(near, abs=1e-3)


def test_values(chats: esp.OpenAI, completes: esp.OpenAI, url: str, engine: esp.Engine) -> None:
    @esp.function
    def read(s: State) -> None:
        s += esp.user("Extract name, age, city as JSON: Ida is 41 years old and lives in Bergen.")
        s += esp.assistant(esp.gen("who", Person))

    @esp.function
    def count(s: State) -> None:
        s += "One number: " + esp.gen("n", regex="[0-9]{3}")

    ida = Person("Ida", 41, "Bergen")
    assert read.run(backend=chats)["who"] == ida
    with esp.OpenAI("sprig", base_url=f"{url}/v1", api_key="x") as plain:  # by response_format
        assert read.run(backend=plain)["who"] == ida
    assert count.run(backend=completes)["n"] == count.run(backend=engine)["n"]


def test_one_request_for_several_gens(engine: esp.Engine, completes: esp.OpenAI) -> None:
    def body(s: State) -> None:
        s += SUM + esp.gen("a", stop="+", max_tokens=32) + "+" + esp.gen("b", max_tokens=4)

    ahead, plain = esp.function(num_api_spec_tokens=48)(body), esp.function(body)
    there = ahead.run(backend=completes, max_tokens=48)
    assert there.text() == plain.run(backend=engine, max_tokens=48).text()
    assert there.report().totals()["requests"] == completes.stats()["requests"]


def test_errors(completes: esp.OpenAI, url: str) -> None:
    @esp.function
    def long(s: State) -> None:
        s += "word " * 4000 + esp.gen("a")

    error = long.run(backend=completes).error()
    assert error is not None
    assert isinstance(error.__cause__, esp.ContextLengthError)
